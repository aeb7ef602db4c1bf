"""What follows an evaluation and notes where the network fails, one judge for each form of targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_fscore_support
from torch import Tensor

from archscout.pipeline.insight.calibration import CalibrationBins
from archscout.pipeline.insight.content import ClassScore, Mistake, NumberScore
from archscout.pipeline.insight.scores import names_of, sparse
from archscout.tasks.metrics.accumulators import merged
from archscout.tasks.metrics.problem import Problem
from archscout.tasks.task import Task

__all__ = ["MOST_MISTAKES", "ClassJudge", "Judge", "LabelJudge", "NumberJudge", "Table", "number_names", "shown_number"]

MOST_MISTAKES = 100
SHARE = ".6f"  # of probabilities in tables

Table = list[list[str]]
"""Rows of text, the first one the titles of the columns."""


class Judge(Protocol):
    """Follows an evaluation."""

    def update(self, outputs: Any, targets: Tensor) -> None:
        """Add a batch; tensors are on the CPU."""
        ...

    def findings(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Fields of `Insight`, from the names of all samples."""
        ...

    def table(self, names: Sequence[str]) -> Table:
        """The answer to each sample; no rows where there is no such table."""
        ...


class _Kept:
    """Outputs and targets of all samples."""

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        self._outputs.append(outputs)
        self._targets.append(targets)

    def whole(self) -> tuple[Tensor, Tensor]:
        """All outputs, all targets."""
        return torch.cat(self._outputs), torch.cat(self._targets)


class ClassJudge(_Kept):
    """Of one class for each sample.

    Args:
        task: for the names of its classes.
        temperature: by which logits are divided.
    """

    def __init__(self, task: Task, temperature: float = 1.0) -> None:
        super().__init__()
        self._names, self._temperature = names_of(task.class_names, task.spec.outputs), temperature

    def _answers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of all classes, the predicted class, the true one."""
        logits, truth = self.whole()
        return torch.softmax(logits.double() / self._temperature, 1), logits.argmax(1), truth.long()

    def findings(self, names: Sequence[str]) -> Mapping[str, Any]:
        probabilities, found, truth = self._answers()
        every = np.arange(len(self._names))
        matrix = confusion_matrix(truth.numpy(), found.numpy(), labels=every)
        precision, recall, f1, support = precision_recall_fscore_support(
            truth.numpy(), found.numpy(), labels=every, zero_division=0
        )
        confidence = probabilities.gather(1, found[:, None])[:, 0]
        bins = CalibrationBins("samples", self._temperature)
        bins.add(confidence, truth == found)
        wrong = (truth != found).nonzero().view(-1)
        worst = wrong[torch.argsort(confidence[wrong], descending=True, stable=True)][:MOST_MISTAKES]
        return {
            "class_names": self._names,
            "confusion": sparse(matrix),
            "classes": tuple(
                ClassScore(
                    name,
                    float(precision[number]),
                    float(recall[number]),
                    float(f1[number]),
                    int(support[number]),
                    int(matrix[:, number].sum()),
                )
                for number, name in enumerate(self._names)
            ),
            "calibration": bins.compute(),
            "wrong": len(wrong),
            "mistakes": tuple(
                Mistake(
                    names[place],
                    place,
                    self._names[int(truth[place])],
                    self._names[int(found[place])],
                    float(confidence[place]),
                )
                for place in worst.tolist()
            ),
        }

    def table(self, names: Sequence[str]) -> Table:
        probabilities, found, truth = self._answers()
        given, right = (probabilities.gather(1, which[:, None])[:, 0].tolist() for which in (found, truth))
        head = ["sample", "true", "predicted", "probability", "probability of true"]
        rows = zip(names, truth.tolist(), found.tolist(), given, right, strict=True)
        return [head] + [
            [name, self._names[true], self._names[one], format(p, SHARE), format(q, SHARE)]
            for name, true, one, p, q in rows
        ]


class LabelJudge(_Kept):
    """Of several labels at once.

    Args:
        task: for the names of its labels.
        problem: whether samples share a number in the last column of their targets; their logits are averaged.
        temperature: by which logits are divided.
        thresholds: of each label; none: 0.5.
    """

    def __init__(self, task: Task, problem: Problem, temperature: float, thresholds: Sequence[float]) -> None:
        super().__init__()
        self._names = names_of(task.class_names, task.spec.outputs)
        self._merge, self._temperature = problem.merge, temperature
        self._thresholds = list(thresholds) or [0.5] * len(self._names)

    def answers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, targets (0 or 1), and the position in the split of each sample."""
        logits, targets = self.whole()
        places = torch.arange(len(logits))
        if self._merge:
            shared = torch.unique(targets[:, -1], return_inverse=True)[1]
            logits, targets = merged(logits, targets)
            places = torch.stack([(shared == number).nonzero()[0, 0] for number in range(len(logits))])
        return logits.double(), (targets[:, : len(self._names)] > 0).long(), places

    def findings(self, names: Sequence[str]) -> Mapping[str, Any]:
        logits, truth, places = self.answers()
        probabilities = torch.sigmoid(logits / self._temperature)
        given = (probabilities >= torch.tensor(self._thresholds, dtype=torch.float64)).long()
        precision, recall, f1, support = precision_recall_fscore_support(truth.numpy(), given.numpy(), zero_division=0)
        bins = CalibrationBins("labels", self._temperature)
        bins.add(probabilities.flatten(), truth.flatten())
        wrong = (given != truth).nonzero()
        certain = torch.where(given.bool(), probabilities, 1 - probabilities)[wrong[:, 0], wrong[:, 1]]
        order = torch.argsort(certain, descending=True, stable=True)[:MOST_MISTAKES]
        return {
            "class_names": self._names,
            "classes": tuple(
                ClassScore(
                    name,
                    float(precision[label]),
                    float(recall[label]),
                    float(f1[label]),
                    int(support[label]),
                    int(given[:, label].sum()),
                    average_precision=_average_precision(truth[:, label], probabilities[:, label]),
                    threshold=self._thresholds[label],
                )
                for label, name in enumerate(self._names)
            ),
            "calibration": bins.compute(),
            "wrong": len(wrong),
            "mistakes": tuple(
                self._mistake(names, int(places[row]), label, bool(truth[row, label]), float(certain[place]))
                for place, (row, label) in zip(order.tolist(), wrong[order].tolist(), strict=True)
            ),
        }

    def _mistake(self, names: Sequence[str], place: int, label: int, is_true: bool, certain: float) -> Mistake:
        name = self._names[label]
        true, found = (name, f"not {name}") if is_true else (f"not {name}", name)
        return Mistake(names[place], place, true, found, certain)

    def table(self, names: Sequence[str]) -> Table:
        logits, truth, places = self.answers()
        probabilities = torch.sigmoid(logits / self._temperature)
        head = ["sample", *(f"true {name}" for name in self._names), *(f"probability {name}" for name in self._names)]
        rows = zip(places.tolist(), truth.tolist(), probabilities.tolist(), strict=True)
        return [head] + [
            [names[place], *map(str, true), *(format(each, SHARE) for each in found)] for place, true, found in rows
        ]


def _average_precision(truth: Tensor, scores: Tensor) -> float | None:
    return float(average_precision_score(truth.numpy(), scores.numpy())) if bool(truth.any()) else None


def number_names(task: Task) -> tuple[str, ...]:
    """The names of a task's numbers."""
    count = task.spec.outputs
    if len(task.class_names) == count:
        return task.class_names
    return ("number",) if count == 1 else tuple(f"number {position}" for position in range(1, count + 1))


def shown_number(value: float) -> str:
    """A number of a table."""
    return f"{value:.6g}"


class NumberJudge(_Kept):
    """Of numbers for each sample.

    Args:
        task: for the names of the numbers.
        problem: for their units.
    """

    def __init__(self, task: Task, problem: Problem) -> None:
        super().__init__()
        self._names, self._decode = number_names(task), problem.decode

    def answers(self) -> tuple[Tensor, Tensor]:
        """True and predicted numbers, `(N, K)` float64, in their units."""
        outputs, targets = self.whole()
        return targets.double(), self._decode(outputs).double()

    def findings(self, names: Sequence[str]) -> Mapping[str, Any]:
        truth, found = self.answers()
        away = found - truth
        # Numbers of different units are compared by how much each varies.
        spread = truth.std(0, correction=0)
        relative = away.abs() / torch.where(spread > 0, spread, 1.0)
        worst, which = relative.max(1)
        order = torch.argsort(worst, descending=True, stable=True)[:MOST_MISTAKES]
        several = len(self._names) > 1
        mistakes = []
        for place in order.tolist():
            number = int(which[place])
            before = f"{self._names[number]} " if several else ""
            true, said = (before + shown_number(float(values[place, number])) for values in (truth, found))
            mistakes.append(Mistake(names[place], place, true, said, value=float(away[place, number])))
        return {
            "numbers": tuple(number_score(name, truth[:, k], found[:, k]) for k, name in enumerate(self._names)),
            "mistakes": tuple(mistakes),
        }

    def table(self, names: Sequence[str]) -> Table:
        truth, found = self.answers()
        head = ["sample"]
        for kind in ("true", "predicted", "residual"):
            head += [f"{kind} {name}" for name in self._names]
        rows = torch.cat([truth, found, found - truth], 1).tolist()
        return [head] + [[name, *(f"{value:.7g}" for value in row)] for name, row in zip(names, rows, strict=True)]


def number_score(name: str, truth: Tensor, found: Tensor) -> NumberScore:
    """The errors of one number; without variance R2 is 1 where all are met exactly, else 0."""
    away = found - truth
    squares, total = float(away.square().sum()), float((truth - truth.mean()).square().sum())
    return NumberScore(
        name,
        float(away.abs().mean()),
        float(away.square().mean().sqrt()),
        1 - squares / total if total > 0 else float(squares == 0),
        float(away.mean()),
        float(away.abs().max()),
    )
