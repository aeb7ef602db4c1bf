"""Read `.ts` files: labelled series of the UCR and UEA archives, of one or several channels.

A header of lines that begin with `@`, then a case a line: channels separated by `:`, values by `,`, at the end the
class label. Comments begin with `#` or `%`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError

__all__ = ["Series", "SeriesFile", "read_series"]

Series = np.ndarray[Any, np.dtype[np.float32]]
"""A case: `(channels, length)`; missing values are NaN."""


@dataclass(frozen=True)
class SeriesFile:
    """The content of a `.ts` file: its cases, their class numbers, and the class names in the order of the header."""

    path: Path
    cases: tuple[Series, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Of every case."""
        return len(self.cases[0])

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest case."""
        sizes = [case.shape[1] for case in self.cases]
        return min(sizes), max(sizes)


def read_series(path: Path) -> SeriesFile:
    """A `.ts` file of labelled series.

    Raises:
        DataError: missing, no text, no header, without class labels, with time stamps, or a case that contradicts the
            header; the message has the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="strict").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text; a .ts file holds a header of @ lines and one series a line.") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from None
    numbered = [
        (number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and line.strip()[0] not in "#%"
    ]
    header, data = _read_header(path, numbered)
    names = _class_names(path, header)
    cases: list[Series] = []
    labels: list[int] = []
    for number, line in data:
        case, label = _read_case(f"{path}, line {number}", line, names)
        if cases and len(case) != len(cases[0]):
            raise DataError(
                f"{path}, line {number}: {len(case)} channels, but the cases before have {len(cases[0])}. "
                "Channels are separated by colons, the label stands behind the last one."
            )
        cases.append(case)
        labels.append(label)
    if not cases:
        raise DataError(f"{path} has no case behind @data. It is truncated; get it again.")
    _check_header(path, header, cases)
    return SeriesFile(path, tuple(cases), tuple(labels), names)


def _read_header(path: Path, numbered: list[tuple[int, str]]) -> tuple[dict[str, list[str]], Iterator[tuple[int, str]]]:
    """The words behind each `@` key (lower case), and the lines behind `@data`."""
    header: dict[str, list[str]] = {}
    lines = iter(numbered)
    for number, line in lines:
        if not line.startswith("@"):
            raise DataError(f"{path}, line {number}: expected a header line that begins with @, or @data.")
        key, *words = line[1:].split()
        if key.lower() == "data":
            return header, lines
        header[key.lower()] = words
    raise DataError(f"{path} has no line @data: no .ts file, or truncated.")


def _class_names(path: Path, header: dict[str, list[str]]) -> tuple[str, ...]:
    if header.get("timestamps", ["false"])[:1] == ["true"]:
        raise DataError(f"{path} has time stamps, which are not read. Give values at equal steps of time.")
    if "targetlabel" in header and header["targetlabel"][:1] == ["true"]:
        raise DataError(f"{path} has a number as target (@targetLabel true); only classes are read (@classLabel true).")
    words = header.get("classlabel", [])
    if not words or words[0].lower() != "true" or len(words) < 3:
        raise DataError(f"{path} has no classes: its header needs a line such as '@classLabel true 1 2'.")
    return tuple(words[1:])


def _read_case(where: str, line: str, names: tuple[str, ...]) -> tuple[Series, int]:
    *channels, label = (part.strip() for part in line.split(":"))
    if not channels:
        raise DataError(f"{where}: no label behind a colon; the line may be cut off.")
    if label not in names:
        raise DataError(f"{where}: the label is '{label[:40]}'; the header allows {', '.join(names)}.")
    try:
        values = [
            np.array(channel.replace("?", "nan").split(","), np.float32) if channel else np.zeros(0, np.float32)
            for channel in channels
        ]
    except ValueError as error:
        raise DataError(f"{where}: {error}. Values are numbers or ?, separated by commas.") from None
    length = max(len(channel) for channel in values)
    if length == 0:
        raise DataError(f"{where}: a case without values.")
    if any(len(channel) != length for channel in values):
        sizes = sorted({len(channel) for channel in values})
        raise DataError(f"{where}: channels of different lengths ({sizes[0]} to {sizes[-1]}); one case has one length.")
    case = np.stack(values)
    if np.isinf(case).any():
        raise DataError(f"{where}: a value is infinite. Remove or repair that case.")
    return case, names.index(label)


def _check_header(path: Path, header: dict[str, list[str]], cases: list[Series]) -> None:
    """Raise where the cases have other sizes than the header says."""
    said = {
        "dimensions": len(cases[0]),
        "serieslength": max(case.shape[1] for case in cases),
    }
    equal = header.get("equallength", [""])[0].lower() != "false"
    for key, seen in said.items():
        words = header.get(key)
        if words and words[0].isdigit() and int(words[0]) != seen and (key == "dimensions" or equal):
            raise DataError(
                f"{path}: the header says @{key} {words[0]}, but the cases have {seen}. Get the file again."
            )
    if equal and len({case.shape[1] for case in cases}) > 1:
        short, long = min(case.shape[1] for case in cases), max(case.shape[1] for case in cases)
        raise DataError(
            f"{path}: cases of {short} to {long} steps, but the header does not say @equalLength false. A line may be "
            "cut off."
        )
