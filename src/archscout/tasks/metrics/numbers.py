"""Metrics and losses of numeric targets, in the units of the targets.

Outputs are `(N, K)` or `(N, K, *positions)`, as networks give them; `decode` brings them to the units of the targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.tasks.metrics.classification import Loss, Metric, Terms, mean_of, relative_reward
from archscout.tasks.metrics.dense import Decode
from archscout.tasks.scale import TargetScale

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["absolute_loss", "huber_loss", "r_squared", "root_mean_squared_error", "squared_error"]


def absolute_loss(scale: TargetScale) -> Loss:
    """Mean absolute error, divided by the deviation of the targets."""

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return F.l1_loss(scale.decode(outputs.float()) / scale.unit(outputs), targets / scale.unit(outputs))

    return loss


def huber_loss(scale: TargetScale) -> Loss:
    """Squared below an error of one deviation of the targets, linear above it: outliers pull less."""

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return F.huber_loss(scale.decode(outputs.float()) / scale.unit(outputs), targets / scale.unit(outputs))

    return loss


def root_mean_squared_error(decode: Decode, unit: float = 1.0) -> Metric:
    """The root of the mean squared error over all numbers of all samples; lower is better.

    Args:
        decode: outputs to the units of the targets.
        unit: an error that is as large as the targets differ.
    """
    create = mean_of(_squared_errors(decode), torch.sqrt)
    return Metric("root_mean_squared_error", "min", create, relative_reward(unit), span=unit)


def squared_error(decode: Decode, unit: float = 1.0) -> Metric:
    """The mean squared error over all numbers of all samples; lower is better. Arguments as above."""
    create = mean_of(_squared_errors(decode))
    return Metric("mean_squared_error", "min", create, relative_reward(unit * unit), span=unit * unit)


def _squared_errors(decode: Decode) -> Terms:
    def terms(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        errors = (decode(outputs.float()) - targets).double().square()
        return errors.sum(), torch.tensor(errors.numel(), device=errors.device)

    return terms


def r_squared(decode: Decode, outputs: int) -> Metric:
    """Coefficient of determination, of each number by itself, then the mean: 1 is perfect, 0 is what the mean reaches.

    Outputs `(N, K)` or `(N, K, *positions)`. Where targets do not vary there is nothing to explain: 1 if they are met
    exactly, else 0.
    """

    def create() -> torchmetrics.Metric:
        from archscout.tasks.metrics.accumulators import Determination

        return Determination(decode, outputs)

    return Metric("r_squared", "max", create, lambda value: max(0.0, value), span=1.0)
