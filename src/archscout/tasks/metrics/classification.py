"""Metrics pooled over a whole split, and the losses that go with them.

A metric is accumulated with torchmetrics over all samples of a split and computed once: the mean of per-batch values
is wrong as soon as the last batch is smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.nn.recurrent.decoder import IGNORED, DeferredLogits

if TYPE_CHECKING:
    import torchmetrics

__all__ = [
    "IGNORED",
    "Loss",
    "Metric",
    "PooledLoss",
    "Terms",
    "accuracy",
    "complement_reward",
    "cross_entropy",
    "language_loss",
    "macro_f1",
    "mean_of",
    "perplexity",
    "pooled_mean",
    "pooled_sum",
    "reciprocal_reward",
    "relative_reward",
    "top_k_accuracy",
]

PUBLISHED_REWARD = 80.0  # a reward of 1 at perplexity 80; docs/methods/ednas.md#reward


class Loss(Protocol):
    """What training minimises, a scalar: the mean over the batch, or what `Task.pool_loss` says. Outputs are what the
    task's networks give."""

    def __call__(self, outputs: Any, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor: ...


PooledLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""The loss of a batch and its targets, to the sum of the terms in it and their number."""


def pooled_mean(loss: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For a loss that is the mean over all targets but `IGNORED`."""
    count = (targets != IGNORED).sum()
    return loss.double() * count, count


def pooled_sum(loss: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For a loss that adds up over the samples of a batch: pooled, it is the mean over samples."""
    return loss.double(), torch.tensor(len(targets), device=loss.device)


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
        span: a difference of the value that is as large as from no to full accuracy: 1 for a share, the deviation of
            the targets for an error in their units. Methods whose settings are meant for accuracies in percent see
            hundredths of it; None leaves values as they are.
    """

    name: str
    direction: Literal["max", "min"]
    create: Callable[[], torchmetrics.Metric]
    reward: Callable[[float], float]
    percent: bool = False
    span: float | None = None

    @property
    def hundredths(self) -> float:
        """What methods multiply scores with that their settings take for percent."""
        return 100.0 if self.percent else 100.0 / self.span if self.span else 1.0

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than `than`."""
        return value > than if self.direction == "max" else value < than

    def score(self, value: float) -> float:
        """The value with its sign such that higher is better, for ranking."""
        return value if self.direction == "max" else -value

    def measure(self, outputs: Any, targets: Tensor) -> float:
        """The value on one batch."""
        accumulator = self.create().to(targets.device)
        accumulator.update(outputs, targets)
        return float(accumulator.compute())

    @property
    def tendency(self) -> str:
        """For people: "higher is better" or "lower is better"."""
        return "higher is better" if self.direction == "max" else "lower is better"

    def format(self, value: float) -> str:
        """The value as people read it, for example "98.06 %"."""
        if self.percent:
            return f"{100 * value:.2f} %"
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


Terms = Callable[[Any, Tensor], tuple[Tensor, Tensor]]
"""Outputs and targets of a batch, to the sum of some terms and their number."""


def mean_of(terms: Terms, finish: Callable[[Tensor], Tensor] = torch.clone) -> Callable[[], torchmetrics.Metric]:
    """Makes the accumulator of a metric that is the mean of terms over all samples.

    Args:
        terms: of a batch.
        finish: of the mean, to the value; by default the mean itself.
    """

    def create() -> torchmetrics.Metric:
        from archscout.tasks.metrics.accumulators import MeanOfTerms

        return MeanOfTerms(terms, finish)

    return create


def _identity(value: float) -> float:
    return value


def reciprocal_reward(value: float) -> float:
    """1 / (1 + value), for an error from 0 up: from 1 down to 0."""
    return 1 / (1 + value)


def relative_reward(unit: float) -> Callable[[float], float]:
    """1 / (1 + value / unit), for an error in units of its own: a method that learns from rewards needs none of them.

    Args:
        unit: an error that is as large as the targets differ.
    """
    return lambda value: 1 / (1 + value / unit)


def complement_reward(value: float) -> float:
    """1 - value, for an error rate."""
    return 1 - value


def accuracy(outputs: int) -> Metric:
    """Top-1 accuracy in [0, 1], pooled over samples. Logits `(N, outputs)`, targets `(N,)`."""
    return top_k_accuracy(outputs, 1)


def top_k_accuracy(outputs: int, k: int) -> Metric:
    """Top-k accuracy in [0, 1], pooled over samples."""

    def create() -> torchmetrics.Metric:
        from torchmetrics.classification import MulticlassAccuracy

        return MulticlassAccuracy(
            num_classes=outputs, top_k=k, average="micro", validate_args=False, sync_on_compute=False
        )

    name = "accuracy" if k == 1 else f"top{k}_accuracy"
    return Metric(name=name, direction="max", create=create, reward=_identity, percent=True)


def macro_f1(outputs: int) -> Metric:
    """F1 of each class, averaged over the classes that occur in targets or predictions, pooled over samples.

    Logits `(N, outputs)`, targets `(N,)`. Source: ECG in docs/nasbench360.md#the-ten-tasks-of-nas-bench-360.
    """

    def create() -> torchmetrics.Metric:
        from torchmetrics.classification import MulticlassF1Score

        return MulticlassF1Score(num_classes=outputs, average="macro", validate_args=False, sync_on_compute=False)

    return Metric(name="macro_f1", direction="max", create=create, reward=_identity)


def cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits `(N, K)` and class indices `(N,)`."""
    return F.cross_entropy(outputs.float(), targets.to(torch.long), label_smoothing=label_smoothing)


def perplexity() -> Metric:
    """Perplexity, pooled over words: lower is better. Its reward is 80 / perplexity.

    Outputs are logits `(N, T, V)`, or `DeferredLogits` of as many; targets `(N, T)`. `IGNORED` ones are left out.
    """
    return Metric("perplexity", "min", mean_of(_likelihood, torch.exp), _reward_of_perplexity)


def _reward_of_perplexity(value: float) -> float:
    return PUBLISHED_REWARD / value


def _likelihood(outputs: Tensor | DeferredLogits, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The negative log-likelihood of all words, added up, and their number."""
    if isinstance(outputs, DeferredLogits):
        return outputs.negative_log_likelihood(targets)
    flat = targets.flatten()
    total = F.cross_entropy(outputs.flatten(0, -2).float(), flat, reduction="sum", ignore_index=IGNORED)
    return total, (flat != IGNORED).sum()


def language_loss(outputs: Tensor | DeferredLogits, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood of the words; there is no label smoothing here.

    What the network adds as a penalty on its states in training (activation regularisation) is part of it.
    """
    total, words = _likelihood(outputs, targets)
    loss = total / words
    if isinstance(outputs, DeferredLogits) and outputs.penalty is not None:
        loss = loss + outputs.penalty
    return loss
