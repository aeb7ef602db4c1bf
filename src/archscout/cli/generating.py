"""The command that lets a language model write: `archscout generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from archscout.cli.verbs import RunArgument

__all__ = ["register"]


def generate(
    path: RunArgument,
    prompt: Annotated[str, typer.Option(help="Text to begin with.")] = "",
    words: Annotated[int, typer.Option(help="How many words to write.")] = 100,
    temperature: Annotated[float, typer.Option(help="Below 1 likely words become likelier, above 1 less so.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Let the trained language model of a run write text after a prompt."""
    from archscout import api

    typer.echo(api.generate(path, prompt, words=words, temperature=temperature, seed=seed))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(generate)
