"""Hold out part of a labelled set: the same share of every class, by a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from archscout.errors import DataError

__all__ = ["stratified_holdout"]


def stratified_holdout(labels: Tensor, fraction: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions to keep and positions to hold out, disjoint, together all.

    The number held is the fraction of all samples, rounded (at least one); each class gives its share, to within one
    sample, and keeps at least one. Both results are in shuffled order, so that a later cut of either at any place is
    a random cut.

    Args:
        labels: `(N,)` class indices from 0.
        fraction: to hold out, in (0, 1).
        draw: decides which samples.

    Raises:
        DataError: the fraction is outside (0, 1), or no class has a second sample.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction to hold out is {fraction}; it must lie between 0 and 1.")
    counts = torch.bincount(labels)
    spare = (counts - 1).clamp(min=0)
    if int(spare.sum()) == 0:
        raise DataError("nothing can be held out: every class has only one sample; give at least two of some class.")
    share = counts * fraction
    held = torch.minimum(share.floor().to(torch.long), spare)
    missing = min(int(spare.sum()), max(1, round(len(labels) * fraction))) - int(held.sum())
    # The largest remainders get one more each; the draw breaks ties, so that no class is favoured by its number.
    ties = torch.randperm(len(counts), generator=draw)
    by_remainder = ties[torch.argsort((share - held)[ties], descending=True, stable=True)]
    while missing > 0:
        for label in by_remainder.tolist():
            if missing > 0 and held[label] < spare[label]:
                held[label] += 1
                missing -= 1
    order = torch.randperm(len(labels), generator=draw)
    grouped = torch.argsort(labels[order], stable=True)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(order)
    rank[grouped] = torch.arange(len(order)) - starts[labels[order][grouped]]
    is_held = rank < held[labels[order]]
    return order[~is_held], order[is_held]
