"""What metrics accumulate, with torchmetrics: all samples of a split, then one value.

Importing torchmetrics takes half as long as torch itself: metrics import this module when they are first accumulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchmetrics
from torch import Tensor

__all__ = ["Determination", "MeanOfTerms", "RankingMetric"]


class MeanOfTerms(torchmetrics.Metric):
    """The mean of terms over all samples; 0 where there was no term at all.

    Args:
        terms: of a batch: their sum, and how many they are.
        finish: of the mean, to the value.
    """

    total: Tensor
    count: Tensor

    def __init__(
        self, terms: Callable[[Any, Tensor], tuple[Tensor, Tensor]], finish: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self._terms, self._finish = terms, finish

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        total, count = self._terms(outputs, targets)
        self.total += total.detach()
        self.count += count

    def compute(self) -> Tensor:
        """The value of all batches together."""
        return self._finish(self.total / self.count.clamp(min=1))


class RankingMetric(torchmetrics.Metric):
    """Keeps scores and targets of a split; computes each label by itself, and their mean.

    Args:
        labels: how many.
        value: of one label, from scores in [0, 1] and targets 0 or 1; ties are one threshold.
        both: whether a label needs negatives, too, to have a value.
        nothing: the result where no label has a value: what guessing gives.
        merge: whether the last column of the targets is a number that several samples share, whose logits are averaged.
    """

    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(
        self, labels: int, value: Callable[[Tensor, Tensor], Tensor], both: bool, nothing: float, merge: bool
    ) -> None:
        super().__init__()
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")
        self._labels, self._value, self._both, self._nothing, self._merge = labels, value, both, nothing, merge

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add samples."""
        self.scores.append(outputs.detach().float())
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """The mean over the labels that have a value."""
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        if self._merge:
            scores, targets = _merged(scores, targets)
        values = []
        for score, target in zip(scores.T, (targets[:, : self._labels] > 0).long().T, strict=True):
            if target.any() and not (self._both and target.all()):
                # Only the order counts. torchmetrics would bring logits to [0, 1] by a sigmoid, which ties large ones.
                ranks = score.unique(return_inverse=True)[1].double() / len(score)
                values.append(self._value(ranks, target).double())
        return torch.stack(values).mean() if values else scores.new_tensor(self._nothing)


def _merged(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean logits of the samples that share the number in the last column, and the targets of one of them."""
    _, group = torch.unique(targets[:, -1], return_inverse=True)
    count = int(group.max()) + 1
    total = scores.new_zeros(count, scores.shape[1], dtype=torch.float64).index_add_(0, group, scores.double())
    merged = targets.new_zeros(count, targets.shape[1])
    merged[group] = targets
    return total / torch.bincount(group, minlength=count).unsqueeze(1), merged


class Determination(torchmetrics.Metric):
    """The coefficient of determination of each output, then the mean over outputs; NaN for fewer than two samples.

    Sums are float64: torchmetrics' own R2Score adds up squares in float32, which loses all digits where targets have
    a large mean. An output whose targets never change has no variance to explain: 1 where it is met exactly, else 0.
    """

    count: Tensor
    errors: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, decode: Callable[[Tensor], Tensor], outputs: int) -> None:
        super().__init__()
        for name in ("errors", "total", "squares"):
            self.add_state(name, torch.zeros(outputs, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self._decode = decode

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        values, known = self._decode(outputs.detach().float()).double(), targets.double()
        self.errors += (values - known).square().sum(0)
        self.total += known.sum(0)
        self.squares += known.square().sum(0)
        self.count += len(known)

    def compute(self) -> Tensor:
        """The value of all batches together."""
        if self.count < 2:
            return self.errors.new_tensor(torch.nan)
        variance = self.squares - self.total.square() / self.count
        exact = (self.errors == 0).double()
        return torch.where(variance > 0, 1 - self.errors / variance.clamp(min=1e-300), exact).mean()
