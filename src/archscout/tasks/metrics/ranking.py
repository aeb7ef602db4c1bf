"""Multilabel losses, and metrics of how well scores rank positives before negatives, each label by itself.

Outputs are logits `(N, labels)`, targets 0 or 1 `(N, labels)` or wider; what stands behind the labels belongs to the
task. A label that has no positive (or, for AUROC, no negative) sample in the whole split has no value and is left out
of the mean: no batch can make the result undefined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.tasks.metrics.classification import Loss, Metric

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["auroc", "mean_average_precision", "weighted_binary_cross_entropy"]


def weighted_binary_cross_entropy(labels: int, positive_weight: float = 1.0) -> Loss:
    """Mean binary cross-entropy of logits over samples and labels, the positives weighted (docs/nasbench360.md)."""

    def loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        weight = outputs.new_full((), positive_weight, dtype=torch.float32)
        return F.binary_cross_entropy_with_logits(outputs.float(), targets[:, :labels].float(), pos_weight=weight)

    return loss


def mean_average_precision(labels: int, *, merge: bool = False) -> Metric:
    """Average precision of each label, pooled over samples, then the mean over labels (macro mAP).

    Args:
        labels: how many.
        merge: average the logits of the samples whose targets end in the same number (chunks of one clip).
    """

    def create() -> torchmetrics.Metric:
        from torchmetrics.functional.classification import binary_average_precision

        from archscout.tasks.metrics.accumulators import RankingMetric

        return RankingMetric(labels, binary_average_precision, both=False, nothing=0.0, merge=merge)

    return Metric("mean_average_precision", "max", create, lambda measured: measured)


def auroc(labels: int, *, merge: bool = False) -> Metric:
    """Area under the ROC curve of each label, pooled over samples, then the mean over labels. `merge` as above."""

    def create() -> torchmetrics.Metric:
        from torchmetrics.functional.classification import binary_auroc

        from archscout.tasks.metrics.accumulators import RankingMetric

        return RankingMetric(labels, binary_auroc, both=True, nothing=0.5, merge=merge)

    return Metric("auroc", "max", create, lambda measured: measured)
