"""`archscout list`. It reads names and lines from the registries' catalog, and imports no torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from archscout.catalog import FAMILIES, METHODS, SPACES, TASKS, ZOO
from archscout.recipes import recipe_description, recipe_names

__all__ = ["register"]


class Kind(StrEnum):
    """What `archscout list` lists."""

    TASKS = "tasks"
    SPACES = "spaces"
    METHODS = "methods"
    RECIPES = "recipes"
    ZOO = "zoo"


def list_names(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what there is: tasks, spaces, methods, recipes, zoo."""
    lines = describe(kind)
    width = max(map(len, lines), default=0)
    for name, line in lines.items():
        typer.echo(f"{name:<{width}}  {line}")


def describe(kind: Kind) -> dict[str, str]:
    """A line on each name."""
    match kind:
        case Kind.TASKS:
            return TASKS.describe() | FAMILIES.describe(lambda _, family: family.form)
        case Kind.SPACES:
            return SPACES.describe()
        case Kind.METHODS:
            return METHODS.describe()
        case Kind.RECIPES:
            return {name: recipe_description(name) for name in recipe_names()}
        case Kind.ZOO:
            return ZOO.describe()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="list")(list_names)
