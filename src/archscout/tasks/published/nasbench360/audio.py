"""From a wav file to a mel spectrogram in decibels, with torch alone, and augmentations of spectrograms.

The conventions are those of librosa, with which the benchmark was made: Slaney's mel scale, filters of unit area, a
Hann window in the middle of each transform, frames around their centres with zeros beyond the ends.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.task import Transform

__all__ = ["log_mel", "mask_spectrogram", "mel_filters", "mix_background", "read_wav"]

RATE = 22_050  # samples a second
TRANSFORM, WINDOW, HOP = 1920, 661, 220  # samples; docs/nasbench360.md#what-is-done-with-the-data
MELS = 96
FLOOR = 1e-10  # power
RANGE = 80.0  # decibels below the loudest value, at which the rest is cut off
OFFSET = 75.0  # decibels, added


def read_wav(path: Path, hint: str = "") -> Tensor:
    """The first channel as float32 in [-1, 1].

    Raises:
        DataError: missing, no wav file, empty, or of another rate than 22,050 Hz.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that are no sound
            rate, samples = wavfile.read(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}. {hint}".rstrip()) from None
    except Exception as error:  # a damaged file makes the reader fail in any way
        raise DataError(f"{path} is truncated or no wav file ({error}). {hint}".rstrip()) from None
    if samples.ndim == 2:
        samples = samples[:, 0]
    if rate != RATE or len(samples) == 0:
        raise DataError(f"{path} has {len(samples)} samples at {rate} Hz; wanted: some at {RATE} Hz. {hint}".rstrip())
    scale = {"int16": 2**15, "int32": 2**31}.get(samples.dtype.name, 1)
    if samples.dtype == np.uint8:
        samples, scale = samples.astype(np.float32) - 128, 128
    return torch.from_numpy(samples.astype(np.float32) / scale)


def _mel(frequency: Tensor) -> Tensor:
    """Slaney's scale: linear up to 1,000 Hz, then logarithmic, 27 steps for a factor of 6.4."""
    return torch.where(
        frequency < 1000, frequency * 3 / 200, 15 + 27 * torch.log(frequency.clamp(min=1e-9) / 1000) / np.log(6.4)
    )


def _frequency(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * np.log(6.4) / 27))


@cache
def mel_filters() -> Tensor:
    """Triangles `(96, 961)` over the frequencies of a transform, each of unit area."""
    bins = torch.linspace(0, RATE / 2, TRANSFORM // 2 + 1, dtype=torch.float64)
    ends = torch.tensor([0.0, RATE / 2], dtype=torch.float64)
    low, high = _mel(ends).tolist()
    edges = _frequency(torch.linspace(low, high, MELS + 2, dtype=torch.float64))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).to(torch.float32)


def log_mel(samples: Tensor) -> Tensor:
    """Spectrograms `(N, 96, frames)` of sounds `(N, samples)`: decibels + 75, less the mean of each."""
    spectrum = torch.stft(
        samples,
        TRANSFORM,
        hop_length=HOP,
        win_length=WINDOW,
        window=torch.hann_window(WINDOW),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power = mel_filters() @ spectrum.abs().square()
    decibels = 10 * torch.log10(power.clamp(min=FLOOR))
    loudest = decibels.amax((1, 2), keepdim=True)
    decibels = torch.maximum(decibels, loudest - RANGE) + OFFSET
    return decibels - decibels.mean((1, 2), keepdim=True)


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
