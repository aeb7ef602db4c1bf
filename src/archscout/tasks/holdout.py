"""Hold out part of a set: the same share of every class by a seed, or by names, by groups, by time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from archscout.errors import DataError

__all__ = ["fold_numbers", "holdout_by_group", "holdout_by_name", "holdout_of_end", "stratified_holdout"]

NOTHING_TO_HOLD = "nothing can be held out: every class has only one sample; give at least two of some class."


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
    _check_fraction(fraction)
    counts = torch.bincount(labels)
    spare = (counts - 1).clamp(min=0)
    if int(spare.sum()) == 0:
        raise DataError(NOTHING_TO_HOLD)
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


def holdout_by_name(
    names: Sequence[str], strata: Sequence[int], fraction: float, seed: int, purpose: str
) -> tuple[Tensor, Tensor]:
    """Positions to keep and positions to hold out, each decided by its own name: more files move no file.

    A sample is held out where a hash of its name, the seed and the purpose is below the fraction. So the number held
    is near the fraction, not equal to it. Of every class with two samples or more, at least one is held (that of the
    lowest hash) and at least one kept (that of the highest).

    Args:
        names: of each sample, unique.
        strata: class of each sample; all 0 where there are no classes.
        fraction: to hold out, in (0, 1).
        purpose: "test" or "validation", whose hashes are independent.

    Raises:
        DataError: no class has a second sample.
    """
    _check_fraction(fraction)
    numbers = torch.tensor([_number(name, seed, purpose) for name in names], dtype=torch.float64)
    classes = torch.as_tensor(list(strata))
    held = numbers < fraction
    for label in torch.unique(classes).tolist():
        members = (classes == label).nonzero().view(-1)
        if len(members) < 2:
            held[members] = False
            continue
        held[members[numbers[members].argmin()]] = True
        held[members[numbers[members].argmax()]] = False
    if not bool(held.any()):
        raise DataError(NOTHING_TO_HOLD)
    return (~held).nonzero().view(-1), held.nonzero().view(-1)


def holdout_by_group(groups: Sequence[str], fraction: float, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Positions to keep and positions to hold out; the samples of a group are all on one side.

    Groups are held out in the order of a hash of their names, until the samples held come nearest to the fraction; at
    least one group is held and one kept.

    Raises:
        DataError: there is only one group.
    """
    _check_fraction(fraction)
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise DataError(
            f"all {len(groups):,} samples are of one group, '{next(iter(sizes), '')}'; to hold a group out there must "
            "be two or more. Name another level, column or pattern with --groups."
        )
    ordered = sorted(sizes, key=lambda group: _number(group, seed, purpose))
    wanted, taken, chosen = fraction * len(groups), 0, set[str]()
    for group in ordered[:-1]:
        if chosen and abs(taken + sizes[group] - wanted) > abs(taken - wanted):
            break
        chosen.add(group)
        taken += sizes[group]
    held = torch.tensor([group in chosen for group in groups])
    return (~held).nonzero().view(-1), held.nonzero().view(-1)


def holdout_of_end(samples: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Positions to keep and positions to hold out: the last ones, in the order of time.

    Raises:
        DataError: there are fewer than two samples.
    """
    _check_fraction(fraction)
    if samples < 2:
        raise DataError(f"nothing can be held out of {samples} sample{'s' * (samples != 1)}; give at least two.")
    held = max(1, min(samples - 1, round(samples * fraction)))
    kept, last = torch.arange(samples).tensor_split([samples - held])
    return kept, last


def fold_numbers(keys: Sequence[str], strata: Sequence[int], folds: int, seed: int) -> Tensor:
    """The fold of each sample, from 1: samples with equal keys (groups, or names) share one.

    Keys go round the folds in the order of their hashes, class by class of their first samples, so that folds are of
    nearly equal size and every class is spread over them.

    Raises:
        DataError: there are fewer keys than folds.
    """
    first: dict[str, int] = {}
    for key, label in zip(keys, strata, strict=True):
        first.setdefault(key, int(label))
    if len(first) < folds:
        raise DataError(f"{folds} folds were asked for, but there are only {len(first)} samples or groups to spread.")
    ordered = sorted(first, key=lambda key: (first[key], _number(key, seed, "fold")))
    number = {key: place % folds + 1 for place, key in enumerate(ordered)}
    return torch.tensor([number[key] for key in keys])


def _number(name: str, seed: int, purpose: str) -> float:
    """A number in [0, 1) that follows from a name alone."""
    digest = hashlib.blake2b(f"{purpose}:{seed}:{name}".encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise DataError(f"the fraction to hold out is {fraction}; it must lie between 0 and 1.")
