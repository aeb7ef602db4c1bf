"""Evaluating and exporting a model file outside its run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from torch import nn

from archscout.deployment.export import ExportSubject
from archscout.deployment.footprint import footprint_facts
from archscout.deployment.targets import describe_fit, fit
from archscout.engine import Engine
from archscout.errors import SettingsError, SpaceError
from archscout.measure import input_type
from archscout.pipeline.artifacts import load_card, load_network
from archscout.pipeline.config import ExportSettings
from archscout.settings import apply_overrides
from archscout.tasks import Task, load_task, task_spec
from archscout.training.evaluation import evaluate_network
from archscout.zoo.weights import load_weighted_network

__all__ = ["evaluate_file", "evaluate_weights", "export_file"]

IMAGENET_EXAMPLE = "archscout evaluate dsm_nas.imagenet --weights FILE --task imagenet --data DIR"


def evaluate_file(file: Path, task_name: str | None, data: Path | None, as_json: bool) -> None:
    """Print the test metrics of a `model.safetensors`, on the task that it was trained for or on another."""
    network, spec = load_network(file)
    task = load_task(task_name or spec.name, data)
    if (task.spec.input_shape, task.spec.outputs) != (spec.input_shape, spec.outputs):
        raise SpaceError(f"the network does {spec.describe()}, but {task.name} is {task.spec.describe()}.")
    _print_metrics(network, task, as_json)
    if not as_json:
        typer.echo(f"Next: archscout export {file}")


def evaluate_weights(
    source: str, weights: Path, task_name: str | None, data: Path | None, as_json: bool, entry: str | None = None
) -> None:
    """Print the test metrics of an architecture with weights from a file, as published ones come."""
    if task_name is None:
        raise SettingsError(f"name the task that the weights are for, for example: {IMAGENET_EXAMPLE}")
    spec = task_spec(task_name, data)
    network = load_weighted_network(source, weights, spec, entry=entry, say=lambda text: typer.echo(text, err=True))
    _print_metrics(network, load_task(task_name, data), as_json)


def _print_metrics(network: nn.Module, task: Task, as_json: bool) -> None:
    engine = Engine.create()
    values = evaluate_network(engine.place(network), task, task.test, engine)
    if as_json:
        typer.echo(json.dumps({"test": {**values, "samples": len(task.test)}}, indent=2))
        return
    for metric in task.metrics:
        typer.echo(f"test {metric.name} {metric.format(values[metric.name])} on {len(task.test):,} samples")


def export_file(file: Path, folder: Path, given: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Export a `model.safetensors`, with its preprocessing where the file knows it."""
    values = {key: each for key, each in given.items() if each is not None}
    values = apply_overrides(values, [text.removeprefix("export.") for text in overrides])
    wanted = ExportSettings.read(values, where="export")
    if wanted.int8:
        raise SettingsError(
            "int8 is calibrated on training data and judged on validation data, which a model file does not have. "
            "Export its run directory: archscout export RUN --int8"
        )
    network, spec = load_network(file)
    subject = ExportSubject.of(network, load_card(file), raw=wanted.raw)
    if subject.note:
        typer.echo(subject.note)
    for report in subject.export(folder, formats=wanted.formats, tolerance=wanted.tolerance):
        typer.echo(f"{report.path}: largest difference {report.max_difference:.1e} (allowed {report.tolerance:.0e})")
    if wanted.target is not None:
        facts = footprint_facts(network, spec.input_shape, dtype=input_type(spec.vocabulary))
        typer.echo(describe_fit(fit(facts, wanted.target)))
