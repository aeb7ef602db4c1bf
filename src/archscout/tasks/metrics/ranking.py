"""Multilabel losses, and metrics of how well scores rank positives before negatives, each label by itself.

Outputs are logits `(N, labels)`, targets 0 or 1 `(N, labels)` or wider; what stands behind the labels belongs to the
task. A label that has no positive (or, for AUROC, no negative) sample in the whole split has no value and is left out
of the mean: no batch can make the result undefined.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F

from archscout.tasks.metrics.classification import Loss, Metric

__all__ = ["area_under_curve", "average_precision", "auroc", "mean_average_precision", "weighted_binary_cross_entropy"]

NO_VALUE = {"auroc": 0.5, "mean_average_precision": 0.0}  # of a split without any positive: what guessing gives


def weighted_binary_cross_entropy(labels: int, positive_weight: float = 1.0) -> Loss:
    """Mean binary cross-entropy of logits over samples and labels, the positives weighted (docs/nasbench360.md)."""

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        weight = outputs.new_full((), positive_weight, dtype=torch.float32)
        return F.binary_cross_entropy_with_logits(outputs.float(), targets[:, :labels].float(), pos_weight=weight)

    return loss


def average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Average precision of one label; NaN without positives.

    The mean over the positives of the precision among all that score at least as high: ties are one threshold, as in
    scikit-learn's `average_precision_score`.

    Args:
        scores: `(N,)`.
        positive: `(N,)` bool.
    """
    ordered = scores.sort().values
    found = ordered_positives = scores[positive].sort().values
    at_least = len(ordered) - torch.searchsorted(ordered, found)
    positives = len(found) - torch.searchsorted(ordered_positives, found)
    return (positives.double() / at_least).mean()


def area_under_curve(scores: Tensor, positive: Tensor) -> Tensor:
    """Area under the ROC curve of one label, from ranks (ties share theirs); NaN without positives or negatives."""
    ordered = scores.sort().values
    found = scores[positive]
    ranks = (torch.searchsorted(ordered, found) + torch.searchsorted(ordered, found, right=True) + 1).double() / 2
    positives, negatives = len(found), len(scores) - len(found)
    above = ranks.sum() - positives * (positives + 1) / 2
    return above / (positives * negatives) if positives * negatives else above.new_tensor(float("nan"))


class _RankingMetric(torchmetrics.Metric):
    """Keeps scores and targets of a split; computes each label by itself, and their mean.

    Args:
        labels: how many.
        value: of one label.
        nothing: the result without any label that has a value.
        merge: whether the last column of the targets is a number that several samples share, whose logits are averaged.
    """

    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self, labels: int, value: Callable[[Tensor, Tensor], Tensor], nothing: float, merge: bool) -> None:
        super().__init__()
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")
        self._labels, self._value, self._nothing, self._merge = labels, value, nothing, merge

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add samples."""
        self.scores.append(outputs.detach().float())
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """The mean over the labels that have a value."""
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        if self._merge:
            scores, targets = _merged(scores, targets)
        positive = targets[:, : self._labels] > 0
        values = torch.stack([self._value(scores[:, label], positive[:, label]) for label in range(self._labels)])
        known = values[~values.isnan()]
        return known.mean() if len(known) else values.new_tensor(self._nothing)


def _merged(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean logits of the samples that share the number in the last column, and the targets of one of them."""
    _, group = torch.unique(targets[:, -1], return_inverse=True)
    count = int(group.max()) + 1
    total = scores.new_zeros(count, scores.shape[1], dtype=torch.float64).index_add_(0, group, scores.double())
    merged = targets.new_zeros(count, targets.shape[1])
    merged[group] = targets
    return total / torch.bincount(group, minlength=count).unsqueeze(1), merged


def _metric(name: str, labels: int, value: Callable[[Tensor, Tensor], Tensor], merge: bool) -> Metric:
    return Metric(
        name,
        "max",
        lambda: _RankingMetric(labels, value, NO_VALUE[name], merge),
        lambda measured: measured,
    )


def mean_average_precision(labels: int, *, merge: bool = False) -> Metric:
    """Average precision of each label, pooled over samples, then the mean over labels (macro mAP).

    Args:
        labels: how many.
        merge: average the logits of the samples whose targets end in the same number (chunks of one clip).
    """
    return _metric("mean_average_precision", labels, average_precision, merge)


def auroc(labels: int) -> Metric:
    """Area under the ROC curve of each label, pooled over samples, then the mean over labels."""
    return _metric("auroc", labels, area_under_curve, False)
