"""What every reader of series gives: cases as arrays, with what was written as their targets.

Formats: `.ts` (`series_ts`), `.arff` (`series_arff`), tables of one series a row or one step a row (`series_tables`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from archscout.tasks.findings import Finding, raise_wrong

__all__ = [
    "MISSING",
    "CaseFaults",
    "Series",
    "SeriesFile",
    "as_number",
    "as_numbers",
    "counted",
    "digest_of",
    "equal_channels",
    "infinite",
]

Series = np.ndarray[Any, np.dtype[np.float32]]
"""A case: `(channels, length)`; missing values are NaN."""

MISSING = frozenset(("", "?", "nan", "na", "n/a", "null", "none"))
"""What stands for a missing value or target, in lower case."""


@dataclass(frozen=True, kw_only=True)
class SeriesFile:
    """The content of a file of series.

    Attributes:
        path: of the file.
        cases: its series, all of one number of channels.
        targets: of each case, what was written, a word for each target column; None: it has no target.
        numeric: what the file says of its targets: True, numbers; False, classes; None, nothing.
        class_words: the classes that the file names, in its order; empty where it names none.
        target_names: columns of the targets, where they have names.
        names: of the cases, where they have some.
        groups: of the cases, where a column of groups was asked for.
        findings: what is to be said of the file.
        digest: SHA-256 of the file.
        step: of time, where the file has time stamps.
        lines: of the file, in which the cases begin.
    """

    path: Path
    cases: tuple[Series, ...]
    targets: tuple[tuple[str, ...] | None, ...]
    numeric: bool | None = None
    class_words: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    findings: tuple[Finding, ...] = ()
    digest: str = ""
    step: float | None = None

    def name_of(self, place: int) -> str:
        """The file and the name or number of a case, which is unique in a task."""
        own = f"case {place + 1}" if self.names is None else self.names[place]
        return f"{self.path.name}: {own}"

    lines: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """Of every case."""
        return len(self.cases[0])

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest case."""
        sizes = [case.shape[1] for case in self.cases]
        return min(sizes), max(sizes)


def counted(count: int) -> str:
    """`1 case`, `3 cases`."""
    return f"{count:,} case{'s' * (count != 1)}"


def digest_of(content: bytes) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def as_number(word: str) -> float | None:
    """The number that a word writes in plain digits; None where it writes none (a missing one is NaN)."""
    if word.lower() in MISSING:
        return float("nan")
    if not word.isascii() or "_" in word:  # float() would read digits of other scripts, and 1_0 as 10
        return None
    try:
        return float(word)
    except ValueError:
        return None


def as_numbers(words: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers as written; missing ones are NaN.

    Raises:
        ValueError: the first word that is no number.
    """
    together = "".join(words)
    if together.isascii() and "_" not in together:
        try:
            return np.array(list(map(float, words)), np.float64)
        except ValueError:
            pass
    numbers = []
    for word in words:
        number = as_number(word.strip())
        if number is None:
            raise ValueError(f"'{word.strip()[:40]}' is no number")
        numbers.append(number)
    return np.array(numbers, np.float64)


def infinite(case: Series) -> str | None:
    """What is wrong with a case that holds an infinite value."""
    if np.isinf(case).any():
        return "a value is infinite, or too large for 32 bits. Remove or repair that case."
    return None


def equal_channels(channels: Sequence[np.ndarray[Any, Any]]) -> tuple[Series, bool]:
    """Channels as one array, and whether any was resampled: shorter ones are stretched to the longest, by straight
    lines between their values, for they cover the same time at another rate. A channel without values is missing."""
    length = max(len(channel) for channel in channels)
    resampled = False
    rows = []
    for channel in channels:
        row = channel
        if len(channel) == 0:
            row = np.full(length, np.nan)
        elif len(channel) != length:
            resampled = True
            row = _stretched(channel, length)
        rows.append(row)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which `infinite` tells
        return np.stack(rows).astype(np.float32), resampled


def _stretched(channel: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    known = np.flatnonzero(~np.isnan(channel))
    if len(known) == 0:
        return np.full(length, np.nan)
    places = np.linspace(0, len(channel) - 1, length)
    stretched: np.ndarray[Any, Any] = np.interp(places, known, channel[known])
    return stretched


@dataclass
class CaseFaults:
    """The lines of a file that hold no case, collected so that all are told at once."""

    path: Path
    lines: list[str] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)

    def add(self, number: int, fault: str) -> None:
        """One fault more, by the number of its line."""
        self.lines.append(f"line {number}: {fault}")
        self.numbers.add(number)

    def settle(self, hint: str, *, skip: bool) -> list[Finding]:
        """Raise DataError with all of them; or, where damage is to be skipped, the finding that says so."""
        if not self.lines:
            return []
        count = counted(len(self.lines))
        if skip:
            return [
                Finding(
                    "doubtful", "damaged", f"{self.path.name}: {count} cannot be read; left out.", tuple(self.lines)
                )
            ]
        raise_wrong(
            [Finding("wrong", "damaged", f"{self.path}: {count} cannot be read. {hint}".strip(), tuple(self.lines))]
        )
        raise AssertionError("a wrong finding raises")
