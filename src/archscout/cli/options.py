"""The options that commands share, each declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

__all__ = [
    "ARCHITECTURE",
    "HOW",
    "DataOption",
    "DataOptions",
    "EntryOption",
    "ExecutorOption",
    "JsonOption",
    "MethodOption",
    "ModelOption",
    "MovedOption",
    "QuietOption",
    "RecipeOption",
    "RunArgument",
    "RunOptions",
    "SetOption",
    "SpaceOption",
    "TaskArgument",
    "TrainOptions",
    "UntilOption",
    "takes",
]

ARCHITECTURE = "Name from the zoo, file, run directory, or published text"

READING = "How to read data, and what to learn from it"
WHAT, HOW, WHERE = "What to search", "How to search and train", "Where to run, and for how long"

TaskArgument = Annotated[
    str, typer.Argument(help="Registered task, folder of data, or file of arrays, series or text.", metavar="TASK")
]
RunArgument = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help="Search method; default: one that serves the task; see: archscout list methods.", rich_help_panel=WHAT
    ),
]
SpaceOption = Annotated[
    str | None, typer.Option(help="Search space; see: archscout list spaces.", rich_help_panel=WHAT)
]
DataOption = Annotated[Path | None, typer.Option(help="Folder with the files of a registered task.", metavar="DIR")]
EntryOption = Annotated[
    str | None,
    typer.Option(help="Which weights of a file that has several, e.g. state_dict_ema.", metavar="NAME"),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        help="Settings to begin with: a name from `archscout list recipes`, or a YAML file; default: <method>/<task>.",
        metavar="NAME|FILE",
        rich_help_panel=HOW,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change one setting, e.g. train.epochs=20; may be repeated.",
        metavar="KEY=VALUE",
        rich_help_panel=HOW,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Network of your own: the name, in a Python module, of it or of a function that makes it.",
        metavar="MODULE:NAME",
    ),
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        help="Who runs independent trainings: local, ray, ray://HOST:PORT.",
        metavar="EXECUTOR",
        rich_help_panel=WHERE,
    ),
]
MovedOption = Annotated[
    str | None, typer.Option("--task", help="Where the data of the run is now, if it has moved.", metavar="PATH")
]
UntilOption = Annotated[
    str | None, typer.Option(help="Last stage to run; `archscout status RUN` names them.", metavar="STAGE")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What every command takes that reads data."""

    data: DataOption = None
    kind: Annotated[
        str | None,
        typer.Option(
            help="classification, multilabel, regression or dense; default: as the targets tell.",
            rich_help_panel=READING,
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with a row for each file: its name and its targets.", metavar="CSV", rich_help_panel=READING
        ),
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(help="Column with the target; may be repeated.", metavar="COLUMN", rich_help_panel=READING),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(
            help="Classes from names: folder:1 (a level of the path), or a pattern of file names, as ^[a-z]+",
            metavar="folder:LEVEL|PATTERN",
            rich_help_panel=READING,
        ),
    ] = None
    ignore: Annotated[
        int | None, typer.Option(help="Value of masks that is no class.", metavar="VALUE", rich_help_panel=READING)
    ] = None
    series_id: Annotated[
        str | None,
        typer.Option(
            help="Column that tells series apart, in a table with a row for each step.",
            metavar="COLUMN",
            rich_help_panel=READING,
        ),
    ] = None
    metric: Annotated[
        str | None, typer.Option(help="What decides: accuracy, macro_f1, auroc, mae, ...", rich_help_panel=READING)
    ] = None
    groups: Annotated[
        str | None,
        typer.Option(
            help="What stays together in one split: folder:1, column:NAME or a pattern of file names.",
            rich_help_panel=READING,
        ),
    ] = None
    order: Annotated[
        str | None,
        typer.Option(help="time: hold out the last samples, never shuffle between splits.", rich_help_panel=READING),
    ] = None
    image_size: Annotated[
        str | None,
        typer.Option(help="Side of images, or HEIGHTxWIDTH, in pixels.", metavar="PIXELS", rich_help_panel=READING),
    ] = None
    fit: Annotated[
        str | None, typer.Option(help="How images get their size: crop, pad or squeeze.", rich_help_panel=READING)
    ] = None
    value_range: Annotated[
        str | None,
        typer.Option(
            help="Values of black and white, where files do not tell.", metavar="LOW,HIGH", rich_help_panel=READING
        ),
    ] = None
    layout: Annotated[
        str | None, typer.Option(help="Axes of arrays: NCHW, NHWC, NHW, NCL, NLC, NL.", rich_help_panel=READING)
    ] = None
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Go on without files that cannot be read.", rich_help_panel=READING)
    ] = False

    def task_options(self) -> dict[str, Any]:
        """The options that were given, as fields of `TaskOptions`."""
        from archscout.tasks.options import parse_range, parse_size

        given = {
            "kind": self.kind,
            "labels": None if self.labels is None else str(self.labels),
            "target": self.target or None,
            "classes": self.classes,
            "ignore": self.ignore,
            "series_id": self.series_id,
            "metric": self.metric,
            "groups": self.groups,
            "order": self.order,
            "image_size": None if self.image_size is None else parse_size(self.image_size),
            "fit": self.fit,
            "value_range": None if self.value_range is None else parse_range(self.value_range),
            "layout": self.layout,
            "skip_damaged": self.skip_damaged or None,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DataOptions):
    """What `train`, `search` and `run` take."""

    recipe: RecipeOption = None
    overrides: SetOption = None
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory; one that exists goes on if its settings are the same. Default: a new one in runs/.",
            metavar="DIR",
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", rich_help_panel=HOW)] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=WHERE)] = None
    limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            help="Stop after so many minutes; `archscout resume` goes on.",
            metavar="MINUTES",
            rich_help_panel=WHERE,
        ),
    ] = None
    executor: ExecutorOption = None
    quiet: QuietOption = False
    as_json: JsonOption = False

    def settings(self) -> dict[str, Any]:
        """The top-level settings that have an option of their own."""
        return {
            "data": None if self.data is None else str(self.data),
            "task_options": self.task_options() or None,
            "seed": self.seed,
            "device": self.device,
            "time_limit_minutes": self.limit,
            "executor": self.executor,
        }


@dataclass(frozen=True, kw_only=True)
class RunOptions(TrainOptions):
    """What `search` and `run` take."""

    method: MethodOption = None
    space: SpaceOption = None
    architecture: Annotated[
        str | None,
        typer.Option(help="Architecture to start from, for dash.", metavar="NAME|FILE", rich_help_panel=WHAT),
    ] = None
    model: ModelOption = None
    table: Annotated[
        Path | None,
        typer.Option(
            help="Table to read scores from instead of training; see: archscout table import.",
            metavar="FILE",
            rich_help_panel=WHAT,
        ),
    ] = None
    dataset: Annotated[
        str | None, typer.Option(help="Data set of the table.", metavar="NAME", rich_help_panel=WHAT)
    ] = None
    trials: Annotated[
        int | None,
        typer.Option(help="Independent searches, for methods that query scores.", rich_help_panel=HOW),
    ] = None
    until: UntilOption = None

    def settings(self) -> dict[str, Any]:
        """The top-level settings that have an option of their own, and those of a search by queries."""
        query = {
            "table": None if self.table is None else str(self.table),
            "dataset": self.dataset,
            "trials": self.trials,
        }
        search = {name: value for name, value in query.items() if value is not None}
        return {**super().settings(), "space": self.space, **({"search": search} if search else {})}


def takes(options: type[DataOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: give a command the fields of a dataclass as options; it gets them as its argument `options`."""
    hints = get_type_hints(options, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, kind, default=vars(owner)[name], annotation=hints[name])
        for owner in options.__mro__  # what a class adds comes before what it inherits, and so in `--help`
        for name in inspect.get_annotations(owner)
    ]

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        def call(**values: Any) -> None:
            given = options(**{each.name: values.pop(each.name) for each in shared})
            command(**values, options=given)

        own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "options"]
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        parameters = [*(each.replace(kind=kind) for each in own), *shared]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return call

    return wrap
