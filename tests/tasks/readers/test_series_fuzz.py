"""Generated files of every format: each is a task or one DataError, never a traceback, and right values come back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archscout.errors import ArchscoutError
from archscout.tasks import Task, load_task
from archscout.tasks.readers.series_files import Series, equal_channels

CPU = torch.device("cpu")
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

STRANGE = st.sampled_from(
    ("²", "\uff11", "1_0", "nan", "NaN", "?", "", " ", "inf", "-Infinity", "1e999", "9" * 4300, "0x10", "1,5", "é",
     "\x00", "'", '"', "{", "}", "(", ")", "(1,2)", ":", ";", "\\n", "\t", "%", "#", "@", "@data", "@attribute",
     "\u2028", "\ufeff")
)  # fmt: skip
NUMBER = st.floats(-1e6, 1e6, width=32).map(repr) | st.integers(-9, 9).map(str)
WORD = NUMBER | STRANGE | st.text(max_size=4)
TS_LINES = st.sampled_from(
    ("@problemName x", "@timeStamps true", "@TIMESTAMPS false", "@missing false", "@univariate true", "@dimensions 2",
     "@dimension", "@dimensions ²", "@equalLength false", "@seriesLength 3", "@classLabel true 1 2", "@classLabel true",
     "@classLabel false", "@targetLabel true", "@classLabel true 'a b' c", "@", "# c", "% c", "@data", "@DATA",
     "1,2,3:1", "1,2,3:2", "1,2,3:1,2,3:1", "(1,2),(2,3):1", "(2020-01-01,2),(2020-01-03,3):2", "1,2,3", "?,?:1", ":1")
)  # fmt: skip
ARFF_LINES = st.sampled_from(
    ("@relation x", "@attribute a numeric", "@attribute 'b c' real", "@attribute d {1,2}", "@attribute e relational",
     "@end e", "@attribute f string", "@attribute", "@attribute g", "@data", "1,2", "1,2,1", "'1,2\\n3,4',1", "{0 1}",
     "?,?,2", "'1,2", "% c")
)  # fmt: skip


def load(name: str, content: bytes, **options: Any) -> Task | None:
    """The task of a file, or None where it is refused with a message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            task = load_task(str(path), **options)
        except ArchscoutError as error:
            assert str(error)
            return None
        for part in ("train", "validation", "test"):
            split = task.split(part)
            for inputs, targets in split.source.batches([split.indices], CPU):
                assert torch.isfinite(task.prepare(inputs)).all() and torch.isfinite(targets.float()).all()
                assert len(inputs) == len(targets) == len(split) > 0
        return task


ENDS = st.sampled_from(("\n", "\r\n", "\r"))


@QUICK
@given(
    st.sampled_from(("x.ts", "x_TRAIN.tsv", "x_TRAIN", "x_TRAIN.txt", "x.csv", "x.arff", "train.csv", "x.txt")),
    st.lists(st.lists(WORD, max_size=6), max_size=8),
    st.sampled_from((",", "\t", ";", " ", ":")),
    ENDS,
    st.sampled_from(("utf-8", "utf-16", "utf-8-sig")),
)
def test_cells_of_all_kinds(name: str, cells: list[list[str]], separator: str, end: str, encoding: str) -> None:
    load(name, end.join(separator.join(row) for row in cells).encode(encoding, "surrogatepass"))


@QUICK
@given(st.sampled_from(("x.ts", "x.arff", "x.csv", "x_TRAIN", "x.txt")), st.binary(max_size=200))
def test_bytes_of_all_kinds(name: str, content: bytes) -> None:
    load(name, content)


TS = ["@problemName x", "@univariate false", "@classLabel true 1 2", "@data", *["1,2:3,4:1", "5,6:7,8:2"] * 6]
ARFF = ["@relation x", "@attribute a real", "@attribute b real", "@attribute d {1,2}", "@data", *["1,2,1", "3,4,2"] * 6]
EDITS = st.lists(st.tuples(st.sampled_from(("put", "replace", "drop", "cut", "word")), st.integers(0, 30)), max_size=4)


def edited(lines: list[str], edits: list[tuple[str, int]], new: list[str], end: str) -> bytes:
    """A right file, with some lines added, replaced, dropped, cut off or changed."""
    lines = list(lines)
    for number, (edit, place) in enumerate(edits):
        place %= max(1, len(lines))
        fresh = new[number % len(new)] if new else ""
        if edit == "put":
            lines.insert(place, fresh)
        elif lines and edit == "drop":
            del lines[place]
        elif lines:
            line = lines[place]
            lines[place] = {"replace": fresh, "cut": line[: len(line) // 2], "word": line.replace("1", fresh, 1)}[edit]
    return end.join(lines).encode("utf-8", "surrogatepass")


@QUICK
@given(EDITS, st.lists(TS_LINES | WORD, max_size=4), ENDS, st.booleans())
def test_ts_files_with_changes(edits: list[tuple[str, int]], new: list[str], end: str, skip: bool) -> None:
    load("x.ts", edited(TS, edits, new, end), skip_damaged=skip)


@QUICK
@given(EDITS, st.lists(ARFF_LINES | WORD, max_size=4), ENDS, st.booleans())
def test_arff_files_with_changes(edits: list[tuple[str, int]], new: list[str], end: str, skip: bool) -> None:
    load("x.arff", edited(ARFF, edits, new, end), skip_damaged=skip)


HEADERS = st.lists(
    st.sampled_from(("id", "time", "date", "label", "y", "x", "t0", "t1", "t2", "t10", "subject", "1", "", "class",
                     "note")),
    min_size=3,
    max_size=7,
    unique=True,
)  # fmt: skip
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "target": st.sampled_from(("label", "first", "last", "t0,t1", "2", "")),
        "groups": st.sampled_from(("column:subject", "column:id", "column", "x", "column:label")),
        "series_id": st.sampled_from(("id", "subject", "label", "nothing")),
        "kind": st.sampled_from(("classification", "regression", "multilabel", "dense")),
        "order": st.just("time"),
        "folds": st.just(2),
        "skip_damaged": st.just(True),
    },
)


CELLS: dict[str, Callable[[int], str]] = {
    "id": lambda row: f"s{row // 3}",
    "time": lambda row: str(row % 3),
    "date": lambda row: f"2024-01-0{1 + row % 3}",
    "label": lambda row: "ab"[row // 3 % 2],
    "class": lambda row: str(row // 3 % 2),
    "y": lambda row: f"{row // 3}.5",
    "subject": lambda row: f"p{row // 6}",
    "": str,
    "note": lambda row: ("good", "bad", "")[row % 3],
}


@QUICK
@given(
    HEADERS, st.integers(1, 40), st.sampled_from((",", ";", "\t")), st.integers(0, 10**6), st.integers(0, 3), OPTIONS
)
def test_tables_with_headers_and_options(
    header: list[str], count: int, separator: str, seed: int, strange: int, options: dict[str, Any]
) -> None:
    draw = Random(seed)
    header = [*header, *(name for name in ("t0", "t1", "t2", "t10") if name not in header)]

    def cell(name: str, row: int) -> str:
        return CELLS[name](row) if name in CELLS else f"{draw.random():.3f}"

    rows = [[cell(name, row) for name in header] for row in range(count)]
    for _ in range(strange):
        draw.choice(rows)[draw.randrange(len(header))] = draw.choice(("", "?", "x", "1e999", "7"))
    load("x.csv", "\n".join(separator.join(row) for row in [header, *rows]).encode(), **options)


CASE = st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(CASE, min_size=6, max_size=12), ENDS, st.sampled_from((".ts", ".csv", ".arff", ".tsv")))
def test_values_come_back_as_they_were_written(cases: list[list[float]], end: str, suffix: str) -> None:
    length = max(map(len, cases)) + 1
    whole = [[*case, *[float(len(case))] * (length - len(case))] for case in cases]
    labels = [number % 2 + 1 for number in range(len(cases))]
    values = [[repr(value) for value in case] for case in whole]
    if suffix == ".ts":
        lines = ["@classLabel true 1 2", "@data", *(f"{','.join(v)}:{y}" for v, y in zip(values, labels, strict=True))]
    elif suffix == ".csv":
        head = ",".join(f"t{step}" for step in range(length))
        lines = [f"{head},label", *(f"{','.join(v)},{y}" for v, y in zip(values, labels, strict=True))]
    elif suffix == ".arff":
        lines = [*(f"@attribute t{step} numeric" for step in range(length)), "@attribute y {1,2}", "@data"]
        lines += [f"{','.join(v)},{y}" for v, y in zip(values, labels, strict=True)]
    else:
        lines = ["\t".join([str(y), *v]) for v, y in zip(values, labels, strict=True)]
    task = load(f"x_TRAIN{suffix}", end.join(lines).encode())
    assert task is not None and task.class_names == ("1", "2")
    source = task.train.source
    inputs, targets = next(iter(source.batches([torch.arange(len(source))], CPU)))
    assert np.array_equal(inputs[:, 0].numpy(), np.array(whole, np.float32))
    assert [number + 1 for number in targets.tolist()] == labels


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([[1, 2, 3], [0, 4]], [[1, 2, 3], [0, 2, 4]]),
        ([[1, 2, 3], [7]], [[1, 2, 3], [7, 7, 7]]),
        ([[1, 2], []], [[1, 2], [np.nan, np.nan]]),
        ([[np.nan, 2, 4], [0, 1, 2, 3, 4]], [[2, 2, 2, 3, 4], [0, 1, 2, 3, 4]]),
    ],
)
def test_channels_are_stretched_to_the_longest(channels: list[list[float]], expected: list[list[float]]) -> None:
    series: Series = equal_channels([np.array(channel, np.float64) for channel in channels])[0]
    assert np.array_equal(series, np.array(expected, np.float32), equal_nan=True)
