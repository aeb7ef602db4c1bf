"""Commands on what was trained: evaluate, export, ensemble, report, generate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from archscout.cli.options import DataOptions, EntryOption, JsonOption, MovedOption, QuietOption, RunArgument, takes
from archscout.errors import SettingsError

__all__ = ["register"]

SHOWN_MISTAKES = 5


@takes(DataOptions)
def evaluate(
    source: Annotated[Path, typer.Argument(help="Run directory, model.safetensors, or architecture with --weights.")],
    task: Annotated[
        str | None,
        typer.Option(help="Task, for a model file or weights; of a run, where its data is now, if it has moved."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(help="Another labelled set, in any form that is read for training.", metavar="PATH"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --on: folder for tables and a contact sheet.", metavar="DIR")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="State dict of the architecture (.pt, .pth, .safetensors).", metavar="FILE")
    ] = None,
    entry: EntryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    options: DataOptions,
) -> None:
    """Evaluate a trained network on the test split, or with --on on another labelled set."""
    data = options.data
    if on is not None:
        _evaluate_on(source, on, out, options, as_json, alone=weights is None and task is None and entry is None)
        return
    if out is not None or options.task_options():
        raise SettingsError("--out and options about how to read data belong to --on PATH, another labelled set.")
    if weights is not None:
        from archscout.cli.model_file import evaluate_weights

        evaluate_weights(str(source), weights, task, data, as_json, entry)
    elif source.is_file():
        from archscout.cli.model_file import evaluate_file

        evaluate_file(source, task, data, as_json)
    else:
        from archscout import api
        from archscout.cli.outcome import print_folds, print_outcome
        from archscout.progress import make_observer
        from archscout.rundir import FOLDS, RunDirectory

        if RunDirectory(source).has(FOLDS):
            folds = api.resume_folds(source, until="evaluate", observers=[make_observer(quiet)], task=task)
            print_folds(folds, as_json)
            return
        print_outcome(api.evaluate(source, observers=[make_observer(quiet)], task=task), as_json)


def _evaluate_on(source: Path, on: str, out: Path | None, options: DataOptions, as_json: bool, *, alone: bool) -> None:
    """Print how a network does on another labelled set."""
    import json

    from archscout import api

    if not alone:
        raise SettingsError("--on names the data by itself; leave --task, --weights and --entry out.")
    explained = api.evaluate_on(source, on, out=out, data=options.data, **options.task_options())
    if as_json:
        typer.echo(json.dumps({"model": str(source), **explained.insight.to_json()}, indent=2))
        return
    insight = explained.insight
    for line in explained.verdict:
        typer.echo(line)
    for name, value in insight.values.items():
        if name not in (insight.metric, "loss"):
            interval = insight.intervals.get(name)
            beside = "" if interval is None else f", 95 % interval {interval.low:.4g} to {interval.high:.4g}"
            typer.echo(f"{name.replace('_', ' ')} {value:.4g}{beside}")
    if insight.confusion:
        from rich.console import Console

        from archscout.cli.explain import confusion_table

        Console().print(confusion_table(insight))
    for mistake in insight.mistakes[:SHOWN_MISTAKES]:
        typer.echo(f"  {mistake.sample}: {', '.join(explained.captions(mistake))}")
    for file in explained.files:
        typer.echo(f"  {file}")


def export(
    source: Annotated[Path, typer.Argument(help="Run directory, or model.safetensors.")],
    out: Annotated[
        Path | None,
        typer.Option(help="For a model file: folder to write to; default: export/ beside it.", metavar="DIR"),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="onnx, pt2 (torch.export), openvino, pte (ExecuTorch); default: as in the settings, onnx,pt2.",
            metavar="NAME,...",
        ),
    ] = None,
    raw: Annotated[
        bool | None, typer.Option("--raw/--whole", help="The network alone, without preprocessing and decoding.")
    ] = None,
    int8: Annotated[
        bool | None,
        typer.Option("--int8/--no-int8", help="Also in 8 bit integers, if the metric on the validation split allows."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Tell whether it fits a device: microcontroller, nano-33-ble, pico, ...", metavar="NAME"),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, e.g. int8_tolerance=0.02; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    task: MovedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export a trained network to ONNX, torch.export and other formats, and compare each with the network."""
    given: dict[str, Any] = {"formats": formats, "raw": raw, "int8": int8, "target": target}
    if source.is_file():
        from archscout.cli.model_file import export_file

        export_file(source, out or source.parent / "export", given, overrides or ())
    else:
        from archscout import api
        from archscout.cli.outcome import print_exports
        from archscout.errors import SettingsError
        from archscout.progress import make_observer

        if out is not None:
            raise SettingsError(f"--out is for a model file; the files of a run lie in {source / 'export'}.")
        run = api.export(source, **given, overrides=overrides or (), observers=[make_observer(quiet)], task=task)
        print_exports(run, target or run.settings.export.target, as_json)


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run directories on the same data.", metavar="RUN...")],
    out: Annotated[Path, typer.Option(help="New folder for the ensemble.", metavar="DIR")],
    formats: Annotated[
        str, typer.Option("--format", help="As for export: onnx, pt2, openvino, pte.", metavar="NAME,...")
    ] = "onnx,pt2",
    raw: Annotated[bool, typer.Option("--raw", help="Export without preprocessing and decoding.")] = False,
    task: MovedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Average trained networks: one model file, evaluated and exported."""
    from archscout import api

    say = _nothing if quiet or as_json else typer.echo
    result = api.ensemble(runs, out, formats=formats, raw=raw, task=task, say=say)
    if as_json:
        typer.echo(json.dumps({"ensemble": str(out), **result}, indent=2))


def _nothing(text: str) -> None:
    pass


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
    for command in (evaluate, export, ensemble, report, generate):
        app.command()(command)
