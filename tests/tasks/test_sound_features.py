from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import SettingsError
from archscout.tasks.sound_features import SoundSettings, features_key, log_mel, mel_filters, sound_features


def sound(settings: SoundSettings) -> np.ndarray[Any, Any]:
    """A chirp, a fading tone, and something like noise."""
    steps = np.arange(settings.length)
    time = steps / settings.rate
    chirp = 0.5 * np.sin(2 * np.pi * (200 + 1500 * time) * time)
    tone = 0.25 * np.sin(2 * np.pi * 3000 * time) * np.exp(-3 * time)
    noise = 0.01 * np.sin(steps**2 % 977)
    return np.asarray(chirp + tone + noise, np.float32)


def plain_log_mel(samples: np.ndarray[Any, Any], settings: SoundSettings) -> np.ndarray[Any, Any]:
    """The definition of torchaudio's transforms, band by band and frame by frame in 64 bits."""
    size, window, hop = settings.transform_length, settings.window_length, settings.hop_length
    half = size // 2
    padded = np.pad(samples.astype(np.float64), half, mode="reflect")
    weights = np.zeros(size)
    weights[(size - window) // 2 :][:window] = np.sin(np.pi * np.arange(window) / window) ** 2
    frames = [padded[start : start + size] * weights for start in range(0, len(samples) + 1, hop)]
    power = np.stack([np.abs(np.fft.rfft(frame)) ** 2 for frame in frames], 1)
    frequencies = np.linspace(0, settings.rate // 2, half + 1)  # whole numbers of Hz, as torchaudio has it
    high = settings.rate // 2 if settings.high is None else settings.high
    low_mel, high_mel = (2595 * np.log10(1 + hertz / 700) for hertz in (settings.low, high))
    edges = 700 * (10 ** (np.linspace(low_mel, high_mel, settings.mels + 2) / 2595) - 1)
    bands = np.stack(
        [np.interp(frequencies, edges[band : band + 3], [0, 1, 0]) @ power for band in range(settings.mels)]
    )
    decibels = 10 * np.log10(np.maximum(bands, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    return np.asarray(decibels - decibels.mean())


CASES: list[tuple[dict[str, Any], tuple[int, int], dict[tuple[int, int], float]]] = [
    # The numbers are those of torchaudio 2.11: MelSpectrogram, AmplitudeToDB("power", 80), less the mean.
    ({}, (96, 101), {(0, 0): 36.0903, (10, 50): -11.2997, (47, 3): -6.2149, (70, 50): -0.3116, (95, 100): 11.1774}),
    (
        {"rate": 8000},
        (96, 101),
        {(0, 0): 33.1286, (10, 50): -9.1212, (47, 3): -15.3782, (70, 50): 1.0346, (95, 100): 27.3299},
    ),
    (
        {"rate": 44100, "mels": 64, "seconds": 0.5},
        (64, 51),
        {(0, 0): 35.7007, (10, 5): -2.3514, (63, 50): 6.4117},
    ),
    (
        {"rate": 11025, "transform": 1024, "mels": 40, "low": 50, "high": 4000, "window": 0.025},
        (40, 101),
        {(0, 0): 36.1616, (10, 5): 1.7125, (39, 100): 13.4923},
    ),
]


@pytest.mark.parametrize(("given", "shape", "known"), CASES)
def test_spectrograms_equal_torchaudios(
    given: dict[str, Any], shape: tuple[int, int], known: dict[tuple[int, int], float]
) -> None:
    settings = SoundSettings(**given)
    seen = log_mel(torch.from_numpy(sound(settings)).unsqueeze(0), settings)[0].numpy()
    assert seen.shape == shape == settings.shape[1:]
    for place, value in known.items():
        assert seen[place] == pytest.approx(value, abs=2e-3), place
    assert np.allclose(seen, plain_log_mel(sound(settings), settings), atol=2e-3)


def test_defaults_are_those_of_the_benchmark() -> None:
    settings = SoundSettings()
    seen = (settings.transform_length, settings.window_length, settings.hop_length, settings.highest)
    assert seen == (1920, 661, 220, 11_025.0)
    assert settings.shape == (1, 96, 101)


def test_filters_are_triangles_of_peak_one_on_htks_scale() -> None:
    settings = SoundSettings(rate=16_000, mels=3, transform=16_000)  # steps of 1 Hz
    filters = mel_filters(settings)
    assert filters.shape == (3, 8001)
    top = 2595 * np.log10(1 + 8000 / 700)
    centres = [700 * (10 ** (top * part / 4 / 2595) - 1) for part in (1, 2, 3)]
    assert filters.argmax(1).tolist() == [round(centre) for centre in centres]
    assert filters.amax(1).tolist() == pytest.approx([1.0] * 3, abs=2e-3)
    # Neighbours cross: at each frequency between the first and the last peak they add up to 1.
    inside = filters[:, round(centres[0]) + 1 : round(centres[2]) - 1].sum(0)
    assert torch.allclose(inside, torch.ones_like(inside), atol=1e-5)


@pytest.mark.parametrize("transform", [1323, 1324, 1920, 1921])
@pytest.mark.parametrize("seconds", [0.5, 0.50001, 0.4999])
def test_the_shape_is_told_before(transform: int, seconds: float) -> None:
    settings = SoundSettings(rate=44_100, mels=16, seconds=seconds, transform=transform)
    assert sound_features(torch.rand(1, settings.length), settings).shape[1:] == settings.shape


def test_a_batch_is_what_its_sounds_are_alone_and_each_has_its_own_floor() -> None:
    settings = SoundSettings(rate=8000)
    loud = torch.from_numpy(sound(settings))
    both = log_mel(torch.stack([loud, loud * 1e-3]), settings)
    assert torch.allclose(both[0], log_mel(loud.unsqueeze(0), settings)[0], atol=1e-5)
    assert float((both.amax((1, 2)) - both.amin((1, 2))).max()) <= 80.001
    assert both.mean((1, 2)).abs().max() < 1e-3


def test_silence_is_zeros() -> None:
    assert float(log_mel(torch.zeros(1, 22_050), SoundSettings()).abs().max()) == 0


def test_waves_go_through_unchanged() -> None:
    settings = SoundSettings(features="wave", rate=8000, seconds=0.01, mels=512)
    samples = torch.rand(2, 80)
    assert torch.equal(sound_features(samples, settings)[:, 0], samples)
    assert settings.shape == (1, 80)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seconds": 0.04}, "seconds=0.04 is too short: .* more than 0.043 seconds"),
        ({"hop": 1e-5}, "661 and 0 samples"),
        ({"transform": 512}, "more than transform=512"),
        ({"low": 12_000}, "low must be below high"),
        ({"high": 12_000}, "high at most half of rate=22050"),
        ({"mels": 200, "transform": 700}, r"\d+ of mels=200 bands .* would be empty"),
        ({"rate": 0}, "rate = 0"),
        ({"rates": 8000}, "did you mean rate"),
    ],
)
def test_settings_that_do_not_fit_are_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SoundSettings.read(given)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000])
def test_defaults_fit_every_usual_rate(rate: int) -> None:
    settings = SoundSettings(rate=rate)
    assert settings.shape[2] in (100, 101)
    assert float(mel_filters(settings).amax(1).min()) > 0


def test_prepared_arrays_depend_on_every_setting() -> None:
    keys = [
        features_key(SoundSettings(**given))
        for given in ({}, {"rate": 8000}, {"hop": 0.02}, {"high": 8000.0}, {"features": "wave"})
    ]
    assert all(keys[0] != other for other in keys[1:])
    assert keys[0]["version"] == 2
