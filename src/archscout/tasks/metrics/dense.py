"""Losses and pooled metrics of dense tasks: one value, or class, at every position.

Outputs are `(N, outputs, *positions)`. Positions whose target is `IGNORED` are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.tasks.metrics.classification import (
    IGNORED,
    Loss,
    Metric,
    complement_reward,
    mean_of,
    reciprocal_reward,
    relative_reward,
)
from archscout.tasks.scale import TargetScale

if TYPE_CHECKING:
    import torchmetrics

__all__ = [
    "Decode",
    "false_negative_rate",
    "masked_binary_cross_entropy",
    "mean_absolute_error",
    "mean_intersection",
    "mean_squared_error",
    "pixel_accuracy",
    "position_cross_entropy",
    "relative_l2",
    "relative_l2_loss",
]

Decode = Callable[[Tensor], Tensor]
"""What networks give, normalised, to the units of the targets."""


def _same(outputs: Tensor) -> Tensor:
    return outputs


def _relative_norms(outputs: Tensor, targets: Tensor) -> Tensor:
    """`||output - target|| / ||target||` of each sample, `(N,)`."""
    difference: Tensor = (outputs.float() - targets).flatten(1).norm(dim=1)
    tiny = torch.finfo(torch.float32).tiny
    size: Tensor = targets.flatten(1).norm(dim=1).clamp(min=tiny)
    return difference / size


def relative_l2_loss(decode: Decode = _same) -> Loss:
    """The relative L2 error, added up over a batch, as neural operators are trained (docs/nasbench360.md).

    Its counterpart is `pooled_sum`.
    """

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return _relative_norms(decode(outputs.float()), targets).sum()

    return loss


def relative_l2(decode: Decode = _same) -> Metric:
    """The relative L2 error of a sample, averaged over all samples; lower is better."""

    def terms(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        norms = _relative_norms(decode(outputs.float()), targets)
        return norms.double().sum(), torch.tensor(len(targets), device=norms.device)

    return Metric("relative_l2", "min", mean_of(terms), reciprocal_reward)


def mean_squared_error(scale: TargetScale | None = None) -> Loss:
    """Mean squared error over all positions, in the units of the targets, divided by their deviation.

    Args:
        scale: of the targets: the loss is then of the order of 1, whatever their units; None: outputs and targets as
            they are.
    """

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        if scale is None:
            return F.mse_loss(outputs.float(), targets)
        unit = scale.unit(outputs)
        return F.mse_loss(scale.decode(outputs.float()) / unit, targets / unit)

    return loss


def mean_absolute_error(decode: Decode = _same, unit: float | None = None) -> Metric:
    """Mean absolute error over all positions of all samples, in the units of the targets; lower is better.

    Args:
        decode: outputs to the units of the targets.
        unit: an error that is as large as the targets differ, by which rewards and scores are free of units.
    """

    def terms(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        errors = (decode(outputs.float()) - targets).abs()
        return errors.double().sum(), torch.tensor(targets.numel(), device=errors.device)

    reward = relative_reward(unit) if unit else reciprocal_reward
    return Metric("mean_absolute_error", "min", mean_of(terms), reward, span=unit)


def masked_binary_cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean binary cross-entropy of logits over the positions whose target is 0 or 1, not `IGNORED`."""
    known = targets != IGNORED
    terms = F.binary_cross_entropy_with_logits(outputs.float(), targets.clamp(min=0).float(), reduction="none")
    return (terms * known).sum() / known.sum().clamp(min=1)


def position_cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits `(N, K, *positions)` and classes `(N, *positions)`, without the `IGNORED` ones."""
    known = (targets != IGNORED).sum().clamp(min=1)
    total = F.cross_entropy(
        outputs.float(), targets, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / known


def pixel_accuracy(classes: int) -> Metric:
    """Share of the positions whose class is right, pooled over all; `IGNORED` ones are left out."""

    def create() -> torchmetrics.Metric:
        from torchmetrics.classification import MulticlassAccuracy

        return MulticlassAccuracy(
            classes, average="micro", ignore_index=IGNORED, validate_args=False, sync_on_compute=False
        )

    return Metric("pixel_accuracy", "max", create, lambda value: value, percent=True)


def mean_intersection(classes: int) -> Metric:
    """Intersection over union of each class, pooled over all positions, then the mean over classes that occur."""

    def create() -> torchmetrics.Metric:
        from torchmetrics.classification import MulticlassJaccardIndex

        return MulticlassJaccardIndex(
            classes, average="macro", ignore_index=IGNORED, validate_args=False, sync_on_compute=False
        )

    return Metric("mean_iou", "max", create, lambda value: value)


def false_negative_rate() -> Metric:
    """Share of the positive positions that are missed at probability 0.5, pooled over positions; lower is better.

    Outputs are logits. Batches without positives add nothing; without any positive the rate is 0.
    """

    def terms(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        positive = targets == 1
        return (positive & (outputs < 0)).sum(), positive.sum()

    return Metric("false_negative_rate", "min", mean_of(terms), complement_reward, percent=True)
