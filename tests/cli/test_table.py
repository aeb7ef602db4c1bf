"""Tables and searches by table on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from archscout.spaces.nasbench201 import SPACE_SIZE, cell_at
from tests.cli.test_commands import archscout, fails


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of a data set that archscout has never heard of, imported on the command line."""
    folder = tmp_path_factory.mktemp("table")
    with (folder / "cells.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "shells_val_acc_12ep", "shells_test_acc_200ep"])
        for index in range(SPACE_SIZE):
            cell = cell_at(index)
            score = 10 * sum(number == 3 for number in cell.code) + index / SPACE_SIZE
            writer.writerow([cell.text, score, score + 1])
    done = archscout("table", "import", folder / "cells.csv", "--out", folder / "shells.table")
    assert done.returncode == 0, done.stderr
    assert "15,625 cells" in done.stdout
    assert "--dataset shells" in done.stdout
    return folder / "shells.table"


def test_cells_are_looked_up(table: Path) -> None:
    by_number = archscout("table", "query", table, "123")
    assert f"#123 {cell_at(123).text}" in by_number.stdout
    content = json.loads(archscout("table", "query", table, cell_at(123).text, "--json").stdout)
    assert content["index"] == 123
    assert content["shells_test_acc_200ep"] == pytest.approx(content["shells_val_acc_12ep"] + 1)
    best = archscout("table", "best", table, "--dataset", "shells", "--column", "val_acc_12ep", "--json")
    found = json.loads(best.stdout)
    assert found["cells"][0]["arch"].count("nor_conv_3x3") == 6


def test_a_search_by_table_needs_no_task(table: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "--method",
        "dsm",
        "--space",
        "nasbench201",
        "--table",
        table,
        "--dataset",
        "shells",
        "--trials",
        "3",
    ]
    columns = ["--set", "score=shells_val_acc_12ep", "--set", "report=shells_test_acc_200ep", "--set", "queries=40"]
    done = archscout("search", *arguments, *columns, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert {"mean", "std", "trials", "queries"} <= content.keys()
    assert (content["trials"], content["queries"]) == (3, 40)
    assert content["mean"] == pytest.approx(content["score_mean"] + 1, abs=1e-3)
    run = tmp_path / "runs" / "shells-dsm"
    reported = archscout("resume", run)
    assert reported.returncode == 0, reported.stderr
    assert "Subspaces over the search" in (run / "report.html").read_text()
    plus = archscout(
        "search", *arguments, "--set", f"initial=[{run}]", "--set", "queries=10", "--out", tmp_path / "plus", "--json"
    )
    assert json.loads(plus.stdout)["score_mean"] >= content["score_mean"]


def test_wrong_searches_are_one_sentence(table: Path, tmp_path: Path) -> None:
    base = ("search", "--method", "local", "--space", "nasbench201")
    fails(*base, says="no task was named", cwd=tmp_path)
    fails(*base, "--table", table, "--dataset", "shell", says="It has: shells", cwd=tmp_path)
    fails(*base, "--table", table, "--set", "score=shells_val_acc_12e", says="Closest: shells_val", cwd=tmp_path)
    fails("search", "digits", "--table", table, says="table: unknown setting", cwd=tmp_path)
    dsm = ("search", "--method", "dsm", "--table", table, "--dataset", "shells")
    fails(*dsm, "--set", "slots=1", says="greater than or equal to 2", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_tables_are_one_sentence(table: Path, tmp_path: Path) -> None:
    fails("table", "query", table, "15625", says="allowed: 0 to 15624")
    fails("table", "query", table, "|nor_conv_3x3~0|", says="nodes joined by '+'")
    fails("table", "query", tmp_path / "absent", "3", says="archscout table import")
    fails("table", "best", table, "--column", "shells_val_acc_20ep", says="shells_val_acc_12ep")
    fails("table", "import", tmp_path / "absent.csv", "--out", tmp_path / "out", says="does not exist")
