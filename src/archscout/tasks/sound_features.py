"""Log-mel spectrograms of sounds, with torch alone.

The definition is that of torchaudio's `MelSpectrogram` and `AmplitudeToDB` with their defaults, as NAS-Bench-360 uses
them (Tu et al. 2022, arXiv 2110.05668): frames around their centres with the ends reflected, a periodic Hann window in
the middle of each transform, power, triangles with a peak of 1 on HTK's mel scale, decibels of at least 1e-10 and at
most 80 below the loudest. Here as there the mean of each spectrogram is then taken off.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from archscout.settings import Settings

__all__ = ["FEATURES_VERSION", "SoundSettings", "features_key", "log_mel", "mel_filters", "sound_features"]

FEATURES_VERSION = 2  # 1: Slaney's scale, filters of unit area, zeros beyond the ends
STEPS_OF_BAND = 20  # of the transform, for each mel band; published
FLOOR = 1e-10  # power
RANGE = 80.0  # decibels below the loudest value, at which the rest is cut off
EPSILON = 1e-6  # 0.29 s at 100 Hz are 29 samples, not 28


class SoundSettings(Settings):
    """How a sound becomes the input of a network; the defaults are those of NAS-Bench-360.

    Attributes:
        features: `mel`, a log-mel spectrogram `(mels, frames)`, or `wave`, the samples.
        rate: samples a second; recordings of other rates are resampled.
        seconds: of sound in a sample. Longer recordings are cut, shorter ones padded.
        window, hop: seconds that a frame covers, and between frames.
        mels: mel bands.
        transform: samples of the Fourier transform, in which the window lies; None: 20 for each band, or the window
            if that is longer, as an even number.
        low, high: the lowest and highest frequency in Hz; high None: half of the rate.
    """

    features: Literal["mel", "wave"] = "mel"
    rate: int = Field(22_050, ge=100, le=768_000)
    seconds: float = Field(1.0, gt=0, le=3_600)
    window: float = Field(0.03, gt=0)
    hop: float = Field(0.01, gt=0)
    mels: int = Field(96, ge=1, le=1_024)
    transform: int | None = Field(None, ge=2, le=2**20)
    low: float = Field(0.0, ge=0)
    high: float | None = Field(None, gt=0)

    @property
    def length(self) -> int:
        """Samples in a clip."""
        return round(self.seconds * self.rate)

    @property
    def window_length(self) -> int:
        """Samples of a frame; a part of a sample is dropped, as published (661.5 are 661)."""
        return int(self.rate * self.window + EPSILON)

    @property
    def hop_length(self) -> int:
        """Samples between frames; a part of a sample is dropped, as published (220.5 are 220)."""
        return int(self.rate * self.hop + EPSILON)

    @property
    def transform_length(self) -> int:
        """Samples of the Fourier transform."""
        return self.transform or max(STEPS_OF_BAND * self.mels, self.window_length + self.window_length % 2)

    @property
    def highest(self) -> float:
        """The highest frequency in Hz; half of an odd rate is rounded down, as torchaudio does."""
        return float(self.rate // 2) if self.high is None else self.high

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample: `(1, mels, frames)` or `(1, samples)`."""
        if self.features == "wave":
            return (1, self.length)
        padded = self.length - self.transform_length % 2  # an odd transform is padded by half of what is even
        return (1, self.mels, 1 + padded // self.hop_length)

    @model_validator(mode="after")
    def _fit_together(self) -> SoundSettings:
        if self.length < 1:
            raise ValueError(f"seconds={self.seconds:g} is less than a sample at rate={self.rate}; raise either.")
        if self.features == "wave":
            return self
        if self.hop_length < 1 or self.window_length < 2:
            raise ValueError(
                f"window={self.window:g} and hop={self.hop:g} seconds are {self.window_length} and {self.hop_length} "
                f"samples at rate={self.rate}; they must be at least 2 and 1."
            )
        if self.window_length > self.transform_length:
            raise ValueError(
                f"window={self.window:g} seconds are {self.window_length} samples at rate={self.rate}, more than "
                f"transform={self.transform}; raise transform or leave it out."
            )
        if not self.low < self.highest <= self.rate / 2:
            raise ValueError(
                f"low={self.low:g} and high={self.highest:g} Hz; low must be below high, and high at most half of "
                f"rate={self.rate}."
            )
        if self.length <= self.transform_length // 2:
            least = (self.transform_length // 2 + 1) / self.rate
            raise ValueError(
                f"seconds={self.seconds:g} is too short: the ends are reflected by half of the transform, which needs "
                f"more than {math.floor(least * 1000) / 1000:g} seconds at rate={self.rate}. Raise seconds, or lower "
                "transform or mels."
            )
        empty = int((mel_filters(self).amax(1) == 0).sum())
        if empty:
            raise ValueError(
                f"{empty} of mels={self.mels} bands lie between two steps of the transform of {self.transform_length} "
                "samples and would be empty; lower mels or raise transform."
            )
        return self


def features_key(settings: SoundSettings) -> dict[str, Any]:
    """What prepared features depend on besides the recordings: their definition here and their settings."""
    return {"version": FEATURES_VERSION, **settings.model_dump(mode="json")}


def _mel(hertz: float) -> float:
    """HTK's mel scale."""
    return 2595 * math.log10(1 + hertz / 700)


@lru_cache(maxsize=16)
def mel_filters(settings: SoundSettings) -> Tensor:
    """Triangles `(mels, transform // 2 + 1)` over the frequencies of a transform, float32, each with a peak of 1."""
    steps = torch.linspace(0, settings.rate // 2, settings.transform_length // 2 + 1, dtype=torch.float64)
    mels = torch.linspace(_mel(settings.low), _mel(settings.highest), settings.mels + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    rising = (steps - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - steps) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0).to(torch.float32)


def log_mel(samples: Tensor, settings: SoundSettings) -> Tensor:
    """Spectrograms `(N, mels, frames)` of sounds `(N, samples)`: decibels, less the mean of each.

    Args:
        samples: float32, more of them than half of the transform.
        settings: `features` is not looked at.
    """
    spectrum = torch.stft(
        samples,
        settings.transform_length,
        hop_length=settings.hop_length,
        win_length=settings.window_length,
        window=torch.hann_window(settings.window_length, dtype=samples.dtype, device=samples.device),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power = mel_filters(settings).to(samples) @ spectrum.abs().square()
    decibels = 10 * torch.log10(power.clamp(min=FLOOR))
    loudest = decibels.amax((1, 2), keepdim=True)
    decibels = torch.maximum(decibels, loudest - RANGE)
    return decibels - decibels.mean((1, 2), keepdim=True)


def sound_features(samples: Tensor, settings: SoundSettings) -> Tensor:
    """The inputs of a network, `(N, *settings.shape)`, of sounds `(N, settings.length)`."""
    return (samples if settings.features == "wave" else log_mel(samples, settings)).unsqueeze(1)
