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
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from archscout.tasks.metrics.classification import Loss, Metric

__all__ = ["auroc", "mean_average_precision", "weighted_binary_cross_entropy"]


def weighted_binary_cross_entropy(labels: int, positive_weight: float = 1.0) -> Loss:
    """Mean binary cross-entropy of logits over samples and labels, the positives weighted (docs/nasbench360.md)."""

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        weight = outputs.new_full((), positive_weight, dtype=torch.float32)
        return F.binary_cross_entropy_with_logits(outputs.float(), targets[:, :labels].float(), pos_weight=weight)

    return loss


class _RankingMetric(torchmetrics.Metric):
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


def mean_average_precision(labels: int, *, merge: bool = False) -> Metric:
    """Average precision of each label, pooled over samples, then the mean over labels (macro mAP).

    Args:
        labels: how many.
        merge: average the logits of the samples whose targets end in the same number (chunks of one clip).
    """
    return Metric(
        "mean_average_precision",
        "max",
        lambda: _RankingMetric(labels, binary_average_precision, both=False, nothing=0.0, merge=merge),
        lambda measured: measured,
    )


def auroc(labels: int) -> Metric:
    """Area under the ROC curve of each label, pooled over samples, then the mean over labels."""
    return Metric(
        "auroc",
        "max",
        lambda: _RankingMetric(labels, binary_auroc, both=True, nothing=0.5, merge=False),
        lambda measured: measured,
    )
