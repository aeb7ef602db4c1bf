"""Read `.ts` files: series of the UCR, UEA and TSER archives, of one or several channels.

A header of lines that begin with `@`, then a case a line: channels separated by `:`, values by `,`, at the end the
class or the numbers to predict. Values may have time stamps, `(stamp,value)`. Comments begin with `#` or `%`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.readers.plain_text import read_plain_text
from archscout.tasks.readers.series_files import (
    MISSING,
    CaseFaults,
    Series,
    SeriesFile,
    as_numbers,
    counted,
    digest_of,
    equal_channels,
    infinite,
)
from archscout.tasks.readers.series_stamps import (
    Stamped,
    common_step,
    ordered_case,
    parse_stamps,
    regular_cases,
)

__all__ = ["read_ts"]

WORDS = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')
STAMPED = re.compile(r"\(([^()]*)\)")
OUTSIDE = re.compile(r":(?![^()]*\))")  # a colon that is not in a time stamp
MOST_DIGITS = 9  # of sizes in a header


@dataclass(frozen=True)
class _Header:
    """Words behind each key (lower case), the number of the line with @data, and what looked wrong."""

    words: dict[str, list[str]]
    findings: list[Finding]

    def says(self, key: str) -> bool | None:
        """Whether the header says true or false of something; None: nothing."""
        word = self.words.get(key, [""])[0].lower()
        return {"true": True, "false": False}.get(word)

    def size(self, *keys: str) -> tuple[str, int] | None:
        """A size, under the first of the keys that the header has."""
        for key in keys:
            word = next(iter(self.words.get(key, [])), "")
            if word.isascii() and word.isdecimal() and len(word) <= MOST_DIGITS:
                return key, int(word)
        return None


def read_ts(path: Path, *, step: float | None = None, skip_damaged: bool = False) -> SeriesFile:
    """A `.ts` file of series.

    Args:
        step: of time, to which cases with time stamps are brought; default: the file's median.
        skip_damaged: leave out cases that cannot be read.

    Raises:
        DataError: missing, no text, no header, or cases that cannot be read or contradict the header; the message has
            all their lines.
    """
    text = read_plain_text(path)
    numbered = [
        (number, line.strip())
        for number, line in enumerate(text.lines(), 1)
        if line.strip() and line.strip()[0] not in "#%"
    ]
    header, data = _read_header(path, numbered)
    labelled, numeric = _targets(path, header)
    class_words = tuple(header.words["classlabel"][1:]) if numeric is False else ()
    faults = CaseFaults(path)
    cases: list[list[np.ndarray[tuple[int], np.dtype[np.float64]]] | list[Stamped]] = []
    kept: list[int] = []
    targets: list[tuple[str, ...] | None] = []
    stamped: bool | None = None
    for number, line in data:
        try:
            channels, target = _split_case(line, labelled, class_words, numeric is True)
            has_stamps = channels[0].lstrip().startswith("(")
            stamped = has_stamps if stamped is None else stamped
            if has_stamps != stamped:
                raise ValueError("some cases have time stamps and others have none")
            case = _stamped_case(channels) if stamped else _plain_case(channels)
            if cases and len(case) != len(cases[0]):
                raise ValueError(
                    f"{len(case)} channels, but the cases before have {len(cases[0])}. Channels are separated by "
                    "colons, the target stands behind the last one"
                )
        except ValueError as error:
            faults.add(number, f"{error}.")
            continue
        cases.append(case)
        kept.append(number)
        targets.append(target)
    findings = [*text.findings, *header.findings]
    if stamped:
        if header.says("timestamps") is False:
            findings.append(_lie(path, "@timeStamps false", "the cases have time stamps"))
        if step is None:
            step = common_step(cases)  # type: ignore[arg-type]
        whole, notes = regular_cases(path, cases, kept, faults, step)  # type: ignore[arg-type]
    else:
        if header.says("timestamps"):
            findings.append(_lie(path, "@timeStamps true", "the cases have none"))
        whole, notes = _equal_cases(path, cases)  # type: ignore[arg-type]
    for number, each in zip(kept, whole, strict=True):
        if each is not None and (fault := infinite(each)) is not None:
            faults.add(number, fault)
    good = [place for place, number in enumerate(kept) if number not in faults.numbers]
    findings += notes + faults.settle("Values are numbers or ?, separated by commas.", skip=skip_damaged)
    found = [each for place in good if (each := whole[place]) is not None]
    if not found:
        raise DataError(f"{path} has no case behind @data. It is truncated; get it again.")
    findings += _check_header(path, header, found, stamped=bool(stamped))
    return SeriesFile(
        path=path,
        cases=tuple(found),
        targets=tuple(targets[place] for place in good),
        numeric=numeric,
        class_words=class_words,
        findings=tuple(findings),
        digest=digest_of(text.content),
        step=step if stamped else None,
        lines=tuple(kept[place] for place in good),
    )


def _read_header(path: Path, numbered: list[tuple[int, str]]) -> tuple[_Header, Iterator[tuple[int, str]]]:
    """The header, and the lines behind `@data`."""
    words: dict[str, list[str]] = {}
    findings: list[Finding] = []
    lines = iter(numbered)
    for number, line in lines:
        if not line.startswith("@"):
            raise DataError(f"{path}, line {number}: expected a header line that begins with @, or @data.")
        key, *_ = line[1:].split(None, 1) or [""]
        key = key.lower()
        if key == "data":
            return _Header(words, findings), lines
        if not key:
            raise DataError(f"{path}, line {number}: an @ without a key, such as @classLabel or @data.")
        values = ["".join(parts) for parts in WORDS.findall(line[1 + len(key) :])]
        size = key in ("dimension", "dimensions", "serieslength")
        if size and not (values and values[0].isascii() and values[0].isdecimal() and len(values[0]) <= MOST_DIGITS):
            seen = " ".join(values)[:40] or "nothing"
            findings.append(
                Finding("doubtful", "header", f"{path.name}, line {number}: @{key} is {seen}, no number; passed over.")
            )
        words[key] = values
    raise DataError(f"{path} has no line @data: no .ts file, or truncated.")


def _targets(path: Path, header: _Header) -> tuple[bool, bool | None]:
    """Whether cases have targets, and whether these are numbers (True), classes that the header names (False), or
    classes that only the cases name (None)."""
    classes, numbers = header.says("classlabel"), header.says("targetlabel")
    if classes and numbers:
        raise DataError(
            f"{path}: its header says both @classLabel true and @targetLabel true. Leave one: classes, or numbers."
        )
    if numbers:
        return True, True
    if classes:
        return True, False if len(header.words["classlabel"]) > 1 else None
    if classes is None and numbers is None:
        raise DataError(
            f"{path} has no classes: its header needs a line such as '@classLabel true 1 2', or '@targetLabel true' "
            "for numbers."
        )
    return False, None


def _split_case(
    line: str, labelled: bool, class_words: Sequence[str], several: bool
) -> tuple[list[str], tuple[str, ...] | None]:
    """The channels and the target of a line. Raises ValueError where it has no target."""
    parts = [part.strip() for part in (OUTSIDE.split(line) if "(" in line else line.split(":"))]
    if not labelled:
        return parts, None
    if len(parts) > 2 and not parts[-1] and parts[-2].strip("\"'") in class_words:
        parts.pop()  # a colon behind the label
    if len(parts) < 2:
        raise ValueError("no label behind a colon; the line may be cut off")
    label = parts.pop()
    words = tuple(word.strip().strip("\"'") for word in (label.split(",") if several else [label]))
    return parts, None if all(word.lower() in MISSING for word in words) else words


def _plain_case(channels: Sequence[str]) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    case = []
    for channel in channels:
        words = channel.replace("?", "nan").split(",") if channel else []
        if len(words) > 1 and not words[-1].strip():
            words.pop()  # a comma behind the last value
        if not all(words):
            raise ValueError("an empty value between commas; write ? for one that is missing")
        case.append(as_numbers(words))
    if not any(len(channel) for channel in case):
        raise ValueError("a case without values")
    return case


def _stamped_case(channels: Sequence[str]) -> list[Stamped]:
    case = []
    for channel in channels:
        pairs = [pair.rpartition(",") for pair in STAMPED.findall(channel)]
        rest = STAMPED.sub("", channel).replace(",", "").strip()
        if rest or not all(comma for _, comma, _ in pairs):
            raise ValueError("values with time stamps are written (stamp,value),(stamp,value)")
        values = as_numbers([value.strip().replace("?", "nan") for _, _, value in pairs])
        case.append((parse_stamps([stamp.strip() for stamp, _, _ in pairs]), values))
    if not any(len(times) for times, _ in case):
        raise ValueError("a case without values")
    return ordered_case(case)


def _equal_cases(
    path: Path, cases: Sequence[list[np.ndarray[tuple[int], np.dtype[np.float64]]]]
) -> tuple[list[Series | None], list[Finding]]:
    whole: list[Series | None] = []
    resampled = 0
    for case in cases:
        series, changed = equal_channels(case)
        whole.append(series)
        resampled += changed
    if not resampled:
        return whole, []
    return whole, [
        Finding(
            "note",
            "resampled",
            f"{path.name}: {counted(resampled)} with channels of different lengths; the shorter ones were resampled "
            "to the longest of their case, by straight lines between values.",
        )
    ]


def _lie(path: Path, said: str, seen: str) -> Finding:
    return Finding("doubtful", "header", f"{path.name}: the header says {said}, but {seen}.")


def _check_header(path: Path, header: _Header, cases: Sequence[Series], *, stamped: bool) -> list[Finding]:
    """Raise where cases have other sizes than the header says; tell what else it says that is not so."""
    channels, longest = len(cases[0]), max(case.shape[1] for case in cases)
    equal = header.says("equallength") is not False
    dimensions, length = header.size("dimensions", "dimension"), header.size("serieslength")
    for said, seen in ((dimensions, channels), (length if equal and not stamped else None, longest)):
        if said is not None and said[1] != seen:
            raise DataError(
                f"{path}: the header says @{said[0]} {said[1]}, but the cases have {seen}. Get the file again."
            )
    shortest = min(case.shape[1] for case in cases)
    if equal and not stamped and shortest < longest:
        raise DataError(
            f"{path}: cases of {shortest} to {longest} steps, but the header does not say @equalLength false. A line "
            "may be cut off."
        )
    findings = []
    if header.says("univariate") is True and channels > 1:
        findings.append(_lie(path, "@univariate true", f"the cases have {channels} channels"))
    gaps = [str(number) for number, case in enumerate(cases, 1) if np.isnan(case).any()]
    if header.says("missing") is False and gaps:
        findings.append(_lie(path, "@missing false", f"values are missing, in the cases {some(gaps)}"))
    return findings
