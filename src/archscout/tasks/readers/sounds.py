"""Recordings as samples: their features are made once, and kept in the user's cache.

A sample is a part of fixed length, the middle of a longer recording; a shorter one gets silence at its end. What the
settings leave open follows the recordings: see `fitted_settings`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.readers.image_folder import list_folder
from archscout.tasks.readers.prepared import load_array, prepared
from archscout.tasks.readers.wav import WavFile, inspect_wav, read_wav, resample
from archscout.tasks.registry import data_root
from archscout.tasks.sound_features import SoundSettings, features_key, sound_features

__all__ = ["NOT_READ", "SUFFIXES", "SoundSource", "Sounds", "clip", "fitted_settings", "list_sounds", "read_sounds"]

SUFFIXES = (".wav", ".wave")
NOT_READ = (".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".au", ".wma", ".amr", ".caf")
TYPICAL = 95  # percent of the recordings that the default length holds whole
LONGEST = 30.0  # seconds, of the default length
MANY = 0.1  # share of recordings that are cut: worth a warning
BATCH = 64  # recordings that are transformed at a time
RESIDENT = 2**30  # bytes of features that may stay on an accelerator
SPARE = 2**28  # bytes that stay free on the disk


class SoundSource:
    """Features of recordings, by index.

    Args:
        features: `(recordings, *shape)`, float32, mapped from a file.
        rows: of each sample in them.
        targets: `(N, ...)`.
        names: of the samples, the paths of their files.
    """

    def __init__(self, features: Tensor, rows: Tensor, targets: Tensor, names: Sequence[str]) -> None:
        if not len(rows) == len(targets) == len(names):
            raise DataError(f"there are {len(rows)} recordings but {len(targets)} targets; give one for each.")
        self.targets = targets
        self.names = tuple(names)
        self._features, self._rows = features, rows
        self._resident: dict[torch.device, Tensor] = {torch.device("cpu"): features}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_in_memory(self) -> bool:
        """Whether features of this size may as well be; larger ones are mapped from their file."""
        return self._features.nbytes <= RESIDENT

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features `(n, 1, mels, frames)` or `(n, 1, samples)`, and targets; `seed` is not used."""
        if device not in self._resident and self._features.nbytes <= RESIDENT:
            self._resident[device] = self._features.to(device)
        features = self._resident.get(device, self._features)
        for index in indices:
            yield features[self._rows[index].to(features.device)].to(device), self.targets[index].to(device)


@dataclass(frozen=True)
class Sounds:
    """Recordings that were read.

    Attributes:
        settings: of their features, complete.
        files: the recordings that can be read, in the order in which they were given.
        positions: of each of them in what was given.
        names: of each of them.
        unreadable: each other file, and why.
        findings: what was done, and what is doubtful.
    """

    settings: SoundSettings
    files: tuple[WavFile, ...]
    positions: tuple[int, ...]
    names: tuple[str, ...]
    unreadable: tuple[tuple[Path, str], ...]
    findings: tuple[Finding, ...]
    features: Tensor
    rows: Tensor

    def source(self, targets: Tensor) -> SoundSource:
        """The samples with their targets, one for each of `files`."""
        return SoundSource(self.features, self.rows, targets, self.names)


def list_sounds(root: Path, below: str = "") -> tuple[list[str], tuple[Finding, ...]]:
    """The recordings in a folder and its subfolders, as sorted paths relative to `root`, and what was passed over.

    Hidden files and what archives leave behind are passed over without a word.

    Args:
        root: the folder that the paths start from.
        below: the folder in it, for example `train/dog`.

    Raises:
        DataError: a folder is missing or cannot be read.
    """
    files = _all_files(root, below)
    suffixes = [Path(name).suffix.lower() for name in files]
    names = [name for name, suffix in zip(files, suffixes, strict=True) if suffix in SUFFIXES]
    other_sounds = tuple(name for name, suffix in zip(files, suffixes, strict=True) if suffix in NOT_READ)
    others = tuple(sorted(set(files) - {*names, *other_sounds}))
    findings = []
    if other_sounds:
        message = (
            f"{len(other_sounds):,} sounds that are no .wav files are passed over, for example {some(other_sounds)}; "
            "convert them to take part: ffmpeg -i IN OUT.wav"
        )
        findings.append(Finding("doubtful", "passed over", message, other_sounds))
    if others:
        message = f"{len(others):,} files that are no sounds are passed over, for example {some(others)}."
        findings.append(Finding("note", "passed over", message, others))
    return names, tuple(findings)


def _all_files(root: Path, below: str) -> list[str]:
    found: list[str] = []
    waiting = [(below, frozenset[Path]())]
    while waiting:
        folder, above = waiting.pop()
        place = (root / folder).resolve()
        if place in above:
            continue  # a link to a folder that it lies in
        folders, files = list_folder(root / folder)
        prefix = f"{folder}/" if folder else ""
        waiting += [(prefix + name, above | {place}) for name in folders]
        found += [prefix + name for name in files]
    return sorted(found)


def fitted_settings(files: Sequence[WavFile], given: Mapping[str, Any] | None = None) -> SoundSettings:
    """The settings that were given, completed from the recordings.

    - `rate`: what most recordings have, at most 22,050.
    - `seconds`: what 95 % of the recordings do not exceed, in two digits, rounded up; at most 30, and at least what a
      transform needs.

    Raises:
        SettingsError: an unknown setting, or values that do not fit.
    """
    values = {name: value for name, value in (given or {}).items() if value is not None}
    if "rate" not in values:
        counts = Counter(file.rate for file in files)
        values["rate"] = min(SoundSettings().rate, max(counts, key=lambda rate: (counts[rate], rate)))
    if "seconds" not in values:
        long_enough = SoundSettings.read({**values, "seconds": 3600})
        least = (long_enough.transform_length // 2 + 1) / long_enough.rate if long_enough.features == "mel" else 0.0
        typical = float(np.percentile([file.seconds for file in files], TYPICAL, method="higher"))
        values["seconds"] = max(min(_two_digits(typical), LONGEST), _two_digits(least) if least else 0.0)
    return SoundSettings.read(values)


def _two_digits(value: float) -> float:
    """Rounded up to two digits: 0.66325 is 0.67."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step - 1e-9) * step, 9)


def read_sounds(root: Path, names: Sequence[str], given: Mapping[str, Any] | None = None) -> Sounds:
    """The recordings below a folder, and their features.

    The features are kept below the user's cache and made again when a file, its size or time, or a setting changes.

    Args:
        root: the folder.
        names: paths below it; all splits together, so that they share their settings.
        given: settings that are not to follow the recordings, see `SoundSettings`.

    Raises:
        DataError: none can be read, or there is no space for the features.
        SettingsError: wrong settings.
    """
    if not names:
        raise DataError(f"{root} has no recordings; a sound is a file with the suffix {' or '.join(SUFFIXES)}.")
    headers: dict[int, WavFile] = {}
    wrong: dict[int, str] = {}
    for position, name in enumerate(names):
        try:
            headers[position] = inspect_wav(root / name)
        except DataError as error:
            wrong[position] = str(error)
    if not headers:
        reasons = "".join(f"\n  {reason}" for reason in list(wrong.values())[:3])
        raise DataError(f"none of the {len(names)} recordings in {root} can be read.{reasons}")
    files = list(headers.values())
    settings = fitted_settings(files, given)
    folder = _prepare(root, [names[position] for position in headers], files, settings)
    told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    positions = list(headers)
    wrong |= {positions[int(row)]: reason for row, reason in told["unreadable"].items()}
    rows = [row for row, position in enumerate(positions) if position not in wrong]
    if not rows:
        raise DataError(f"none of the {len(names)} recordings in {root} can be read.\n  {next(iter(wrong.values()))}")
    kept = tuple(positions[row] for row in rows)
    return Sounds(
        settings=settings,
        files=tuple(files[row] for row in rows),
        positions=kept,
        names=tuple(names[position] for position in kept),
        unreadable=tuple((root / names[position], wrong[position]) for position in sorted(wrong)),
        findings=tuple(
            _findings({names[position]: headers[position] for position in kept}, settings)
            + _heard(told, [names[position] for position in positions])
        ),
        features=load_array(folder, "features"),
        rows=torch.tensor(rows),
    )


# -- decoding ----------------------------------------------------------------------------------------------------


def _prepare(root: Path, names: Sequence[str], files: Sequence[WavFile], settings: SoundSettings) -> Path:
    """The folder with `features.npy` and `told.json`."""
    listed = hashlib.blake2b(digest_size=16)
    for name, file in zip(names, files, strict=True):
        listed.update(f"{name}\0{file.size}\0{file.modified}\n".encode("utf-8", "surrogateescape"))
    key = {"root": os.fspath(root.resolve()), "files": listed.hexdigest(), "features": features_key(settings)}
    # Other settings lie beside each other: runs at the same time must not take each other's.
    place = hashlib.blake2b(json.dumps([key["root"], key["features"]]).encode(), digest_size=8).hexdigest()
    return prepared(data_root(), f"sounds-{place}", key, lambda folder: _write(folder, files, settings))


def _write(folder: Path, files: Sequence[WavFile], settings: SoundSettings) -> None:
    shape = (len(files), *settings.shape)
    needed, free = math.prod(shape) * 4, shutil.disk_usage(folder).free
    if needed + SPARE > free:
        raise DataError(
            f"the features of {len(files):,} recordings of {settings.seconds:g} seconds take {needed / 1e9:.1f} GB, "
            f"but {folder.parent} has {free / 1e9:.1f} GB left. Lower seconds or rate, or name a place with "
            "XDG_CACHE_HOME."
        )
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, shape)
    told: dict[str, Any] = {"unreadable": {}, "silent": [], "loud": []}
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        samples = np.zeros((len(part), settings.length), np.float32)
        for place, file in enumerate(part):
            try:
                samples[place] = clip(file, settings)
            except DataError as error:
                told["unreadable"][str(start + place)] = str(error)
                continue
            if samples[place].min() == samples[place].max():
                told["silent"].append(start + place)
            if np.abs(samples[place]).max() > 1 and file.floating:
                told["loud"].append(start + place)
        features[start : start + len(part)] = sound_features(torch.from_numpy(samples), settings).numpy()
    features.flush()
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


def clip(file: WavFile, settings: SoundSettings) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The middle of a recording at the rate of the settings, `(settings.length,)`, silence where it is shorter.

    Raises:
        DataError: the samples cannot be read.
    """
    wanted = math.ceil(settings.seconds * file.rate)
    samples, _ = read_wav(file, max(0, (file.frames - wanted) // 2), wanted)
    samples = resample(samples, file.rate, settings.rate)[: settings.length]
    return np.pad(samples, (0, settings.length - len(samples)))


# -- what to tell ------------------------------------------------------------------------------------------------


def _findings(files: Mapping[str, WavFile], settings: SoundSettings) -> list[Finding]:
    """What headers tell: lengths and rates."""
    durations = sorted(file.seconds for file in files.values())
    counts = Counter(file.rate for file in files.values())
    rates = ", ".join(f"{count:,} at {rate:,} Hz" for rate, count in counts.most_common(4))
    kind = "samples" if settings.features == "wave" else "log-mel values"
    shape = " x ".join(str(size) for size in settings.shape[1:])
    findings = [
        Finding(
            "note",
            "sounds",
            f"{len(files):,} recordings of {durations[0]:.3g} to {durations[-1]:.3g} seconds, half of them at most "
            f"{durations[len(durations) // 2]:.3g} ({rates}); a sample is {shape} {kind} of {settings.seconds:g} "
            f"seconds at {settings.rate:,} Hz.",
        )
    ]
    cut = tuple(name for name, file in files.items() if file.frames > math.ceil(settings.seconds * file.rate))
    if cut:
        findings.append(
            Finding(
                "doubtful" if len(cut) > MANY * len(files) else "note",
                "cut",
                f"{len(cut):,} of {len(files):,} recordings are longer than {settings.seconds:g} seconds: their middle "
                f"is used, the longest has {durations[-1]:.3g}. Another length: seconds.",
                cut,
            )
        )
    padded = sum(file.seconds < settings.seconds * (1 - 1e-3) for file in files.values())
    if padded:
        findings.append(Finding("note", "padded", f"{padded:,} recordings are shorter and get silence at their end."))
    low = tuple(name for name, file in files.items() if file.rate < settings.rate)
    if low:
        lowest, highest = min(counts), max(counts)
        advice = (
            f"lower the rate to {highest}."
            if highest < settings.rate
            else f"a network may learn that instead of the sound. Set the rate to {lowest}, or take one rate for all."
        )
        findings.append(
            Finding(
                "doubtful",
                "rates",
                f"{len(low):,} of {len(files):,} recordings have fewer than {settings.rate:,} samples a second "
                f"({rates}) and hold nothing above half of their rate: {advice}",
                low,
            )
        )
    return findings


def _heard(told: Mapping[str, Any], names: Sequence[str]) -> list[Finding]:
    """What only the samples tell."""
    findings = []
    silent = tuple(names[row] for row in told["silent"])
    if silent:
        findings.append(
            Finding(
                "doubtful",
                "silent",
                f"{len(silent):,} recordings hold silence alone in the part that is used, for example {some(silent)}; "
                "listen to them, and remove those that are nothing.",
                silent,
            )
        )
    loud = tuple(names[row] for row in told["loud"])
    if loud:
        findings.append(
            Finding("note", "loud", f"{len(loud):,} recordings have values beyond 1, which are kept as they are.", loud)
        )
    return findings
