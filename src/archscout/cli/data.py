"""Commands about data files: `archscout data fetch`."""

from __future__ import annotations

from typing import Annotated

import typer

from archscout.cli.verbs import DataOption

__all__ = ["register"]

group = typer.Typer(
    help="Get the official files of a task. Nothing is downloaded unless asked for here.", no_args_is_help=True
)


@group.callback()
def _group() -> None:
    """A callback keeps `fetch` a sub-command, although it is the only one."""


@group.command()
def fetch(
    name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")],
    data: DataOption = None,
    base_url: Annotated[str | None, typer.Option(help="Another server with the same archives.")] = None,
) -> None:
    """Download a task's official archive, check its digest, and extract it."""
    from archscout.tasks.fetch import fetch as get
    from archscout.tasks.registry import data_root

    root = data_root(data)
    path = get(name, root, base_url=base_url)
    typer.echo(f"{path}\nNext: archscout run {name}" + (f" --data {data}" if data else ""))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="data")
