"""Loss and metric of distances between residues.

Outputs are `(N, 1, side, side)`. Targets are `(N, 2, side, side)`: distance (`IGNORED` where there is none), and
separation in the sequence (-1 where there is no pair).
"""

from __future__ import annotations

import torch
from torch import Tensor

from archscout.tasks.metrics.classification import IGNORED, Metric, reciprocal_reward
from archscout.tasks.metrics.dense import SumAndCount

__all__ = ["clipped_distance_loss", "mae8", "pool_known"]

FARTHEST = 16.0  # Angstrom, at which distances are clipped in the loss
NEAREST = 0.01  # floor of predicted distances in the metric
CONTACT = 8.0  # Angstrom
SEPARATION = 24  # residues


def clipped_distance_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean squared error to the distances clipped at 16 Angstrom, over the known pairs."""
    distances = targets[:, :1]
    known = distances != IGNORED
    errors = (outputs.float() - distances.clamp(max=FARTHEST)).square() * known
    return errors.sum() / known.sum().clamp(min=1)


def pool_known(loss: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For `clipped_distance_loss`."""
    count = (targets[:, :1] != IGNORED).sum()
    return loss.double() * count, count


class _Mae8(SumAndCount):
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add proteins."""
        predicted, distances, separation = outputs[:, 0].float(), targets[:, 0], targets[:, 1]
        # Rows and columns of a whole map, and of a crop with equal offsets, are the same residues.
        aligned = (separation.diagonal(dim1=1, dim2=2) <= 0).all(1).view(-1, 1, 1)
        predicted = torch.where(aligned, (predicted + predicted.transpose(1, 2)) / 2, predicted).clamp(min=NEAREST)
        counts = (separation >= SEPARATION) & (distances != IGNORED) & (distances <= CONTACT)
        pairs = counts.sum((1, 2))
        errors = ((predicted - distances).abs() * counts).sum((1, 2)).double() / pairs.clamp(min=1)
        self.total += errors.sum()
        self.count += (pairs > 0).sum()


def mae8() -> Metric:
    """Mean absolute error of long-range contacts, averaged over proteins, in Angstrom; lower is better.

    Predictions are made symmetric and at least 0.01; of each protein the pairs count whose residues are 24 or more
    places apart and truly within 8 Angstrom. A protein without such pairs counts nothing.
    Source: docs/nasbench360.md#what-is-done-with-the-data.
    """
    return Metric("mae8", "min", _Mae8, reciprocal_reward)
