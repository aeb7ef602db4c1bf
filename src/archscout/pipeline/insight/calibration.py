"""Whether probabilities mean what they say; a temperature that mends them; thresholds of labels.

Source: Guo et al. 2017 (arXiv 1706.04599): the expected calibration error over 15 equally wide bins, and the one
temperature for all logits that has the least negative log-likelihood on the validation split.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import precision_recall_curve
from torch import Tensor
from torch.nn import functional as F

from archscout.pipeline.insight.content import Bin, Calibration

__all__ = ["BINS", "HIGHEST", "LOWEST", "CalibrationBins", "best_thresholds", "fitted_temperature"]

BINS = 15
LOWEST, HIGHEST = 0.05, 100.0  # temperatures


class CalibrationBins:
    """Adds up confidences and whether they were justified, in equally wide bins.

    Args:
        what: an answer is, see `Calibration`.
        temperature: by which the logits were divided, to be told.
    """

    def __init__(self, what: str, temperature: float) -> None:
        self._what, self._temperature = what, temperature
        self._count, self._confidence, self._right = (torch.zeros(BINS, dtype=torch.float64) for _ in range(3))

    def add(self, confidence: Tensor, right: Tensor) -> None:
        """Add answers: confidences in [0, 1], and whether each is right, both `(N,)`."""
        confidence = confidence.double()
        place = (torch.ceil(confidence * BINS) - 1).clamp(0, BINS - 1).long()
        self._count += torch.bincount(place, minlength=BINS)
        self._confidence += torch.bincount(place, confidence, minlength=BINS)
        self._right += torch.bincount(place, right.double(), minlength=BINS)

    def compute(self) -> Calibration | None:
        """All answers together; None where there were none."""
        total = float(self._count.sum())
        if not total:
            return None
        bins = tuple(
            Bin(place / BINS, (place + 1) / BINS, int(count), confidence / count, right / count)
            for place, (count, confidence, right) in enumerate(
                zip(self._count.tolist(), self._confidence.tolist(), self._right.tolist(), strict=True)
            )
            if count
        )
        error = sum(each.count / total * abs(each.accuracy - each.confidence) for each in bins)
        confidence, accuracy = (float(part.sum()) / total for part in (self._confidence, self._right))
        return Calibration(error, confidence, accuracy, self._temperature, self._what, bins)


def fitted_temperature(logits: Tensor, targets: Tensor, *, labels: bool = False) -> float:
    """The temperature of the least negative log-likelihood.

    Args:
        logits: `(N, K)`, of samples that were not trained on.
        targets: `(N,)` classes, or with `labels` `(N, K)` of 0 and 1.
    """
    values = logits.double()

    def loss(logarithm: float) -> float:
        scaled = values / float(np.exp(logarithm))
        if labels:
            return float(F.binary_cross_entropy_with_logits(scaled, targets.double()))
        return float(F.cross_entropy(scaled, targets.long()))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def best_thresholds(probabilities: Tensor, targets: Tensor) -> tuple[float, ...]:
    """For each label the threshold with the highest F1; 0.5 where a label never or always occurs.

    A threshold lies halfway between the least probability that is accepted and the next one below it.

    Args:
        probabilities, targets: `(N, K)`, of samples that were not trained on.
    """
    found = []
    for scores, truth in zip(probabilities.double().T.numpy(), (targets > 0).T.numpy(), strict=True):
        if not truth.any() or truth.all():
            found.append(0.5)
            continue
        precision, recall, thresholds = precision_recall_curve(truth, scores)
        f1 = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], 1e-12)
        chosen = thresholds[int(f1.argmax())]
        below = scores[scores < chosen]
        found.append(float((chosen + (below.max() if len(below) else 0.0)) / 2))
    return tuple(found)
