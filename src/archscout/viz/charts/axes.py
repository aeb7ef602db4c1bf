"""Axes of charts: ranges, round ticks and their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Axis", "Format", "compact", "fit", "usable"]

Format = Literal["number", "percent"]

# Beyond this the differences of two values could overflow; such values are shown as gaps.
LARGEST = 1e150
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def usable(value: object, log: bool = False) -> bool:
    """Whether a value can be shown: a finite number, on a logarithmic axis a positive one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and abs(value) < LARGEST and (not log or value > 1e-150)


@dataclass(frozen=True)
class Axis:
    """A range of values with its ticks.

    Attributes:
        ticks: value and label.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def fraction(self, value: float) -> float:
        """Where a value stands between the ends, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _step(span: float, count: int) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that cuts the span into at most `count` parts."""
    magnitude = float(10.0 ** math.floor(math.log10(span / count)))
    return next(factor * magnitude for factor in (1, 2, 2.5, 5, 10, 20) if factor * magnitude * count >= span * 0.999)


def _plain(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return (text[1:] if float(text) == 0 and text.startswith("-") else text).replace("-", "\u2212")


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}".replace("-", "\u2212")


def compact(value: float, digits: int = 3) -> str:
    """A number in few characters: `0.0123`, `4.56`, `213k`, `3.72M`, `1e-6` (with a true minus)."""
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        return _scientific(value)
    for unit, suffix in _SUFFIXES:
        if size >= unit * (1 - 0.5 * 10.0**-digits):
            return _trim(value / unit, digits) + suffix
    return _trim(value, digits)


def _trim(value: float, digits: int) -> str:
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    small = -math.floor(math.log10(abs(value))) - 1 if 0 < abs(value) < 1 else 0
    text = _plain(value, max(digits - whole + small, 0))
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimals(step: float) -> int:
    """How many decimals tell multiples of the step apart."""
    for decimals in range(16):
        if abs(step * 10**decimals - round(step * 10**decimals)) < 1e-6 * step * 10**decimals:
            return decimals
    return 16


def _labels(values: list[float], step: float, style: Format) -> list[str]:
    """Labels with equally many decimals."""
    if style == "percent":
        return [_plain(100 * value, _decimals(100 * step)) + "\u00a0%" for value in values]
    largest = max(abs(value) for value in values)
    if largest >= 1e15 or largest < 1e-4:
        return [_scientific(value) if value else "0" for value in values]
    unit, suffix = next(((u, s) for u, s in _SUFFIXES if largest >= max(u, 1e4)), (1.0, ""))
    if _decimals(step / unit) > 3:
        unit, suffix = 1.0, ""
    decimals = _decimals(step / unit)
    return [_plain(value / unit, decimals) + (suffix if value else "") for value in values]


def _linear(low: float, high: float, count: int, style: Format, whole: bool, snap: bool) -> Axis:
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)) or span < 1e-140:
        pad = 0.5 if whole else abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = _step(high - low, count)
    if whole:
        step = max(1.0, float(round(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if snap:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        low, high = min(first * step, low), max(last * step, high)
    values = [number * step for number in range(first, last + 1)]
    labels = _labels(values, step, style) if values else []
    return Axis(low, high, tuple(zip(values, labels, strict=True)))


def _logarithmic(low: float, high: float, count: int) -> Axis:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    if last == first:
        last += 1
    every = max(1, math.ceil((last - first) / count))
    between = (1, 2, 5) if last - first <= 2 else (1,)
    values = [
        factor * 10.0**power
        for power in range(first, last + 1, every)
        for factor in between
        if factor == 1 or power < last
    ]
    return Axis(10.0**first, 10.0**last, tuple((value, compact(value)) for value in values), log=True)


def fit(
    values: Iterable[float],
    *,
    count: int = 5,
    log: bool = False,
    style: Format = "number",
    whole: bool = False,
    snap: bool = True,
) -> Axis:
    """The axis of some values.

    Args:
        values: those that are not usable are left out; none at all gives the range from 0 to 1.
        count: about how many intervals the ticks make.
        log: logarithmic.
        style: `percent` shows 0.5 as 50 %.
        whole: ticks only at whole numbers.
        snap: begin and end at ticks.
    """
    kept = [float(value) for value in values if usable(value, log)]
    if not kept:
        return _linear(0.0, 1.0, count, style, False, snap)
    low, high = min(kept), max(kept)
    return _logarithmic(low, high, count) if log else _linear(low, high, count, style, whole, snap)
