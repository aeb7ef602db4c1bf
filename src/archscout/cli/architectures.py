"""Commands on architectures and their weights: derive, distance, import-weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from archscout.cli.verbs import DataOption, JsonOption

__all__ = ["register"]

ARCHITECTURE_HELP = "Name from the zoo, file, run directory, or published text."


def derive(
    architecture: Annotated[str, typer.Argument(help=ARCHITECTURE_HELP)],
    layers: Annotated[int, typer.Option(help="Number of cells.")],
    out: Annotated[Path, typer.Option(help="File for the architecture.", metavar="FILE")],
) -> None:
    """Make a network of another depth from cells that were searched one by one, as those of D-DARTS."""
    from archscout import api
    from archscout.atomic import write_atomic
    from archscout.spaces import architecture_to_json

    derived = api.derive(architecture, layers)
    write_atomic(out, architecture_to_json(derived))
    typer.echo(derived.describe().split("\n")[0])
    typer.echo(f"Next: archscout show {out} --task cifar10 --init-channels 36")


def distance(
    architectures: Annotated[list[str], typer.Argument(help=f"Two or more. {ARCHITECTURE_HELP}", metavar="A B...")],
    as_json: JsonOption = False,
    svg: Annotated[Path | None, typer.Option(help="Draw all distances into a file.", metavar="FILE")] = None,
) -> None:
    """Say how far architectures are apart: the architecture distance of DARTOpti, from 0 to 1."""
    from archscout.api import load_architecture
    from archscout.errors import SettingsError
    from archscout.spaces.cells.distance import distance_matrix

    if len(architectures) < 2:
        raise SettingsError("a distance needs two architectures or more: archscout distance resnet18 resnet50")
    matrix = distance_matrix([load_architecture(name) for name in architectures])
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
    architecture: Annotated[str, typer.Option(help=ARCHITECTURE_HELP)],
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE")] = Path("model.safetensors"),
    task: Annotated[str | None, typer.Option(help="What it was trained on; default: by its number of classes.")] = None,
    init_channels: Annotated[int | None, typer.Option(help="Default: read off the checkpoint's stem.")] = None,
    layers: Annotated[int | None, typer.Option(help="Number of cells; default: the architecture's.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a released checkpoint of the DARTS family into a model file, without running anything that it holds."""
    from dataclasses import asdict

    from archscout.api import import_weights as run

    report = run(file, architecture, out=out, task=task, init_channels=init_channels, layers=layers, data=data)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "path": str(report.path)}, indent=2))
        return
    for part in report.parts:
        typer.echo(f"{part.name:<22} {part.tensors:>5} tensors {part.elements:>12,} numbers")
    typer.echo(f"{report.parameters:,} parameters for {report.task}, {report.init_channels} channels: {report.path}")
    if report.ignored:
        shown = ", ".join(report.ignored[:3]) + (", ..." if len(report.ignored) > 3 else "")
        typer.echo(f"left out: {len(report.ignored)} tensors that only training needs ({shown})")
    typer.echo(f"Next: archscout evaluate {report.path}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(derive)
    app.command()(distance)
    app.command(name="import-weights")(import_weights)
