"""Class labels of any kind as whole numbers from 0, the same for all splits; what they were is kept as class names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.containers import Array, is_missing
from archscout.tasks.findings import Finding, some

__all__ = ["Encoded", "Values", "encode_classes", "index_in", "read_values", "whole"]

Label = int | str
MOST_SHOWN = 6


@dataclass(frozen=True)
class Encoded:
    """Targets as numbers, by the names that they were given under, the names of the classes, and what was noticed."""

    targets: dict[str, Tensor]
    class_names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Values:
    """The labels of a split.

    Attributes:
        distinct: each label once.
        places: for every sample, its place in `distinct`.
        is_bool: the labels were true and false.
        findings: what is wrong with single labels; those have the place 0.
    """

    distinct: list[Label]
    places: Array
    is_bool: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_text(self) -> bool:
        """Whether the labels are texts."""
        return any(isinstance(label, str) for label in self.distinct)

    def counts(self) -> Array:
        """How many samples have each of `distinct`."""
        return np.bincount(self.places.ravel(), minlength=len(self.distinct))

    def first(self, label: Label) -> int:
        """The first sample with a label."""
        return int(np.flatnonzero(self.places.ravel() == self.distinct.index(label))[0])


def whole(array: Array) -> Array:
    """Where an array of numbers holds whole ones."""
    if array.dtype.kind != "f":
        return np.ones(array.shape, bool)
    with np.errstate(invalid="ignore"):
        found: Array = np.isfinite(array) & (array == np.floor(array))
    return found


def read_values(array: Array, where: str) -> Values:
    """The labels of an array `(N,)` of numbers or texts; missing ones and fractions are findings.

    Raises:
        DataError: numbers beside texts.
    """
    findings: list[Finding] = []
    if array.dtype.kind in "OUS":
        return _of_objects(array, where)
    wrong = ~whole(array)
    if wrong.any():
        missing = np.isnan(array)
        if missing.any():
            findings.append(_missing(np.flatnonzero(missing), where))
        other = np.flatnonzero(wrong & ~missing)
        if len(other):
            findings.append(
                Finding(
                    "wrong",
                    "labels",
                    f"{where}[{other[0]}] is {array[other[0]]}, and {len(other)} labels in all are no whole "
                    "numbers; class labels are whole numbers or texts. To predict numbers, say kind=regression.",
                )
            )
        array = np.where(wrong, array[~wrong][0] if (~wrong).any() else 0, array)
    distinct, places = np.unique(array, return_inverse=True)
    return Values([int(value) for value in distinct], places, array.dtype.kind == "b", findings)


def _missing(positions: Array, where: str) -> Finding:
    names = tuple(f"{where}[{position}]" for position in positions)
    return Finding(
        "wrong",
        "missing",
        f"{len(names)} labels of {where} are missing (None, NaN or empty). Remove those samples, or give them a label:",
        names,
    )


def _of_objects(array: Array, where: str) -> Values:
    items = array.tolist()
    missing = np.array([is_missing(item) for item in items], bool)
    findings = [_missing(np.flatnonzero(missing), where)] if missing.any() else []
    known = [(index, item) for index, item in enumerate(items) if not missing[index]]
    texts = [index for index, item in known if isinstance(item, str | bytes)]
    if not texts:
        filler = known[0][1] if known else 0
        numbers = np.array([filler if gone else _number(item) for item, gone in zip(items, missing, strict=True)])
        if numbers.dtype.kind not in "buif":
            odd = next(index for index, item in known if not isinstance(item, bool | int | float) or abs(item) >= 2**63)
            raise DataError(f"{where}[{odd}] is {items[odd]!r}; labels are texts, or numbers of at most 64 bits.")
        values = read_values(numbers, where)
        return Values(values.distinct, values.places, values.is_bool, findings + values.findings)
    if len(texts) < len(known):
        other = next(index for index, item in known if not isinstance(item, str | bytes))
        raise DataError(
            f"{where} mixes texts and numbers: {where}[{texts[0]}] is {items[texts[0]]!r}, {where}[{other}] "
            f"{items[other]!r}. Give all labels as texts, or all as numbers."
        )
    plain = [known[0][1] if gone else item for item, gone in zip(items, missing, strict=True)]
    decoded = [item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else item for item in plain]
    order = sorted(set(decoded))
    number = {label: place for place, label in enumerate(order)}
    return Values(list(order), np.array([number[item] for item in decoded], np.int64), False, findings)


def _number(item: Any) -> Any:
    """Decimals and fractions as floats, others as they are."""
    return item if isinstance(item, int | float | complex | np.generic) else float(item)


def encode_classes(parts: Mapping[str, Array], class_names: Sequence[str] = ()) -> Encoded:
    """Labels `(N,)` of every split as int64 numbers from 0.

    Numbers that are 0 to K - 1 stay; other labels are numbered in their order, numbers by size, texts as texts are
    sorted. Where class names are given, texts are looked up in them, and numbers are their places.

    Args:
        parts: name (for messages) to labels, of any type of `containers.as_array`; the train split first.
        class_names: in the order of the classes.

    Returns:
        Encoded labels. Findings of the level "wrong" name labels that are missing, are no classes, or are in other
        splits alone.

    Raises:
        DataError: numbers and texts are mixed.
    """
    values = {where: read_values(array, where) for where, array in parts.items()}
    (where, train), *others = values.items()
    findings = [finding for each in values.values() for finding in each.findings]
    for name, other in others:
        if other.is_text != train.is_text:
            kinds = {True: "texts", False: "numbers"}
            raise DataError(
                f"{name} holds {kinds[other.is_text]}, but {where} {kinds[train.is_text]}; give both alike."
            )
    findings += _look_alikes(train)
    if class_names:
        number, note = index_in(class_names, values)
        names = tuple(class_names)
    else:
        number = {label: place for place, label in enumerate(sorted(train.distinct, key=_by_size))}
        plain = list(number) == list(range(len(number))) and not all(each.is_bool for each in values.values())
        names = () if plain else tuple(_name(label, train.is_bool) for label in number)
        note = None if plain else _note(names, where)
    findings += [note] if note is not None else []
    findings += _outside(values, number, class_names, where)
    findings += _marks(train, class_names)
    targets = {
        name: torch.from_numpy(np.array([number.get(label, 0) for label in each.distinct], np.int64)[each.places])
        for name, each in values.items()
    }
    return Encoded(targets, names, tuple(findings))


def _by_size(label: Label) -> tuple[int, str]:
    return (label, "") if isinstance(label, int) else (0, label)


def _name(label: Label, is_bool: bool) -> str:
    return str(bool(label)) if is_bool else str(label)


def _note(names: Sequence[str], where: str) -> Finding:
    return Finding(
        "note",
        "encoded",
        f"the labels of {where} are numbered as classes 0 to {len(names) - 1}, in the order {some(names, MOST_SHOWN)}; "
        "results name them as they were.",
    )


def index_in(class_names: Sequence[str], values: Mapping[str, Values]) -> tuple[dict[Label, int], Finding | None]:
    """The number of each label, where the classes have names, and what to say of it."""
    by_name: dict[Label, int] = {name: place for place, name in enumerate(class_names)}
    classes = len(class_names)
    (where, train), *_ = values.items()
    distinct = sorted({label for each in values.values() for label in each.distinct}, key=_by_size)
    if train.is_text:
        return by_name, None
    numbers = [label for label in distinct if isinstance(label, int)]
    if numbers[0] >= 0 and numbers[-1] < classes:
        return {place: place for place in range(classes)}, None
    if all(str(label) in by_name for label in numbers):
        return {label: by_name[str(label)] for label in numbers}, None
    if numbers[0] >= 1 and numbers[-1] == classes:
        shifted: dict[Label, int] = {place + 1: place for place in range(classes)}
        return shifted, _paired(where, 1, classes, class_names)
    if len(train.distinct) == classes:
        ordered = sorted(train.distinct, key=_by_size)
        pairs = ", ".join(
            f"{label} is {name}" for label, name in list(zip(ordered, class_names, strict=True))[:MOST_SHOWN]
        )
        note = Finding("note", "encoded", f"the labels of {where} are given the class names in their order: {pairs}.")
        return {label: place for place, label in enumerate(ordered)}, note
    return {place: place for place in range(classes)}, None


def _paired(where: str, low: int, high: int, class_names: Sequence[str]) -> Finding:
    return Finding(
        "note",
        "encoded",
        f"the labels of {where} count from {low} to {high}: {low} is {class_names[0]}, {high} is {class_names[-1]}.",
    )


def _outside(
    values: Mapping[str, Values], number: Mapping[Label, int], class_names: Sequence[str], train: str
) -> Iterator[Finding]:
    """Labels that are no class."""
    for where, each in values.items():
        counts = each.counts()
        unknown = [label for label, count in zip(each.distinct, counts, strict=True) if label not in number and count]
        if not unknown:
            continue
        first = min(unknown, key=each.first)
        samples = sum(int(counts[each.distinct.index(label)]) for label in unknown)
        if class_names:
            known = f"{len(class_names)} class names are given ({some(list(class_names), MOST_SHOWN)})"
        else:
            known = f"{train} has the classes {_told(list(number))}, and what is not in training cannot be learnt"
        more = ""
        if len(unknown) > 1 or samples > 1:
            named = some([repr(label) for label in unknown], MOST_SHOWN)
            more = f" In all {samples} samples of {where} have such labels: {named}."
        yield Finding(
            "wrong", "labels", f"{where}[{each.first(first)}] is {first!r}, which is out of range: {known}.{more}"
        )


def _told(labels: list[Label]) -> str:
    if labels == list(range(len(labels))):
        return f"0 to {len(labels) - 1}"
    return some([repr(label) for label in labels], MOST_SHOWN)


def _look_alikes(train: Values) -> Iterator[Finding]:
    """Texts that people would read as the same."""
    seen: dict[str, list[str]] = {}
    for label in train.distinct:
        if isinstance(label, str):
            seen.setdefault(" ".join(unicodedata.normalize("NFKC", label).casefold().split()), []).append(label)
    for alike in seen.values():
        if len(alike) > 1:
            named = " and ".join(repr(label) for label in alike)
            yield Finding(
                "doubtful",
                "look-alikes",
                f"the labels {named} are {len(alike)} classes, but look like one. If they are one, write them alike.",
            )


def _marks(train: Values, class_names: Sequence[str]) -> Iterator[Finding]:
    """A value beside the classes that often means "no label"."""
    numbers = [label for label in train.distinct if isinstance(label, int)]
    for mark in (-1, 255):
        rest = [label for label in numbers if label != mark]
        if class_names or mark not in numbers or len(rest) < 3 or rest[-1] - rest[0] != len(rest) - 1:
            continue
        if (mark == -1 and rest[0] == 0) or (mark == 255 and rest[0] in (0, 1) and rest[-1] < 254):
            yield Finding(
                "doubtful",
                "labels",
                f"the label {mark} stands beside {rest[0]} to {rest[-1]} and is read as a class of its own. If it "
                "marks samples without a label, remove those.",
            )
