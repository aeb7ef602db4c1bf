"""Batched transforms on the device: crop, flip, cutout, normalise.

Every random transform takes `(inputs (N, C, H, W), generator)`; the generator lives on the CPU, so that the same seed
draws the same augmentation on every device. Only a few numbers for each sample cross to the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.tasks.task import Transform

__all__ = ["cutout", "horizontal_flip", "normalizer", "random_crop", "uint8_to_float"]


def uint8_to_float(raw: Tensor) -> Tensor:
    """Pixels 0..255 to float32 in [0, 1]; floating inputs pass unchanged, as float32."""
    return raw.to(torch.float32) / 255 if raw.dtype == torch.uint8 else raw.to(torch.float32)


def normalizer(mean: Sequence[float], std: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """Subtract the mean and divide by the standard deviation of each channel (axis 1)."""

    def normalize(inputs: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (inputs.dim() - 2)
        centre = torch.tensor(mean, dtype=inputs.dtype).to(inputs.device).view(shape)
        scale = torch.tensor(std, dtype=inputs.dtype).to(inputs.device).view(shape)
        return (inputs - centre) / scale

    return normalize


def random_crop(padding: int) -> Transform:
    """Pad with zeros on all sides and crop back to the old size, at an offset drawn for each sample."""

    def crop(inputs: Tensor, draw: torch.Generator) -> Tensor:
        count, _, height, width = inputs.shape
        span = 2 * padding + 1
        top = torch.randint(span, (count, 1), generator=draw).to(inputs.device)
        left = torch.randint(span, (count, 1), generator=draw).to(inputs.device)
        padded = F.pad(inputs, (padding,) * 4)
        rows = (top + torch.arange(height, device=inputs.device)).view(count, 1, height, 1)
        columns = (left + torch.arange(width, device=inputs.device)).view(count, 1, 1, width)
        samples = torch.arange(count, device=inputs.device).view(count, 1, 1, 1)
        channels = torch.arange(inputs.shape[1], device=inputs.device).view(1, -1, 1, 1)
        return padded[samples, channels, rows, columns]

    return crop


def horizontal_flip(probability: float = 0.5) -> Transform:
    """Mirror each sample left to right with the given probability."""

    def flip(inputs: Tensor, draw: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(inputs), generator=draw).to(inputs.device) < probability
        return torch.where(mirrored.view(-1, 1, 1, 1), inputs.flip(-1), inputs)

    return flip


def cutout(size: int) -> Transform:
    """Zero a square of `size` pixels around a uniformly drawn pixel, clipped at the borders.

    Source: DeVries and Taylor 2017; spec ednas 2.5.
    """

    def cut(inputs: Tensor, draw: torch.Generator) -> Tensor:
        count, _, height, width = inputs.shape
        low = size // 2
        row = torch.randint(height, (count, 1), generator=draw).to(inputs.device)
        column = torch.randint(width, (count, 1), generator=draw).to(inputs.device)
        y = torch.arange(height, device=inputs.device)
        x = torch.arange(width, device=inputs.device)
        rows = (y >= row - low) & (y < row - low + size)
        columns = (x >= column - low) & (x < column - low + size)
        hole = rows.unsqueeze(2) & columns.unsqueeze(1)
        return inputs.masked_fill(hole.unsqueeze(1), 0.0)

    return cut
