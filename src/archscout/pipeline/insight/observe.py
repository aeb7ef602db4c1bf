"""From the batches of an evaluation to an insight: once, beside the metrics, without a second pass."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from archscout.deployment.card import ModelCard
from archscout.engine import Engine
from archscout.errors import SettingsError
from archscout.pipeline.insight.bootstrap import Resampler
from archscout.pipeline.insight.content import Insight
from archscout.pipeline.insight.judges import ClassJudge, Judge, LabelJudge, NumberJudge, Table
from archscout.pipeline.insight.maps import FieldJudge, MaskJudge
from archscout.pipeline.insight.words import WordJudge
from archscout.tasks.choices import problem_of
from archscout.tasks.metrics.problem import Problem
from archscout.tasks.task import Split, Task
from archscout.training.evaluation import evaluate_network

__all__ = ["Witness", "as_csv", "insight_of_network"]

OTHER_FORM = "the targets of this task have a form of their own, which only its metrics understand"


class Witness:
    """Sees the batches of an evaluation, and says afterwards where the network fails.

    Args:
        task: whose targets these are.
        temperature: by which logits are divided for probabilities.
        thresholds: of labels; none: 0.5.
    """

    def __init__(self, task: Task, *, temperature: float = 1.0, thresholds: Sequence[float] = ()) -> None:
        self._task = task
        problem: Problem | None
        try:
            problem = problem_of(task)
        except SettingsError:
            problem = None
        self.form: str = "other" if problem is None else problem.form
        self.judge = None if problem is None else _judge(task, problem, temperature, thresholds)
        self._resampler = Resampler(task.metrics, shared=problem is not None and problem.merge)

    def __call__(self, outputs: Any, targets: Tensor) -> None:
        """Add a batch."""
        if self.form == "words":
            assert self.judge is not None, "texts have a judge"
            self.judge.update(outputs, targets.cpu())
            return
        outputs, targets = outputs.detach().cpu(), targets.cpu()
        self._resampler.update(outputs, targets)
        if self.judge is not None:
            self.judge.update(outputs, targets)

    def insight(
        self,
        values: Mapping[str, float],
        *,
        part: str,
        names: Sequence[str],
        seed: int,
        groups: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ) -> Insight:
        """What was seen.

        Args:
            values: of the metrics, and the loss.
            part: name of the split or set.
            names: of all samples; of a text none.
            seed: of the bootstrap.
            groups: of each sample, where samples belong together.
            notes: to be said beside the numbers.
        """
        task, said = self._task, [*notes]
        if isinstance(self.judge, WordJudge):
            samples, intervals = len(task.split(part)), self.judge.intervals(task.metric.name, seed)
        else:
            samples = self._resampler.samples
            known = groups if groups is not None and len(groups) == samples else None
            intervals, without = self._resampler.intervals(dict(values), seed, known)
            said += without
        if self.judge is None:
            said.append(OTHER_FORM)
        return Insight(
            form=self.form,
            task=task.name,
            part=part,
            samples=samples,
            metric=task.metric.name,
            values=dict(values),
            intervals=intervals,
            notes=tuple(said),
            **({} if self.judge is None else self.judge.findings(names)),
        )

    def table(self, names: Sequence[str]) -> Table:
        """The answer to each sample; no rows where there is no such table."""
        return [] if self.judge is None else self.judge.table(names)


def _judge(task: Task, problem: Problem, temperature: float, thresholds: Sequence[float]) -> Judge:
    if problem.form == "classes":
        return ClassJudge(task, temperature)
    if problem.form == "labels":
        return LabelJudge(task, problem, temperature, thresholds)
    if problem.form == "numbers":
        return NumberJudge(task, problem)
    if problem.form == "masks":
        return MaskJudge(task, problem, temperature)
    return WordJudge(task) if problem.form == "words" else FieldJudge(task, problem)


def insight_of_network(
    network: nn.Module,
    task: Task,
    split: Split,
    engine: Engine,
    *,
    card: ModelCard,
    part: str,
    names: Sequence[str],
    seed: int,
    batch_size: int = 256,
    groups: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> tuple[Insight, Table]:
    """Evaluate a network on a split, and say where it fails.

    Args:
        card: for temperature and thresholds.
        part, names, seed, groups, notes: as for `Witness.insight`.
    """
    witness = Witness(task, temperature=card.temperature, thresholds=card.thresholds)
    values = evaluate_network(engine.place(network), task, split, engine, batch_size, witness)
    insight = witness.insight(values, part=part, names=names, seed=seed, groups=groups, notes=notes)
    return insight, witness.table(names)


def as_csv(table: Table) -> str:
    """A table as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()
