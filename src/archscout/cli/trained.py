"""Commands on what was trained: evaluate, export, report, generate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli.options import DataOption, EntryOption, JsonOption, MovedOption, QuietOption, RunArgument

__all__ = ["register"]


def evaluate(
    source: Annotated[Path, typer.Argument(help="Run directory, model.safetensors, or architecture with --weights.")],
    task: Annotated[
        str | None,
        typer.Option(help="Task, for a model file or weights; of a run, where its data is now, if it has moved."),
    ] = None,
    data: DataOption = None,
    weights: Annotated[
        Path | None, typer.Option(help="State dict of the architecture (.pt, .pth, .safetensors).", metavar="FILE")
    ] = None,
    entry: EntryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a trained network on the test split."""
    if weights is not None:
        from archscout.cli.model_file import evaluate_weights

        evaluate_weights(str(source), weights, task, data, as_json, entry)
    elif source.is_file():
        from archscout.cli.model_file import evaluate_file

        evaluate_file(source, task, data, as_json)
    else:
        from archscout import api
        from archscout.cli.outcome import print_outcome
        from archscout.progress import make_observer

        print_outcome(api.evaluate(source, observers=[make_observer(quiet)], task=task), as_json)


def export(
    source: Annotated[Path, typer.Argument(help="Run directory, or model.safetensors.")],
    out: Annotated[
        Path | None,
        typer.Option(help="For a model file: folder to write to; default: export/ beside it.", metavar="DIR"),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Of a model file: the network alone, without preprocessing and decoding.")
    ] = False,
    task: MovedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export a trained network to ONNX and torch.export, and compare each with the network."""
    if source.is_file():
        from archscout.cli.model_file import export_file

        export_file(source, out or source.parent / "export", raw)
    else:
        from archscout import api
        from archscout.cli.outcome import print_outcome
        from archscout.progress import make_observer

        print_outcome(api.export(source, observers=[make_observer(quiet)], task=task), as_json)


def report(
    path: RunArgument,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="Another run to compare with; may be repeated.", metavar="RUN"),
    ] = None,
    task: MovedOption = None,
) -> None:
    """Write the report of a run, next to other runs if asked for."""
    from archscout import api

    typer.echo(api.report(path, compare=compare or (), task=task))


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
    """Add the commands."""
    for command in (evaluate, export, report, generate):
        app.command()(command)
