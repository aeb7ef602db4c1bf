"""What the words behind series mean: classes, numbers to predict, several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import TaskOptions
from archscout.tasks.readers.series_files import SeriesFile, as_number, counted
from archscout.tasks.spec import TaskKind

__all__ = ["SeriesTargets", "series_targets"]

MOST_SURE_CLASSES = 20  # different whole numbers in a table; more may be quantities


@dataclass(frozen=True)
class SeriesTargets:
    """Targets of all files.

    Attributes:
        kind: what is learnt.
        samples: for each split, which of its cases have targets; splits without any are left out.
        values: for each of these splits, `(N,)` int64 classes, `(N, K)` float32 numbers or `(N, K)` uint8 labels.
        class_names: in the order of the classes or labels.
        findings: what is to be said of them; those that are wrong are to be raised.
    """

    kind: TaskKind
    samples: Mapping[str, tuple[int, ...]]
    values: Mapping[str, Tensor]
    class_names: tuple[str, ...]
    findings: tuple[Finding, ...]


Words = Mapping[str, Sequence[tuple[str, ...]]]


def series_targets(files: Mapping[str, SeriesFile], options: TaskOptions) -> SeriesTargets:
    """The targets of a training file and others.

    Classes are in the order of the header, else of their numbers or letters. Classes that never occur are left out.
    Cases without a target are set aside.

    Raises:
        DataError: there are no targets, or what they are cannot be told.
    """
    findings: list[Finding] = []
    samples: dict[str, tuple[int, ...]] = {}
    for part, file in files.items():
        known = tuple(place for place, words in enumerate(file.targets) if words is not None)
        if known:
            samples[part] = known
        if len(known) < len(file.targets):
            findings.append(_without_targets(file, known))
    train = files["train"]
    if "train" not in samples:
        raise DataError(
            f"{train.path}: no case has a target (there is none, or all are missing), so there is nothing to learn. "
            "Give a file with a class or a number for each series."
        )
    words: Words = {
        part: [target for place in places if (target := files[part].targets[place]) is not None]
        for part, places in samples.items()
    }
    widths = {len(target) for each in words.values() for target in each}
    if len(widths) > 1:
        low, high = min(widths), max(widths)
        raise DataError(f"{train.path}: cases have {low} to {high} targets; each needs as many as the others.")
    kind = _kind(train, words, options, findings)
    if kind == "regression":
        values = _numbers(files, samples, words)
        return SeriesTargets(kind, samples, values, (), tuple(findings))
    if kind == "multilabel":
        values = {part: each.to(torch.uint8) for part, each in _numbers(files, samples, words).items()}
        return SeriesTargets(kind, samples, values, train.target_names, tuple(findings))
    if widths == {1}:
        plain = {part: [target[0] for target in each] for part, each in words.items()}
        names = _class_names(files, plain)
    else:  # one-hot
        names = train.target_names or tuple(str(number) for number in range(next(iter(widths))))
        plain = {part: [names[_hot(target)] for target in each] for part, each in words.items()}
    classes, names = _classes(files, plain, names, findings)
    return SeriesTargets(kind, samples, classes, names, tuple(findings))


def _without_targets(file: SeriesFile, known: Sequence[int]) -> Finding:
    count = len(file.targets) - len(known)
    if not known:
        message = f"{file.path.name}: none of its cases has a target ({counted(count)}); they are in no split."
        return Finding("doubtful", "unlabelled", message)
    missing = sorted(set(range(len(file.targets))) - set(known))
    names = tuple(f"case {place + 1}" if file.names is None else file.names[place] for place in missing)
    message = f"{file.path.name}: {counted(count)} without a target, in no split: {some(names)}."
    return Finding("doubtful", "unlabelled", message, names)


def _kind(train: SeriesFile, words: Words, options: TaskOptions, findings: list[Finding]) -> TaskKind:
    """What the targets are, as asked for, as the file says, or as they look."""
    width = len(words["train"][0])
    every = [target for each in words.values() for target in each]
    numeric = all(as_number(word) is not None for target in every for word in target)
    binary = width > 1 and numeric and {float(word) for target in every for word in target} <= {0.0, 1.0}
    hot = binary and all(sum(float(word) for word in target) == 1 for target in every)
    asked = options.kind
    if asked == "dense":
        raise DataError(
            f"{train.path}: a file of series has targets for whole series; a value at every step (dense) is read from "
            "arrays, see Task.from_arrays."
        )
    if asked == "multilabel" and not binary:
        raise DataError(f"{train.path}: several labels at once are columns of 0 and 1; name them with --target.")
    if asked == "classification" and width > 1 and not hot:
        raise DataError(f"{train.path}: {width} targets for each series are no class; name one with --target.")
    if asked != "auto":
        return asked
    if train.numeric is not None:
        return "regression" if train.numeric else "classification"
    if width > 1:
        if not numeric:
            raise DataError(
                f"{train.path}: the targets {', '.join(train.target_names)} are text; of several targets each is a "
                "number. Name one with --target."
            )
        if hot:
            return "classification"
        return "multilabel" if binary else "regression"
    return _kind_of_one(train, [target[0] for target in every], numeric, findings)


def _kind_of_one(train: SeriesFile, words: Sequence[str], numeric: bool, findings: list[Finding]) -> TaskKind:
    if not numeric:
        return "classification"
    different = sorted({float(word) for word in words})
    if not all(number == round(number) for number in different if np.isfinite(number)):
        return "regression"
    counted = different in (list(range(len(different))), list(range(1, len(different) + 1)))
    twice = len(words) >= 2 * len(different)
    if train.target_names and len(different) > MOST_SURE_CLASSES and not (counted and twice):
        if not twice:
            message = (
                f"{train.path.name}: the target '{train.target_names[0]}' has {len(different)} different whole "
                "numbers, most of them once; they were read as numbers."
            )
            findings.append(Finding("note", "target", message))
            return "regression"
        raise DataError(
            f"{train.path}: the target '{train.target_names[0]}' has {len(different)} different whole numbers, "
            f"{different[0]:g} to {different[-1]:g}. Say what they are: --kind regression for numbers, --kind "
            "classification for classes."
        )
    if train.target_names:
        message = (
            f"{train.path.name}: the target '{train.target_names[0]}' was read as {len(different)} classes; if it is a "
            "quantity: --kind regression."
        )
        findings.append(Finding("note", "target", message))
    return "classification"


def _numbers(files: Mapping[str, SeriesFile], samples: Mapping[str, Sequence[int]], words: Words) -> dict[str, Tensor]:
    """Targets as float32 `(N, K)`. Raises DataError with all that are no finite numbers."""
    values, faults = {}, []
    for part, each in words.items():
        rows = []
        for place, target in zip(samples[part], each, strict=True):
            numbers = [as_number(word) for word in target]
            known = [number for number in numbers if number is not None and abs(number) <= np.finfo(np.float32).max]
            if len(known) < len(target):
                faults.append(f"{files[part].name_of(place)}: the target is {', '.join(target)[:40]}")
            rows.append(known)
        if not faults:
            values[part] = torch.tensor(rows, dtype=torch.float64).to(torch.float32)
    if faults:
        more = f"\n  and {len(faults) - 20:,} more" if len(faults) > 20 else ""
        raise DataError(
            f"{len(faults):,} targets are no finite numbers. Repair them, or predict classes: --kind classification."
            "\n  " + "\n  ".join(faults[:20]) + more
        )
    return values


def _canonical(word: str) -> str:
    """One way to write a class: 1, 1.0 and 1.0000e+00 are one class."""
    number = as_number(word)
    if number is None or not np.isfinite(number):
        return word
    return str(int(number)) if number == int(number) else repr(number)


def _class_names(files: Mapping[str, SeriesFile], words: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The classes in the order of the training file's header, else of their numbers or letters."""
    seen = {word for each in words.values() for word in each}
    said = files["train"].class_words
    if said:
        return _said_classes(said, seen)
    canonical = {_canonical(word) for word in seen}
    numbers = {word: as_number(word) for word in canonical}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(canonical, key=lambda word: float(numbers[word] or 0)))
    return tuple(sorted(canonical))


def _said_classes(said: Sequence[str], seen: set[str]) -> tuple[str, ...]:
    """The classes that a header names: words, or, where cases have labels of several words, these.

    A header does not mark where one class ends whose name has blanks; the labels of the cases show it.
    """
    strange = seen - set(said)
    if len(said) == 1 and "," in said[0] and strange:
        return tuple(word.strip() for word in said[0].split(",") if word.strip())
    long = sorted((label.split() for label in strange if " " in label), key=len, reverse=True)
    names: list[str] = []
    place = 0
    while place < len(said):
        fits = next((label for label in long if list(said[place : place + len(label)]) == label), None)
        names.append(" ".join(fits) if fits else said[place])
        place += len(fits) if fits else 1
    return tuple(names)


def _hot(target: Sequence[str]) -> int:
    return next(place for place, word in enumerate(target) if float(word) == 1)


def _classes(
    files: Mapping[str, SeriesFile],
    words: Mapping[str, Sequence[str]],
    names: tuple[str, ...],
    findings: list[Finding],
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The class of each case, and the classes that occur in training."""
    train = files["train"]
    exact = {name: name for name in names}
    alike = {_canonical(name): name for name in names}
    found = {
        part: [exact.get(word) or alike.get(_canonical(word)) or " ".join(word.split()) for word in each]
        for part, each in words.items()
    }
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        findings.append(
            Finding("wrong", "classes", f"{train.path}: its header names a class twice: {', '.join(twice)}.")
        )
        return {}, names
    present = set(found["train"])
    for part, each in found.items():
        strange = sorted(set(each) - set(names))
        if strange:
            allowed = ", ".join(names[:50])
            findings.append(
                Finding(
                    "wrong",
                    "classes",
                    f"{files[part].path}: labels that the header does not name; it allows {allowed}. Seen:",
                    tuple(
                        f"'{label[:60]}', {counted(each.count(label))}, the first is case {each.index(label) + 1}"
                        for label in strange
                    ),
                )
            )
        only = [name for name in names if name in set(each) - present]
        if only:
            findings.append(
                Finding(
                    "wrong",
                    "classes",
                    f"{files[part].path.name} has the classes {', '.join(only)}, of which {train.path.name} has no "
                    "case: no network can learn them. Move cases to the training file, or leave them out.",
                )
            )
    kept = tuple(name for name in names if name in present)
    everywhere = {name for each in found.values() for name in each}
    unused = [name for name in names if name not in everywhere]
    if unused:
        message = (
            f"{train.path.name}: its header names classes of which no case is there; left out: {', '.join(unused)}."
        )
        findings.append(Finding("doubtful", "classes", message, tuple(unused)))
    for part, each in found.items():
        lacking = [name for name in kept if name not in set(each)]
        if part != "train" and lacking:
            message = (
                f"{files[part].path.name} has no case of the classes {', '.join(lacking)}; they are not judged there."
            )
            findings.append(Finding("doubtful", "classes", message, tuple(lacking)))
    if len(kept) == 1:
        message = f"{train.path}: all cases are of one class, {kept[0]}; there is nothing to tell apart."
        findings.append(Finding("wrong", "classes", message))
    if any(finding.level == "wrong" for finding in findings):
        return {}, kept
    numbers = {name: number for number, name in enumerate(kept)}
    return {part: torch.tensor([numbers[name] for name in each]) for part, each in found.items()}, kept
