"""Reading a table from what people have: CSV, DSM-NAS's JSON, or the official archives."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from archscout.errors import ArchitectureError, DataError
from archscout.spaces.nasbench201.archive import read_archive
from archscout.spaces.nasbench201.cell import NasBench201Cell, official_index
from archscout.spaces.nasbench201.table import Column, Table

__all__ = ["import_table"]

CELL_COLUMNS = ("arch", "index")
# The names of data sets and fields in DSM-NAS's JSON (docs/nasbench201.md#dsm-nass-table), and their columns here.
JSON_DATASETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet": "imagenet16_120"}
JSON_FIELDS = {"val_acc": "val_acc_12ep", "test_acc": "test_acc_200ep", "time": "seconds_12ep"}

Records = Iterable[tuple[str, NasBench201Cell, Mapping[str, float]]]
"""Where it stands, the cell, and its values by column."""


def import_table(source: Path) -> Table:
    """The table in a `.csv` or `.json` (also with `.gz`), a folder of NATS-Bench, or a `.pth` of NAS-Bench-201.

    Raises:
        DataError: the file cannot be read, a cell is missing or stands twice, a column or a value is wrong.
    """
    suffixes = [suffix for suffix in source.suffixes if suffix != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    readers: dict[str, Callable[[Path], Records]] = {".csv": _read_csv, ".json": _read_json}
    if source.is_dir() or kind == ".pth":
        records: Records = read_archive(source)
    elif kind in readers:
        records = readers[kind](source)
    else:
        raise DataError(
            f"{source} is no source of a table. Give a .csv or .json (also .gz), a folder of NATS-Bench "
            "(NNNNNN.pickle.pbz2), or a NAS-Bench-201 .pth."
        )
    found: dict[NasBench201Cell, dict[str, float]] = {}
    try:
        for where, cell, values in records:
            if cell in found:
                raise DataError(f"{where}: the cell {cell.text} stands twice.")
            found[cell] = dict(values)
        return Table.from_records(found)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _text(path: Path) -> str:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}.") from None


def _read_csv(path: Path) -> Iterator[tuple[str, NasBench201Cell, Mapping[str, float]]]:
    """A line for each cell: its arch string, perhaps its official index, and columns named as in the table."""
    reader = csv.reader(_text(path).splitlines())
    header = next(reader, [])
    if "arch" not in header:
        raise DataError(f"the first line must name the column 'arch'; it has: {', '.join(header)[:200] or 'nothing'}.")
    if len(set(header)) != len(header):
        raise DataError("a column name stands twice in the first line.")
    names = {place: name for place, name in enumerate(header) if name not in CELL_COLUMNS}
    for name in names.values():
        Column.read(name)
    for number, row in enumerate(reader, start=2):
        where = f"line {number}"
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(f"{where} has {len(row)} fields; the first line has {len(header)}.")
        cell = _cell(row[header.index("arch")], where)
        if "index" in header and row[header.index("index")] != str(official_index(cell)):
            raise DataError(
                f"{where}: index {row[header.index('index')]!r} does not belong to {cell.text}, which is official "
                f"number {official_index(cell)}."
            )
        yield where, cell, {name: _number(row[place], f"{where}, {name}") for place, name in names.items()}


def _read_json(path: Path) -> Iterator[tuple[str, NasBench201Cell, Mapping[str, float]]]:
    """DSM-NAS's layout: for each data set a list of objects with `arch`, `val_acc`, `test_acc`, `time`."""
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is no JSON ({error}).") from None
    if not isinstance(content, dict) or not content or not all(isinstance(rows, list) for rows in content.values()):
        raise DataError("the JSON must hold a list of cells for each data set, as in DSM-NAS's file.")
    merged: dict[NasBench201Cell, dict[str, float]] = {}
    for dataset, rows in content.items():
        seen: set[NasBench201Cell] = set()
        for number, row in enumerate(rows):
            where = f"{dataset}[{number}]"
            if not isinstance(row, dict) or not {"arch", "val_acc"} <= row.keys():
                raise DataError(f"{where} must be an object with 'arch', 'val_acc' and perhaps 'test_acc' and 'time'.")
            cell = _cell(row["arch"], where)
            if cell in seen:
                raise DataError(f"{where}: the cell {cell.text} stands twice.")
            seen.add(cell)
            name = JSON_DATASETS.get(dataset, dataset)
            for field, column in JSON_FIELDS.items():
                if field in row:
                    merged.setdefault(cell, {})[f"{name}_{column}"] = _number(row[field], f"{where}, {field}")
    for cell, values in merged.items():
        yield cell.text, cell, values


def _cell(text: Any, where: str) -> NasBench201Cell:
    try:
        return NasBench201Cell.from_text(str(text))
    except ArchitectureError as error:
        raise DataError(f"{where}: {error}") from None


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {str(value)[:40]!r} is no number.") from None
