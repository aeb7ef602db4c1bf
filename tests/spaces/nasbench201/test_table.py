"""The table: its file, its look-ups, every source, and what is wrong with bad ones."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.spaces import NasBench201Cell
from archscout.spaces.nasbench201 import SPACE_SIZE, archive, cell_at, official_index
from archscout.spaces.nasbench201.table import Table, keys_of
from archscout.spaces.nasbench201.table_sources import import_table

COLUMNS = ["shapes_val_acc_12ep", "shapes_test_acc_200ep", "shapes_seconds_12ep", "other_val_acc_12ep"]


def value(cell: NasBench201Cell, column: int) -> float:
    return (cell.key * (column + 1)) % 1009 / 16


def rows() -> list[list[str]]:
    cells = [cell_at(index) for index in range(SPACE_SIZE)]
    return [[str(index), cell.text, *(str(value(cell, i)) for i in range(4))] for index, cell in enumerate(cells)]


ROWS = rows()


def write_csv(path: Path, lines: list[list[str]], header: list[str] | None = None) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header or ["index", "arch", *COLUMNS], *lines])
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("table")
    import_table(write_csv(folder / "cells.csv", ROWS)).write(folder / "cells.table")
    return Table.open(folder / "cells.table")


def test_a_csv_round_trips_through_the_file(table: Table) -> None:
    assert list(table.columns) == COLUMNS
    assert table.datasets == ["shapes", "other"]
    for index in range(0, SPACE_SIZE, 1000):
        cell = cell_at(index)
        assert list(table.query(cell).values()) == [value(cell, i) for i in range(4)]
    seconds = table.seconds("shapes_val_acc_12ep")
    assert seconds is not None
    assert torch.equal(seconds, table.column("shapes_seconds_12ep"))
    assert table.seconds("other_val_acc_12ep") is None


def test_many_cells_are_looked_up_at_once(table: Table) -> None:
    codes = torch.randint(5, (100, 6), generator=torch.Generator().manual_seed(0))
    column = table.column("shapes_test_acc_200ep")
    expected = [value(NasBench201Cell(tuple(code)), 1) for code in codes.tolist()]
    assert column[keys_of(codes)].tolist() == expected


def test_the_best_cells_are_all_named(table: Table) -> None:
    highest, cells = table.best("shapes_val_acc_12ep")
    assert highest == 1008 / 16
    assert {cell.key % 1009 for cell in cells} == {1008}
    assert len(cells) == 15


def test_the_file_is_small_and_mapped(table: Table, tmp_path: Path) -> None:
    table.write(tmp_path / "again.table")
    assert (tmp_path / "again.table").stat().st_size < 300_000
    first, second = (Table.open(tmp_path / "again.table") for _ in range(2))
    assert torch.equal(first.values, second.values)


def test_gzip_is_read_as_well(table: Table, tmp_path: Path) -> None:
    plain = write_csv(tmp_path / "cells.csv", ROWS)
    (tmp_path / "cells.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert torch.equal(import_table(tmp_path / "cells.csv.gz").values, table.values)


def test_the_shared_table_has_the_known_optimum(shared_data: Path) -> None:
    table = import_table(shared_data / "nasbench201" / "nasbench201.csv.gz")
    best, cells = table.best("cifar10_val_acc_12ep")
    assert best == pytest.approx(84.892)
    assert [official_index(cell) for cell in cells] == [13714]
    assert {official_index(cell) for cell in table.best("cifar10_test_acc_200ep")[1]} == {6111, 13714}
    assert {official_index(cell) for cell in table.best("cifar100_val_acc_12ep")[1]} == {13714, 10165}
    dead = [key for key in range(SPACE_SIZE) if NasBench201Cell.from_key(key).dead]
    assert torch.allclose(table.column("cifar10_test_acc_200ep")[dead], torch.tensor(10.0))


# -- what is wrong with a table ----------------------------------------------------------------------------------


def changed(row: int, place: int, text: str) -> list[list[str]]:
    lines = [list(line) for line in ROWS]
    lines[row][place] = text
    return lines


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (ROWS[:-2], "2 of 15,625 cells are missing"),
        ([*ROWS, ROWS[7]], "line 15627: the cell .* stands twice"),
        (changed(3, 2, "nan"), "shapes_val_acc_12ep: nan is no finite number"),
        (changed(3, 2, "inf"), "is no finite number"),
        (changed(3, 2, "good"), "line 5, shapes_val_acc_12ep: 'good' is no number"),
        (changed(3, 1, "|sep_conv~0|"), "line 5: the arch string"),
        (changed(3, 0, "4"), "index '4' does not belong"),
        ([*ROWS[:-1], ROWS[-1][:3]], "has 3 fields"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, lines: list[list[str]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        import_table(write_csv(tmp_path / "cells.csv", lines))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (["index", "cell", *COLUMNS], "must name the column 'arch'"),
        (["index", "arch", "accuracy", *COLUMNS[1:]], "'accuracy' is no column"),
        (["index", "arch", COLUMNS[1], *COLUMNS[1:]], "twice"),
    ],
)
def test_wrong_headers_are_named(tmp_path: Path, header: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        import_table(write_csv(tmp_path / "cells.csv", ROWS[:3], header))


def test_no_source_and_no_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cells.txt").write_text("")
    (tmp_path / "cells.json").write_text("[1]")
    for name, says in (("cells.txt", "no source"), ("absent.csv", "does not exist"), ("cells.json", "for each data")):
        with pytest.raises(DataError, match=says):
            import_table(tmp_path / name)
    with pytest.raises(DataError, match="archscout table import"):
        Table.open(tmp_path / "cells.txt")
    with pytest.raises(DataError, match="does not exist"):
        Table.open(tmp_path / "absent.table")


@pytest.mark.parametrize(
    ("name", "dataset", "says"),
    [
        ("shapes_val_acc_12e", None, "shapes_val_acc_12ep"),
        ("val_acc_20ep", "shapes", "shapes_val_acc_12ep"),
        ("val_acc_12ep", "shape", "no data set 'shape'. It has: shapes"),
        ("other_val_acc_12ep", "shapes", "not of the data set"),
    ],
)
def test_wrong_columns_name_the_closest(table: Table, name: str, dataset: str | None, says: str) -> None:
    with pytest.raises(DataError, match=says):
        table.find(name, dataset)


def test_columns_are_found_by_their_short_name(table: Table) -> None:
    assert table.find("val_acc_12ep", "other") == "other_val_acc_12ep"
    assert table.find("other_val_acc_12ep") == "other_val_acc_12ep"


# -- DSM-NAS's JSON ----------------------------------------------------------------------------------------------


def test_the_json_of_dsm_nas_is_read(tmp_path: Path) -> None:
    cells = [cell_at(index) for index in range(SPACE_SIZE)]
    content = {
        dataset: [
            {"arch": cell.text, "val_acc": value(cell, 0), "test_acc": value(cell, 1), "time": 3.5} for cell in cells
        ]
        for dataset in ("cifar10", "imagenet")
    }
    (tmp_path / "table.json").write_text(json.dumps(content))
    table = import_table(tmp_path / "table.json")
    assert table.datasets == ["cifar10", "imagenet16_120"]
    assert table.query(cells[5])["imagenet16_120_test_acc_200ep"] == value(cells[5], 1)
    assert float(table.seconds("cifar10_val_acc_12ep")[0]) == 3.5  # type: ignore[index]
    content["cifar10"].append(content["cifar10"][0])
    (tmp_path / "table.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="stands twice"):
        import_table(tmp_path / "table.json")
    del content["cifar10"][3:]
    (tmp_path / "table.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="other columns"):
        import_table(tmp_path / "table.json")


# -- the official archives ---------------------------------------------------------------------------------------


def run_record(sets: tuple[str, ...], epochs: int, accuracy: float) -> dict[str, Any]:
    last = epochs - 1
    return {
        "train_acc1es": {last: 99.0},
        "train_times": dict.fromkeys(range(epochs), 2.0),
        "eval_acc1es": {f"{name}@{last}": accuracy for name in sets},
        "eval_losses": {f"{name}@{last}": 0.5 for name in sets},
        "eval_times": {f"{name}@{last}": np.float64(1.5) for name in sets},
        "params": 0.1,
        "flop": 10.0,
        "epochs": epochs,
    }


def record(cell: NasBench201Cell) -> dict[str, Any]:
    """A record with the official layout."""

    def info(epochs: int) -> dict[str, Any]:
        results = OrderedDict()
        for seed, shift in ((777, -1.0), (888, 1.0)):
            base = cell.key / 1000 + epochs / 10 + shift
            results["cifar10-valid", seed] = run_record(("x-valid", "ori-test"), epochs, base)
            results["cifar10", seed] = run_record(("ori-test",), epochs, base + 1)
            results["cifar100", seed] = run_record(("x-valid", "x-test", "ori-test"), epochs, base + 2)
            results["ImageNet16-120", seed] = run_record(("x-valid", "x-test"), epochs, base + 3)
        return {
            "arch_index": official_index(cell),
            "arch_str": cell.text,
            "all_results": results,
            "dataset_seed": OrderedDict(cifar10=[777, 888]),
        }

    return {"12": info(12), "200": info(200)}


def check_values(cell: NasBench201Cell, values: Mapping[str, float]) -> None:
    assert values["cifar10_val_acc_12ep"] == pytest.approx(cell.key / 1000 + 1.2)
    assert values["cifar10_test_acc_200ep"] == pytest.approx(cell.key / 1000 + 21)
    assert values["imagenet16_120_test_acc_12ep"] == pytest.approx(cell.key / 1000 + 4.2)
    assert values["cifar100_seconds_12ep"] == pytest.approx(12 * 2.0 + 1.5)
    assert len(values) == 3 * (2 + 2 + 1)


def test_records_of_nats_bench_are_read(tmp_path: Path) -> None:
    cells = [cell_at(index) for index in (0, 11, 284)]
    for cell in cells:
        with bz2.open(tmp_path / f"{official_index(cell):06d}.pickle.pbz2", "wb") as file:
            pickle.dump(record(cell), file)
    (tmp_path / "meta.pickle.pbz2").write_bytes(b"not read")
    found = list(archive.read_archive(tmp_path))
    assert [cell for _, cell, _ in found] == cells
    for _, cell, values in found:
        check_values(cell, values)
    with pytest.raises(DataError, match="15,622 of 15,625 cells are missing"):
        import_table(tmp_path)


def test_files_of_nasbench201_are_read(tmp_path: Path) -> None:
    infos = {}
    for index in (0, 123):
        content = record(cell_at(index))
        for info in content.values():
            for result in info["all_results"].values():
                result["eval_times"] = {name: float(value) for name, value in result["eval_times"].items()}
        infos[index] = {"less": content["12"], "full": content["200"]}
    torch.save({"meta_archs": [], "arch2infos": infos}, tmp_path / "archive.pth")
    found = list(archive.read_archive(tmp_path / "archive.pth"))
    assert [cell for _, cell, _ in found] == [cell_at(0), cell_at(123)]
    for _, cell, values in found:
        check_values(cell, values)


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("true",)


def test_a_pickle_that_names_a_function_is_refused(tmp_path: Path) -> None:
    with bz2.open(tmp_path / "000000.pickle.pbz2", "wb") as file:
        pickle.dump({"12": Evil()}, file)
    with pytest.raises(DataError, match=r"refused: the pickle names .*system"):
        list(archive.read_archive(tmp_path))
    torch.save({"arch2infos": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match="read safely"):
        list(archive.read_archive(tmp_path / "evil.pth"))


@pytest.mark.parametrize("content", [b"", b"nonsense", bz2.compress(b"nonsense"), bz2.compress(pickle.dumps([1]))])
def test_damaged_records_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "000000.pickle.pbz2").write_bytes(content)
    with pytest.raises(DataError, match=r"000000\.pickle\.pbz2"):
        list(archive.read_archive(tmp_path))


def test_records_of_another_layout_are_refused(tmp_path: Path) -> None:
    wrong: dict[str, Any] = record(cell_at(0))
    del wrong["200"]
    with bz2.open(tmp_path / "000000.pickle.pbz2", "wb") as file:
        pickle.dump(wrong, file)
    with pytest.raises(DataError, match="layout"):
        list(archive.read_archive(tmp_path))
    (tmp_path / "000000.pickle.pbz2").unlink()
    with pytest.raises(DataError, match="no files"):
        list(archive.read_archive(tmp_path))
