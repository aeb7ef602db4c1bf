"""Candidate kernels of an aggregated convolution as one row of taps, and where each tap goes.

All candidates of a convolution are one tensor `(out, in, taps)`, one after the other, each in row-major order. A plan
says for an input's size which taps can touch data at all and where they are added in a common grid; it is computed once
for each size and device. A tap whose offset reaches over the whole input never meets anything but padding: leaving it
out is exact (docs/methods/dash.md#exact-ways-to-compute-the-mixture).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import torch
from torch import Tensor

from archscout.errors import SettingsError
from archscout.nn.kernels.layers import Kernel

__all__ = [
    "Candidates",
    "GridPlan",
    "GroupPlan",
    "Scatter",
    "assemble",
    "fast_length",
    "grid_plan",
    "group_plan",
    "live_size",
    "matrix_plan",
]


@dataclass(frozen=True)
class Candidates:
    """The kernels that a convolution may have.

    Attributes:
        kernels: size and dilation of each; sizes are odd.
        dimensions: 1 or 2.
    """

    kernels: tuple[Kernel, ...]
    dimensions: int

    def __post_init__(self) -> None:
        for size, dilation in self.kernels:
            if size < 1 or size % 2 == 0 or dilation < 1:
                raise SettingsError(
                    f"the candidate kernel of size {size} and dilation {dilation} is not allowed: sizes are odd, "
                    "dilations at least 1."
                )
        if not self.kernels or len(set(self.kernels)) != len(self.kernels):
            raise SettingsError(f"candidate kernels must be at least one, each once; got {list(self.kernels)}.")

    @classmethod
    def of(cls, sizes: Sequence[int], dilations: Sequence[int], dimensions: int) -> Candidates:
        """All pairs, the dilations of the first size first (docs/methods/dash.md#kernel-search)."""
        return cls(tuple(product(sizes, dilations)), dimensions)

    @cached_property
    def taps(self) -> tuple[int, ...]:
        """How many taps each candidate has."""
        return tuple(size**self.dimensions for size, _ in self.kernels)


@dataclass(frozen=True)
class Scatter:
    """Which taps live, whose they are, and where they go; `live` is None where all do."""

    live: Tensor | None
    owner: Tensor
    target: Tensor
    total: int


@dataclass(frozen=True)
class GridPlan:
    """All candidates in one grid for circular convolution, the centre at 0; `lengths` are those of the transform."""

    scatter: Scatter
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class GroupPlan:
    """One kernel for each dilation: its dilation, its size along each dimension and where its taps start."""

    scatter: Scatter
    groups: tuple[tuple[int, tuple[int, ...], int], ...]


@dataclass(frozen=True)
class MatrixPlan:
    """All candidates in one grid of offsets, and which of them takes each input position to each output position.

    `offsets` is `(outputs * inputs,)`; `positions` are the output sizes.
    """

    scatter: Scatter
    offsets: Tensor
    positions: tuple[int, ...]


def live_size(size: int, dilation: int, length: int) -> int:
    """The size of the part of a kernel that can touch an input of this length; 1 at least."""
    return min(size, 2 * ((length - 1) // dilation) + 1)


@lru_cache(maxsize=4096)
def fast_length(length: int, *, even: bool = False) -> int:
    """The least product of 2, 3 and 5 that is not smaller, for fast Fourier transforms.

    Args:
        even: with a 2 among them: real transforms of odd lengths take three times as long.
    """
    if even:
        return 2 * fast_length((length + 1) // 2)
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def _live_taps(size: int, dilation: int, length: int) -> list[tuple[int, int]]:
    """Index within the kernel and offset of each tap that can touch data, along one dimension."""
    half = size // 2
    return [(tap, dilation * (tap - half)) for tap in range(size) if dilation * abs(tap - half) < length]


def _scatter(
    candidates: Candidates, lengths: Sequence[int], goal: Callable[[int, Sequence[int]], int], total: int, device: str
) -> Scatter:
    """The scatter that brings a tap to `goal(dilation, offsets)`."""
    live, owner, target, first = [], [], [], 0
    for number, ((size, dilation), taps) in enumerate(zip(candidates.kernels, candidates.taps, strict=True)):
        for tap in product(*(_live_taps(size, dilation, length) for length in lengths)):
            live.append(first + _flat([index for index, _ in tap], [size] * len(tap)))
            owner.append(number)
            target.append(goal(dilation, [offset for _, offset in tap]))
        first += taps
    alive, owners, targets = (torch.tensor(values, device=device) for values in (live, owner, target))
    return Scatter(None if len(live) == first else alive, owners, targets, total)


def _flat(indices: Sequence[int], sizes: Sequence[int]) -> int:
    """The position of an index in row-major order; negative ones count from the end."""
    position = 0
    for index, size in zip(indices, sizes, strict=True):
        position = position * size + index % size
    return position


@lru_cache(maxsize=256)
def grid_plan(candidates: Candidates, lengths: tuple[int, ...], device: str) -> GridPlan:
    """For inputs of these lengths: zeros on one side suffice for circular convolution."""
    grid = []
    for axis, length in enumerate(lengths, start=1):
        reach = max(dilation * (live_size(size, dilation, length) // 2) for size, dilation in candidates.kernels)
        grid.append(fast_length(length + reach, even=axis == len(lengths)))
    scatter = _scatter(candidates, lengths, lambda _, offsets: _flat(offsets, grid), math.prod(grid), device)
    return GridPlan(scatter, tuple(grid))


@lru_cache(maxsize=256)
def group_plan(candidates: Candidates, lengths: tuple[int, ...], device: str) -> GroupPlan:
    """For inputs of these lengths: kernels of equal dilation nest in the largest of them."""
    groups: dict[int, tuple[int, tuple[int, ...], int]] = {}
    total = 0
    for dilation in dict.fromkeys(dilation for _, dilation in candidates.kernels):
        largest = max(size for size, other in candidates.kernels if other == dilation)
        sizes = tuple(live_size(largest, dilation, length) for length in lengths)
        groups[dilation] = (dilation, sizes, total)
        total += math.prod(sizes)

    def goal(dilation: int, offsets: Sequence[int]) -> int:
        _, sizes, start = groups[dilation]
        steps = [offset // dilation + size // 2 for offset, size in zip(offsets, sizes, strict=True)]
        return start + _flat(steps, sizes)

    return GroupPlan(_scatter(candidates, lengths, goal, total, device), tuple(groups.values()))


@lru_cache(maxsize=256)
def matrix_plan(candidates: Candidates, lengths: tuple[int, ...], stride: tuple[int, ...], device: str) -> MatrixPlan:
    """For inputs of these lengths as vectors: a convolution is a matrix whose entries depend on offsets alone."""
    grid = [2 * length - 1 for length in lengths]
    scatter = _scatter(candidates, lengths, lambda _, offsets: _flat(offsets, grid), math.prod(grid), device)
    steps = [range(0, length, step) for length, step in zip(lengths, stride, strict=True)]
    sources = list(product(*(range(length) for length in lengths)))
    offsets = [
        _flat([source - target for source, target in zip(place, goal, strict=True)], grid)
        for goal in product(*steps)
        for place in sources
    ]
    return MatrixPlan(scatter, torch.tensor(offsets, device=device), tuple(len(step) for step in steps))


def assemble(weight: Tensor, mixing: Tensor, scatter: Scatter) -> Tensor:
    """The mixture of all candidates in one grid `(out, in, total)`, from taps `(out, in, taps)` and weights `(M,)`.

    One gather, one product and one addition by index (docs/methods/dash.md#exact-ways-to-compute-the-mixture).
    """
    taps = weight if scatter.live is None else weight.index_select(2, scatter.live)
    grid = weight.new_zeros((*weight.shape[:2], scatter.total))
    return grid.index_add(2, scatter.target, taps * mixing.index_select(0, scatter.owner))
