"""What the report says of a run, gathered from its directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import yaml

from archscout.pipeline.contents import RunContents
from archscout.pipeline.device_views import device_numbers, device_warnings
from archscout.pipeline.evaluation import read_predictions
from archscout.pipeline.insight.view import view_of_run
from archscout.spaces import architecture_from_json
from archscout.spaces.base import HasBaseline, LayerCoded
from archscout.tasks.metrics.classification import Metric
from archscout.tuning import TUNING
from archscout.tuning.trial import TrialRecord
from archscout.viz.report.content import (
    CandidateView,
    ComparisonRow,
    NumberView,
    PredictionView,
    ReportContent,
    StageView,
    SubspaceView,
    TrialView,
    TuningView,
)
from archscout.viz.report.report import render_report

__all__ = ["comparison_row", "constant_note", "interval_note", "next_commands", "report_html"]

UNDRAWN = ("search_stage", "steps", "scored", "progress", "best_reward", "epoch")  # no curve is drawn of these


def report_html(run: RunContents, others: Sequence[RunContents] = ()) -> str:
    """The report of a run; `others` stand beside it in the comparison."""
    directory = run.directory
    config = directory.config()
    architecture = run.architecture if directory.has("architecture.json") else None
    result = run.result if directory.has("result.json") else {}
    content = ReportContent(
        title=f"{run.task.name}: {run.settings.method or run.settings.architecture}",
        command=str(config.get("command", "")),
        task=run.task.spec.describe(),
        task_name=run.task.name,
        method=_method_name(run),
        space=run.settings.space,
        seed=run.settings.seed,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        architecture=architecture,
        architecture_text=architecture.describe() if architecture else "",
        baseline=run.space.baseline if architecture and isinstance(run.space, HasBaseline) else None,
        spec=run.task.spec,
        metric_note=_metric_note(run.task.metric),
        network_size=run.settings.network,
        settings_yaml=yaml.safe_dump(config.get("settings", {}), sort_keys=False, allow_unicode=True),
        stages=_stages(run),
        candidates=_candidates(run),
        numbers=[*_numbers(result, run.task.metrics), *device_numbers(run), *_trial_numbers(run)],
        predictions=_predictions(run),
        insight=view_of_run(run),
        subspaces=_subspaces(run),
        tuning=_tuning(run),
        comparison=[comparison_row(run, current=True), *(comparison_row(other) for other in others)] if others else [],
        environment={
            "device": str(result.get("device", run.engine.describe())),
            **{name: str(config[name]) for name in ("archscout", "torch", "python") if name in config},
        },
        provenance={str(key): str(value) for key, value in run.task.provenance.items()} | _notes(run),
        next_commands=next_commands(run),
        warnings=_warnings(run),
    )
    return render_report(content)


def _metric_note(metric: Metric) -> str:
    """What the curves and the scores of this run mean, where lower values are better."""
    if metric.direction == "max":
        return ""
    name = metric.name.replace("_", " ")
    parts = " Methods that query scores have them in hundredths of the targets' deviation." if metric.span else ""
    return f"{name}: lower is better. Scores of candidates are its negative, so that the best has the highest.{parts}"


def constant_note(metric: Metric, result: Mapping[str, Any]) -> str:
    """What a constant answer reaches, for people; empty where a result does not tell."""
    known = result.get("constant", {}).get(metric.name)
    if known is None:
        return ""
    return f"a constant answer reaches {metric.format(known['value'])} ({known['answer']})"


def interval_note(metric: Metric, result: Mapping[str, Any]) -> str:
    """Between which bounds a metric lies, for people; empty where a result does not tell."""
    known = result.get("intervals", {}).get(metric.name)
    if known is None:
        return ""
    return f"95 % interval {metric.format(known['low'])} to {metric.format(known['high'])}"


def _predictions(run: RunContents) -> list[PredictionView]:
    return [
        PredictionView(name, list(zip(samples, truth, found, strict=True)))
        for name, samples, truth, found in read_predictions(run.directory)
    ]


def _method_name(run: RunContents) -> str:
    return run.settings.method or f"given: {run.settings.architecture}"


def _stages(run: RunContents) -> list[StageView]:
    views = []
    for name, facts in run.directory.stages().items():
        metrics = [{key: value for key, value in row.items() if key not in UNDRAWN} for row in run.metrics(name)]
        views.append(StageView(name, float(facts.get("seconds") or 0), bool(facts.get("complete")), metrics))
    return views


def _candidates(run: RunContents) -> list[CandidateView]:
    views = []
    chosen = run.directory.read_json("architecture.json") if run.directory.has("architecture.json") else None
    for record in run.candidates():
        architecture = architecture_from_json(json.dumps(record["architecture"]))
        views.append(
            CandidateView(
                rank=record["rank"],
                score=record["score"],
                parameters=record["parameters"],
                madds=record["madds"],
                origin=record["origin"],
                chosen=record["architecture"] == chosen,
                text=architecture.describe(),
            )
        )
    return views


def _numbers(result: dict[str, Any], metrics: Sequence[Metric]) -> list[NumberView]:
    if not result:
        return []
    test = result["test"]
    split = f"test, {test['samples']:,} samples"
    trained = f"trained on {result['trained_on']['split']}, {result['trained_on']['samples']:,} samples"
    numbers = []
    for metric in metrics:
        if metric.name in test:
            notes = [interval_note(metric, result), metric.tendency, constant_note(metric, result), trained]
            name, value = metric.name.replace("_", " "), metric.format(test[metric.name])
            numbers.append(NumberView(name, value, split, "; ".join(note for note in notes if note)))
    for each in result.get("outputs", []):
        for metric in metrics:
            if metric.name in each:
                name = f"{metric.name.replace('_', ' ')} of {each['output']}"
                numbers.append(NumberView(name, metric.format(each[metric.name]), split, metric.tendency))
    numbers += [
        NumberView("loss", f"{test['loss']:.4f}", split),
        NumberView("parameters", f"{result['parameters']:,}", "", "trainable, without auxiliary head"),
        NumberView("MAdds", f"{result['madds']:,}", "", "multiply-adds of one sample"),
    ]
    numbers += [
        NumberView(
            f"latency, batch {latency['batch_size']}",
            f"{latency['median_ms']:.2f} ms",
            "",
            f"median, {latency['device']}, {latency['threads']} threads",
        )
        for latency in result["latency"]
    ]
    return numbers


def _trial_numbers(run: RunContents) -> list[NumberView]:
    """Mean and spread over the trials of a search."""
    numbers = []
    for facts in run.search_facts.values():
        if facts.get("trials", 1) > 1 or run.settings.task is None:
            spread = "" if facts["std"] is None else f" \u00b1 {facts['std']:.3f}"
            column = "test column of the table" if "_test_" in facts["report"] else "the search's own score"
            note = f"{facts['queries']:g} queries a trial, {facts['distinct']:g} different architectures"
            split = f"{column}, {facts['trials']} trials"
            numbers.append(NumberView(facts["report"], f"{facts['mean']:.3f}{spread}", split, note))
    return numbers


def _subspaces(run: RunContents) -> SubspaceView | None:
    """The course of the first trial, where the search kept centres."""
    for facts in run.search_facts.values():
        if "course" in facts:
            first = facts["each"][0]
            centres = [architecture_from_json(json.dumps(each)) for each in first["centres"]]
            codes = [cast(LayerCoded, run.space).encode(centre) for centre in centres]
            return SubspaceView(
                scores=first["centre_scores"],
                texts=[centre.describe().splitlines()[0] for centre in centres],
                distances=[[sum(a != b for a, b in zip(x, y, strict=True)) for y in codes] for x in codes],
                first_scores=facts["course"]["centres"],
                steps=facts["course"]["steps"],
            )
    return None


def _tuning(run: RunContents) -> TuningView | None:
    """The trials of the tuning, where it is done."""
    facts = run.search_facts.get(TUNING, {}).get("tuning")
    if facts is None:
        return None
    records = [TrialRecord.from_fields(fields) for fields in facts["each"]]
    metric = run.task.metric
    trials = [
        TrialView(
            number=record.number,
            parameters=[_parameter(value) for value in record.parameters.values()],
            value="diverged" if record.value is None else metric.format(record.value),
            score=record.value,
            epochs=record.epochs,
            state=record.state,
            chosen=record.number == facts["chosen"],
        )
        for record in records
    ]
    return TuningView(facts["metric"], list(records[0].parameters), trials, facts["configurations"] - len(records))


def _parameter(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def comparison_row(run: RunContents, *, current: bool = False) -> ComparisonRow:
    """One run as a line of a comparison."""
    method = _method_name(run)
    if not run.directory.has("result.json"):
        return ComparisonRow(name=run.directory.path.name, method=method, current=current)
    result = run.result
    metric = run.task.metric
    seconds = sum(facts.get("seconds") or 0 for facts in run.directory.stages().values())
    return ComparisonRow(
        name=run.directory.path.name,
        method=method,
        value=metric.format(result["test"][metric.name]),
        parameters=f"{result['parameters']:,}",
        madds=f"{result['madds']:,}",
        seconds=f"{seconds:,.0f} s",
        current=current,
    )


def next_commands(run: RunContents) -> list[tuple[str, str]]:
    """What a user may want to do next, as commands with an explanation."""
    path = run.directory.path
    pending = run.pending()
    commands = [(f"archscout resume {path}", f"go on with: {', '.join(pending)}")] if pending else []
    if run.directory.has("architecture.json"):
        commands.append((f"archscout show {path / 'architecture.json'} --svg cells.svg", "draw the architecture"))
        task = run.settings.task or "TASK"
        commands.append(
            (
                f"archscout train {path / 'architecture.json'} --task {task} --set train.epochs=...",
                "train it again, for longer or on another task",
            )
        )
    if run.directory.complete("evaluate"):
        commands.append((f"archscout explain {path}", "where the network fails, as tables and pictures"))
    if run.directory.complete("train"):
        commands.append((f'archscout.load_run("{path}").model()', "the trained network in Python, a plain nn.Module"))
    return commands


def _notes(run: RunContents) -> dict[str, str]:
    """What the reader of the data has done with it."""
    if run.settings.task is None:
        return {}
    return {f"note: {finding.code}": finding.message for finding in run.record.findings if finding.level == "note"}


def _warnings(run: RunContents) -> list[str]:
    warnings = [*run.directory.warnings, *device_warnings(run)]
    if run.settings.task is not None:
        warnings += [finding.message for finding in run.record.findings if finding.level != "note"]
    shares = [record["skip_share"] for record in run.metrics("search") if "skip_share" in record]
    if shares and shares[-1] > 0.5:
        warnings.append(
            f"{100 * shares[-1]:.0f} % of the operations that the search prefers are skip connections: it may have "
            "collapsed. Try a lower learning rate of the policy or of the architecture tensors, or fewer epochs."
        )
    return warnings
