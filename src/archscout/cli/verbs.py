"""The verbs: run, search, train, evaluate, export, report, resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli.own_model import BaseOption, ModelOption, load_model

if TYPE_CHECKING:
    from archscout.pipeline.run import Run

__all__ = ["register"]

TaskArgument = Annotated[str, typer.Argument(help="Registered task, folder of data, .npz or .ts file.", metavar="TASK")]
RunArgument = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]
OptionalTaskArgument = Annotated[
    str | None,
    typer.Argument(help="Registered task, folder of data, .npz or .ts file; not needed with --table.", metavar="TASK"),
]
TableOption = Annotated[
    Path | None, typer.Option(help="Score by a table, see: archscout table import.", metavar="FILE")
]
DatasetOption = Annotated[str | None, typer.Option(help="Data set of the table's columns.", metavar="NAME")]
TrialsOption = Annotated[int | None, typer.Option(help="Independent searches, for methods that query scores.")]
MethodOption = Annotated[str | None, typer.Option(help="Search method; see: archscout list methods.")]
DataOption = Annotated[Path | None, typer.Option(help="Folder of a registered task's files.", metavar="DIR")]
RecipeOption = Annotated[
    str | None, typer.Option(help="Recipe name or YAML file; default: <method>/<task>.", metavar="NAME|FILE")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting, e.g. train.epochs=20.", metavar="KEY=VALUE")
]
OutOption = Annotated[
    Path | None, typer.Option(help="Run directory; an existing one with the same settings goes on.", metavar="DIR")
]
SpaceOption = Annotated[str | None, typer.Option(help="Search space; see: archscout list spaces.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of everything random.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
LimitOption = Annotated[
    float | None, typer.Option("--time-limit", help="Stop cleanly after so many minutes; resume later.")
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(help="Where independent trainings run: local, ray, ray://HOST:PORT.", metavar="EXECUTOR"),
]
UntilOption = Annotated[str | None, typer.Option(help="Last stage to run; see: archscout status RUN.", metavar="STAGE")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _values(
    data: Path | None,
    space: str | None,
    seed: int | None,
    device: str | None,
    limit: float | None,
    executor: str | None = None,
) -> Any:
    return {
        "executor": executor,
        "data": None if data is None else str(data),
        "space": space,
        "seed": seed,
        "device": device,
        "time_limit_minutes": limit,
    }


def _query_values(table: Path | None, dataset: str | None, trials: int | None) -> dict[str, Any]:
    """The settings of a search by queries that have options of their own."""
    values = {"table": None if table is None else str(table), "dataset": dataset, "trials": trials}
    given = {key: value for key, value in values.items() if value is not None}
    return {"search": given} if given else {}


def _start(
    task: str | None,
    method: str | None,
    recipe: str | None,
    overrides: list[str] | None,
    values: Any,
    out: Path | None,
    quiet: bool,
    as_json: bool,
    *,
    architecture: str | None,
    model: str | None,
    search_only: bool = False,
    until: str | None = None,
) -> None:
    """What `run` and `search` share."""
    from archscout import api
    from archscout.cli.progress import make_observer

    done = api.run(
        task,
        method=method,
        recipe=recipe,
        overrides=overrides or (),
        values=values,
        out=out,
        observers=[make_observer(quiet)],
        search_only=search_only,
        until=until,
        architecture=architecture,
        model=load_model(model),
    )
    _conclude(done, as_json)


def run(
    task: TaskArgument,
    method: MethodOption = None,
    data: DataOption = None,
    recipe: RecipeOption = None,
    overrides: SetOption = None,
    out: OutOption = None,
    space: SpaceOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    limit: LimitOption = None,
    table: TableOption = None,
    dataset: DatasetOption = None,
    trials: TrialsOption = None,
    architecture: BaseOption = None,
    model: ModelOption = None,
    executor: ExecutorOption = None,
    until: UntilOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search, train, evaluate, export and report: from a task to a network in one command."""
    values = {**_values(data, space, seed, device, limit, executor), **_query_values(table, dataset, trials)}
    start: dict[str, Any] = {"architecture": architecture, "model": model}
    _start(task, method, recipe, overrides, values, out, quiet, as_json, **start, until=until)


def search(
    task: OptionalTaskArgument = None,
    method: MethodOption = None,
    data: DataOption = None,
    recipe: RecipeOption = None,
    overrides: SetOption = None,
    out: OutOption = None,
    space: SpaceOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    limit: LimitOption = None,
    table: TableOption = None,
    dataset: DatasetOption = None,
    trials: TrialsOption = None,
    architecture: BaseOption = None,
    model: ModelOption = None,
    executor: ExecutorOption = None,
    until: UntilOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search only: ends with an architecture."""
    values = {**_values(data, space, seed, device, limit, executor), **_query_values(table, dataset, trials)}
    only = until is None
    start: dict[str, Any] = {"architecture": architecture, "model": model}
    _start(task, method, recipe, overrides, values, out, quiet, as_json, **start, search_only=only, until=until)


def train(
    source: Annotated[str, typer.Argument(help="Run directory, or architecture: zoo name, file, published text.")],
    task: Annotated[str | None, typer.Option(help="Task to train an architecture on.")] = None,
    data: DataOption = None,
    recipe: RecipeOption = None,
    overrides: SetOption = None,
    out: OutOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    limit: LimitOption = None,
    executor: ExecutorOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the architecture of a run, or any architecture on a task."""
    from archscout import api
    from archscout.cli.progress import make_observer
    from archscout.errors import SettingsError
    from archscout.rundir import RunDirectory

    observers = [make_observer(quiet)]
    if task is None:
        if not RunDirectory(source).exists():
            raise SettingsError(f"'{source}' is no run directory; to train an architecture name its task with --task.")
        if recipe or overrides or out or seed is not None:
            raise SettingsError(
                "a run is trained with the settings that it was started with. To train its architecture with others, "
                "name the task: archscout train RUN --task TASK --set ..."
            )
        done = api.resume(source, until="train", observers=observers, executor=executor)
    else:
        done = api.train(
            source,
            task=task,
            recipe=recipe,
            overrides=overrides or (),
            values=_values(data, None, seed, device, limit, executor),
            out=out,
            observers=observers,
        )
    _conclude(done, as_json)


def evaluate(
    source: Annotated[Path, typer.Argument(help="Run directory, model.safetensors, or architecture with --weights.")],
    task: Annotated[str | None, typer.Option(help="Task, for a model file or weights.")] = None,
    data: DataOption = None,
    weights: Annotated[
        Path | None, typer.Option(help="State dict of the architecture (.pt, .pth, .safetensors).", metavar="FILE")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a trained network on the test split."""
    from archscout import api
    from archscout.cli.progress import make_observer

    if weights is not None:
        from archscout.cli.files import evaluate_weights

        evaluate_weights(str(source), weights, task, data, as_json)
        return
    if source.is_file():
        from archscout.cli.files import evaluate_file

        evaluate_file(source, task, data, as_json)
        return
    _conclude(api.evaluate(source, observers=[make_observer(quiet)]), as_json)


def export(
    source: Annotated[Path, typer.Argument(help="Run directory, or model.safetensors.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the files of a model file.", metavar="DIR")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export a trained network to ONNX and torch.export, and compare each with the network."""
    from archscout import api
    from archscout.cli.progress import make_observer

    if source.is_file():
        from archscout.cli.files import export_file

        export_file(source, out or source.parent / "export")
        return
    _conclude(api.export(source, observers=[make_observer(quiet)]), as_json)


def report(
    path: RunArgument,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Another run to stand beside it; may be repeated.", metavar="RUN")
    ] = None,
) -> None:
    """Write the report of a run, beside other runs if asked for."""
    from archscout import api

    typer.echo(api.report(path, compare=compare or ()))


def resume(
    path: RunArgument,
    until: UntilOption = None,
    model: ModelOption = None,
    executor: ExecutorOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped or killed."""
    from archscout import api
    from archscout.cli.progress import make_observer

    observers = [make_observer(quiet)]
    _conclude(api.resume(path, until=until, executor=executor, observers=observers, model=load_model(model)), as_json)


def _conclude(run: Run, as_json: bool) -> None:
    """Print what came out, and the next command."""
    import json

    if not run.engine.is_main:
        return
    directory = run.directory
    result = run.result if directory.has("result.json") else None
    if as_json:
        content = result or {"architecture": directory.read_json("architecture.json"), **_trial_facts(run)}
        typer.echo(json.dumps({"run": str(directory.path), **content}, indent=2))
        return
    if result is None:
        typer.echo(run.architecture.describe())
        facts = _trial_facts(run)
        if facts and facts["trials"] > 1:
            typer.echo(
                f"{facts['report']}: {facts['mean']:.3f} +- {facts['std']:.3f} over {facts['trials']} trials of "
                f"{facts['queries']:g} queries"
            )
    else:
        metric = run.task.metric
        typer.echo(
            f"test {metric.name} {metric.format(result['test'][metric.name])} "
            f"on {result['test']['samples']:,} samples, "
            f"{result['parameters']:,} parameters, {result['madds']:,} MAdds"
        )
    pending = run.pending()
    if pending:
        verb = pending[0] if pending[0] in ("train", "evaluate", "export", "report") else "resume"
        typer.echo(f"Next: archscout {verb} {directory.path}")
    else:
        typer.echo(f"Report: {directory.path / 'report.html'}")


def _trial_facts(run: Run) -> dict[str, Any]:
    """Mean and spread over trials, of searches that have such."""
    for facts in run.search_facts.values():
        if "mean" in facts:
            return {name: value for name, value in facts.items() if name not in ("each", "course")}
    return {}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (run, search, train, evaluate, export, report, resume):
        app.command()(command)
