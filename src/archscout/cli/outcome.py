"""What is printed at the end of a run or a stage: the result, and the next command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from archscout.pipeline.folds import CrossValidation
    from archscout.pipeline.run import Run

__all__ = ["print_exports", "print_folds", "print_outcome"]


def print_folds(folds: CrossValidation, as_json: bool) -> None:
    """Print what came out of a cross-validation, and the next command."""
    from archscout.pipeline.folds import shown

    directory = folds.directory
    if not directory.writes:
        return
    result = folds.result if directory.has("result.json") else None
    if as_json:
        typer.echo(json.dumps({"run": str(directory.path), **(result or {"folds": folds.count})}, indent=2))
        return
    if result is not None:
        metric = folds.runs()[0].task.metric
        found = result["test"][metric.name]
        typer.echo(
            f"test {metric.name} {shown(metric.format, found)}, mean and standard deviation over "
            f"{len(result['evaluated'])} of {folds.count} folds"
        )
        if found["std"] is not None:
            typer.echo(f"95 % interval of the mean: {metric.format(found['low'])} to {metric.format(found['high'])}")
        if metric.name in result["constant"]:
            typer.echo(
                f"for comparison: a constant answer reaches {shown(metric.format, result['constant'][metric.name])}"
            )
        typer.echo(f"the network to take: {directory.path / result['network']} ({result['why']})")
    pending = folds.pending()
    typer.echo(f"Next: archscout resume {directory.path}" if pending else f"Report: {directory.path / 'report.html'}")


def print_outcome(run: Run, as_json: bool) -> None:
    """Print what came out, and the next command."""
    if not run.engine.is_main:
        return
    from archscout.pipeline.summary import constant_note, interval_note

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
        interval = interval_note(metric, result)
        if interval:
            typer.echo(f"{interval} (bootstrap over {result['intervals'][metric.name]['unit']})")
        beside = constant_note(metric, result)
        if beside:
            typer.echo(f"for comparison: {beside}")
    pending = run.pending()
    if pending:
        verb = pending[0] if pending[0] in ("train", "evaluate", "export", "report") else "resume"
        typer.echo(f"Next: archscout {verb} {directory.path}")
    else:
        typer.echo(f"Report: {directory.path / 'report.html'}")


def print_exports(run: Run, target: str | None, as_json: bool) -> None:
    """Print what an export has left, whether the network fits a device, and the next command."""
    if not run.engine.is_main:
        return
    from archscout.deployment.targets import describe_fit, fit
    from archscout.pipeline.exports import footprint_of, read_exports

    fits = None if target is None else fit(footprint_of(run), target)
    if as_json:
        content = {"run": str(run.directory.path), **run.result, "exports": read_exports(run.directory)}
        typer.echo(json.dumps({**content, **({} if fits is None else {"fit": fits})}, indent=2))
        return
    print_outcome(run, False)
    if fits is not None:
        typer.echo(describe_fit(fits))


def _trial_facts(run: Run) -> dict[str, Any]:
    """Mean and spread over trials, of searches that have such."""
    for facts in run.search_facts.values():
        if "mean" in facts:
            return {name: value for name, value in facts.items() if name not in ("each", "course")}
    return {}
