"""Stacked matrices: `(P, G C)` holds G matrices `(P, C)` side by side, each with what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from archscout.nn.fast.matrices import column_sums, gram

__all__ = ["all_sums", "apart", "both_apart", "grams", "group_counts"]


def apart(parts: Tensor, inputs: Sequence[Tensor], channels: int | None = None) -> Sequence[Tensor]:
    """The first axis of what belongs to the norms, by the stacked inputs with so many channels a norm.

    Args:
        parts: `(K, ...)`.
        inputs: stacked matrices.
        channels: of an input; None where that is the last axis of the parts.
    """
    if len(inputs) == 1:
        return (parts,)
    return torch.split(parts, group_counts(inputs, channels or parts.shape[-1]))


def both_apart(kernels: Tensor, shifts: Tensor, inputs: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Kernels `(K, D, C)` and shifts `(K, D)`, by the stacked inputs; see `apart`."""
    return apart(kernels, inputs), apart(shifts, inputs, kernels.shape[2])


def group_counts(inputs: Sequence[Tensor], channels: int) -> list[int]:
    """How many norms each of the stacked inputs belongs to, with so many channels a norm."""
    return [matrix.shape[1] // channels for matrix in inputs]


def grams(left: Sequence[Tensor], right: Sequence[Tensor], groups: Sequence[int]) -> Tensor:
    """`gram` of all pairs, `(K, D, C)`."""
    found = list(map(gram, left, right, groups))
    return found[0] if len(found) == 1 else torch.cat(found)


def all_sums(matrices: Sequence[Tensor], groups: Sequence[int]) -> Tensor:
    """`column_sums` of all, `(K, C)`."""
    found = list(map(column_sums, matrices, groups))
    return found[0] if len(found) == 1 else torch.cat(found)
