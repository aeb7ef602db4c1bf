"""Mean and standard deviation of each channel, of the samples that training may see."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from archscout.tasks.transforms import uint8_to_float

__all__ = ["ChannelStatistics", "statistics_of_array"]

CHUNK = 2048  # samples at a time: bounds the float64 copy


class ChannelStatistics:
    """Accumulates mean and standard deviation of each channel (axis 1) over batches, as `uint8_to_float` reads them.

    Sums are taken around the first batch's mean, in float64, so that a large offset costs no digits.
    """

    def __init__(self) -> None:
        self._shift: Tensor | None = None
        self._count = 0
        self._sum = torch.zeros(0)
        self._squares = torch.zeros(0)
        self.low, self.high = float("inf"), float("-inf")

    def update(self, raw: Tensor) -> None:
        """Take in a batch `(N, C, ...)` as stored."""
        values = uint8_to_float(raw).to(torch.float64).transpose(0, 1).flatten(1)
        if self._shift is None:
            self._shift = values.mean(1, keepdim=True)
            self._sum = torch.zeros(len(values), dtype=torch.float64)
            self._squares = torch.zeros(len(values), dtype=torch.float64)
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        values = values - self._shift
        self._count += values.shape[1]
        self._sum += values.sum(1)
        self._squares += values.square().sum(1)

    def update_all(self, batches: Iterable[Tensor]) -> ChannelStatistics:
        """Take in all batches; returns itself."""
        for raw in batches:
            self.update(raw)
        return self

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel."""
        assert self._shift is not None, "no batch seen"
        return tuple((self._shift.view(-1) + self._sum / self._count).tolist())

    @property
    def std(self) -> tuple[float, ...]:
        """Of each channel, over the population; 1 for a constant channel, which would otherwise divide by zero."""
        mean = self._sum / self._count
        std = (self._squares / self._count - mean.square()).clamp(min=0).sqrt()
        return tuple(torch.where(std > 1e-7, std, 1.0).tolist())


def statistics_of_array(inputs: Tensor, indices: Tensor) -> ChannelStatistics:
    """The statistics of `inputs[indices]`, `(N, C, ...)`."""
    parts = (inputs[indices[start : start + CHUNK]] for start in range(0, len(indices), CHUNK))
    return ChannelStatistics().update_all(parts)
