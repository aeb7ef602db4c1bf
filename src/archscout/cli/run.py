"""Commands that start a run or go on with one: run, search, train, resume."""

from __future__ import annotations

from typing import Annotated

import typer

from archscout.cli.options import (
    HOW,
    ExecutorOption,
    JsonOption,
    ModelOption,
    MovedOption,
    QuietOption,
    RunArgument,
    RunOptions,
    TaskArgument,
    TrainOptions,
    UntilOption,
    takes,
)

__all__ = ["register"]


@takes(RunOptions)
def run(
    task: TaskArgument,
    options: RunOptions,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Cross-validation for small data: a whole run for each of so many folds, with mean and spread.",
            min=2,
            rich_help_panel=HOW,
        ),
    ] = None,
) -> None:
    """Search, train, evaluate, export and report: from a task to a network in one command."""
    if folds is None:
        _start(task, options)
    else:
        _start_folds(task, folds, options)


def _start_folds(task: str, folds: int, options: RunOptions) -> None:
    from archscout import api
    from archscout.cli.outcome import print_folds
    from archscout.cli.user_model import load_model
    from archscout.progress import make_observer

    done = api.cross_validate(
        task,
        folds=folds,
        method=options.method,
        recipe=options.recipe,
        overrides=options.overrides or (),
        values=options.settings(),
        out=options.out,
        observers=[make_observer(options.quiet)],
        until=options.until,
        architecture=options.architecture,
        model=load_model(options.model),
    )
    print_folds(done, options.as_json)


@takes(RunOptions)
def search(
    options: RunOptions,
    task: Annotated[
        str | None,
        typer.Argument(help="As for `archscout run`; not needed with --table.", metavar="TASK"),
    ] = None,
) -> None:
    """Search an architecture, and stop before the final training."""
    _start(task, options, search_only=options.until is None)


def _start(task: str | None, options: RunOptions, search_only: bool = False) -> None:
    from archscout import api
    from archscout.cli.outcome import print_outcome
    from archscout.cli.user_model import load_model
    from archscout.progress import make_observer

    done = api.run(
        task,
        method=options.method,
        recipe=options.recipe,
        overrides=options.overrides or (),
        values=options.settings(),
        out=options.out,
        observers=[make_observer(options.quiet)],
        search_only=search_only,
        until=options.until,
        architecture=options.architecture,
        model=load_model(options.model),
    )
    print_outcome(done, options.as_json)


@takes(TrainOptions)
def train(
    source: Annotated[str, typer.Argument(help="Run directory, or architecture: zoo name, file, published text.")],
    options: TrainOptions,
    task: Annotated[str | None, typer.Option(help="Task to train an architecture on.")] = None,
) -> None:
    """Train the architecture of a run, or any architecture on a task."""
    from archscout import api
    from archscout.cli.outcome import print_outcome
    from archscout.errors import SettingsError
    from archscout.progress import make_observer
    from archscout.rundir import RunDirectory

    observers = [make_observer(options.quiet)]
    if task is None:
        if not RunDirectory(source).exists():
            raise SettingsError(f"'{source}' is no run directory; to train an architecture name its task with --task.")
        if options.recipe or options.overrides or options.out or options.seed is not None:
            raise SettingsError(
                "a run is trained with the settings that it was started with. To train its architecture with others, "
                "name the task: archscout train RUN --task TASK --set ..."
            )
        done = api.resume(source, until="train", observers=observers, executor=options.executor)
    else:
        done = api.train(
            source,
            task=task,
            recipe=options.recipe,
            overrides=options.overrides or (),
            values=options.settings(),
            out=options.out,
            observers=observers,
        )
    print_outcome(done, options.as_json)


def resume(
    path: RunArgument,
    until: UntilOption = None,
    model: ModelOption = None,
    executor: ExecutorOption = None,
    task: MovedOption = None,
    accept_data_change: Annotated[
        bool,
        typer.Option(
            "--accept-data-change", help="Where the data has changed, start the stages again that depend on it."
        ),
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped or killed."""
    from archscout import api
    from archscout.cli.outcome import print_folds, print_outcome
    from archscout.cli.user_model import load_model
    from archscout.errors import SettingsError
    from archscout.progress import make_observer
    from archscout.rundir import FOLDS, RunDirectory

    observers = [make_observer(quiet)]
    if RunDirectory(path).has(FOLDS):
        if executor is not None:
            raise SettingsError("the folds of a cross-validation keep their executor; leave --executor out.")
        folds = api.resume_folds(
            path,
            until=until,
            observers=observers,
            task=task,
            model=load_model(model),
            accept_data_change=accept_data_change,
        )
        print_folds(folds, as_json)
        return
    done = api.resume(
        path,
        until=until,
        executor=executor,
        observers=observers,
        task=task,
        model=load_model(model),
        accept_data_change=accept_data_change,
    )
    print_outcome(done, as_json)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (run, search, train, resume):
        app.command()(command)
