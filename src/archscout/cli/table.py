"""Commands about tables of measured architectures: `archscout table import`, `query`, `best`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli.options import JsonOption

if TYPE_CHECKING:
    from archscout.spaces import NasBench201Cell

__all__ = ["register"]

TableArgument = Annotated[Path, typer.Argument(help="Table of archscout.", metavar="FILE")]

group = typer.Typer(help="Tables of NAS-Bench-201: every cell with its measured accuracies.", no_args_is_help=True)


@group.command(name="import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="CSV, DSM-NAS's JSON, NATS-Bench folder, or NAS-Bench-201 .pth.", metavar="SOURCE"),
    ],
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE")],
) -> None:
    """Make a table, a small memory-mapped file, from a CSV, a JSON or an official archive."""
    from archscout.spaces.nasbench201.table_sources import import_table

    table = import_table(source)
    table.write(out)
    typer.echo(f"{out}: {table.values.shape[1]:,} cells, {out.stat().st_size:,} bytes")
    typer.echo("\n".join(f"  {name}" for name in table.columns))
    typer.echo(f"Next: archscout search --method dsm --table {out} --dataset {table.datasets[0]}")


@group.command()
def query(
    file: TableArgument,
    cell: Annotated[str, typer.Argument(help="Arch string, official number, or JSON file.", metavar="CELL")],
    as_json: JsonOption = False,
) -> None:
    """Print what the table says of a cell."""
    from archscout.spaces.nasbench201.table import Table

    found = _cell(cell)
    values = Table.open(file).query(found)
    if as_json:
        typer.echo(json.dumps({**_facts(found), **{name: round(value, 4) for name, value in values.items()}}, indent=2))
        return
    typer.echo(f"#{_facts(found)['index']} {found.text}")
    _print_values(values)


@group.command()
def best(
    file: TableArgument,
    column: Annotated[str, typer.Option(help="Column, as in val_acc_12ep.", metavar="COLUMN")],
    dataset: Annotated[str | None, typer.Option(help="Data set of the column.", metavar="NAME")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the best cells of a column, all of them if several are equal."""
    from archscout.spaces.nasbench201.table import Table

    table = Table.open(file)
    name = table.find(column, dataset)
    value, cells = table.best(name)
    if as_json:
        content = {"column": name, "value": round(value, 4), "cells": [_facts(cell) for cell in cells]}
        typer.echo(json.dumps(content, indent=2))
        return
    for cell in cells:
        typer.echo(f"#{_facts(cell)['index']} {cell.text}")
        _print_values(table.query(cell))


def _cell(text: str) -> NasBench201Cell:
    from archscout.errors import ArchitectureError
    from archscout.spaces import NasBench201Cell
    from archscout.spaces.nasbench201 import cell_at
    from archscout.zoo import resolve_architecture

    number = text.strip().removeprefix("#")
    if number.isdecimal() and len(number) < 10:
        return cell_at(int(number))
    found = resolve_architecture(text) if not text.startswith("|") else NasBench201Cell.from_text(text)
    if not isinstance(found, NasBench201Cell):
        raise ArchitectureError(f"'{text[:80]}' is no cell of NAS-Bench-201, but of the space {found.space}.")
    return found


def _facts(cell: NasBench201Cell) -> dict[str, Any]:
    from archscout.spaces.nasbench201 import official_index

    return {"index": official_index(cell), "arch": cell.text}


def _print_values(values: dict[str, float]) -> None:
    width = max(map(len, values))
    for name, value in values.items():
        typer.echo(f"  {name:<{width}}  {value:.4f}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="table")
