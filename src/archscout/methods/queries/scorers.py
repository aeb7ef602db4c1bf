"""Scores that come from networks: a short training of each candidate, or weights that all candidates share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import torch

from archscout.engine import Engine
from archscout.methods.base import SearchContext
from archscout.methods.queries.scoring import FunctionScorer, Scorer, TableScorer, check_seconds
from archscout.methods.queries.settings import (
    SHARED,
    TRAIN,
    CandidateSettings,
    QuerySettings,
    SharedSettings,
    score_name,
)
from archscout.methods.shared_weights.path_training import PathTrainer
from archscout.methods.worker_context import WorkerContext, context_workers
from archscout.seeds import derive_seed
from archscout.spaces.architecture import Architecture, architecture_from_json, architecture_to_json
from archscout.spaces.nasbench201.table import Table
from archscout.tasks.task import Task
from archscout.training.evaluation import evaluate_network
from archscout.training.job import TrainingJob, TrainSettings

__all__ = ["SharedScorer", "TrainedScorer", "check_scorer", "columns_of", "make_scorer"]

DEFAULT_REPORT = "test_acc_200ep"


@dataclass(frozen=True)
class _Work:
    """One training, as plain data that another process can read."""

    problem: WorkerContext
    size: dict[str, Any]
    train: dict[str, Any]
    batch_size: int
    architecture: str
    seed: int


def _train_elsewhere(work: _Work) -> float:
    """The score of one candidate, in a worker process."""
    task, space, engine = work.problem.open()
    return _train(
        task,
        space,
        space.size_model.read(work.size),
        TrainSettings.read(work.train),
        work.batch_size,
        architecture_from_json(work.architecture),
        engine,
        work.seed,
    )


def _train(
    task: Task,
    space: Any,
    size: Any,
    settings: TrainSettings,
    batch_size: int,
    architecture: Architecture,
    engine: Engine,
    seed: int,
) -> float:
    """Train a network for the given epochs; its score on the validation split."""
    seed = derive_seed(seed, "candidate", architecture_to_json(architecture))
    with engine.seeded(seed, "network"):
        network = space.build(architecture, task.spec, size)
    job = TrainingJob(network, task, settings, engine, seed)
    values = evaluate_network(job.complete(), task, task.validation, engine, batch_size)
    # In hundredths, as a table's accuracies are in percent: settings of methods mean the same everywhere.
    return task.metric.hundredths * task.metric.score(values[task.metric.name])


class TrainedScorer(FunctionScorer):
    """Trains every candidate from scratch for a few epochs, several at a time in processes of their own."""

    def __init__(self, context: SearchContext, settings: CandidateSettings) -> None:
        super().__init__(self._train_all, name="train")
        self._context, self._settings = context, settings
        self.workers = context_workers(context, settings.workers)

    def close(self) -> None:
        """End the processes: what comes after the search has the memory and the cores to itself."""
        self.workers.close()

    def _train_all(self, architectures: Sequence[Architecture]) -> list[float]:
        context, settings = self._context, self._settings
        if self.workers.here:

            def train(architecture: Architecture) -> float:
                return _train(
                    context.task,
                    context.space,
                    context.supernet_size,
                    settings.train,
                    settings.batch_size,
                    architecture,
                    context.engine,
                    context.seed,
                )

            return self.workers.map(train, architectures)
        problem = WorkerContext.of(context)
        work = [
            _Work(
                problem=problem,
                size=context.supernet_size.model_dump(mode="json"),
                train=settings.train.model_dump(mode="json"),
                batch_size=settings.batch_size,
                architecture=json.dumps(json.loads(architecture_to_json(architecture))),
                seed=context.seed,
            )
            for architecture in architectures
        ]
        return self.workers.map(_train_elsewhere, work)


class SharedScorer(FunctionScorer):
    """Trains shared weights along uniformly drawn paths, then scores candidates with them on the validation split."""

    def __init__(self, context: SearchContext, settings: SharedSettings) -> None:
        super().__init__(self._evaluate, name="shared")
        self._context, self._settings = context, settings
        self._trainer = PathTrainer(context, settings.child, settings.epochs)

    @property
    def prepared(self) -> float:
        """The share of the epochs that the weights have had."""
        return self._trainer.stream.passed / self._settings.epochs

    def prepare(self) -> dict[str, float]:
        """Some steps of the weights."""
        seed = self._context.seed
        return self._trainer.train(
            lambda number: self._context.space.random(Random(derive_seed(seed, "shared weights", number)))
        )

    def _evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        with torch.inference_mode():
            scores = self._trainer.scores(architectures, self._settings.batch_size)
        scale = self._context.task.metric.hundredths
        return [scale * value for value in scores]

    def state_dict(self) -> dict[str, Any]:
        """Weights and known scores."""
        return {**super().state_dict(), "trainer": self._trainer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state)
        self._trainer.load_state_dict(state["trainer"])


def make_scorer(context: SearchContext) -> Scorer:
    """The scorer of a search's settings.

    Raises:
        SettingsError: table, columns and score contradict each other.
        DataError: the table cannot be read, or lacks a column.
    """
    settings = cast(QuerySettings, context.settings)
    settings.check_space(context.space)
    name = score_name(settings)
    scorer: Scorer
    if name == TRAIN:
        scorer = TrainedScorer(context, settings.candidate)
    else:
        scorer = SharedScorer(context, settings.shared) if name == SHARED else _table_scorer(settings)
    if settings.seconds is not None:
        check_seconds(scorer)
    return scorer


def check_scorer(context: SearchContext) -> None:
    """Raise what `make_scorer` would, and SettingsError where the budget is in seconds that the score does not know."""
    settings = cast(QuerySettings, context.settings)
    settings.check_space(context.space)
    by_table = score_name(settings) not in (TRAIN, SHARED)
    scorer = _table_scorer(settings) if by_table else None
    if settings.seconds is not None:
        check_seconds(scorer)


def _table_scorer(settings: QuerySettings) -> TableScorer:
    table = Table.open(Path(str(settings.table)))
    return TableScorer(table, *columns_of(settings, table))


def columns_of(settings: QuerySettings, table: Table) -> tuple[str, str | None]:
    """The full names of the columns that the search sees and that it reports.

    By default the latter is the test accuracy after 200 epochs, if the table has it.
    """
    score = table.find(score_name(settings), settings.dataset)
    if settings.report is not None:
        return score, table.find(settings.report, settings.dataset)
    default = f"{table.columns[score].dataset}_{DEFAULT_REPORT}"
    return score, default if default in table.columns else None
