"""`archscout estimate`: what a run would cost."""

from __future__ import annotations

import json
import os

import typer

from archscout.cli.options import (
    DataOptions,
    JsonOption,
    MethodOption,
    RecipeOption,
    SetOption,
    SpaceOption,
    TaskArgument,
    takes,
)

__all__ = ["register"]


@takes(DataOptions)
def estimate(
    task: TaskArgument,
    options: DataOptions,
    method: MethodOption = None,
    recipe: RecipeOption = None,
    overrides: SetOption = None,
    space: SpaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate a run before it starts: sizes of networks, memory and seconds of its steps on this machine."""
    from dataclasses import asdict

    from archscout.pipeline.config import task_reference
    from archscout.pipeline.defaults import resolve_for_task
    from archscout.pipeline.estimate import estimate_run
    from archscout.pipeline.run import Run
    from archscout.rundir import RunDirectory
    from archscout.tasks.registry import named_task

    data = None if options.data is None else str(options.data)
    task = named_task(task, data)
    values = {"data": data, "space": space, "task_options": options.task_options() or None}
    settings, loaded = resolve_for_task(
        task_reference(task), method=method, recipe=recipe, values=values, overrides=overrides or ()
    )
    run = Run(RunDirectory(os.devnull), settings, loaded=loaded)  # nothing is written
    run.check()
    for finding in run.record.findings:
        if finding.level == "doubtful":
            typer.echo(finding, err=True)
    found = estimate_run(run)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    typer.echo(f"{run.task.spec.describe()}; {run.engine.describe()}")
    for name, cost in (("smallest", found.smallest), ("mean", found.mean), ("largest", found.largest)):
        typer.echo(f"{name:<9} {cost.parameters:>12,} parameters {cost.madds:>15,} MAdds")
    for stage in found.stages:
        typer.echo(
            f"{stage.name:<9} {stage.seconds_per_step:.3f} s a step, about {stage.seconds_total / 60:.0f} min in all, "
            f"{stage.peak_bytes / 2**20:,.0f} MiB at the peak of a step"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(estimate)
