"""Arrays of every container, type, shape and label: a task with the values that were given, or a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.errors import DataError, SettingsError
from archscout.tasks import Task
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.task import Split

Array = np.ndarray[Any, Any]
DTYPES = ("bool", "uint8", "int8", "<i2", ">i4", "uint16", "uint32", "uint64", "int64", "float16", ">f4", "float64")
TENSORS = (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.uint8, torch.int32, torch.bool)


class Labelled:
    """Something foreign that becomes an array."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.values if dtype is None else self.values.astype(dtype)


def read_only(values: Array) -> Array:
    values = values.copy()
    values.flags.writeable = False
    return values


CONTAINERS: dict[str, Callable[[Array], Any]] = {
    "array": lambda values: values,
    "list": lambda values: values.tolist(),
    "list of arrays": list,
    "tuple": lambda values: tuple(values),
    "tensor": lambda values: torch.from_numpy(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("=")))),
    "list of tensors": lambda values: [
        torch.from_numpy(np.array(one, one.dtype.newbyteorder("="))) for one in np.ascontiguousarray(values)
    ],
    "sparse": lambda values: (
        torch.from_numpy(np.array(values, values.dtype.newbyteorder("="))).to_sparse()
        if values.dtype.kind != "u"
        else values
    ),
    "reversed": lambda values: values[::-1].copy()[::-1],
    "fortran": np.asfortranarray,
    "read-only": read_only,
    "masked, nothing hidden": np.ma.masked_array,
    "objects": lambda values: values.astype(object),
    "foreign": Labelled,
}


def stored(split: Split) -> tuple[Array, Array]:
    """All inputs and targets of a split, in the order of the source."""
    where = split.indices.sort().values
    inputs, targets = next(iter(split.source.batches([where], torch.device("cpu"))))
    return inputs.numpy(), targets.numpy()


def everything(task: Task) -> tuple[Array, Array]:
    """Inputs and targets of all samples, in the order in which they were given."""
    assert task.train.source is task.validation.source is task.test.source
    all_of = Split(task.train.source, torch.arange(len(task.train.source)))
    return stored(all_of)


@given(
    shape=st.sampled_from([(6,), (1, 5), (3, 9), (4, 5), (2, 6, 6), (6, 6, 3), (1, 4, 6), (12, 2), (5, 5)]),
    dtype=st.sampled_from(DTYPES),
    container=st.sampled_from(sorted(CONTAINERS)),
    layout=st.sampled_from(["auto", "NCHW", "NHWC", "NHW", "NCL", "NLC", "NL"]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=300, deadline=None)
def test_inputs_are_what_was_given_or_refused(
    shape: tuple[int, ...], dtype: str, container: str, layout: str, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    values = (draw.integers(0, 200, (12, *shape)) if "f" not in dtype else draw.normal(size=(12, *shape))).astype(dtype)
    try:
        task = Task.from_arrays(CONTAINERS[container](values), np.arange(12) % 2, layout=layout)
    except (DataError, SettingsError) as error:
        assert "layout" in str(error) or "axes" in str(error)  # asked, or the wrong number of axes was named
        return
    inputs, _ = everything(task)
    expected = values.astype(np.float64)
    chosen = str(task.provenance["layout"])
    if chosen in ("NHW", "NL"):
        expected = expected[:, None]
    elif chosen == "NHWC" or chosen == "NLC":
        expected = np.moveaxis(expected, -1, 1)
    assert inputs.shape == expected.shape
    if "H" in chosen and values.dtype == bool:
        expected = expected * 255
    assert "values" not in task.provenance  # whole numbers below 256 and normal floats are not scaled
    tolerance = 1e-6 * np.abs(expected)
    assert (np.abs(inputs - expected) <= tolerance).all()


@pytest.mark.parametrize("dtype", TENSORS, ids=str)
def test_tensors_of_every_type_keep_their_values(dtype: torch.dtype) -> None:
    values = torch.arange(12 * 20).reshape(12, 1, 20).remainder(97).to(dtype)
    labels = (torch.arange(12) % 2).to(dtype)
    task = Task.from_arrays(values.requires_grad_(values.is_floating_point()), labels)
    inputs, targets = everything(task)
    assert np.array_equal(inputs, values.detach().double().numpy())
    assert targets.tolist() == [0, 1] * 6


def quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.arange(240).reshape(12, 1, 20) / 2, 0.5, 0, torch.quint8)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_and_nested_tensors_keep_their_values() -> None:
    inputs, _ = everything(Task.from_arrays(quantized(), [0, 1] * 6))
    assert inputs.max() == 119.5
    nested = torch.nested.nested_tensor([torch.ones(2, length) for length in (5, 7, 6, 5)] * 3)
    assert Task.from_arrays(nested, [0, 1] * 6).spec.input_shape == (2, 7)


LABELS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**62), 2**62),
    st.sampled_from(["a", "b", "Ä", "a b", "0", "10"]),
    st.booleans(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, 2.5, -1.0]),
    st.none(),
    st.binary(min_size=1, max_size=2),
)
CHOICES = st.one_of(
    *(st.lists(kind, min_size=1, max_size=4) for kind in [LABELS, st.integers(0, 4), st.text(max_size=3)])
)


@given(choice=CHOICES, container=st.sampled_from(["list", "array", "objects", "column"]), seed=st.integers(0, 99))
@settings(max_examples=400, deadline=None)
def test_labels_keep_their_meaning_or_are_refused(choice: list[Any], container: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = [choice[place] for place in [*range(len(choice)), *draw.integers(0, len(choice), 20)]]
    given_as: Any = labels
    if container != "list":
        given_as = np.empty(len(labels), dtype=object)
        given_as[:] = labels
        given_as = given_as[:, None] if container == "column" else given_as
    if container == "array":
        try:
            given_as = np.array(labels)
        except UnicodeDecodeError:  # numpy's, for texts beside bytes
            return
        labels = given_as.tolist()  # numpy turns numbers beside texts into texts
    inputs = draw.normal(size=(len(labels), 2, 9))
    try:
        task = Task.from_arrays(inputs, given_as, layout="NCL")
    except DataError:
        return
    _, targets = everything(task)
    if task.spec.kind == "regression":
        assert np.allclose(targets[:, 0], np.array(labels, np.float64), rtol=1e-6)
        return
    assert task.spec.kind == "classification"
    # Equal labels are one class, others are others, and the names say what they were.
    words = [label.decode("utf-8", "backslashreplace") if isinstance(label, bytes) else label for label in labels]
    assert len({(word, target) for word, target in zip(words, targets, strict=True)}) == task.spec.outputs
    names = task.class_names or [str(place) for place in range(task.spec.outputs)]
    told = [names[target] for target in targets]
    assert all(
        name == word if isinstance(word, str) else float(eval(name)) == float(word)
        for name, word in zip(told, words, strict=True)
    )


@given(
    values=st.lists(st.integers(-2, 300), min_size=1, max_size=5, unique=True),
    dtype=st.sampled_from(["uint8", "int16", ">i4", "int64", "float32"]),
    ignore=st.one_of(st.none(), st.sampled_from([255, -1, 0, IGNORED])),
    channel=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_masks_keep_their_values_as_names_or_are_asked_about(
    values: list[int], dtype: str, ignore: int | None, channel: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    masks = draw.choice(values, (10, 8, 6)).astype(dtype)
    masks[:, 0, : len(values)] = np.array(values).astype(dtype)[:6]
    try:
        task = Task.from_arrays(
            draw.normal(size=(10, 3, 8, 6)), masks[:, None] if channel else masks, kind="dense", ignore=ignore
        )
    except DataError:
        return
    _, targets = everything(task)
    if targets.dtype == np.float32:
        assert np.array_equal(targets[:, 0], masks)
        return
    names = np.array([int(name) for name in task.class_names or range(task.spec.outputs)])
    known = targets != IGNORED
    assert np.array_equal(names[targets[known]], masks[known].astype(np.int64))
    assert (masks[~known] == ignore).all()


@given(
    shape=st.sampled_from([(1,), (2,), (4,), (9,), (1, 1), (2, 9), (9, 2), (3, 3), ()]),
    dtype=st.sampled_from(["float64", "float32", "int64", "bool", "complex64", "<M8[s]", "<U3", "i4,f4"]),
    kind=st.sampled_from(["auto", "classification", "multilabel", "regression", "dense"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=300, deadline=None)
def test_targets_of_any_shape_and_kind_never_end_in_a_foreign_error(
    shape: tuple[int, ...], dtype: str, kind: str, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    numbers = draw.normal(size=(20, *shape)) if dtype.startswith("float") else draw.integers(0, 3, (20, *shape))
    try:
        task = Task.from_arrays(draw.normal(size=(20, 2, 9)), numbers.astype(dtype), kind=kind, layout="NCL")
    except DataError:
        return
    _, targets = everything(task)
    assert kind in ("auto", task.spec.kind)
    if task.spec.kind in ("regression", "multilabel") and not dtype.startswith("<U"):
        assert np.allclose(targets, numbers.astype(dtype).reshape(20, -1).astype(np.float64), atol=1e-6)
