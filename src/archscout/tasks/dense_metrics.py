"""Losses and pooled metrics of dense tasks: one value, or class, at every position.

Outputs are `(N, outputs, *positions)`. Positions whose target is `IGNORED` count nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F

from archscout.tasks.metrics import IGNORED, Loss, Metric, complement_reward, reciprocal_reward

__all__ = [
    "Decode",
    "false_negative_rate",
    "masked_binary_cross_entropy",
    "mean_absolute_error",
    "mean_squared_error",
    "relative_l2",
    "relative_l2_loss",
]

Decode = Callable[[Tensor], Tensor]
"""What networks give, normalised, to the units of the targets."""


def _same(outputs: Tensor) -> Tensor:
    return outputs


class SumAndCount(torchmetrics.Metric):
    """Base of a metric that is a sum over a number of terms; 0 where there was no term at all."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """The mean of all terms."""
        return self.total / self.count.clamp(min=1)


def _relative_norms(outputs: Tensor, targets: Tensor) -> Tensor:
    """`||output - target|| / ||target||` of each sample, `(N,)`."""
    difference: Tensor = (outputs.float() - targets).flatten(1).norm(dim=1)
    tiny = torch.finfo(torch.float32).tiny
    size: Tensor = targets.flatten(1).norm(dim=1).clamp(min=tiny)
    return difference / size


def relative_l2_loss(decode: Decode = _same) -> Loss:
    """The relative L2 error, added up over the samples of a batch, as the neural operators are trained (spec d2nas 3).

    Its counterpart is `pooled_sum`.
    """

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return _relative_norms(decode(outputs.float()), targets).sum()

    return loss


class _RelativeL2(SumAndCount):
    def __init__(self, decode: Decode) -> None:
        super().__init__()
        self._decode = decode

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add samples."""
        self.total += _relative_norms(self._decode(outputs.float()), targets).double().sum()
        self.count += len(targets)


def relative_l2(decode: Decode = _same) -> Metric:
    """The relative L2 error of a sample, averaged over all samples; lower is better."""
    return Metric("relative_l2", "min", lambda: _RelativeL2(decode), reciprocal_reward)


def mean_squared_error(decode: Decode = _same, scale: float = 1.0) -> Loss:
    """Mean squared error over all positions.

    Args:
        decode: of the outputs.
        scale: both are divided by it first, so that the loss is of the order of 1.
    """

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return F.mse_loss(decode(outputs.float()) / scale, targets / scale)

    return loss


class _AbsoluteError(SumAndCount):
    def __init__(self, decode: Decode) -> None:
        super().__init__()
        self._decode = decode

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add samples."""
        self.total += (self._decode(outputs.float()) - targets).abs().double().sum()
        self.count += targets.numel()


def mean_absolute_error(decode: Decode = _same) -> Metric:
    """Mean absolute error over all positions of all samples, in the units of the targets; lower is better."""
    return Metric("mean_absolute_error", "min", lambda: _AbsoluteError(decode), reciprocal_reward)


def masked_binary_cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean binary cross-entropy of logits over the positions whose target is 0 or 1, not `IGNORED`."""
    known = targets != IGNORED
    terms = F.binary_cross_entropy_with_logits(outputs.float(), targets.clamp(min=0).float(), reduction="none")
    return (terms * known).sum() / known.sum().clamp(min=1)


class _FalseNegativeRate(SumAndCount):
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add samples; logits at or above 0 are probabilities at or above 0.5."""
        positive = targets == 1
        self.total += (positive & (outputs < 0)).sum()
        self.count += positive.sum()


def false_negative_rate() -> Metric:
    """Share of the positive positions that are missed at probability 0.5, pooled over positions; lower is better.

    Outputs are logits. Batches without positives add nothing; without any positive the rate is 0.
    """
    return Metric("false_negative_rate", "min", _FalseNegativeRate, complement_reward, percent=True)
