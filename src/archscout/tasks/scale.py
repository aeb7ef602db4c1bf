"""The units of numeric targets: networks give standardised numbers, people get their own units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from archscout.tasks.resident import Resident

__all__ = ["TargetScale"]


class TargetScale:
    """Mean and standard deviation of each output, over the train split.

    Args:
        mean, std: of each output (axis 1 of targets).
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        self._known = Resident(torch.tensor([self.mean, self.std], dtype=torch.float32))

    @classmethod
    def of(cls, targets: Tensor) -> TargetScale:
        """Of targets `(N, K, ...)`; an output that never changes keeps the deviation 1."""
        channels = targets.double().transpose(0, 1).flatten(1)
        deviation = channels.std(1, correction=0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        return cls(channels.mean(1).tolist(), deviation.tolist())

    def _shaped(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self._known.on(like.device).view(2, 1, -1, *(1,) * (like.dim() - 2))
        return mean, std

    def decode(self, outputs: Tensor) -> Tensor:
        """What a network gives, `(N, K, ...)`, in the units of the targets."""
        mean, std = self._shaped(outputs)
        return outputs * std + mean

    def unit(self, like: Tensor) -> Tensor:
        """The deviations, shaped to divide targets or decoded outputs by."""
        return self._shaped(like)[1]
