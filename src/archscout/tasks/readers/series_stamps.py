"""Series with time stamps: brought to equal steps of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from archscout.tasks.findings import Finding
from archscout.tasks.readers.series_files import CaseFaults, Series, as_numbers, equal_channels

__all__ = ["Stamped", "common_step", "ordered_case", "parse_stamps", "regular_cases"]

TOLERANCE = 1e-3  # of a step: smaller differences come from rounding
MOST_POINTS = 10  # times as many as were measured: more would be mostly made up

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Stamped = tuple[Numbers, Numbers]
"""A channel: times, and values at them."""


def parse_stamps(words: Sequence[str]) -> Numbers:
    """Times, as numbers in their own unit, or as dates (ISO 8601), which become seconds.

    Raises:
        ValueError: the first word that is neither.
    """
    try:
        numbers = as_numbers(words)
    except ValueError:
        pass
    else:
        if np.isfinite(numbers).all():
            return numbers
    return np.array([_seconds(word) for word in words], np.float64)


def _seconds(word: str) -> float:
    text = word.strip().strip("\"'").replace("/", "-")
    if len(text) == 7:  # a month, 1949-01
        text += "-01"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{word[:40]}' is no time; write numbers, or dates as 2024-01-31 12:00:00") from None
    # Without a zone a time is taken as it stands: no hour is lost or doubled between summer and winter.
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _ordered(channel: Stamped) -> Stamped:
    """The channel in the order of time. Raises ValueError where two values have one time."""
    times, values = channel
    if len(times) > 1 and not (np.diff(times) > 0).all():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        if not (np.diff(times) > 0).all():
            raise ValueError("two values of a channel have the same time stamp")
    return times, values


def common_step(cases: Sequence[Sequence[Stamped]]) -> float:
    """The step of time that is most usual: the median of all steps; 1 where there is none."""
    steps = [np.diff(times) for case in cases for times, _ in case if len(times) > 1]
    return float(np.median(np.concatenate(steps))) if steps else 1.0


def _is_regular(case: Sequence[Stamped], step: float) -> bool:
    """Whether all channels of a case have the same times, and these the given step."""
    first = case[0][0]
    same = all(
        len(times) == len(first) and np.allclose(times, first, atol=TOLERANCE * step, rtol=0) for times, _ in case
    )
    return same and bool((np.abs(np.diff(first) - step) <= TOLERANCE * step).all())


def _with_equal_steps(case: Sequence[Stamped], step: float) -> Series:
    """A case `(channels, length)` at equal steps, from its first to its last time, by straight lines between values.

    A channel that begins later or ends earlier than others keeps its first or last value there. Missing values are
    passed over.

    Raises:
        ValueError: the case would have over ten times as many points as were measured.
    """
    begin = min(float(times[0]) for times, _ in case if len(times))
    end = max(float(times[-1]) for times, _ in case if len(times))
    length = round((end - begin) / step) + 1
    most = MOST_POINTS * max(len(times) for times, _ in case)
    if length > most:
        raise ValueError(
            f"at the usual step of {step:g} it would have {length:,} points, more than ten times what was measured; "
            "cut it where nothing was measured"
        )
    grid = begin + step * np.arange(length)
    rows = []
    for times, values in case:
        known = ~np.isnan(values)
        rows.append(np.interp(grid, times[known], values[known]) if known.any() else np.full(length, np.nan))
    with np.errstate(over="ignore"):
        return np.stack(rows).astype(np.float32)


def ordered_case(case: Sequence[Stamped]) -> list[Stamped]:
    """All channels in the order of time. Raises ValueError where two values of one have one time."""
    return [_ordered(channel) for channel in case]


def regular_cases(
    path: Path, cases: Sequence[Sequence[Stamped]], numbers: Sequence[int], faults: CaseFaults, step: float
) -> tuple[list[Series | None], list[Finding]]:
    """All cases at equal steps of time, without their stamps, and what was done.

    Args:
        path: of the file, for messages.
        numbers: of the lines of the cases.
        faults: takes the cases that cannot be brought there; they are None in the result.
    """
    if all(_is_regular(case, step) for case in cases):
        note = Finding("note", "stamps", f"{path.name}: time stamps at equal steps of {step:g} were left out.")
        return [equal_channels([values for _, values in case])[0] for case in cases], [note]
    whole: list[Series | None] = []
    for number, case in zip(numbers, cases, strict=True):
        try:
            whole.append(_with_equal_steps(case, step))
        except ValueError as error:
            faults.add(number, f"{error}.")
            whole.append(None)
    message = (
        f"{path.name}: time stamps at unequal steps; the series were resampled to equal steps of {step:g} (the usual "
        "one), by straight lines between values."
    )
    return whole, [Finding("note", "stamps", message)]
