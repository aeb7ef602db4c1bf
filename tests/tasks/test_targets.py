from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError, SettingsError
from archscout.tasks import Task, load_task
from archscout.tasks.metrics.classification import IGNORED

DRAW = np.random.default_rng(0)


def inputs(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"x_train": DRAW.normal(size=(30, *shape)), "x_test": DRAW.normal(size=(10, *shape))}


def arrays(shape: tuple[int, ...], targets: tuple[int, ...]) -> dict[str, Any]:
    y = {f"y_{part}": 5 + 3 * DRAW.normal(size=(count, *targets)) for part, count in (("train", 30), ("test", 10))}
    return inputs(shape) | y


@pytest.mark.parametrize(
    ("shape", "targets", "outputs"),
    [
        ((3, 8, 6), (8, 6), 1),
        ((3, 8, 6), (2, 8, 6), 2),
        ((8, 6, 3), (8, 6, 2), 2),
        ((8, 8), (8, 8), 1),
        ((2, 20), (20,), 1),
        ((2, 20), (3, 20), 3),
    ],
)
def test_a_value_at_every_position_is_a_dense_task(
    shape: tuple[int, ...], targets: tuple[int, ...], outputs: int
) -> None:
    raw = arrays(shape, targets)
    task = Task.from_arrays(**raw)
    assert task.spec.kind == "dense"
    assert task.spec.outputs == outputs
    assert task.augmentations == ()
    _, y = next(iter(task.test.source.batches([torch.arange(10)], torch.device("cpu"))))
    assert y.shape == (10, outputs, *task.spec.input_shape[1:])
    # Zeros are the mean of each channel over the train split; the loss is in units of the deviation.
    zeros = torch.zeros_like(y)
    assert 0.5 < float(task.loss(zeros, y)) < 2
    assert task.metric.name == "relative_l2"
    assert 0.3 < task.metric.measure(zeros, y) < 0.8
    assert task.extra_metrics[0].measure(zeros, y) == pytest.approx(2.4, abs=0.5)


def test_classes_at_every_position(tmp_path: Path) -> None:
    raw = inputs((1, 6, 5))
    raw |= {"y_train": DRAW.integers(0, 3, (30, 6, 5)), "y_test": DRAW.integers(0, 3, (10, 6, 5))}
    raw["y_train"][0, 0, 0] = IGNORED
    np.savez(tmp_path / "map.npz", **raw)
    task = load_task(str(tmp_path / "map.npz"))
    assert (task.spec.kind, task.spec.outputs) == ("dense", 3)
    y = torch.from_numpy(raw["y_train"][:2])
    logits = 10 * torch.nn.functional.one_hot(y.clamp(min=0), 3).movedim(-1, 1).float()
    assert task.metric.measure(logits, y) == 1.0
    assert task.extra_metrics[0].measure(logits, y) == pytest.approx(1.0)
    assert float(task.loss(logits, y)) < 1e-3


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 40), (40,)])
def test_several_labels_at_once(shape: tuple[int, ...]) -> None:
    raw = inputs(shape)
    raw |= {"y_train": DRAW.integers(0, 2, (30, 5)), "y_test": DRAW.integers(0, 2, (10, 5)).astype(bool)}
    task = Task.from_arrays(**raw, class_names=list("abcde"))
    assert (task.spec.kind, task.spec.outputs, task.metric.name) == ("multilabel", 5, "mean_average_precision")
    _, y = next(iter(task.test.source.batches([torch.arange(10)], torch.device("cpu"))))
    assert y.dtype == torch.uint8
    assert task.metric.measure(y.float(), y) == 1.0


def test_one_hot_rows_are_taken_for_labels_only_when_told() -> None:
    raw = inputs((2, 40)) | {"y_train": np.eye(5, dtype=int)[np.arange(30) % 5], "y_test": np.eye(5, dtype=int)[:5]}
    raw["x_test"] = raw["x_test"][:5]
    task = Task.from_arrays(**raw)
    assert (task.spec.kind, task.spec.outputs) == ("classification", 5)
    assert [finding.code for finding in task.findings] == ["one-hot"]
    assert Task.from_arrays(**raw, kind="multilabel").spec.kind == "multilabel"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"y_test": np.zeros((10, 8, 7))}, {}, r"y_test has the shape .* at the positions \(8, 6\)"),
        ({"y_test": np.full((10, 8, 6), np.nan)}, {}, "y_test holds values that are not finite"),
        ({"y_test": np.zeros((9, 8, 6))}, {}, "y_test has 9 targets for 10 samples"),
        ({"y_test": np.zeros((10, 8, 6), int)}, {}, "unlike types: y_train float64, y_test int64"),
        ({}, {"augment": "crop"}, "would move the inputs"),
        ({}, {"kind": "segmentation"}, "kind = 'segmentation': input should be 'auto', 'classification'"),
    ],
)
def test_wrong_dense_targets_are_told(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, SettingsError), match=message):
        Task.from_arrays(**(arrays((3, 8, 6), (8, 6)) | change), **options)


def test_runs_of_earlier_versions_read_their_masks_as_they_did() -> None:
    raw = inputs((1, 6, 5)) | {
        "y_train": DRAW.choice([0, 255], (30, 6, 5)),
        "y_test": DRAW.choice([0, 255], (10, 6, 5)),
    }
    assert Task.from_arrays(**raw).spec.outputs == 2
    assert Task.from_arrays(**raw, rules=1).spec.outputs == 256
    whole = {name: each.astype(float) if name[0] == "y" else each for name, each in raw.items()}
    assert Task.from_arrays(**whole).spec.outputs == 2
    assert Task.from_arrays(**whole, rules=1).metric.name == "relative_l2"


@pytest.mark.parametrize("mark", [255, -1])
def test_values_that_may_mark_nothing_are_asked_about(mark: int) -> None:
    masks = np.concatenate([DRAW.integers(0, 4, (39, 6, 5)), np.full((1, 6, 5), mark)])
    raw = {"x_train": DRAW.normal(size=(40, 1, 6, 5)), "y_train": masks}
    with pytest.raises(DataError, match=rf"{mark} beside 0 to 3.*say ignore={mark}; if it is a class, say ignore=-100"):
        Task.from_arrays(**raw)
    left_out = Task.from_arrays(**raw, ignore=mark)
    assert (left_out.spec.outputs, left_out.class_names) == (4, ())
    kept = Task.from_arrays(**raw, ignore=IGNORED)
    assert (kept.spec.outputs, str(mark) in kept.class_names) == (5, True)
    named = Task.from_arrays(**raw, class_names=list("abcde"))
    assert named.class_names == tuple("abcde")


def test_masks_of_values_that_training_lacks_are_named() -> None:
    raw = inputs((1, 6, 5)) | {"y_train": DRAW.integers(0, 3, (30, 6, 5)), "y_test": np.full((10, 6, 5), 7)}
    with pytest.raises(DataError, match=r"y_test holds the value 7, which is out of range.*ignore=7"):
        Task.from_arrays(**raw)


def test_numbers_of_every_kind_are_a_regression_or_asked_about() -> None:
    x = DRAW.normal(size=(90, 3, 8, 8))
    assert Task.from_arrays(x, DRAW.uniform(1, 90, 90)).spec.kind == "regression"
    assert Task.from_arrays(x, DRAW.uniform(0, 8, (90, 4))).spec.outputs == 4
    with pytest.raises(DataError, match=r"whole numbers with 90 different values in 90 samples.*kind=regression"):
        Task.from_arrays(x, np.arange(90))
    assert Task.from_arrays(x, np.arange(90), kind="regression").spec.kind == "regression"
    assert Task.from_arrays(x, [str(number) for number in np.arange(90) % 30]).spec.outputs == 30  # text is never asked
    with pytest.raises(DataError, match=r"whole numbers of shape \(90, 4\).*kind=regression"):
        Task.from_arrays(x, DRAW.integers(2, 60, (90, 4)))
    series = Task.from_arrays(DRAW.normal(size=(90, 1, 20)), DRAW.normal(size=(90, 20)))
    assert (series.spec.kind, [each.code for each in series.findings]) == ("dense", ["kind"])


def test_wrong_labels_are_told() -> None:
    raw = inputs((2, 40)) | {"y_train": DRAW.integers(0, 2, (30, 5)), "y_test": DRAW.integers(0, 2, (10, 5))}
    raw["y_test"][3, 2] = 2
    with pytest.raises(DataError, match=r"y_test\[3, 2\] is 2; labels are 0 or 1"):
        Task.from_arrays(**raw)
