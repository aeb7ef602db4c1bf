"""A class at every position: the values of masks as whole numbers from 0, the same for all splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from archscout.errors import DataError
from archscout.tasks.containers import Array
from archscout.tasks.findings import Finding, some
from archscout.tasks.labels import Encoded, whole
from archscout.tasks.metrics.classification import IGNORED

__all__ = ["are_masks", "class_of_channels", "encode_masks"]

MARKS = (255, -1)  # values that often mean "not labelled"
MANY = 64  # different values: more look like measurements
MOST_SHOWN = 6
TABLE = 2**16  # values
LARGEST = 2**31  # number of a class


def are_masks(parts: Mapping[str, Array]) -> bool:
    """Whether values at positions are classes: whole numbers, or floats that are only 0 and 1, or only 0 and 255."""
    if all(array.dtype.kind in "bui" for array in parts.values()):
        return True
    if not all(array.dtype.kind in "buif" for array in parts.values()):
        return False
    found = set[float]()
    for array in parts.values():
        low, high = array.min(), array.max()
        if low != 0 or high not in (1, 255):
            return False
        if not ((array == low) | (array == high)).all():
            return False
        found |= {float(low), float(high)}
    return len(found) == 2


def class_of_channels(array: Array) -> Array | None:
    """The class at each position of one-hot masks `(N, K, *positions)`; None where they are not one-hot."""
    if array.shape[1] < 2 or not ((array == 0) | (array == 1)).all():
        return None
    return array.argmax(1) if (array.sum(1) == 1).all() else None


def encode_masks(parts: Mapping[str, Array], class_names: Sequence[str] = (), ignore: int | None = None) -> Encoded:
    """Masks `(N, *positions)` of every split as int64 classes from 0, `IGNORED` where nothing is known.

    Values that are 0 to K - 1 stay; others are numbered by size, and become the names of the classes.

    Args:
        parts: name (for messages) to whole numbers; the train split first.
        class_names: in the order of the classes.
        ignore: a value that means "not known"; `IGNORED` itself: 255 and -1 are classes like others.

    Raises:
        DataError: a value that is in other splits alone, that class names lack, or whose meaning must be asked for.
    """
    found = {where: _values(array, where, ignore) for where, array in parts.items()}
    (where, train), *others = found.items()
    if not train:
        raise DataError(f"every position of {where} is ignored; masks need classes.")
    findings = []
    if class_names:
        number, note = _named(train, found, class_names, where)
    else:
        _ask(train, others, where, ignore)
        number = {value: place for place, value in enumerate(train)}
        note = None
    findings += [note] if note is not None else []
    for name, values in others:
        unknown = [value for value in values if value not in number]
        if unknown:
            known = f"{len(class_names)} class names are given" if class_names else f"{where} has {_range(train)}"
            raise DataError(
                f"{name} holds the value{'s' * (len(unknown) > 1)} {some([str(v) for v in unknown], MOST_SHOWN)}, "
                f"which is out of range: the classes at the positions must be those of {where}, and {known}. If it "
                f"marks positions without a label, say ignore={unknown[0]}."
            )
    plain = list(number) == list(range(len(number)))
    names = tuple(class_names) if class_names else () if plain else tuple(str(value) for value in number)
    if names and not class_names:
        pairs = ", ".join(f"{value} is class {place}" for value, place in list(number.items())[:MOST_SHOWN])
        findings.append(Finding("note", "encoded", f"the values of the masks are numbered as classes: {pairs}."))
    if len(number) > MANY and not class_names:
        findings.append(
            Finding(
                "doubtful",
                "masks",
                f"the masks hold {len(number)} different values, read as classes. If they are quantities, give them as "
                "floating-point numbers.",
            )
        )
    targets = {name: torch.from_numpy(_mapped(array, number, ignore)) for name, array in parts.items()}
    return Encoded(targets, names, tuple(findings))


def _values(array: Array, where: str, ignore: int | None) -> list[int]:
    """The different values of a mask, without those that are ignored."""
    if array.dtype.kind == "f" and not whole(array).all():
        place = np.argwhere(~whole(array))[0].tolist()
        raise DataError(f"{where}{place} is {array[tuple(place)]}; classes at positions are whole numbers.")
    distinct = _distinct(array)
    large = [value for value in distinct if abs(value) > LARGEST]
    if large:
        raise DataError(f"{where} holds {large[0]}, which is no class at a position; they count from 0.")
    return sorted(distinct - {IGNORED} - ({ignore} if ignore is not None else set()))


def _distinct(array: Array) -> set[int]:
    """The different values; counted where they are near to each other, which is much faster than to sort them."""
    low, high = int(array.min()), int(array.max())
    if high - low >= TABLE:
        return {int(value) for value in np.unique(array)}
    found = np.zeros(high - low + 1, bool)
    for one in array:
        found[one.astype(np.int64).ravel() - low] = True
    return {low + int(place) for place in np.flatnonzero(found)}


def _range(values: Sequence[int]) -> str:
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return some([str(value) for value in values], MOST_SHOWN)


def _ask(train: list[int], others: list[tuple[str, list[int]]], where: str, ignore: int | None) -> None:
    """Raise where a value beside 0 to K - 1 may mark what is not labelled."""
    if ignore is not None:
        return
    everywhere = set(train).union(*(values for _, values in others))
    for mark in MARKS:
        rest = sorted(everywhere - set(MARKS))
        if mark in everywhere and len(rest) > 1 and rest == list(range(len(rest))) and mark != len(rest):
            raise DataError(
                f"the masks of {where} hold {mark} beside {_range(rest)}. If {mark} marks positions without a "
                f"label, say ignore={mark}; if it is a class, say ignore={IGNORED}."
            )


def _named(
    train: list[int], found: Mapping[str, list[int]], class_names: Sequence[str], where: str
) -> tuple[dict[int, int], Finding | None]:
    classes = len(class_names)
    everywhere = sorted(set(train).union(*found.values()))
    if everywhere[0] >= 0 and everywhere[-1] < classes:
        return {place: place for place in range(classes)}, None
    if len(everywhere) != classes:
        raise DataError(
            f"the masks hold the {len(everywhere)} values {_range(everywhere)}, but {classes} class names are "
            f"given; give one for each value, or values from 0 to {classes - 1}."
        )
    pairs = ", ".join(f"{value} is {name}" for value, name in zip(everywhere, class_names, strict=True))
    note = Finding("note", "encoded", f"the values of the masks are given the class names in their order: {pairs}.")
    return {value: place for place, value in enumerate(everywhere)}, note


def _mapped(array: Array, number: Mapping[int, int], ignore: int | None) -> Array:
    known: dict[int, int] = {IGNORED: IGNORED, **number}
    if ignore is not None and ignore != IGNORED:
        known[ignore] = IGNORED
    same = all(value == place for value, place in known.items())
    integers = array.astype(np.int64)
    if same:
        return integers
    values = np.array(sorted(known), np.int64)
    codes = np.array([known[int(value)] for value in values], np.int64)
    return codes[np.searchsorted(values, integers)]
