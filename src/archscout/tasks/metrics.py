"""Metrics pooled over a whole split, and the losses that go with them.

A metric is accumulated with torchmetrics over all samples of a split and computed once: the mean of per-batch values
is wrong as soon as the last batch is smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

__all__ = ["Loss", "Metric", "accuracy", "cross_entropy", "top_k_accuracy"]


class Loss(Protocol):
    """What training minimises: mean over the batch, a scalar."""

    def __call__(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor: ...


@dataclass(frozen=True)
class Metric:
    """A pooled metric with its direction.

    Attributes:
        name: as printed and logged, for example "accuracy".
        direction: "max" where higher is better, else "min".
        create: makes a fresh accumulator, `update(outputs, targets)` then `compute()`. It must not pool over processes
            by itself (`sync_on_compute=False`): some values are computed by one process only.
        reward: maps a value of the metric to a reward for reinforcement learning, higher is better.
        percent: whether the value is a fraction that people read in percent.
    """

    name: str
    direction: Literal["max", "min"]
    create: Callable[[], torchmetrics.Metric]
    reward: Callable[[float], float]
    percent: bool = False

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than `than`."""
        return value > than if self.direction == "max" else value < than

    def score(self, value: float) -> float:
        """The value with its sign such that higher is better, for ranking."""
        return value if self.direction == "max" else -value

    def measure(self, outputs: Tensor, targets: Tensor) -> float:
        """The value on one batch."""
        accumulator = self.create().to(outputs.device)
        accumulator.update(outputs, targets)
        return float(accumulator.compute())

    def format(self, value: float) -> str:
        """The value as people read it, for example "98.06 %"."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4g}"


def _identity(value: float) -> float:
    return value


def accuracy(outputs: int) -> Metric:
    """Top-1 accuracy in [0, 1], pooled over samples. Logits `(N, outputs)`, targets `(N,)`."""
    return top_k_accuracy(outputs, 1)


def top_k_accuracy(outputs: int, k: int) -> Metric:
    """Top-k accuracy in [0, 1], pooled over samples."""

    def create() -> torchmetrics.Metric:
        return MulticlassAccuracy(
            num_classes=outputs, top_k=k, average="micro", validate_args=False, sync_on_compute=False
        )

    name = "accuracy" if k == 1 else f"top{k}_accuracy"
    return Metric(name=name, direction="max", create=create, reward=_identity, percent=True)


def cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits `(N, K)` and class indices `(N,)`."""
    return F.cross_entropy(outputs.float(), targets.to(torch.long), label_smoothing=label_smoothing)
