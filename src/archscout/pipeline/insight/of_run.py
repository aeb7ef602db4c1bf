"""The insight of a run: written when its network is evaluated, read back or made later; temperature and thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from archscout.deployment.card import ModelCard, card_of_task
from archscout.errors import DataError, RunError, SettingsError
from archscout.pipeline.artifacts import load_card, with_card
from archscout.pipeline.contents import RunContents
from archscout.pipeline.evaluation import PREDICTIONS
from archscout.pipeline.insight.calibration import HIGHEST, LOWEST, best_thresholds, fitted_temperature
from archscout.pipeline.insight.content import Insight
from archscout.pipeline.insight.judges import LabelJudge, Table
from archscout.pipeline.insight.observe import Witness, as_csv, insight_of_network
from archscout.tasks.choices import problem_of
from archscout.tasks.task import Task
from archscout.training.evaluation import evaluate_network

__all__ = [
    "INSIGHT",
    "Fitted",
    "fit_to_validation",
    "insight_of_run",
    "names_of_split",
    "table_of_run",
    "write_insight",
]

INSIGHT, MODEL, CARD = "insight.json", "model.safetensors", "model.json"


def names_of_split(task: Task, part: str) -> list[str]:
    """The names of the samples of a split; of a text, which has none, nothing."""
    return [] if task.spec.is_text else task.sample_names(part)


def write_insight(run: RunContents, witness: Witness, values: Mapping[str, float]) -> Insight:
    """Write what a witness of the evaluation on the test split saw: `insight.json`, and `test_predictions.csv`."""
    task = run.task
    names = names_of_split(task, "test")
    insight = witness.insight(values, part="test", names=names, seed=run.settings.seed, groups=task.groups.get("test"))
    _write(run, insight, witness.table(names))
    return insight


def _write(run: RunContents, insight: Insight, table: Table) -> None:
    if table and insight.form != "numbers":  # those of numbers are written by the evaluation itself
        run.directory.write(PREDICTIONS, as_csv(table))
    run.directory.write(INSIGHT, json.dumps(insight.to_json(), ensure_ascii=False) + "\n")


def _card(run: RunContents) -> ModelCard:
    """The card of a run's network; of version 0.1 made of its task."""
    try:
        return load_card(run.directory.path / MODEL)
    except DataError:
        return card_of_task(run.task, dict(run.task.split_digests()))


def insight_of_run(run: RunContents) -> Insight:
    """Where the network of a run fails on the test split.

    Runs that were evaluated by earlier versions have no `insight.json`; their network is evaluated once more then, and
    the file is written.

    Raises:
        RunError: the run is not evaluated yet.
    """
    if not run.directory.complete("evaluate"):
        raise RunError(f"{run.directory.path} is not evaluated yet. Next: archscout evaluate {run.directory.path}")
    if run.directory.has(INSIGHT):
        return Insight.from_json(run.directory.read_json(INSIGHT))
    insight, table = _judged_again(run, "test", _card(run))
    _write(run, insight, table)
    return insight


def table_of_run(run: RunContents) -> Table:
    """The answer to each sample of the test split, computed again; no rows for texts."""
    return _judged_again(run, "test", _card(run))[1]


def _judged_again(run: RunContents, part: str, card: ModelCard) -> tuple[Insight, Table]:
    task = run.task
    return insight_of_network(
        run.model(),
        task,
        task.split(part),
        run.engine.alone(),
        card=card,
        part=part,
        names=names_of_split(task, part),
        seed=run.settings.seed,
        batch_size=run.settings.evaluate.batch_size,
        groups=task.groups.get(part),
    )


@dataclass(frozen=True)
class Fitted:
    """What was fitted on the validation split.

    Attributes:
        temperature: the new one; None: it was not asked for.
        thresholds: the new ones; none: they were not asked for.
        before, after: on the test split.
        learnt: whether the network was trained on the validation split, too, so that it is surer there.
        stages: that start again, since exported files and the report hold the old ones.
    """

    temperature: float | None
    thresholds: tuple[float, ...]
    before: Insight
    after: Insight
    learnt: bool
    stages: tuple[str, ...]


def fit_to_validation(run: RunContents, *, temperature: bool, thresholds: bool) -> Fitted:
    """Fit a temperature, or thresholds of labels, on the validation split, and write them into the model's card.

    Classes that are predicted stay the same, and so do the metrics of the run; probabilities and labels change. Stages
    that have used the old ones are to be run again.

    Raises:
        SettingsError: there are no probabilities, or no labels, in this kind of task.
        RunError: the run is not evaluated yet.
        DataError: no temperature is the best one, as where the validation split has no mistake.
    """
    before = insight_of_run(run)
    _check_fits(before.form, temperature, thresholds)
    logits, targets = _validation_answers(run)
    card = _card(run)
    if temperature:
        found = fitted_temperature(logits, targets, labels=before.form == "labels")
        if not 1.01 * LOWEST < found < 0.99 * HIGHEST:
            raise DataError(
                f"no temperature fits the {len(targets):,} samples of the validation split: "
                + ("without mistakes, surer is always better" if found < 1 else "the less sure, the better")
                + ". Give more samples to validate on."
            )
        card = replace(card, temperature=found)
    if thresholds:
        card = replace(card, thresholds=best_thresholds(torch.sigmoid(logits.double() / card.temperature), targets))
    after, table = _judged_again(run, "test", card)
    stages = tuple(name for name in ("export", "report") if run.directory.complete(name))
    with run.directory.hold():
        run.directory.write(MODEL, with_card(run.directory.path / MODEL, card))
        run.directory.write_json(CARD, card.to_json())
        _write(run, after, table)
        for name in stages:
            run.directory.update_stage(name, complete=False)
    return Fitted(
        card.temperature if temperature else None,
        card.thresholds if thresholds else (),
        before,
        after,
        run.settings.train.split == "development",
        stages,
    )


def _check_fits(form: str, temperature: bool, thresholds: bool) -> None:
    if temperature and form not in ("classes", "labels"):
        raise SettingsError(
            f"--calibrate fits the probabilities of classes and of labels; this network predicts {form}."
        )
    if thresholds and form != "labels":
        raise SettingsError(f"--thresholds is for tasks with several labels at once; this network predicts {form}.")


def _validation_answers(run: RunContents) -> tuple[Tensor, Tensor]:
    """Logits and targets of the validation split."""
    task, engine = run.task, run.engine.alone()
    kept: list[tuple[Tensor, Tensor]] = []

    def keep(outputs: Any, targets: Tensor) -> None:
        kept.append((outputs.cpu(), targets.cpu()))

    size = run.settings.evaluate.batch_size
    evaluate_network(engine.place(run.model()), task, task.validation, engine, size, keep)
    outputs, targets = (torch.cat([pair[side] for pair in kept]) for side in (0, 1))
    if task.spec.kind != "multilabel":
        return outputs, targets
    judge = LabelJudge(task, problem_of(task), 1.0, ())
    judge.update(outputs, targets)
    logits, truth, _ = judge.answers()
    return logits, truth
