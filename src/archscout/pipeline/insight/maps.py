"""Judges of targets at every position: classes, or numbers. Only sums are kept, never the maps themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.pipeline.insight.calibration import CalibrationBins
from archscout.pipeline.insight.content import Mistake, NumberScore, PositionErrors
from archscout.pipeline.insight.judges import MOST_MISTAKES, Table, number_names
from archscout.pipeline.insight.scores import names_of, scores_of_matrix, sparse
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.metrics.problem import Problem
from archscout.tasks.task import Task

__all__ = ["FieldJudge", "MaskJudge"]

MOST_CELLS = 32  # along an axis


class _Positions:
    """Sums of an error at each position; None once samples differ in size."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._total: Tensor | None = None
        self._count: Tensor | None = None
        self._fits = True

    def add(self, errors: Tensor, known: Tensor) -> None:
        """Add a batch `(N, *positions)` of errors, and where they count."""
        total, count = (errors.double() * known).sum(0), known.double().sum(0)
        if self._total is None or self._count is None:
            self._total, self._count = total, count
        elif self._total.shape != total.shape:
            self._fits = False
        else:
            self._total += total
            self._count += count

    def compute(self) -> PositionErrors | None:
        """All batches together, in blocks where there are many positions."""
        if self._total is None or self._count is None or not self._fits or self._total.dim() not in (1, 2):
            return None
        shape = tuple(self._total.shape)
        blocks = [_blocks(part.view(1, -1) if part.dim() == 1 else part) for part in (self._total, self._count)]
        cells = torch.where(blocks[1] > 0, blocks[0] / blocks[1].clamp(min=1e-12), torch.nan)
        return PositionErrors(
            shape,
            tuple(tuple(None if value != value else value for value in row) for row in cells.tolist()),
            self._what,
        )


def _blocks(values: Tensor) -> Tensor:
    """Sums over blocks of neighbouring positions, at most 32 along an axis."""
    steps = [-(-size // MOST_CELLS) for size in values.shape]
    rest = [-size % step for size, step in zip(values.shape, steps, strict=True)]
    padded = F.pad(values, (0, rest[1], 0, rest[0]))
    height, width = padded.shape
    return padded.view(height // steps[0], steps[0], width // steps[1], steps[1]).sum((1, 3))


class MaskJudge:
    """Of a class at every position; positions with the target `IGNORED` are left out.

    Args:
        task: for the names of its classes.
        problem: how many classes; with one output, the logit of class 1, there are two.
        temperature: by which logits are divided.
    """

    def __init__(self, task: Task, problem: Problem, temperature: float = 1.0) -> None:
        self._names, self._temperature = names_of(task.class_names, problem.classes), temperature
        size = len(self._names)
        self._matrix: np.ndarray[Any, np.dtype[np.int64]] = np.zeros((size, size), np.int64)
        self._bins = CalibrationBins("positions", temperature)
        self._positions = _Positions("share of wrong classes")
        self._accuracy: list[float | None] = []
        self._iou: list[float | None] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: logits `(N, K, *positions)`, classes `(N, *positions)`."""
        if outputs.shape[1] == 1:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], 1)
            targets = targets.squeeze(1) if targets.dim() == outputs.dim() else targets
        targets = targets.long()
        confidence, found = torch.softmax(outputs.double() / self._temperature, 1).max(1)
        known = targets != IGNORED
        right = found == targets
        self._bins.add(confidence[known], right[known])
        self._positions.add(~right, known)
        size = len(self._names)
        for truth, one, counts in zip(targets, found, known, strict=True):
            pairs = torch.bincount(truth[counts] * size + one[counts], minlength=size * size).view(size, size)
            matrix = pairs.numpy()
            self._matrix += matrix
            scores = [each.iou for each in scores_of_matrix(matrix, self._names, masks=True) if each.iou is not None]
            total = int(matrix.sum())
            self._accuracy.append(float(np.trace(matrix)) / total if total else None)
            self._iou.append(sum(scores) / len(scores) if scores else None)

    def findings(self, names: Sequence[str]) -> Mapping[str, Any]:
        known = [place for place, value in enumerate(self._iou) if value is not None]
        worst = sorted(known, key=lambda place: self._iou[place] or 0.0)[:MOST_MISTAKES]
        return {
            "class_names": self._names,
            "confusion": sparse(self._matrix),
            "classes": scores_of_matrix(self._matrix, self._names, masks=True),
            "calibration": self._bins.compute(),
            "positions": self._positions.compute(),
            "mistakes": tuple(Mistake(names[place], place, value=self._iou[place]) for place in worst),
        }

    def table(self, names: Sequence[str]) -> Table:
        rows = zip(names, self._accuracy, self._iou, strict=True)
        return [["sample", "pixel accuracy", "mean IoU"]] + [[name, _cell(one), _cell(two)] for name, one, two in rows]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


class FieldJudge:
    """Of numbers at every position, in their units.

    Args:
        task: for the names of the numbers.
        problem: for their units.
    """

    def __init__(self, task: Task, problem: Problem) -> None:
        self._names, self._decode = number_names(task), problem.decode
        self._positions = _Positions("mean absolute error")
        self._absolute: list[float] = []
        self._root: list[float] = []
        size = problem.outputs
        self._count = 0
        self._away, self._size, self._squares, self._sum, self._total, self._largest = (
            torch.zeros(size, dtype=torch.float64) for _ in range(6)
        )
        self._origin: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch, `(N, K, *positions)`."""
        truth, found = targets.double(), self._decode(outputs).double()
        away = found - truth
        self._positions.add(away.abs().mean(1), torch.ones(1, dtype=torch.bool).expand(len(away), *away.shape[2:]))
        flat = away.flatten(1)
        self._absolute += flat.abs().mean(1).tolist()
        self._root += flat.square().mean(1).sqrt().tolist()
        by_output = away.transpose(0, 1).flatten(1)
        known = truth.transpose(0, 1).flatten(1)
        if self._origin is None:
            self._origin = known[:, :1].clone()  # sums of squares around it lose no digits
        self._count += by_output.shape[1]
        self._away += by_output.sum(1)
        self._size += by_output.abs().sum(1)
        self._squares += by_output.square().sum(1)
        self._largest = torch.maximum(self._largest, by_output.abs().amax(1))
        self._sum += (known - self._origin).sum(1)
        self._total += (known - self._origin).square().sum(1)

    def findings(self, names: Sequence[str]) -> Mapping[str, Any]:
        worst = sorted(range(len(self._root)), key=lambda place: -self._root[place])[:MOST_MISTAKES]
        count = max(1, self._count)
        variance = self._total - self._sum.square() / count
        return {
            "numbers": tuple(
                NumberScore(
                    name,
                    float(self._size[k]) / count,
                    float(self._squares[k] / count) ** 0.5,
                    1 - float(self._squares[k] / variance[k]) if variance[k] > 0 else float(self._squares[k] == 0),
                    float(self._away[k]) / count,
                    float(self._largest[k]),
                )
                for k, name in enumerate(self._names)
            ),
            "positions": self._positions.compute(),
            "mistakes": tuple(Mistake(names[place], place, value=self._root[place]) for place in worst),
        }

    def table(self, names: Sequence[str]) -> Table:
        head = ["sample", "mean absolute error", "root mean squared error"]
        return [head] + [
            [name, _cell(one), _cell(two)] for name, one, two in zip(names, self._absolute, self._root, strict=True)
        ]
