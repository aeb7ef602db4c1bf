"""Commands on architectures and their weights: show, derive, distance, import-weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from archscout.cli.options import ARCHITECTURE, DataOption, EntryOption, JsonOption

__all__ = ["register"]


def show(
    architecture: Annotated[str, typer.Argument(help=f"{ARCHITECTURE}.")],
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
    from archscout.deployment.footprint import describe_footprint
    from archscout.errors import SettingsError
    from archscout.spaces import architecture_to_json
    from archscout.zoo import resolve_architecture

    found = resolve_architecture(architecture)
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

        drawing = draw(found, **place) if beside is None else draw_changes(found, resolve_architecture(beside))
        write_atomic(svg, drawing)
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(found.describe())
    if task is not None:
        typer.echo(f"{task}: {content['parameters']:,} parameters, {content['madds']:,} MAdds")
        typer.echo(f"{content['madds_with_batch_norms']:,} MAdds with batch norms and average pools")
        typer.echo(describe_footprint(content["memory"]))
    if svg is not None:
        typer.echo(f"drawn: {svg}")


def _place(architecture: Any, task: str, data: Path | None, size: dict[str, Any]) -> dict[str, Any]:
    """The task's spec and the size of the network."""
    from archscout.spaces import get_space
    from archscout.tasks import task_spec

    space = get_space(architecture.space)
    return {"spec": task_spec(task, data), "size": space.size_model.read(size, where="size")}


def _cost(architecture: Any, spec: Any, size: Any) -> dict[str, Any]:
    import torch

    from archscout.deployment.footprint import footprint_facts
    from archscout.measure import count_multiply_adds, count_parameters, input_type
    from archscout.spaces import get_space

    with torch.device("meta"):
        network = get_space(architecture.space).build(architecture, spec, size)
    counted = count_multiply_adds(network, spec.input_shape, dtype=input_type(spec.vocabulary))
    return {
        "parameters": count_parameters(network),
        "madds": counted.products,
        "madds_with_batch_norms": counted.products + counted.norms,
        "memory": footprint_facts(network, spec.input_shape, dtype=input_type(spec.vocabulary)),
    }


def derive(
    architecture: Annotated[str, typer.Argument(help=f"{ARCHITECTURE}.")],
    layers: Annotated[int, typer.Option(help="Number of cells.")],
    out: Annotated[Path, typer.Option(help="File for the architecture.", metavar="FILE")],
) -> None:
    """Make a deeper or shallower network of cells that were searched one by one, as in D-DARTS."""
    from archscout import api
    from archscout.atomic import write_atomic
    from archscout.spaces import architecture_to_json

    derived = api.derive(architecture, layers)
    write_atomic(out, architecture_to_json(derived))
    typer.echo(derived.describe().split("\n")[0])
    typer.echo(f"Next: archscout show {out} --task cifar10 --init-channels 36")


def distance(
    architectures: Annotated[list[str], typer.Argument(help=f"Two or more. {ARCHITECTURE}.", metavar="A B...")],
    as_json: JsonOption = False,
    svg: Annotated[Path | None, typer.Option(help="Draw all distances into a file.", metavar="FILE")] = None,
) -> None:
    """Measure how far apart architectures are, from 0 to 1: the architecture distance of DARTOpti."""
    from archscout.errors import SettingsError
    from archscout.spaces.cells.distance import distance_matrix
    from archscout.zoo import resolve_architecture

    if len(architectures) < 2:
        raise SettingsError("a distance needs two architectures or more: archscout distance resnet18 resnet50")
    matrix = distance_matrix([resolve_architecture(name) for name in architectures])
    names = [_short(name) for name in architectures]
    if svg is not None:
        from archscout.atomic import write_atomic
        from archscout.viz import heat_map

        write_atomic(svg, heat_map(matrix, names, title="Architecture distance"))
    if as_json:
        content = {"architectures": names, "matrix": matrix}
        if len(names) == 2:
            content = {"architectures": names, "distance": matrix[0][1]}
        typer.echo(json.dumps(content, indent=2))
        return
    if len(names) == 2:
        typer.echo(f"{matrix[0][1]:.6f}")
    else:
        width = max(8, *(len(name) for name in names))
        typer.echo(" ".join([" " * width, *(f"{name:>{width}}" for name in names)]))
        for name, row in zip(names, matrix, strict=True):
            typer.echo(" ".join([f"{name:<{width}}", *(f"{value:>{width}.6f}" for value in row)]))
    if svg is not None:
        typer.echo(f"drawn: {svg}")


def _short(name: str) -> str:
    """A name to print for what the user named: published text is long."""
    line = " ".join(name.split())
    return line if len(line) <= 40 else line[:39] + "…"


def import_weights(
    file: Annotated[Path, typer.Argument(help="Released checkpoint: .pth.tar, .pth, .pt.", metavar="FILE")],
    architecture: Annotated[str, typer.Option(help=f"{ARCHITECTURE}.")],
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE")] = Path("model.safetensors"),
    task: Annotated[str | None, typer.Option(help="Task it was trained on; default: by its number of classes.")] = None,
    init_channels: Annotated[int | None, typer.Option(help="Default: as in the checkpoint.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of cells; default: the architecture's.")] = None,
    data: DataOption = None,
    entry: EntryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a released checkpoint of the DARTS family to a model file; no code in it is run."""
    from dataclasses import asdict

    from archscout.api import import_weights as run

    size = {"init_channels": init_channels, "layers": layers}
    report = run(file, architecture, out=out, task=task, data=data, entry=entry, **size)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "path": str(report.path)}, indent=2))
        return
    for part in report.parts:
        typer.echo(f"{part.name:<22} {part.tensors:>5} tensors {part.elements:>12,} numbers")
    typer.echo(f"{report.parameters:,} parameters for {report.task}, {report.init_channels} channels: {report.path}")
    if report.ignored:
        shown = ", ".join(report.ignored[:3]) + (", ..." if len(report.ignored) > 3 else "")
        typer.echo(f"left out: {len(report.ignored)} tensors that only training needs ({shown})")
    for note in report.notes:
        typer.echo(f"{file}: {note}")
    typer.echo(f"Next: archscout evaluate {report.path}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(show)
    app.command()(derive)
    app.command()(distance)
    app.command(name="import-weights")(import_weights)
