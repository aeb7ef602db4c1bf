"""The command that uses a trained network: `archscout predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from archscout.cli.options import DataOption, QuietOption

if TYPE_CHECKING:
    from archscout.deployment.answers import Cell
    from archscout.deployment.prediction_files import Rows
    from archscout.deployment.prediction_target import Target
    from archscout.pipeline.predictions import Outcome, Progress
    from archscout.pipeline.predictor import Predictor

__all__ = ["register"]


def predict(
    model: Annotated[
        Path, typer.Argument(help="Run directory, model.safetensors, or ONNX file of archscout.", metavar="RUN|MODEL")
    ],
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders, patterns in quotes, lists of files (.csv, .txt).", metavar="PATH..."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File of the table, or folder of predicted masks; default: the terminal.", metavar="PATH"),
    ] = None,
    top: Annotated[int, typer.Option(help="Likeliest classes that are told, with their probabilities.")] = 3,
    threshold: Annotated[
        float | None,
        typer.Option(help="Of several labels at once: probability from which a label is given; default: 0.5."),
    ] = None,
    form: Annotated[
        Literal["csv", "json", "png"] | None,
        typer.Option("--format", help="csv, json, or png (masks in a folder); default: as --out tells."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also a column for the probability of each class.")
    ] = False,
    mask_size: Annotated[
        Literal["image", "network"], typer.Option(help="Size of masks: that of the image, or of the network.")
    ] = "image",
    key: Annotated[
        str | None, typer.Option(help="Which array of .npz files; default: the one that fits.", metavar="NAME")
    ] = None,
    apart: Annotated[
        bool, typer.Option("--apart", help="Of texts: each line is a text of its own, for example a prompt.")
    ] = False,
    batch_size: Annotated[int | None, typer.Option(help="Samples at a time; of texts, columns.", min=1)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    task: Annotated[
        str | None, typer.Option(help="Task that a model file of version 0.1 was trained for.", metavar="TASK")
    ] = None,
    data: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """Predict new images, series, sounds, arrays or texts: classes with probabilities, labels, numbers, masks."""
    from archscout.deployment.answers import Answers
    from archscout.deployment.inputs import find_inputs, kinds_of
    from archscout.deployment.prediction_target import Target
    from archscout.pipeline.predictions import columns_of_table, predict_files
    from archscout.pipeline.predictor import load

    predictor = load(model, device=device, task=task, data=data)
    answers = Answers(predictor.card, top=top, threshold=threshold, everything=probabilities)
    target = Target.of(predictor.card, out, form, full=mask_size == "image")
    inputs = find_inputs(paths, kinds_of(predictor.preparation))
    target.check([*(found.path for found in inputs.files), model])
    stream = _stream(target, columns_of_table(predictor, answers), predictor)
    with _bar(len(inputs.files), quiet) as progress:
        outcome = predict_files(
            predictor,
            inputs,
            answers,
            target,
            stream=stream,
            progress=progress,
            batch_size=batch_size,
            key=key,
            apart=apart,
        )
    _tell(outcome, target, predictor)


def _tell(outcome: Outcome, target: Target, predictor: Predictor) -> None:
    """What was done, on stderr; the files that were written, on stdout."""
    for note in dict.fromkeys(outcome.notes):
        typer.echo(f"note: {note}", err=True)
    if outcome.failed:
        total = outcome.predicted + outcome.failed
        typer.secho("warning: ", fg=typer.colors.YELLOW, err=True, nl=False)
        typer.echo(
            f"{outcome.failed:,} of {total:,} samples could not be predicted; their rows tell why. The first: "
            f"{outcome.first}",
            err=True,
        )
    if target.table is None:
        if predictor.card.spec.kind == "dense":
            typer.echo("note: --out FOLDER writes what was predicted at each position.", err=True)
        return
    if target.maps is not None:
        typer.echo(target.maps)
    typer.echo(target.table)


class _TerminalRows:
    """Rows for people: the name, then what was predicted."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def add(self, row: Mapping[str, Cell]) -> None:
        """Print a row."""
        from archscout.deployment.prediction_files import printable

        name, error = printable(str(row["name"])), row.get("error")
        if error:
            typer.echo(f"{name}: {typer.style('error', fg=typer.colors.RED)} {printable(str(error))}")
            return
        inner = [(column, value) for column, value in row.items() if column not in ("name", "error")]
        if self._kind == "classification":
            cells = [value for _, value in inner]
            told = [
                f"{printable(str(name))} {100 * share:.1f} %"
                for name, share in zip(cells[::2], cells[1::2], strict=False)
                if isinstance(share, float)
            ]
        elif self._kind == "multilabel":
            half = len(inner) // 2
            pairs = zip(inner[:half], inner[half:], strict=True)
            told = [
                f"{printable(column)} {100 * float(share or 0):.1f} %" for (column, yes), (_, share) in pairs if yes
            ]
            told = told or ["none of the labels"]
        else:
            told = [f"{printable(column)} {_short(value)}" for column, value in inner if value is not None]
        typer.echo(f"{name}: {', '.join(told)}")

    def close(self) -> None:
        """Nothing stands behind the last row."""


def _short(value: Cell) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _stream(target: Target, columns: list[str], predictor: Predictor) -> Rows | None:
    """Where rows go that have no file: lines for people on a terminal, else CSV or JSON."""
    from archscout.deployment.prediction_files import CsvRows, JsonRows

    if target.table is not None:
        return None
    if target.form == "json":
        return JsonRows(sys.stdout)
    if sys.stdout.isatty():
        return _TerminalRows(predictor.card.spec.kind)
    return CsvRows(sys.stdout, columns)


@contextmanager
def _bar(files: int, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("predict"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("predict", total=files)
        yield lambda done: progress.update(bar, completed=done)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)
