"""Sums of mixed edges while they are evaluated: of the edges that leave a node, and at the nodes that they enter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from archscout.nn.fast.layout import split
from archscout.nn.fast.matrices import as_matrix, from_matrix
from archscout.nn.fast.phases import from_phases
from archscout.nn.fast.scaled_sums import Term, add_scaled

__all__ = ["EdgeSums", "NodeSum", "Stack"]

# How many values an edge may have, in a batch, to be computed side by side with the others: for more, the time that
# fewer calls save is lost to slower ones (measured for 16 to 64 channels on a CPU).
LARGEST_STACKED = 2**18

Stack = tuple[int, ...]
"""Edges that are computed side by side."""


class NodeSum:
    """The sum at a node while the edges that enter it are evaluated."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._shifts: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Add `(N, C, ...)`."""
        self._total = values if self._total is None else self._total + values

    def add_shift(self, shift: Tensor) -> None:
        """Add a row `(C,)` to all pixels."""
        self._shifts.append(shift)

    def finish(self) -> Tensor:
        """The sum."""
        assert self._total is not None, "no edge enters the node"
        if not self._shifts:
            return self._total
        rest = (1,) * (self._total.dim() - 2)
        return self._total + torch.stack(self._shifts).sum(0).view(1, -1, *rest)


class EdgeSums:
    """The sums of the operations on the edges of a source, side by side for edges of the same operations.

    Args:
        sums: at the nodes that the edges enter.
        count, size: of the images or sequences that leave the edges.
    """

    def __init__(self, sums: Sequence[NodeSum], count: int, size: Sequence[int]) -> None:
        self.count, self.size = count, tuple(size)
        self._sums = sums
        self._totals: dict[Stack, Tensor] = {}
        self._scaled: list[tuple[Sequence[int], Tensor, Tensor]] = []

    def stacks(self, edges: Sequence[int], channels: int) -> list[Stack]:
        """Which edges an operation runs on together: all, unless each of them is large enough for calls of its own."""
        if self.count * math.prod(self.size) * channels > LARGEST_STACKED:
            return [(edge,) for edge in edges]
        return [tuple(edges)]

    def add(self, stack: Sequence[int], values: Tensor, *, phased: bool = False) -> None:
        """Add a stacked matrix `(N H W, G C)`; `phased` where its rows are in the order of `to_phases`."""
        if phased:
            halves = [length // 2 for length in self.size]
            values = as_matrix(from_phases(from_matrix(values, 2 ** len(self.size) * self.count, halves)))
        key = tuple(stack)
        self._totals[key] = self._totals[key] + values if key in self._totals else values

    def add_scaled(self, edges: Sequence[int], values: Tensor, factors: Tensor) -> None:
        """Add `values * factors[g]`, `(P, C)` and `(G, C)`, to the sum of edge g."""
        self._scaled.append((edges, values, factors))

    def add_shifts(self, edges: Sequence[int], shifts: Tensor) -> None:
        """Add a row of `(G, C)` to all pixels of edge g."""
        for edge, shift in zip(edges, shifts.unbind(), strict=True):
            self._sums[edge].add_shift(shift)

    def hand_over(self) -> None:
        """Add everything to the sums of the nodes."""
        if self._scaled:
            self._add_scaled()
        for edges, total in self._totals.items():
            pixels = from_matrix(total, self.count, self.size)
            for edge, part in zip(edges, split(pixels, len(edges)), strict=True):
                self._sums[edge].add(part)

    def _add_scaled(self) -> None:
        plan: dict[Stack, list[Term]] = {}
        for number, (edges, _, rows) in enumerate(self._scaled):
            start = 0
            for stack in self.stacks(edges, rows.shape[1]):
                plan.setdefault(stack, []).append(Term(number, start, start + len(stack)))
                start += len(stack)
        values, factors = [each[1] for each in self._scaled], [each[2] for each in self._scaled]
        found = add_scaled([self._totals.get(stack) for stack in plan], list(plan.values()), values, factors)
        self._totals |= zip(plan, found, strict=True)
