"""Targets of arrays: classes, several labels at once, or a value or class at every position; with loss and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.metrics.classification import IGNORED, Loss, Metric, accuracy, cross_entropy
from archscout.tasks.metrics.dense import (
    mean_absolute_error,
    mean_intersection,
    mean_squared_error,
    pixel_accuracy,
    position_cross_entropy,
    relative_l2,
)
from archscout.tasks.metrics.numbers import r_squared, root_mean_squared_error
from archscout.tasks.metrics.ranking import mean_average_precision, weighted_binary_cross_entropy
from archscout.tasks.scale import TargetScale
from archscout.tasks.spec import TaskKind

__all__ = ["KINDS", "Judgement", "check_classes", "judgement", "read_labels", "read_targets", "recognise_kind"]

KINDS: tuple[TaskKind, ...] = ("classification", "multilabel", "regression", "dense")


@dataclass(frozen=True)
class Judgement:
    """What follows from the targets: number of outputs, loss, deciding metric and further ones, units of numbers."""

    outputs: int
    loss: Loss
    metric: Metric
    extra_metrics: tuple[Metric, ...] = ()
    scale: TargetScale | None = None


def _array(values: Any) -> np.ndarray[Any, Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def recognise_kind(values: Any, input_shape: Sequence[int]) -> TaskKind:
    """The kind that the targets of the training samples tell.

    - `(N,)` or `(N, 1)`: classification.
    - `(N, K)` of 0 and 1, with rows that have none or several 1: multilabel. Rows with one 1 each could be classes too:
      they are taken for such, and refused with a hint.
    - with an axis for every position of the inputs (`(N, H, W)`, `(N, K, H, W)`, for series `(N, L)`, `(N, K, L)`):
      dense.
    """
    array = _array(values)
    positions = tuple(input_shape[1:])
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1:] == positions and not np.isin(array, (0, 1)).all()):
        return "dense"
    if array.ndim == 2 and array.shape[1] > 1:
        is_binary = array.dtype.kind in "buif" and bool(np.isin(array, (0, 1)).all())
        return "multilabel" if is_binary and not (array.sum(1) == 1).all() else "classification"
    return "classification"


def read_targets(kind: TaskKind, values: Any, inputs: Tensor, where: str) -> Tensor:
    """Checked targets.

    They are `(N,)` int64 classes, `(N, K)` uint8 labels, `(N, K)` float32 numbers, `(N, K, *positions)` float32 values
    or `(N, *positions)` int64 classes at every position.

    Args:
        inputs: of the same split, channels first.
        where: their name, for messages.

    Raises:
        DataError: of another shape or number, or values that are not allowed.
    """
    if kind == "classification":
        return read_labels(values, len(inputs), where)
    array = _array(values)
    if array.dtype.kind not in "buif" or len(array) != len(inputs):
        raise DataError(f"{where} holds {array.dtype} of shape {array.shape}; give numbers for {len(inputs)} samples.")
    if kind == "regression":
        return read_numbers(array, len(inputs), where)
    if kind == "multilabel":
        if array.ndim != 2:
            raise DataError(f"{where} has the shape {array.shape}; several labels at once are (N, labels) of 0 and 1.")
        wrong = np.argwhere(~np.isin(array, (0, 1)))
        if len(wrong):
            place = tuple(wrong[0].tolist())
            raise DataError(f"{where}{list(place)} is {array[place]}; labels are 0 or 1.")
        return torch.from_numpy(array.astype(np.uint8))
    return _read_dense(array, inputs, where)


def read_numbers(values: Any, samples: int, where: str) -> Tensor:
    """Targets of a regression, `(N,)` or `(N, K)` numbers, as float32 `(N, K)`.

    Raises:
        DataError: of another shape or number, no numbers, or not finite.
    """
    array = _array(values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "buif":
        raise DataError(
            f"{where} holds {array.dtype} of shape {array.shape}; a regression needs one number for each sample, (N,), "
            "or several, (N, K)."
        )
    if len(array) != samples:
        raise DataError(f"{where} has {len(array)} targets for {samples} samples; give one for each sample.")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"{where}[{row}, {column}] is {array[row, column]}, and {len(wrong)} targets in all are not finite. Remove "
            "those samples, or fill in their targets."
        )
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def read_labels(values: Any, samples: int, where: str) -> Tensor:
    """Labels `(N,)` or `(N, 1)` of any number type that holds whole numbers, as int64 `(N,)`.

    Args:
        samples: how many there must be.
        where: their name, for messages.

    Raises:
        DataError: of another shape, not numbers, not whole, negative, or of another number than the samples.
    """
    array = _array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = " For one-hot labels give their argmax over the last axis." if array.ndim == 2 else ""
        raise DataError(f"{where} has the shape {array.shape}; class labels are (N,) or (N, 1).{hint}")
    if len(array) != samples:
        raise DataError(f"{where} has {len(array)} labels for {samples} samples; give one label for each sample.")
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} holds values of type {array.dtype}; give each class as a whole number from 0.")
    if array.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(array) | (array != np.floor(array)))
        if len(wrong):
            raise DataError(
                f"{where}[{wrong[0]}] is {array[wrong[0]]}, and {len(wrong)} labels in all are no whole numbers; "
                "class labels are whole numbers from 0."
            )
    if len(array) and (array < 0).any():
        position = int(np.flatnonzero(array < 0)[0])
        raise DataError(f"{where}[{position}] is {array[position]}; class labels are whole numbers from 0.")
    if len(array) and array.max() > 2**31:
        position = int(array.argmax())
        raise DataError(f"{where}[{position}] is {array[position]}, which is no class label; they count from 0.")
    return torch.from_numpy(array.astype(np.int64))


def _named(label: int, class_names: Sequence[str]) -> str:
    return f"class {label} ({class_names[label]})" if label < len(class_names) else f"class {label}"


def check_classes(train: tuple[str, Tensor], others: Mapping[str, Tensor], class_names: Sequence[str] = ()) -> int:
    """The number of classes: as many as named, else one more than the largest label in training.

    Raises:
        DataError: fewer than two classes, a class without a training sample, or a label out of range.
    """
    where, labels = train
    present = torch.unique(labels)
    classes = len(class_names) or int(present[-1]) + 1
    for name, values in {where: labels, **others}.items():
        high = int(values.max())
        if high >= classes:
            position = int((values >= classes).nonzero()[0])
            told = f"{classes} class names are given" if class_names else f"{where} has the classes 0 to {classes - 1}"
            raise DataError(f"{name}[{position}] is {int(values[position])}, which is out of range: {told}.")
    if len(present) < classes:
        # Found without a table of all classes, which a stray huge label would make enormous.
        gaps = (present != torch.arange(len(present))).nonzero()
        missing = int(gaps[0]) if len(gaps) else len(present)
        hint = " Labels count from 0: subtract 1?" if missing == 0 and len(present) == classes - 1 else ""
        count = classes - len(present)
        raise DataError(
            f"{_named(missing, class_names)} has no sample in {where}"
            f"{f' ({count} of {classes} classes have none)' if count > 1 else ''}; every class needs some.{hint}"
        )
    if classes < 2:
        raise DataError(f"{where} has only one class; a classification task needs at least two.")
    return classes


def _read_dense(array: np.ndarray[Any, Any], inputs: Tensor, where: str) -> Tensor:
    positions = tuple(inputs.shape[2:])
    if not positions:
        raise DataError(f"{where}: a dense task needs inputs with positions, not {tuple(inputs.shape)}.")
    if array.shape[1:] == positions:
        array = array[:, None]
    elif array.shape[2:] != positions and array.shape[1:-1] == positions:
        array = np.moveaxis(array, -1, 1)
    if array.shape[2:] != positions or array.ndim != inputs.dim():
        raise DataError(
            f"{where} has the shape {array.shape}; at the positions {positions} of the inputs it must be "
            f"(N, {', '.join(str(size) for size in positions)}), with channels before or behind the positions."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise DataError(f"{where} holds values that are not finite. Remove or repair those samples.")
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))
    if array.shape[1] != 1:
        raise DataError(f"{where} holds whole numbers {array.shape}: classes have no channels; give them as floats?")
    classes = array[:, 0].astype(np.int64)
    if ((classes < 0) & (classes != IGNORED)).any():
        raise DataError(f"{where} has a class below 0; classes count from 0, and {IGNORED} is left out.")
    return torch.from_numpy(np.ascontiguousarray(classes))


def judgement(
    kind: TaskKind, targets: Mapping[str, Tensor], train: Tensor, class_names: Sequence[str] = ()
) -> Judgement:
    """Outputs, loss and metrics of checked targets.

    Args:
        targets: name (for messages) to targets; `y_train` first.
        train: which of `y_train` are the train split.
        class_names: fix the number of outputs where there are classes or labels.

    Raises:
        DataError: splits contradict each other, or the names.
    """
    (where, values), *others = targets.items()
    if kind == "classification":
        outputs = check_classes((where, values), dict(others), class_names)
        return Judgement(outputs, cross_entropy, accuracy(outputs))
    for name, other in others:
        if other.shape[1:] != values.shape[1:] or other.dtype != values.dtype:
            raise DataError(f"{name} is {other.dtype} {tuple(other.shape[1:])}, {where} {tuple(values.shape[1:])}.")
    if kind == "multilabel":
        labels = values.shape[1]
        if class_names and len(class_names) != labels:
            raise DataError(f"{where} has {labels} labels, but {len(class_names)} class names are given.")
        return Judgement(labels, weighted_binary_cross_entropy(labels), mean_average_precision(labels))
    if not values.is_floating_point():
        classes = len(class_names) or int(values.max()) + 1
        if any(int(other.max()) >= classes for other in targets.values()) or classes < 2:
            raise DataError(f"the classes at the positions must be 0 to {max(1, classes - 1)}, as in {where}.")
        return Judgement(classes, position_cross_entropy, pixel_accuracy(classes), (mean_intersection(classes),))
    scale = TargetScale.of(values[train])
    loss, outputs, unit = mean_squared_error(scale), values.shape[1], sum(scale.std) / len(scale.std)
    absolute = mean_absolute_error(scale.decode, unit)
    if kind == "regression":
        further = (root_mean_squared_error(scale.decode, unit), r_squared(scale.decode, outputs))
        return Judgement(outputs, loss, absolute, further, scale)
    return Judgement(outputs, loss, relative_l2(scale.decode), (absolute,), scale)
