"""A tensor that is kept on every device that has asked for it, so that a batch copies nothing from the host."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Resident"]


class Resident:
    """A constant of a task: statistics, coordinates."""

    def __init__(self, tensor: Tensor) -> None:
        self._copies: dict[torch.device, Tensor] = {tensor.device: tensor}
        self._tensor = tensor

    def on(self, device: torch.device) -> Tensor:
        """The tensor on a device."""
        if device not in self._copies:
            self._copies[device] = self._tensor.to(device)
        return self._copies[device]
