"""The command that says where a network fails: `archscout explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archscout.cli.options import JsonOption, MovedOption, RunArgument

if TYPE_CHECKING:
    from rich.table import Table

    from archscout.pipeline.insight import Insight

__all__ = ["confusion_table", "register"]

MOST_CLASSES = 12


def explain(
    path: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of tables and contact sheet; default: insight/ in the run.", metavar="DIR"),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Fit a temperature on the validation split, and write it into the model."),
    ] = False,
    thresholds: Annotated[
        bool,
        typer.Option("--thresholds", help="Of several labels: choose each label's threshold on the validation split."),
    ] = False,
    task: MovedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a trained network fails: confused classes, calibration, the worst samples."""
    from archscout import api

    explained = api.explain(path, out=out, calibrate=calibrate, thresholds=thresholds, task=task)
    if as_json:
        typer.echo(json.dumps({"run": str(path), **explained.insight.to_json()}, indent=2))
        return
    for line in [*explained.fitted, *explained.verdict]:
        typer.echo(line)
    for file in explained.files:
        typer.echo(f"  {file}")
    if explained.next:
        typer.echo(f"Next: {explained.next}")


def confusion_table(insight: Insight) -> Table:
    """The confusion matrix for a terminal; of many classes the most frequent confusions."""
    from rich.table import Table

    if len(insight.class_names) > MOST_CLASSES:
        table = Table("true", "predicted", "times")
        for true, found, count in insight.confused_pairs(MOST_CLASSES):
            table.add_row(true, found, f"{count:,}")
        return table
    table = Table("true \\ predicted", *insight.class_names)
    for name, counts in zip(insight.class_names, insight.confusion_matrix().tolist(), strict=True):
        table.add_row(name, *(f"{count:,}" if count else "" for count in counts))
    return table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)
