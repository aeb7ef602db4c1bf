"""Batched transforms on the device: crop, flip, cutout, normalise; colour and AutoAugment through kornia.

Every random transform takes `(inputs (N, C, H, W), generator)`; the generator lives on the CPU, so that the same seed
draws the same augmentation on every device. Only a few numbers for each sample cross to the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.errors import DataError
from archscout.tasks.color import auto_augment, color_jitter
from archscout.tasks.resident import Resident
from archscout.tasks.spec import TaskKind
from archscout.tasks.task import Transform

__all__ = [
    "Normalizer",
    "auto_augment",
    "color_jitter",
    "cutout",
    "horizontal_flip",
    "normalizer",
    "random_crop",
    "standard_augmentation",
    "uint8_to_float",
]

AUGMENTATIONS = ("auto", "crop", "crop+flip", "none")


def standard_augmentation(
    choice: str, input_shape: Sequence[int], kind: TaskKind = "classification"
) -> tuple[Transform, ...]:
    """What is usual for images of `input_shape` (C, H, W): crop with a padding of H // 8, and horizontal flip.

    Args:
        choice: "crop+flip", "crop", "none", or "auto": crop and flip for colour images; crop alone for others, which
            are often characters, and a mirrored character is another one; nothing for inputs that are no images.
        input_shape: of one sample.
        kind: of the task. Numbers may change where an image is moved or mirrored, a steering angle, say: for a
            regression "auto" is "none".

    Raises:
        DataError: an unknown choice, or one that needs images.
    """
    if choice not in AUGMENTATIONS:
        raise DataError(f"unknown augmentation '{choice}'; allowed: {', '.join(AUGMENTATIONS)}.")
    if len(input_shape) != 3:
        if choice in ("auto", "none"):
            return ()
        raise DataError(f"augmentation '{choice}' is for images (C, H, W); these samples are {tuple(input_shape)}.")
    if choice == "auto" and kind == "regression":
        return ()
    if choice == "auto":
        choice = "crop+flip" if input_shape[0] == 3 else "crop"
    padding = min(input_shape[1:]) // 8
    crop = (random_crop(padding),) if choice != "none" and padding > 0 else ()
    return (*crop, horizontal_flip()) if choice == "crop+flip" else crop


def uint8_to_float(raw: Tensor) -> Tensor:
    """Pixels 0..255 to float32 in [0, 1]; floating inputs pass unchanged, as float32."""
    return raw.to(torch.float32) / 255 if raw.dtype == torch.uint8 else raw.to(torch.float32)


class Normalizer:
    """Subtract the mean and divide by the standard deviation of each channel (axis 1).

    Args:
        mean, std: of each channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        self._known = Resident(torch.tensor([self.mean, self.std]))

    def __call__(self, inputs: Tensor) -> Tensor:
        known = self._known.on(inputs.device).to(inputs.dtype).view(2, 1, -1, *(1,) * (inputs.dim() - 2))
        return (inputs - known[0]) / known[1]


def normalizer(mean: Sequence[float], std: Sequence[float]) -> Normalizer:
    """Subtract the mean and divide by the standard deviation of each channel (axis 1)."""
    return Normalizer(mean, std)


def random_crop(padding: int) -> Transform:
    """Pad with zeros on all sides and crop back to the old size, at an offset drawn for each sample."""

    def crop(inputs: Tensor, draw: torch.Generator) -> Tensor:
        count, _, height, width = inputs.shape
        offsets = torch.randint(2 * padding + 1, (2, count), generator=draw).to(inputs.device)
        padded = F.pad(inputs, (padding,) * 4)
        # (N, C, rows, columns, H, W): a view of every possible crop, of which one for each sample is copied.
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(count, device=inputs.device), :, offsets[0], offsets[1]]

    return crop


def horizontal_flip(probability: float = 0.5) -> Transform:
    """Mirror each sample left to right with the given probability."""

    def flip(inputs: Tensor, draw: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(inputs), generator=draw).to(inputs.device) < probability
        return torch.where(mirrored.view(-1, 1, 1, 1), inputs.flip(-1), inputs)

    return flip


def cutout(size: int) -> Transform:
    """Zero a square of `size` pixels around a uniformly drawn pixel, clipped at the borders.

    Source: arXiv 1708.04552; docs/methods/darts.md#images.
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
