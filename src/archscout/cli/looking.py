"""Commands that look at something: show, list, status, estimate, check-data."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from archscout.cli.verbs import (
    DataOption,
    MethodOption,
    RecipeOption,
    RunArgument,
    SetOption,
    SpaceOption,
    TaskArgument,
)

__all__ = ["register"]


class Kind(StrEnum):
    """What `archscout list` lists."""

    TASKS = "tasks"
    SPACES = "spaces"
    METHODS = "methods"
    RECIPES = "recipes"
    ZOO = "zoo"


def show(
    architecture: Annotated[str, typer.Argument(help="Name from the zoo, file, run directory, or published text.")],
    task: Annotated[str | None, typer.Option(help="Count parameters and MAdds for a task.")] = None,
    init_channels: Annotated[int | None, typer.Option(help="Channels before the first reduction.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of cells.")] = None,
    auxiliary: Annotated[bool, typer.Option("--auxiliary", help="Count the auxiliary head too.")] = False,
    width: Annotated[float | None, typer.Option(help="Width multiplier (mobilenet), or width (recurrent).")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the images in pixels (mobilenet).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Draw it into a file.", metavar="FILE")] = None,
    beside: Annotated[
        str | None,
        typer.Option(help="Draw what changed from this architecture, e.g. the baseline.", metavar="NAME|FILE"),
    ] = None,
    data: DataOption = None,
) -> None:
    """Show an architecture: its cells, its size on a task, its drawing."""
    from archscout.api import load_architecture
    from archscout.errors import SettingsError
    from archscout.spaces import architecture_to_json

    found = load_architecture(architecture)
    content: dict[str, Any] = {"architecture": json.loads(architecture_to_json(found))}
    place: dict[str, Any] = {}
    if task is not None:
        sizes = {
            "init_channels": init_channels,
            "layers": layers,
            "auxiliary": auxiliary or None,
            "width": width,
            "resolution": resolution,
        }
        place = _place(found, task, data, {key: value for key, value in sizes.items() if value is not None})
        content |= _cost(found, **place)
    if beside is not None and svg is None:
        raise SettingsError("--beside draws what changed: name a file for the drawing with --svg.")
    if svg is not None:
        from archscout.atomic import write_atomic
        from archscout.viz import draw, draw_changes

        drawing = draw(found, **place) if beside is None else draw_changes(found, load_architecture(beside))
        write_atomic(svg, drawing)
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(found.describe())
    if task is not None:
        typer.echo(f"{task}: {content['parameters']:,} parameters, {content['madds']:,} MAdds")
        typer.echo(f"{content['madds_with_batch_norms']:,} MAdds with batch norms and average pools")
    if svg is not None:
        typer.echo(f"drawn: {svg}")


def _place(architecture: Any, task: str, data: Path | None, size: dict[str, Any]) -> dict[str, Any]:
    """The task's spec and the size of the network."""
    from archscout.spaces import get_space
    from archscout.tasks import task_spec

    space = get_space(architecture.space)
    return {"spec": task_spec(task, data), "size": space.size_model.read(size, where="size")}


def _cost(architecture: Any, spec: Any, size: Any) -> dict[str, int]:
    import torch

    from archscout.measure import count_madds, input_type, measure
    from archscout.spaces import get_space

    with torch.device("meta"):
        network = get_space(architecture.space).build(architecture, spec, size)
    cost = measure(network, spec.input_shape, vocabulary=spec.vocabulary)
    with_norms = count_madds(network, spec.input_shape, dtype=input_type(spec.vocabulary), batch_norms=True)
    return {"parameters": cost.parameters, "madds": cost.madds, "madds_with_batch_norms": with_norms}


def list_names(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what there is: tasks, spaces, methods, recipes, zoo."""
    rows = {
        Kind.TASKS: _tasks,
        Kind.SPACES: _spaces,
        Kind.METHODS: _methods,
        Kind.RECIPES: _recipes,
        Kind.ZOO: _zoo,
    }[kind]()
    width = max((len(name) for name, _ in rows), default=0)
    for name, description in rows:
        typer.echo(f"{name:<{width}}  {description}")


def _tasks() -> list[tuple[str, str]]:
    from archscout.tasks import TASKS
    from archscout.tasks.registry import FAMILIES

    families = [(family.form, family.description) for _, family in FAMILIES.items()]
    return [(name, entry.description) for name, entry in TASKS.items()] + families


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]


def _spaces() -> list[tuple[str, str]]:
    from archscout.spaces import SPACES

    return [(name, _first_line(space)) for name, space in SPACES.items()]


def _methods() -> list[tuple[str, str]]:
    from archscout.methods import METHODS

    return [(name, method.description) for name, method in METHODS.items()]


def _recipes() -> list[tuple[str, str]]:
    from archscout.recipes import recipe_description, recipe_names

    return [(name, recipe_description(name)) for name in recipe_names()]


def _zoo() -> list[tuple[str, str]]:
    from archscout.zoo import load_zoo, zoo_names

    return [(name, load_zoo(name).title) for name in zoo_names()]


def status(path: RunArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show which stages of a run are done, and what is next."""
    from archscout.pipeline.run import Run
    from archscout.tuning.settings import flat

    run = Run.open(path)
    stages = run.directory.stages()
    rows = []
    for name in run.stage_names():
        facts = stages.get(name, {})
        state = "done" if facts.get("complete") else "started" if facts else "to do"
        progress = next((m["progress"] for m in reversed(run.metrics(name)) if "progress" in m), None)
        rows.append({"stage": name, "state": state, "progress": progress, "seconds": facts.get("seconds")})
    pending = run.pending()
    if as_json:
        content = {"run": str(path), "stages": rows, "training": run.training, "next": pending[0] if pending else None}
        typer.echo(json.dumps(content, indent=2))
        return
    for row in rows:
        share = f"{100 * row['progress']:.0f} %" if row["state"] == "started" and row["progress"] is not None else ""
        seconds = f"{row['seconds']:.0f} s" if row["seconds"] is not None else ""
        typer.echo(f"{row['stage']:<10} {row['state']:<8} {share:>5} {seconds:>8}")
    for setting, value in flat(run.training, "train.").items():
        typer.echo(f"tuned: {setting} = {value}")
    typer.echo(f"Next: archscout resume {path}" if pending else f"Report: {path / 'report.html'}")


def estimate(
    task: TaskArgument,
    method: MethodOption = None,
    data: DataOption = None,
    recipe: RecipeOption = None,
    overrides: SetOption = None,
    space: SpaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate a run before it starts: sizes of networks, memory and seconds of its steps on this machine."""
    from dataclasses import asdict

    from archscout.pipeline.config import resolve_settings
    from archscout.pipeline.estimate import estimate_run
    from archscout.pipeline.run import Run
    from archscout.rundir import RunDirectory

    values = {"data": None if data is None else str(data), "space": space}
    settings = resolve_settings(task, method=method, recipe=recipe, values=values, overrides=overrides or ())
    run = Run(RunDirectory("."), settings)
    run.check()
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


def check_data(
    source: Annotated[
        str,
        typer.Argument(help="Folder of images, texts or series, .npz or .ts file, or registered task.", metavar="PATH"),
    ],
    data: DataOption = None,
) -> None:
    """Say what was understood of the data: shapes, classes, splits, ranges."""
    from archscout.tasks.checks import check_data as check

    for line in check(source, data).lines():
        typer.echo(line)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(show)
    app.command(name="list")(list_names)
    app.command()(status)
    app.command()(estimate)
    app.command(name="check-data")(check_data)
