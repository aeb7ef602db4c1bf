"""Tasks from arrays in memory, and from map-style datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from archscout.errors import DataError, SettingsError
from archscout.tasks.containers import is_missing
from archscout.tasks.findings import Finding, raise_wrong
from archscout.tasks.kinds import as_targets
from archscout.tasks.options import HOLD_OUT, TaskOptions, options_with
from archscout.tasks.readers.datasets import read_dataset
from archscout.tasks.readers.layouts import Inputs, read_inputs
from archscout.tasks.readers.pillow_images import of_images
from archscout.tasks.reading import read_targets
from archscout.tasks.samples import Samples, task_of_samples
from archscout.tasks.sources import ArraySource
from archscout.tasks.statistics import statistics_of_array
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import standard_augmentation

__all__ = ["ARRAY_OPTIONS", "task_from_arrays", "task_from_datasets"]

INPUT_NAMES = {"train": "x_train", "test": "x_test", "validation": "x_val"}
ARRAY_OPTIONS = HOLD_OUT | {"kind", "layout", "augment", "ignore"}


def task_from_arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    x_val: Any = None,
    y_val: Any = None,
    x_unlabelled: Any = None,
    name: str = "arrays",
    class_names: Sequence[str] = (),
    groups: Sequence[Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    findings: Sequence[Finding] = (),
    options: TaskOptions | None = None,
    **named: Any,
) -> Task:
    """A task from arrays: classes, several labels at once, numbers, or a value or class at every position.

    Arrays are whatever holds values: numpy arrays, tensors of any type, frames and series of pandas or polars, nested
    lists, lists of arrays or of Pillow images (see `containers.as_array`). Supported inputs: images `(N, H, W, C)`,
    `(N, C, H, W)` and `(N, H, W)`, as uint8, other whole numbers or floats; series `(N, C, L)`, `(N, L, C)` and
    `(N, L)`, or lists of series of unequal length. How the axes are told apart: `layouts.recognise_layout`. How values
    are stored: `layouts.read_inputs`. Shape, kind (`kinds.recognise_kind`) and number of outputs are inferred. Each
    channel is normalised with its mean and standard deviation in the train split. Splits that are not given are held
    out.

    - classification: labels `(N,)` or `(N, 1)`, numbers, texts or booleans, or one-hot `(N, K)`; numbered from 0, with
      what they were as class names (`labels.encode_classes`); accuracy.
    - multilabel: `(N, K)` of 0 and 1, or lists of labels; binary cross-entropy and mean average precision.
    - regression: numbers `(N,)` or `(N, K)`; mean squared error of values that are standardised over the train split,
      mean absolute error in the units of the targets.
    - dense, floats `(N, *positions)` or with channels: mean squared error of values that are standardised by channel,
      relative L2 and mean absolute error in the units of the targets.
    - dense, whole numbers `(N, *positions)`: a class at every position (`masks.encode_masks`); pixel accuracy and mean
      IoU.

    Args:
        x_train, x_test, x_val: inputs; all of one sample shape.
        x_unlabelled: inputs without targets, to be predicted.
        class_names: one for each class, in the order of the labels; fixes the number of classes.
        groups: of the train samples; those of one group stay in one split.
        provenance: what else a reader of results wants to know of the data.
        findings: what whoever read the arrays has noticed.
        options: see `TaskOptions`.
        named: fields of `TaskOptions`, which win over `options`: layout, kind, augment, ignore, metric, ...

    Raises:
        DataError: the data contradicts itself or the above; the message names the array and the value.
        SettingsError: an option that does not exist, or is not for arrays.
    """
    options = options_with(options, named)
    options.check_heeded(ARRAY_OPTIONS, "an array")
    if options.groups is not None and groups is None:
        raise SettingsError(
            f"groups is '{options.groups}', but samples of arrays have no names; give groups=, one for each train "
            "sample."
        )
    given = _given({"train": (x_train, y_train), "test": (x_test, y_test), "validation": (x_val, y_val)})
    parts = {INPUT_NAMES[part]: pair[0] for part, pair in given.items()}
    if x_unlabelled is not None:
        parts["x_unlabelled"] = x_unlabelled
    target_names = {part: INPUT_NAMES[part].replace("x_", "y_") for part in given}
    target_shape = as_targets(y_train, "y_train").shape
    try:
        read = read_inputs(of_images(parts), options.layout, target_shape=target_shape, rules=options.rules)
    except DataError as error:
        targets = {target_names[part]: pair[1] for part, pair in given.items()}
        raise DataError("\n".join([str(error), *_faults_of_targets(targets, options, class_names)])) from None
    inputs = {part: read.tensors[INPUT_NAMES[part]] for part in given}
    shape = tuple(inputs["train"].shape[1:])
    names = tuple(str(each) for each in class_names)
    known = read_targets({target_names[part]: pair[1] for part, pair in given.items()}, inputs, options, names)
    if known.kind == "dense" and options.augment not in ("auto", "none"):
        raise DataError(
            f"augmentation '{options.augment}' would move the inputs, but not what is told of their positions."
        )
    raise_wrong([*findings, *read.findings, *known.findings])
    unlabelled = read.tensors.get("x_unlabelled")
    samples = Samples(
        name=name,
        kind=known.kind,
        input_shape=shape,
        parts=_parts(inputs, {part: known.tensors[target_names[part]] for part in given}),
        statistics=lambda split: statistics_of_array(cast(ArraySource, split.source).inputs, split.indices),
        class_names=known.class_names,
        groups=None if groups is None else {"train": _groups(groups, len(inputs["train"]))},
        augmentations=() if known.kind == "dense" else standard_augmentation(options.augment, shape, known.kind),
        unlabelled=None if unlabelled is None else _without_targets(unlabelled, next(iter(known.tensors.values()))),
        provenance={"source": "arrays", "layout": read.layout, **_told(read), **(provenance or {})},
        findings=(*findings, *read.findings, *known.findings),
        preparation=read.preparation,
    )
    return task_of_samples(samples, options)


def _faults_of_targets(parts: Mapping[str, Any], options: TaskOptions, class_names: Sequence[str]) -> list[str]:
    """What is wrong with targets of one value a sample, where the inputs are wrong already: all is told at once."""
    try:
        arrays = {where: as_targets(values, where) for where, values in parts.items()}
        if any(array.ndim != 1 for array in arrays.values()):
            return []
        known = read_targets(
            arrays, {where: torch.empty(len(each), 1) for where, each in arrays.items()}, options, class_names
        )
        raise_wrong(known.findings)
    except DataError as error:
        return [str(error)]
    return []


def _given(parts: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """The splits that there are. Raises DataError where one has only inputs or only targets."""
    for part, (x, y) in parts.items():
        what = INPUT_NAMES[part].removeprefix("x_")
        if part == "train" and (x is None or y is None):
            raise DataError("x_train and y_train are None; every task needs inputs and targets to learn from.")
        if (x is None) != (y is None):
            hint = " Inputs without targets, to be predicted, are x_unlabelled." if part == "test" and y is None else ""
            raise DataError(f"x_{what} and y_{what} belong together: give both or neither.{hint}")
    return {part: pair for part, pair in parts.items() if pair[0] is not None}


def _groups(groups: Sequence[Any], samples: int) -> list[str]:
    values = as_targets(groups, "groups")
    if len(values) != samples:
        raise DataError(f"there are {len(values)} groups for {samples} train samples; give one for each.")
    if values.ndim != 1:
        raise DataError(f"groups has the shape {values.shape}; give one for each train sample, (N,).")
    missing = [index for index, value in enumerate(values) if is_missing(value)]
    if missing:
        raise DataError(f"groups[{missing[0]}] is missing, {len(missing)} in all; every sample needs a group.")
    return [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value) for value in values]


def _told(read: Inputs) -> dict[str, str]:
    """That values were divided, where that is not how pixels are read anyway."""
    return {} if read.whole or read.divisor == 1 else {"values": f"divided by {read.divisor:,.0f}"}


def _without_targets(inputs: Tensor, like: Tensor) -> Split:
    return Split(ArraySource(inputs, like.new_zeros(len(inputs), *like.shape[1:])), torch.arange(len(inputs)))


def _parts(inputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Split]:
    """The given splits; train and validation share a source, so that both together are one."""
    together = [part for part in ("train", "validation") if part in targets]
    source = ArraySource(
        torch.cat([inputs[part] for part in together]), torch.cat([targets[part] for part in together])
    )
    places = torch.arange(len(source)).tensor_split([len(targets["train"])])
    parts = {part: Split(source, place) for part, place in zip(together, places, strict=False)}
    if "test" in targets:
        parts["test"] = Split(ArraySource(inputs["test"], targets["test"]), torch.arange(len(targets["test"])))
    return parts


def task_from_datasets(
    train: Any,
    test: Any = None,
    *,
    validation: Any = None,
    name: str = "dataset",
    class_names: Sequence[str] = (),
    image_column: str | None = None,
    label_column: str | None = None,
    **options: Any,
) -> Task:
    """A task from map-style datasets: torch's, which yield `(input, target)`, or Hugging Face's.

    Every sample is read once, into memory (4 GiB at most; larger data belongs into an image folder). Give datasets
    that do not augment: the task augments anew in every epoch. Targets are whatever `task_from_arrays` takes: numbers,
    texts, lists of labels, masks.

    Args:
        train, test, validation: with `__len__` and `__getitem__`; inputs are arrays, tensors or Pillow images of one
            shape, or series. A sample that is a mapping is read by its columns. Splits that are not given are held
            out.
        class_names: default: what the train dataset says of itself (`classes`, or the feature of its label column).
        image_column, label_column: of mappings; default: the usual names.
        options: as for `task_from_arrays`.

    Raises:
        DataError: as `task_from_arrays`; samples of different shapes; unknown columns; too large for memory.
    """
    given = [
        (part, each)
        for part, each in (("train", train), ("test", test), ("validation", validation))
        if each is not None
    ]
    read = {part: read_dataset(dataset, part, image_column, label_column) for part, dataset in given}
    if len({data.grey for data in read.values()}) > 1:
        read = {part: read_dataset(dataset, part, image_column, label_column, grey=False) for part, dataset in given}
    findings = [*options.pop("findings", ()), *(finding for data in read.values() for finding in data.findings)]
    arrays: dict[str, Any] = {}
    if "test" in read and read["test"].is_unlabelled and not read["train"].is_unlabelled:
        arrays["x_unlabelled"] = read.pop("test").inputs
        findings.append(
            Finding(
                "doubtful",
                "unlabelled",
                f"the {len(arrays['x_unlabelled']):,} test samples have no labels: they are kept to be predicted, "
                "and a test split is held out of the training samples.",
            )
        )
    for part, data in read.items():
        arrays[INPUT_NAMES[part]], arrays[INPUT_NAMES[part].replace("x_", "y_")] = data.inputs, data.labels
    layouts = {data.layout for data in read.values()}
    if len(layouts) == 1:
        options = {"layout": layouts.pop(), **options}
    options["provenance"] = {"source": type(train).__module__ + "." + type(train).__qualname__} | dict(
        options.get("provenance") or {}
    )
    names = class_names or read["train"].class_names
    return task_from_arrays(**arrays, name=name, class_names=names, findings=findings, **options)


Task.from_arrays = staticmethod(task_from_arrays)
Task.from_datasets = staticmethod(task_from_datasets)
