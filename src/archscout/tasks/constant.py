"""What an answer that never looks at its input would reach: the least that a network has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archscout.errors import SettingsError
from archscout.tasks.choices import problem_of, split_targets
from archscout.tasks.metrics.classification import IGNORED, Metric
from archscout.tasks.metrics.problem import Problem
from archscout.tasks.task import Task

__all__ = ["Constant", "ConstantJudge", "constant_answers"]

WORDS_AT_ONCE = 2**22  # logits of constant answers to texts that are held together


@dataclass(frozen=True)
class Constant:
    """A constant answer.

    Attributes:
        answer: for people, for example "always cat, the most frequent class".
        outputs: `(K,)`, as a network of the task would give them at every position.
    """

    answer: str
    outputs: Tensor


def constant_answers(task: Task) -> list[Constant]:
    """The constant answers that the train split suggests; none where targets have a form of their own.

    - classes and masks: the most frequent class, with frequencies as probabilities; for masks the most frequent class
      but 0, too;
    - labels: each as frequent as it is; and all labels;
    - numbers and fields: the mean and, of numbers, the median of each output;
    - words: the frequencies of the words.
    """
    try:
        problem = problem_of(task)
    except SettingsError:
        return []
    targets = split_targets(task.train)
    if problem.form in ("classes", "masks", "words"):
        return _of_classes(task, problem, targets)
    if problem.form == "labels":
        share = (targets[:, : problem.outputs] > 0).double().mean(0).clamp(1e-6, 1 - 1e-6)
        return [
            Constant("each label as often as it occurs", share.logit()),
            Constant("all labels", torch.full((problem.outputs,), 20.0)),
        ]
    values = targets.double().transpose(0, 1).flatten(1)
    if problem.form == "fields" and task.scale is not None:
        return [Constant("always the mean", torch.zeros(problem.outputs))]
    answers = [Constant("always the mean", _encoded(task, values.mean(1)))]
    if problem.form == "numbers":
        answers.append(Constant("always the median", _encoded(task, _median(values))))
    return answers


def _median(values: Tensor) -> Tensor:
    """Of each row; `Tensor.quantile` takes no more than 16 million values."""
    ordered = values.sort(1).values
    return (ordered[:, (ordered.shape[1] - 1) // 2] + ordered[:, ordered.shape[1] // 2]) / 2


def _encoded(task: Task, values: Tensor) -> Tensor:
    """Numbers as a network would give them."""
    if task.scale is None:
        return values
    mean, std = (torch.tensor(part, dtype=torch.float64) for part in (task.scale.mean, task.scale.std))
    return (values - mean) / std


def _of_classes(task: Task, problem: Problem, targets: Tensor) -> list[Constant]:
    flat = targets.flatten().long()
    counts = torch.bincount(flat[flat != IGNORED], minlength=problem.classes).double()
    what = "word" if problem.form == "words" else "class"

    def named(label: int) -> str:
        return task.class_names[label] if label < len(task.class_names) else f"class {label}"

    most = int(counts.argmax())
    logits = (counts.clamp(min=0.5) / counts.sum().clamp(min=1)).log()
    answers = [Constant(f"always {named(most)}, the most frequent {what}", logits)]
    if problem.form == "masks":
        other = 1 + int(counts[1:].argmax())
        only = torch.zeros(problem.classes)
        only[other] = 20.0
        answers.append(Constant(f"always {named(other)}", only))
    if problem.outputs == 1:  # one logit, that of class 1
        return [Constant(each.answer, (each.outputs[1] - each.outputs[0]).view(1)) for each in answers]
    return answers


class ConstantJudge:
    """Judges constant answers on the batches of an evaluation; for each metric the best one counts.

    Args:
        task: whose metrics are taken.
        device: of the batches.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self._text = task.spec.is_text
        self._metrics: Sequence[Metric] = task.metrics
        self._answers = [
            (
                constant.answer,
                constant.outputs.float().to(device),
                [metric.create().to(device) for metric in task.metrics],
            )
            for constant in constant_answers(task)
        ]

    def update(self, outputs: Any, targets: Tensor) -> None:
        """Add a batch: what the network gave, for its shape, and the targets."""
        for _, constant, accumulators in self._answers:
            for given, truth in self._batches(constant, outputs, targets):
                for accumulator in accumulators:
                    accumulator.update(given, truth)

    def _batches(self, constant: Tensor, outputs: Any, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        if self._text:
            flat = targets.flatten()
            rows = torch.split(flat, max(1, WORDS_AT_ONCE // len(constant)))
            return [(constant.expand(1, len(part), -1), part.unsqueeze(0)) for part in rows]
        shaped = constant.view(1, -1, *(1,) * (outputs.dim() - 2))
        return [(shaped.expand(outputs.shape), targets)]

    def compute(self) -> dict[str, dict[str, Any]]:
        """For each metric its value for the best constant answer, and which that is."""
        found: dict[str, dict[str, Any]] = {}
        for number, metric in enumerate(self._metrics):
            for answer, _, accumulators in self._answers:
                value = float(accumulators[number].compute())
                known = found.get(metric.name)
                if known is None or metric.better(value, known["value"]):
                    found[metric.name] = {"value": value, "answer": answer}
        return found
