"""From a wav file to a mel spectrogram in decibels, with torch alone.

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

__all__ = ["log_mel", "mel_filters", "read_wav"]

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
