"""What follows from targets: the number of outputs, the loss, the metrics and the units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.metrics.classification import Loss, Metric, accuracy, cross_entropy
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

__all__ = ["KINDS", "Judgement", "check_classes", "judgement"]

KINDS: tuple[TaskKind, ...] = ("classification", "multilabel", "regression", "dense")


@dataclass(frozen=True)
class Judgement:
    """What follows from the targets: number of outputs, loss, deciding metric and further ones, units of numbers."""

    outputs: int
    loss: Loss
    metric: Metric
    extra_metrics: tuple[Metric, ...] = ()
    scale: TargetScale | None = None


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
