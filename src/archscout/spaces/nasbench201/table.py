"""The table of NAS-Bench-201: measured values of all 15,625 cells in one small, memory-mapped file.

The file is safetensors: one float32 tensor `(columns, 15625)`, a cell's place being its key, and the column names as
metadata. Columns are named `<dataset>_<split>_acc_<epochs>ep` (percent) and `<dataset>_seconds_<epochs>ep` (what a
query costs: training and one validation pass).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from archscout.atomic import write_atomic
from archscout.errors import DataError, closest
from archscout.spaces.nasbench201.cell import EDGES, OPERATIONS, SPACE_SIZE, NasBench201Cell

__all__ = ["Column", "Table", "keys_of"]

FORMAT = "archscout.nasbench201_table"
_NAME = re.compile(r"(?P<dataset>\w+?)_((?P<split>[a-z]+)_acc|seconds)_(?P<epochs>\d+)ep")
_POWERS = torch.tensor([len(OPERATIONS) ** power for power in reversed(range(len(EDGES)))])


def keys_of(codes: Tensor) -> Tensor:
    """Keys `(...)` of codes `(..., 6)`, both int64."""
    return (codes * _POWERS.to(codes.device)).sum(-1)


@dataclass(frozen=True)
class Column:
    """What a column holds; `split` is None where it holds seconds."""

    dataset: str
    split: str | None
    epochs: int

    @classmethod
    def read(cls, name: str) -> Self:
        """From a column's name. Raises DataError."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise DataError(
                f"'{name[:80]}' is no column of a table; columns are named <dataset>_<split>_acc_<epochs>ep, as in "
                "cifar10_val_acc_12ep, or <dataset>_seconds_<epochs>ep."
            )
        return cls(match["dataset"], match["split"], int(match["epochs"]))


class Table:
    """Values of all cells. Read one with `Table.open`, or make one with `Table.from_records`.

    Args:
        values: float32 `(columns, 15625)`; a cell's place is its key.

    Raises:
        DataError: a name is malformed or stands twice, or a value is not finite.
    """

    def __init__(self, columns: Sequence[str], values: Tensor) -> None:
        self.columns = {name: Column.read(name) for name in columns}
        self.values = values
        if not columns or len(self.columns) != len(columns):
            raise DataError(
                f"a table needs at least one column, and each name once; got {', '.join(columns) or 'none'}."
            )
        if values.shape != (len(columns), SPACE_SIZE):
            raise DataError(f"a table of {len(columns)} columns has {SPACE_SIZE:,} cells; got {tuple(values.shape)}.")

    @classmethod
    def from_records(cls, records: Mapping[NasBench201Cell, Mapping[str, float]]) -> Self:
        """From the values of every cell.

        Raises:
            DataError: a cell is missing, has other columns than the rest, or a value that is not finite.
        """
        missing = SPACE_SIZE - len(records)
        if missing:
            example = next(c for c in map(NasBench201Cell.from_key, range(SPACE_SIZE)) if c not in records)
            raise DataError(
                f"{missing:,} of {SPACE_SIZE:,} cells are missing, for example {example.text}. A table holds all cells."
            )
        names = list(next(iter(records.values())))
        rows: list[list[float]] = [[] for _ in range(SPACE_SIZE)]
        for cell, record in records.items():
            if record.keys() != set(names):
                odd = sorted(record.keys() ^ set(names))
                raise DataError(f"cell {cell.text} has other columns than the first one: {', '.join(odd)} differ.")
            rows[cell.key] = [record[name] for name in names]
        values = torch.tensor(rows, dtype=torch.float64)
        wrong = (~torch.isfinite(values)).nonzero()
        if len(wrong):
            key, place = wrong[0].tolist()
            raise DataError(
                f"cell {NasBench201Cell.from_key(key).text}, column {names[place]}: {rows[key][place]} is no finite "
                f"number ({len(wrong):,} such values in all). Take such columns out, or repair the file."
            )
        return cls(names, values.float().T.contiguous())

    # -- the file ------------------------------------------------------------------------------------------------

    def write(self, path: Path) -> None:
        """Replace a file atomically."""
        description = {"format": FORMAT, "version": 1, "columns": list(self.columns)}
        write_atomic(path, save({"values": self.values}, metadata={"archscout": json.dumps(description)}))

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """A table from its file, memory-mapped.

        Raises:
            DataError: no such file, or no table that archscout wrote.
        """
        file = Path(path)
        if not file.is_file():
            raise DataError(f"{file} does not exist. Make a table with: archscout table import SOURCE --out {file}")
        try:
            with safe_open(file, framework="pt") as opened:
                description = json.loads((opened.metadata() or {})["archscout"])
                if description["format"] != FORMAT:
                    raise KeyError(description["format"])
                return cls(description["columns"], opened.get_tensor("values"))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{file} is no table of archscout ({error}). Make one with: archscout table import {file} --out FILE"
            ) from None

    # -- look-up -------------------------------------------------------------------------------------------------

    @property
    def datasets(self) -> list[str]:
        """The data sets of the columns, in order."""
        return list(dict.fromkeys(column.dataset for column in self.columns.values()))

    def find(self, name: str, dataset: str | None = None) -> str:
        """The full name of a column; with a data set, `val_acc_12ep` is enough.

        Raises:
            DataError: no such column, with the closest names; or it is of another data set.
        """
        if dataset is not None and dataset not in self.datasets:
            near = closest(dataset, self.datasets) or self.datasets
            raise DataError(f"the table has no data set '{dataset}'. It has: {', '.join(near)}.")
        for full in (name, f"{dataset}_{name}"):
            if full in self.columns:
                if dataset is not None and self.columns[full].dataset != dataset:
                    raise DataError(f"column '{full}' is not of the data set '{dataset}'. Change one of the two.")
                return full
        known = [full for full, column in self.columns.items() if dataset in (None, column.dataset)]
        near = closest(name, known) or closest(f"{dataset}_{name}", known) or known
        raise DataError(f"the table has no column '{name}'. Closest: {', '.join(near)}.")

    def column(self, name: str) -> Tensor:
        """All values of a column, float32 `(15625,)` by key. Raises DataError."""
        return self.values[list(self.columns).index(self.find(name))]

    def seconds(self, name: str) -> Tensor | None:
        """What a query of a column costs, `(15625,)` by key; None where the table does not say."""
        asked = self.columns[self.find(name)]
        for other, column in self.columns.items():
            if column == Column(asked.dataset, None, asked.epochs):
                return self.column(other)
        return None

    def query(self, cell: NasBench201Cell) -> dict[str, float]:
        """All values of a cell."""
        return dict(zip(self.columns, self.values[:, cell.key].tolist(), strict=True))

    def best(self, name: str) -> tuple[float, list[NasBench201Cell]]:
        """The highest value of a column, and all cells that have it."""
        column = self.column(name)
        value = column.max()
        return float(value), [NasBench201Cell.from_key(int(key)) for key in (column == value).nonzero()]
