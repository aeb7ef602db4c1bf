"""Recordings of FSD50K, and augmentations of their spectrograms."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.published.nasbench360.files import hint
from archscout.tasks.readers.wav import inspect_wav, read_wav
from archscout.tasks.task import Transform

__all__ = ["mask_spectrogram", "mix_background", "read_recording"]


def read_recording(path: Path, rate: int) -> Tensor:
    """The samples of a recording, which is not resampled.

    Raises:
        DataError: as `inspect_wav`, or of another rate.
    """
    try:
        wav = inspect_wav(path)
        if wav.rate != rate:
            raise DataError(f"{path} has {wav.rate:,} samples a second; the published files have {rate:,}.")
        return torch.from_numpy(read_wav(wav)[0])
    except DataError as error:
        raise DataError(f"{error} {hint('fsd50k')}") from None


MASKED = 0.5  # share of the samples that are masked
MOST_MASKS = 2  # of each axis
WIDEST_ROWS, WIDEST_COLUMNS = 0.15, 0.2  # of the axis
MIXED = 0.75  # share of the samples that get background
LOUDEST = 0.5  # share of the background in a sample, at most


def mask_spectrogram(inputs: Tensor, draw: torch.Generator) -> Tensor:
    """Half of the samples lose one or two bands of rows and of columns each, to their smallest value."""
    chosen = torch.rand(len(inputs), generator=draw) < MASKED
    hidden = _bands(inputs.shape[2], len(inputs), WIDEST_ROWS, draw).unsqueeze(2)
    hidden = hidden | _bands(inputs.shape[3], len(inputs), WIDEST_COLUMNS, draw).unsqueeze(1)
    hidden = (hidden & chosen.view(-1, 1, 1)).unsqueeze(1).to(inputs.device)
    return torch.where(hidden, inputs.amin((1, 2, 3), keepdim=True), inputs)


def _bands(size: int, count: int, widest: float, draw: torch.Generator) -> Tensor:
    """Where one or two bands of random width and place lie, `(count, size)`."""
    widths = (torch.rand(count, MOST_MASKS, generator=draw) * (int(widest * size) + 1)).long()
    starts = (torch.rand(count, MOST_MASKS, generator=draw) * (size - widths + 1)).long()
    used = torch.arange(MOST_MASKS) < torch.randint(1, MOST_MASKS + 1, (count, 1), generator=draw)
    places = torch.arange(size).view(1, 1, -1)
    inside = (places >= starts.unsqueeze(2)) & (places < (starts + widths).unsqueeze(2))
    return (inside & used.unsqueeze(2)).any(1)


def mix_background(noise: Tensor) -> Transform:
    """Three quarters of the samples get up to a half of a random background, masked like any sample.

    Args:
        noise: `(backgrounds, rows, columns)`.
    """

    def mix(inputs: Tensor, draw: torch.Generator) -> Tensor:
        count = len(inputs)
        chosen = torch.randint(len(noise), (count,), generator=draw)
        background = mask_spectrogram(noise[chosen].unsqueeze(1).to(inputs.device, torch.float32), draw)
        share = torch.rand(count, generator=draw) * LOUDEST
        share = torch.where(torch.rand(count, generator=draw) < MIXED, share, 0.0).view(-1, 1, 1, 1).to(inputs.device)
        return (1 - share) * inputs + share * background

    return mix
