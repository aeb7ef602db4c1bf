"""Commands about data: check-data, `data fetch`, `data nasbench360`, `data prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli.options import DataOption, DataOptions, takes
from archscout.progress import download_bar

__all__ = ["register"]

group = typer.Typer(
    help="Download, list or convert the official files of a task; nothing else in archscout downloads.",
    no_args_is_help=True,
)


@group.command()
def fetch(
    name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")],
    data: DataOption = None,
    base_url: Annotated[str | None, typer.Option(help="Another server with the same archives.")] = None,
) -> None:
    """Download a task's official archive, check its digest, and extract it."""
    from archscout.tasks.published.fetch import fetch as get
    from archscout.tasks.registry import data_root

    with download_bar(name) as progress:
        path = get(name, data_root(data), base_url=base_url, progress=progress)
    typer.echo(f"{path}\nNext: archscout run {name}" + (f" --data {data}" if data else ""))


@group.command()
def nasbench360(
    name: Annotated[str | None, typer.Argument(help="One of the ten tasks; default: all.", metavar="TASK")] = None,
    data: Annotated[
        Path | None, typer.Option("--root", "--data", help="Folder of the data files.", metavar="DIR")
    ] = None,
) -> None:
    """Say which files a task of NAS-Bench-360 needs, which are there, and where they are published."""
    from archscout.tasks.published.nasbench360.files import PUBLISHED, inventory
    from archscout.tasks.registry import data_root

    root = data_root(data)
    for each in PUBLISHED if name is None else (name,):
        for line in inventory(each, root):
            typer.echo(line)


@group.command()
def prepare(
    name: Annotated[str, typer.Argument(help="Registered task.", metavar="TASK")], data: DataOption = None
) -> None:
    """Convert a task's published files (pickles, MATLAB files, sounds) to plain arrays before the first run does it."""
    from archscout.tasks import load_task
    from archscout.tasks.readers.prepared import FOLDER
    from archscout.tasks.registry import data_root

    task = load_task(name, data)
    sizes = ", ".join(f"{part} {len(task.split(part)):,}" for part in ("train", "validation", "test"))
    typer.echo(f"{task.name}: {task.spec.describe()}; {sizes}")
    folder = data_root(data) / FOLDER
    typer.echo(f"prepared arrays are kept in {folder}" if folder.is_dir() else "this task needs no preparation")


@takes(DataOptions)
def check_data(
    source: Annotated[
        str,
        typer.Argument(help="Folder of images, texts or series, .npz or .ts file, or registered task.", metavar="PATH"),
    ],
    options: DataOptions,
) -> None:
    """Check data, and say how archscout reads it: shapes, classes, splits, ranges."""
    from archscout.tasks.checks import check_data as check
    from archscout.tasks.findings import raise_wrong
    from archscout.tasks.options import TaskOptions

    summary = check(source, options.data, TaskOptions.read(options.task_options()))
    for line in summary.lines():
        typer.echo(line)
    raise_wrong(summary.findings)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="check-data")(check_data)
    app.add_typer(group, name="data")
