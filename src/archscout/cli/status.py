"""`archscout status`. It reads the files of a run directory, and imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from archscout.cli.options import JsonOption, RunArgument
from archscout.rundir import TRAINING, RunDirectory
from archscout.settings import flat

__all__ = ["register"]


def status(path: RunArgument, as_json: JsonOption = False) -> None:
    """Show which stages of a run are done, and what is next."""
    directory = RunDirectory(path)
    stages = directory.stages()
    rows = []
    for name in directory.config().get("stages") or _stages_of_method(path):
        facts = stages.get(name, {})
        state = "done" if facts.get("complete") else "started" if facts else "to do"
        progress = next((m["progress"] for m in reversed(directory.metrics(name)) if "progress" in m), None)
        rows.append({"stage": name, "state": state, "progress": progress, "seconds": facts.get("seconds")})
    following = next((row["stage"] for row in rows if row["state"] != "done"), None)
    training = directory.read_json(TRAINING) if directory.has(TRAINING) else {}
    if as_json:
        typer.echo(json.dumps({"run": str(path), "stages": rows, "training": training, "next": following}, indent=2))
        return
    for row in rows:
        share = f"{100 * row['progress']:.0f} %" if row["state"] == "started" and row["progress"] is not None else ""
        seconds = f"{row['seconds']:.0f} s" if row["seconds"] is not None else ""
        typer.echo(f"{row['stage']:<10} {row['state']:<8} {share:>5} {seconds:>8}")
    for setting, value in flat(training, "train.").items():
        typer.echo(f"tuned: {setting} = {value}")
    typer.echo(f"Next: archscout resume {path}" if following else f"Report: {path / 'report.html'}")


def _stages_of_method(path: Path) -> list[str]:
    """The stages of a run that an earlier version started: it noted none."""
    from archscout.pipeline.run import Run

    return Run.open(path).stage_names()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)
