"""Columns of a table as targets: classes, several labels, or numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.readers.file_tree import alike, natural
from archscout.tasks.readers.split_names import words_of
from archscout.tasks.spec import TaskKind

__all__ = ["TableTargets", "UnclearTargetError", "choose_targets", "read_columns"]

MISSING_NUMBER = ("", "nan", "na", "n/a", "null", "none", "?", "-", "#n/a")
MISSING_TEXT = ("", "nan")
TRUTHS = {"true": "1", "false": "0", "yes": "1", "no": "0"}
FEW_VALUES = 20  # whole numbers of so many values are classes
TARGET_WORDS = frozenset(
    ("label", "labels", "class", "classes", "target", "targets", "category", "categories", "tag", "tags")
)
TIME_WORDS = frozenset(("time", "timestamp", "timestamps", "date", "datetime"))
MOST_LABELS = 10_000


class UnclearTargetError(DataError):
    """Several columns may be the target.

    Attributes:
        columns: their names, the likeliest first.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(f"which column is the target? Name it with --target; there are {', '.join(columns)}.")
        self.columns = tuple(columns)


@dataclass(frozen=True)
class TableTargets:
    """Targets of rows.

    Attributes:
        values: `(rows,)` int64, `(rows, K)` uint8 or `(rows, K)` float32.
        known: `(rows,)` whether the row has its targets.
        names: of classes or labels.
    """

    kind: TaskKind
    values: Tensor
    known: Tensor
    names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def is_time(name: str) -> bool:
    """Whether a column's name says that it holds times."""
    return bool(TIME_WORDS & set(words_of(name)))


def choose_targets(columns: Mapping[str, Sequence[str]], kind: str) -> tuple[list[str], list[Finding]]:
    """Which columns are the targets, where the user has not said it.

    One that is alone, or alone called label or the like; all where all are 0 and 1, or all are numbers with fractions.

    Raises:
        UnclearTargetError: it is not clear.
        DataError: there is none.
    """
    rest = [
        name
        for name, values in columns.items()
        if not is_time(name) and not _is_row_number(name, values) and any(value for value in values)
    ]
    rest = rest or [name for name, values in columns.items() if any(values)]
    called = [name for name in rest if set(words_of(name)) <= TARGET_WORDS and words_of(name)]
    chosen: list[str] = []
    if len(rest) == 1:
        chosen = rest
    elif len(called) == 1:
        chosen = called
    elif all(_is_binary(columns[name]) for name in rest):
        chosen = rest if kind != "regression" else []
    elif all(_is_measure(columns[name]) for name in rest):
        chosen = rest if kind in ("auto", "regression") else []
    if not rest:
        raise DataError("no column is left for a target.")
    if not chosen:
        raise UnclearTargetError([*called, *(name for name in rest if name not in called)])
    unused = [name for name in columns if name not in chosen]
    said = f"the target is {', '.join(chosen)}" if len(chosen) < 5 else f"the targets are {len(chosen)} columns"
    more = f"; not used: {some(unused, 8)}" if unused else ""
    return chosen, [Finding("note", "targets", f"{said}{more}. For others say --target COLUMN.", tuple(unused))]


def _is_row_number(name: str, values: Sequence[str]) -> bool:
    """The index that pandas writes."""
    unnamed = name.startswith("column ") or name.lower().startswith("unnamed") or name.lower() == "index"
    return unnamed and all(value.isdecimal() for value in values) and len(set(values)) == len(values)


def _is_binary(values: Sequence[str]) -> bool:
    return {TRUTHS.get(value.lower(), value).removesuffix(".0") for value in values if value} <= {"0", "1"}


def _numbers(values: Sequence[str], *, comma: bool = False) -> list[float] | None:
    """As floats, NaN where missing; None where a value is no number, or none is."""
    found = []
    for value in values:
        text = value.replace(",", ".") if comma else value
        if value.lower() in MISSING_NUMBER:
            found.append(math.nan)
            continue
        try:
            found.append(float(text))
        except ValueError:
            return None
        if "_" in text:
            return None
    return found if any(not math.isnan(number) for number in found) else None


def _is_measure(values: Sequence[str]) -> bool:
    numbers = _numbers(values) or _numbers(values, comma=True)
    return numbers is not None and any(number % 1 for number in numbers if math.isfinite(number))


def read_columns(columns: Mapping[str, Sequence[str]], kind: str) -> TableTargets:
    """Targets of the named columns.

    Args:
        columns: the chosen ones, in order.
        kind: as in `TaskOptions`; "auto" is decided by the values: text, and whole numbers of at most 20 values, are
            classes; other numbers are numbers; several columns of 0 and 1 are labels, or classes where every row has
            one 1; text with separators is several labels.

    Raises:
        DataError: values that are not allowed, or that may be meant in two ways; the message asks.
    """
    if kind == "dense":
        raise DataError("a table has no masks; --kind dense needs a folder of images and one of masks.")
    if len(columns) == 1:
        ((name, values),) = columns.items()
        return _read_one(name, values, kind)
    if kind in ("auto", "multilabel", "classification") and all(_is_binary(values) for values in columns.values()):
        return _read_binary(columns, kind)
    if kind in ("auto", "regression"):
        parts = [_read_numbers(name, values) for name, values in columns.items()]
        wrong = [name for name, part in zip(columns, parts, strict=True) if part is None]
        if wrong and kind == "regression":
            raise DataError(_no_numbers(wrong[0], columns[wrong[0]]))
        if not wrong:
            return _together([part for part in parts if part is not None])
    raise DataError(
        f"the targets {some(list(columns), 5)} cannot be learnt together: several columns are either all 0 and 1 "
        "(several labels) or all numbers (regression). Name one with --target."
    )


def _together(parts: Sequence[TableTargets]) -> TableTargets:
    return TableTargets(
        "regression",
        torch.cat([part.values for part in parts], 1),
        torch.stack([part.known for part in parts]).all(0),
        findings=tuple(finding for part in parts for finding in part.findings),
    )


def _read_binary(columns: Mapping[str, Sequence[str]], kind: str) -> TableTargets:
    rows = list(zip(*columns.values(), strict=True))
    known = torch.tensor([all(value for value in row) for row in rows])
    values = torch.tensor(
        [[TRUTHS.get(value.lower(), value or "0").removesuffix(".0") == "1" for value in row] for row in rows],
        dtype=torch.uint8,
    ).view(len(rows), len(columns))
    names = tuple(alike(name) for name in columns)
    one_each = bool((values[known].sum(1) == 1).all())
    if kind == "classification" and not one_each:
        many = int((values[known].sum(1) != 1).nonzero()[0])
        raise DataError(f"row {many + 1} has {int(values[known][many].sum())} labels; a classification has one each.")
    if kind == "multilabel" or not one_each:
        return TableTargets("multilabel", values, known, names)
    message = (
        f"every row has a 1 in one of {len(names)} columns: they are the classes. For labels that may come together "
        "say --kind multilabel."
    )
    return TableTargets("classification", values.argmax(1), known, names, (Finding("note", "targets", message),))


def _read_one(name: str, values: Sequence[str], kind: str) -> TableTargets:
    numbers = _read_numbers(name, values)
    if kind == "regression":
        if numbers is None:
            raise DataError(_no_numbers(name, values))
        return numbers
    if kind == "multilabel":
        return _read_labels(values, _sign(values) or " ")
    if kind == "auto" and numbers is not None:
        real = numbers.values[numbers.known].view(-1)
        distinct = len(torch.unique(real))
        if bool((real % 1 != 0).any()):
            return numbers
        if distinct > FEW_VALUES:
            if len(real) < 2 * distinct:
                message = f"{name} has {distinct} different whole numbers: they are numbers. For classes say --kind"
                return replace(numbers, findings=(Finding("note", "targets", f"{message} classification."),))
            raise DataError(
                f"the target {name} has {distinct} different whole numbers, which may be classes or numbers. Say "
                "--kind classification or --kind regression."
            )
    separator = _separator(values) if kind == "auto" and numbers is None else ""
    if separator:
        return _read_labels(values, separator)
    return _read_classes(name, values, numbers, kind)


def _no_numbers(name: str, values: Sequence[str]) -> str:
    bad = next((value for value in values if _numbers([value]) is None and value.lower() not in MISSING_NUMBER), "")
    return f"the target {name} has values that are no numbers, for example '{bad[:40]}'; a regression needs numbers."


def _read_numbers(name: str, values: Sequence[str]) -> TableTargets | None:
    found, findings = _numbers(values), ()
    if found is None:
        found = _numbers(values, comma=True)
        if found is None:
            return None
        findings = (Finding("note", "targets", f"commas in {name} were read as decimal points."),)  # type: ignore[assignment]
    array = np.array(found, np.float64)
    infinite = np.flatnonzero(np.isinf(array) | (np.abs(array) > np.finfo(np.float32).max))
    if len(infinite):
        raise DataError(f"the target {name} is {found[infinite[0]]} in row {infinite[0] + 1}; give finite numbers.")
    return TableTargets(
        "regression",
        torch.from_numpy(np.nan_to_num(array).astype(np.float32)[:, None]),
        torch.from_numpy(~np.isnan(array)),
        findings=findings,
    )


def _read_classes(name: str, values: Sequence[str], numbers: TableTargets | None, kind: str) -> TableTargets:
    findings: list[Finding] = []
    if numbers is not None:  # 1, 1.0 and 01 are one class
        missing = MISSING_NUMBER
        texts = ["" if value.lower() in missing else f"{float(value.replace(',', '.')):.15g}" for value in values]
    else:
        texts = ["" if value.lower() in MISSING_TEXT else alike(value) for value in values]
    names = sorted({text for text in texts if text}, key=_class_order)
    given = sum(1 for text in texts if text)
    if numbers is None and len(names) == given and given > 2:
        raise DataError(
            f"the target {name} has another text in every row, for example '{names[0][:60]}'. Texts to images "
            "(captions) are not served; name the column of classes with --target."
        )
    folded: dict[str, list[str]] = {}
    for text in names:
        folded.setdefault(text.casefold(), []).append(text)
    alike_names = [" and ".join(group) for group in folded.values() if len(group) > 1]
    if alike_names:
        findings.append(
            Finding(
                "doubtful",
                "names",
                f"classes of {name} that differ in capitals only: {some(alike_names)}. If they are one class, write "
                "them in one way.",
                tuple(alike_names),
            )
        )
    if numbers is not None and kind == "auto":
        message = f"{name} has {len(names)} different whole numbers: they are classes. Else say --kind regression."
        findings.append(Finding("note", "targets", message))
    number = {text: label for label, text in enumerate(names)}
    return TableTargets(
        "classification",
        torch.tensor([number.get(text, 0) for text in texts], dtype=torch.int64),
        torch.tensor([bool(text) for text in texts]),
        tuple(names),
        tuple(findings),
    )


def _class_order(text: str) -> tuple[bool, float, tuple[tuple[tuple[int, int, str], ...], str]]:
    try:
        return False, float(text), natural(text)
    except ValueError:
        return True, 0.0, natural(text)


def _separator(values: Sequence[str]) -> str:
    """What separates labels in one field: a sign that some have; blanks where words come in many mixtures.

    Raises:
        DataError: words with blanks between may be labels or names of several words.
    """
    sign = _sign(values)
    if sign:
        return sign
    filled = [value for value in values if value]
    several = [value for value in filled if " " in value]
    words = {part for value in filled for part in value.split()}
    if several and len(words) < len(set(filled)):
        raise DataError(
            f"the labels are texts such as '{several[0][:60]}', of {len(words)} different words in {len(set(filled))} "
            "mixtures. Say --kind multilabel if each word is a label, --kind classification if each text is a class."
        )
    return ""


def _sign(values: Sequence[str]) -> str:
    """The sign that separates labels in some values; "" where none does."""
    filled = {value for value in values if value}
    for sign in "|;":
        if any(sign in value for value in filled):
            return sign
    # A comma may belong to a name, as in "Paris, France": then there are more parts than names.
    with_comma = any("," in value for value in filled)
    return "," if with_comma and len({part for value in filled for part in _parts(value, ",")}) <= len(filled) else ""


def _parts(value: str, sign: str) -> list[str]:
    return [alike(part) for part in value.split(sign if sign != " " else None) if part.strip()]


def _read_labels(values: Sequence[str], separator: str) -> TableTargets:
    """Labels in one field. An empty field is a sample without labels."""
    rows = [_parts(re.sub(r"^[\[({]|[\])}]$", "", value).replace("'", ""), separator) for value in values]
    names = sorted({part for row in rows for part in row}, key=_class_order)
    if not 0 < len(names) <= MOST_LABELS:
        raise DataError(f"the target has {len(names):,} different labels; there must be 1 to {MOST_LABELS:,}.")
    number = {name: place for place, name in enumerate(names)}
    targets = torch.zeros(len(rows), len(names), dtype=torch.uint8)
    for place, row in enumerate(rows):
        targets[place, [number[part] for part in row]] = 1
    shown = {" ": "a blank"}.get(separator, f"'{separator}'")
    message = f"labels are separated by {shown}: {len(names)} labels, {targets.sum(1).max()} at most in a row."
    known = torch.tensor([value.lower() != "nan" for value in values])
    return TableTargets("multilabel", targets, known, tuple(names), (Finding("note", "targets", message),))


def merged(targets: TableTargets, rows: Sequence[Sequence[int]]) -> tuple[TableTargets, list[int]]:
    """One row for each of several that mean one file: labels are united, all else must agree.

    Returns:
        The targets, and the places of those that do not agree (their first row is kept).
    """
    first = torch.tensor([group[0] for group in rows])
    values, contradicting = targets.values[first].clone(), []
    for place, group in enumerate(rows):
        if len(group) > 1:
            own = targets.values[list(group)]
            if targets.kind == "multilabel":
                values[place] = own.amax(0)
            elif bool((own != own[:1]).any()):
                contradicting.append(place)
    return replace(targets, values=values, known=targets.known[first]), contradicting
