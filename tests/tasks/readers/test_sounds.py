from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from archscout.errors import DataError, SettingsError
from archscout.tasks.readers import sounds
from archscout.tasks.readers.sounds import Sounds, fitted_settings, list_sounds, read_sounds
from archscout.tasks.readers.wav import inspect_wav
from archscout.tasks.sound_features import SoundSettings, log_mel

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.delenv("ARCHSCOUT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    return place


def noise(seconds: float, rate: int = 8000, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.asarray(np.random.default_rng(seed).normal(size=round(seconds * rate)) * 3000).astype(np.int16)


def write(root: Path, **files: np.ndarray[Any, Any] | tuple[int, np.ndarray[Any, Any]]) -> list[str]:
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        rate, samples = content if isinstance(content, tuple) else (8000, content)
        wavfile.write(root / f"{name}.wav", rate, samples)
    return [f"{name}.wav" for name in files]


def features(read: Sounds) -> torch.Tensor:
    source = read.source(torch.arange(len(read.files)))
    inputs, targets = next(iter(source.batches([torch.arange(len(source))], CPU)))
    assert targets.tolist() == list(range(len(source)))
    assert inputs.dtype == torch.float32
    return inputs


def codes(read: Sounds) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {finding.code: (finding.level, finding.names) for finding in read.findings}


def test_samples_are_log_mel_spectrograms_in_the_order_of_their_names(tmp_path: Path) -> None:
    parts = {f"s{number}": noise(0.5, seed=number) for number in range(70)}
    names = write(tmp_path, **parts)
    read = read_sounds(tmp_path, names[::-1])
    assert read.settings == SoundSettings(rate=8000, seconds=0.5)
    inputs = features(read)
    assert inputs.shape == (70, 1, 96, 51)
    wanted = torch.from_numpy(np.stack(list(parts.values())[::-1]).astype(np.float32) / 2**15)
    assert torch.allclose(inputs[:, 0], log_mel(wanted, read.settings), atol=1e-4)
    assert read.names == tuple(names[::-1])
    assert read.unreadable == ()
    assert list(codes(read)) == ["sounds"]
    source = read.source(torch.arange(70) % 3)
    inputs_of_some, targets = next(iter(source.batches([torch.tensor([5, 2])], CPU, seed=3)))
    assert torch.equal(inputs_of_some, inputs[[5, 2]])
    assert targets.tolist() == [2, 2]
    assert list(source.names)[:2] == ["s69.wav", "s68.wav"]


def test_long_recordings_give_their_middle_and_short_ones_get_silence(tmp_path: Path) -> None:
    ramp = np.arange(8000, dtype=np.int16)
    names = write(tmp_path, long=ramp, short=ramp[:100], fits=ramp[:800])
    read = read_sounds(tmp_path, names, {"seconds": 0.1, "features": "wave"})
    waves = features(read)[:, 0] * 2**15
    assert waves.shape == (3, 800)
    assert waves[0].tolist() == ramp[3600:4400].tolist()
    assert waves[1].tolist() == [*ramp[:100].tolist(), *[0] * 700]
    assert waves[2].tolist() == ramp[:800].tolist()
    assert codes(read)["cut"] == ("doubtful", ("long.wav",))
    assert "1 of 3 recordings are longer than 0.1 seconds: their middle is used, the longest" in str(read.findings)
    assert "1 recordings are shorter and get silence" in str(read.findings)


def test_the_length_holds_most_recordings_whole(tmp_path: Path) -> None:
    names = write(tmp_path, **{f"s{number}": noise(0.2 + 0.01 * number) for number in range(100)})
    files = [inspect_wav(tmp_path / name) for name in names]
    durations = [file.seconds for file in files]
    settings = fitted_settings(files)
    assert settings.seconds == 1.2  # 95 % last at most 1.14 seconds
    assert sum(seconds > settings.seconds for seconds in durations) <= 5
    assert fitted_settings(files, {"seconds": 0.3}).seconds == 0.3
    assert fitted_settings(files, {"seconds": None}).seconds == settings.seconds


def test_very_short_and_very_long_recordings_get_a_length_that_works(tmp_path: Path) -> None:
    names = write(tmp_path, click=noise(0.01))
    read = read_sounds(tmp_path, names)
    assert read.settings.seconds == 0.13  # half of a transform of 1,920 samples, and one
    assert features(read).shape == (1, 1, 96, 14)
    hours = write(tmp_path, hours=(100, np.zeros(50_000, np.int16)))
    assert fitted_settings([inspect_wav(tmp_path / hours[0])]).seconds == 30
    assert fitted_settings([inspect_wav(tmp_path / hours[0])], {"seconds": 60.0}).seconds == 60


def test_the_rate_follows_most_recordings_and_others_are_resampled_and_told(tmp_path: Path) -> None:
    def tone(rate: int) -> tuple[int, np.ndarray[Any, Any]]:
        return rate, (np.sin(2 * np.pi * 1000 * np.arange(rate) / rate) * 20_000).astype(np.int16)

    names = write(tmp_path, a=tone(16_000), b=tone(16_000), c=tone(44_100), d=tone(8_000))
    read = read_sounds(tmp_path, names)
    assert (read.settings.rate, read.settings.seconds) == (16_000, 1.0)
    spectra = features(read)[:, 0, :, 50]
    assert len(set(spectra.argmax(1).tolist())) == 1
    assert codes(read)["rates"] == ("doubtful", ("d.wav",))
    assert "2 at 16,000 Hz, 1 at 44,100 Hz, 1 at 8,000 Hz" in str(read.findings)
    assert codes(read_sounds(tmp_path, names[:2], {"rate": 22_050}))["rates"] == ("doubtful", ("a.wav", "b.wav"))
    assert read_sounds(tmp_path, names[2:3]).settings.rate == 22_050


def test_files_that_cannot_be_read_are_collected(tmp_path: Path) -> None:
    names = write(
        tmp_path, a=noise(0.3), b=noise(0.3, seed=1), c=np.array([0.5, np.nan], np.float32), d=noise(0.3, seed=2)
    )
    (tmp_path / "empty.wav").write_bytes(b"")
    names = [names[0], "empty.wav", "gone.wav", *names[1:]]
    for _ in range(2):  # made, and from the cache
        read = read_sounds(tmp_path, names)
        assert read.positions == (0, 3, 5)
        assert read.names == ("a.wav", "b.wav", "d.wav")
        assert [(path.name, path.name in reason) for path, reason in read.unreadable] == [
            ("empty.wav", True),
            ("gone.wav", True),
            ("c.wav", True),
        ]
        assert "not finite" in read.unreadable[2][1]
        alone = read_sounds(tmp_path, ["d.wav"], read.settings.model_dump())
        assert torch.equal(features(read)[2], features(alone)[0])
    with pytest.raises(DataError, match=r"none of the 1 recordings in .* can be read\.\n  .*empty\.wav is empty"):
        read_sounds(tmp_path, ["empty.wav"])
    with pytest.raises(DataError, match=r"none of the 1 recordings in .* can be read\.\n  .*c\.wav has a value"):
        read_sounds(tmp_path, ["c.wav"])


def test_a_folder_is_listed_with_what_is_passed_over(tmp_path: Path) -> None:
    for name in ("b/2.WAV", "b/deep/1.wav", "a.wave", "b/song.mp3", "b/notes.txt", "b/.hidden.wav", "__MACOSX/._a.wav"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    (tmp_path / "data" / "b" / "loop").symlink_to(tmp_path / "data")
    names, findings = list_sounds(tmp_path / "data")
    assert names == ["a.wave", "b/2.WAV", "b/deep/1.wav"]
    assert [(finding.level, finding.names) for finding in findings] == [
        ("doubtful", ("b/song.mp3",)),
        ("note", ("b/notes.txt",)),
    ]
    assert "ffmpeg" in findings[0].message
    assert list_sounds(tmp_path / "data", "b/deep") == (["b/deep/1.wav"], ())
    with pytest.raises(DataError, match=r"cannot read the folder .*gone"):
        list_sounds(tmp_path, "gone")


def test_silence_and_loud_values_are_told(tmp_path: Path) -> None:
    names = write(
        tmp_path, a=noise(0.3), nothing=np.zeros(2400, np.int16), loud=np.ones(2400, np.float32).cumsum() / 1000
    )
    read = read_sounds(tmp_path, names)
    assert codes(read)["silent"] == ("doubtful", ("nothing.wav",))
    assert codes(read)["loud"] == ("note", ("loud.wav",))
    assert torch.isfinite(features(read)).all()


def test_features_are_kept_until_a_file_or_a_setting_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    names = write(root, a=noise(0.3), b=noise(0.3, seed=1))
    made: list[int] = []
    decode = sounds.clip

    def counted(*given: Any) -> Any:
        made.append(1)
        return decode(*given)

    monkeypatch.setattr(sounds, "clip", counted)
    first = features(read_sounds(root, names)).clone()
    assert torch.equal(features(read_sounds(root, names)), first)
    assert len(made) == 2
    assert sorted(path.name for path in root.iterdir()) == names  # nothing is written beside the user's files
    read_sounds(root, names, {"mels": 32})
    read_sounds(root, names)
    assert len(made) == 4  # settings lie beside each other
    assert torch.equal(features(read_sounds(root, names[::-1])), first.flip(0))
    assert len(made) == 6
    other = read_sounds(root, names)
    state = (root / "a.wav").stat()
    wavfile.write(root / "a.wav", 8000, noise(0.3, seed=7))
    os.utime(root / "a.wav", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    changed = features(read_sounds(root, names))
    assert not torch.equal(changed[0], first[0])
    assert torch.equal(changed[1], first[1])
    assert torch.equal(features(other), first)  # a run that goes on is not disturbed
    assert list(cache.glob("archscout/prepared/sounds-*"))


def test_features_that_do_not_fit_on_the_disk_are_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = write(tmp_path, a=noise(0.3))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(DataError, match=r"take 0\.0 GB, but .* has 0\.0 GB left\. Lower seconds or rate"):
        read_sounds(tmp_path, names)


def test_unknown_settings_and_wrong_counts_are_told(tmp_path: Path) -> None:
    names = write(tmp_path, a=noise(0.3))
    with pytest.raises(SettingsError, match="did you mean seconds"):
        read_sounds(tmp_path, names, {"second": 1})
    with pytest.raises(DataError, match=r"has no recordings; a sound is a file with the suffix \.wav or \.wave"):
        read_sounds(tmp_path, [])
    with pytest.raises(DataError, match="1 recordings but 2 targets"):
        read_sounds(tmp_path, names).source(torch.zeros(2))


def test_spoken_digits_are_told_apart(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "spoken-digits" / "spoken-digits.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "spoken-digits"
    names = sorted(path.name for path in root.iterdir() if path.stem.split("_")[1] in ("george", "theo"))
    read = read_sounds(root, names, {"mels": 40})
    inputs = torch.nn.functional.adaptive_avg_pool2d(features(read), (40, 20)).flatten(1).numpy()
    labels = np.array([int(name[0]) for name in read.names])
    held = np.array([int(Path(name).stem.split("_")[2]) < 5 for name in read.names])
    from sklearn.linear_model import RidgeClassifier

    score = RidgeClassifier(alpha=1e4).fit(inputs[~held], labels[~held]).score(inputs[held], labels[held])
    assert held.sum() == 100
    assert score >= 0.9
