"""`archscout status`. It reads the files of a run directory, and imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from archscout.cli.options import JsonOption, RunArgument
from archscout.rundir import FOLDS, TRAINING, RunDirectory
from archscout.settings import flat

__all__ = ["register"]


def status(path: RunArgument, as_json: JsonOption = False) -> None:
    """Show which stages of a run are done, and what is next."""
    directory = RunDirectory(path)
    if directory.has(FOLDS):
        _status_of_folds(directory, as_json)
        return
    rows = _rows(path)
    following = next((row["stage"] for row in rows if row["state"] != "done"), None)
    training = directory.read_json(TRAINING) if directory.has(TRAINING) else {}
    if as_json:
        typer.echo(json.dumps({"run": str(path), "stages": rows, "training": training, "next": following}, indent=2))
        return
    for row in rows:
        typer.echo(_line(row))
    for setting, value in flat(training, "train.").items():
        typer.echo(f"tuned: {setting} = {value}")
    typer.echo(f"Next: archscout resume {path}" if following else f"Report: {path / 'report.html'}")


def _rows(path: Path) -> list[dict[str, Any]]:
    """The stages of a run."""
    directory = RunDirectory(path)
    stages = directory.stages()
    rows = []
    for name in directory.config().get("stages") or _stages_of_method(path):
        facts = stages.get(name, {})
        state = "done" if facts.get("complete") else "started" if facts else "to do"
        progress = next((m["progress"] for m in reversed(directory.metrics(name)) if "progress" in m), None)
        rows.append({"stage": name, "state": state, "progress": progress, "seconds": facts.get("seconds")})
    return rows


def _line(row: dict[str, Any]) -> str:
    share = f"{100 * row['progress']:.0f} %" if row["state"] == "started" and row["progress"] is not None else ""
    seconds = f"{row['seconds']:.0f} s" if row["seconds"] is not None else ""
    return f"{row['stage']:<10} {row['state']:<8} {share:>5} {seconds:>8}"


def _status_of_folds(directory: RunDirectory, as_json: bool) -> None:
    """The stages of each fold of a cross-validation that was begun."""
    count = int(directory.read_json(FOLDS)["folds"])
    folds = {number: directory.path / f"fold-{number}" for number in range(1, count + 1)}
    rows = {number: _rows(path) for number, path in folds.items() if RunDirectory(path).exists()}
    pending = [number for number in folds if number not in rows or any(row["state"] != "done" for row in rows[number])]
    if as_json:
        stages = [{"fold": number, "stages": rows.get(number, [])} for number in folds]
        typer.echo(json.dumps({"run": str(directory.path), "folds": stages, "pending": pending}, indent=2))
        return
    for number in folds:
        if number not in pending:
            typer.echo(f"fold-{number}: done")
        elif number not in rows:
            typer.echo(f"fold-{number}: to do")
        else:
            typer.echo(f"fold-{number}:")
            for row in rows[number]:
                typer.echo(f"  {_line(row)}")
    path = directory.path
    typer.echo(f"Next: archscout resume {path}" if pending else f"Report: {path / 'report.html'}")


def _stages_of_method(path: Path) -> list[str]:
    """The stages of a run that an earlier version started: it noted none."""
    from archscout.pipeline.run import Run

    return Run.open(path).stage_names()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)
