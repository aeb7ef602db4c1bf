"""The evaluation of a trained network: its metrics, what a constant answer reaches, and the predictions of numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from archscout.engine import Engine
from archscout.rundir import RunDirectory
from archscout.tasks.constant import ConstantJudge
from archscout.tasks.metrics.catalogue import find_metric
from archscout.tasks.metrics.problem import Problem
from archscout.tasks.task import Task
from archscout.training.evaluation import Observe, evaluate_network

__all__ = ["PREDICTIONS", "Judged", "judge_network", "output_names", "read_predictions"]

PREDICTIONS = "test_predictions.csv"
FIXED = 1  # columns before the numbers: the sample's name


@dataclass(frozen=True)
class Judged:
    """What an evaluation found.

    Attributes:
        values: of each metric, and the loss.
        constant: of each metric, what the best constant answer reaches, as `value`, and the `answer`.
        predictions: the content of `test_predictions.csv` for numbers: for each sample its name, the true and the
            predicted numbers; empty for others.
        outputs: for several numbers, the errors of each by itself.
    """

    values: dict[str, float]
    constant: dict[str, dict[str, Any]]
    predictions: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)


def judge_network(
    network: nn.Module, task: Task, part: str, engine: Engine, batch_size: int, witness: Observe | None = None
) -> Judged:
    """Evaluate a network on a split, beside constant answers; `witness` sees each batch, too."""
    split = task.split(part)
    constant = ConstantJudge(task, engine.device)
    kept: list[tuple[Tensor, Tensor]] = []

    def observe(outputs: Any, targets: Tensor) -> None:
        constant.update(outputs, targets)
        if witness is not None:
            witness(outputs, targets)
        if task.spec.kind == "regression":
            decoded = outputs if task.scale is None else task.scale.decode(outputs)
            kept.append((targets.cpu(), decoded.cpu()))

    values = evaluate_network(network, task, split, engine, batch_size, observe)
    if not kept:
        return Judged(values, constant.compute())
    truth, found = (torch.cat([pair[side] for pair in kept]) for side in (0, 1))
    names = output_names(task)
    table = _table(task, part, names, truth, found)
    return Judged(values, constant.compute(), table, _each(names, truth, found))


def output_names(task: Task) -> list[str]:
    """The names of a regression's numbers."""
    count = task.spec.outputs
    if len(task.class_names) == count:
        return list(task.class_names)
    return ["number"] if count == 1 else [f"number {position}" for position in range(1, count + 1)]


def _each(names: Sequence[str], truth: Tensor, found: Tensor) -> list[dict[str, Any]]:
    """The errors of each of several numbers."""
    if len(names) < 2:
        return []
    problem = Problem("numbers", 1)
    metrics = [find_metric(name, problem) for name in ("mae", "rmse", "r2")]
    return [
        {"output": name} | {metric.name: metric.measure(found[:, k : k + 1], truth[:, k : k + 1]) for metric in metrics}
        for k, name in enumerate(names)
    ]


def _table(task: Task, part: str, names: Sequence[str], truth: Tensor, found: Tensor) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", *(f"true {name}" for name in names), *(f"predicted {name}" for name in names)])
    for name, row in zip(task.sample_names(part), torch.cat([truth, found], 1).tolist(), strict=True):
        writer.writerow([name, *(f"{value:.7g}" for value in row)])
    return text.getvalue()


def read_predictions(directory: RunDirectory) -> list[tuple[str, list[str], list[float], list[float]]]:
    """For each number its name, the samples, the true and the predicted values; nothing where there are none."""
    if not directory.has(PREDICTIONS):
        return []
    head, *rows = csv.reader(io.StringIO(directory.read(PREDICTIONS)))
    if not head[-1].startswith("predicted "):
        return []  # those of classes, labels or maps
    count = (len(head) - FIXED) // 2
    samples = [row[0] for row in rows]
    numbers = [[float(value) for value in row[FIXED:]] for row in rows]
    return [
        (
            head[FIXED + k].removeprefix("true "),
            samples,
            [row[k] for row in numbers],
            [row[count + k] for row in numbers],
        )
        for k in range(count)
    ]
