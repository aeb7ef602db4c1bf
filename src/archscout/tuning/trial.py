"""One trial of a tuning: its record, and the training of a part of it, here or in another process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from archscout.engine import Engine
from archscout.spaces.architecture import architecture_from_json
from archscout.spaces.base import OwnTraining, SearchSpace
from archscout.state import state_bytes, state_from_bytes
from archscout.tasks.task import Task
from archscout.training.evaluation import evaluate_network
from archscout.training.job import TrainSettings

if TYPE_CHECKING:
    from archscout.methods.worker_context import WorkerContext

__all__ = ["Answer", "Part", "TrialRecord", "train_elsewhere", "train_part"]

State = Literal["running", "complete", "early", "diverged"]


@dataclass
class TrialRecord:
    """What is known of a trial.

    Attributes:
        number: from 0, in the order in which trials were begun.
        parameters: by dotted name.
        epochs: trained so far.
        values: the metric on the validation split, by epochs.
        state: `early` was ended because it was behind.
    """

    number: int
    parameters: dict[str, Any]
    epochs: int = 0
    values: dict[int, float] = field(default_factory=dict)
    state: State = "running"

    @property
    def value(self) -> float | None:
        """The last value; None where there is none or the trial diverged."""
        return None if self.state == "diverged" or not self.values else self.values[max(self.values)]

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        values = [[epochs, value] for epochs, value in self.values.items()]
        return {
            "number": self.number,
            "parameters": self.parameters,
            "epochs": self.epochs,
            "values": values,
            "state": self.state,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_fields`."""
        values = {int(epochs): float(value) for epochs, value in fields["values"]}
        return cls(fields["number"], dict(fields["parameters"]), int(fields["epochs"]), values, fields["state"])


@dataclass(frozen=True)
class Part:
    """A part of a trial to train.

    Attributes:
        train: settings of the training, of the space's `train_model`.
        until: epochs that are trained at the end of the part.
        judge: whether to evaluate then.
        state: of the training so far; None at the beginning.
        initial: weights to begin with; None: a fresh initialisation by the seed.
    """

    train: dict[str, Any]
    until: int
    judge: bool
    batch_size: int
    architecture: str
    size: dict[str, Any]
    seed: int
    state: bytes | None
    initial: bytes | None = None
    problem: WorkerContext | None = None


@dataclass(frozen=True)
class Answer:
    """What came of a part; a trial that diverged has no state."""

    state: bytes | None
    value: float | None = None

    @property
    def diverged(self) -> bool:
        """Whether a loss or a metric was not finite."""
        return self.state is None


def train_elsewhere(part: Part) -> Answer:
    """Train a part in a worker process."""
    assert part.problem is not None
    return train_part(part, *part.problem.open())


def train_part(part: Part, task: Task, space: SearchSpace, engine: Engine) -> Answer:
    """Train a part of a trial, and evaluate on the validation split where that is asked for."""
    model = space.train_model if isinstance(space, OwnTraining) else TrainSettings
    settings: Any = model.read(part.train, where="train")
    with engine.seeded(part.seed, "network"):
        network = space.build(architecture_from_json(part.architecture), task.spec, space.size_model.read(part.size))
    if part.initial is not None:
        network.load_state_dict(state_from_bytes(part.initial))
    job = settings.job(network, task, engine, part.seed)
    if part.state is not None:
        job.load_state_dict(state_from_bytes(part.state))
    for metrics in job.run():
        if not all(math.isfinite(value) for value in metrics.values()):
            return Answer(None)
        if job.progress * settings.epochs >= part.until - 1e-6:
            break
    state = state_bytes(job.state_dict())
    if not part.judge:
        return Answer(state)
    values = evaluate_network(job.result(), task, task.validation, engine, part.batch_size)
    value = values[task.metric.name]
    finite = math.isfinite(value) and math.isfinite(values["loss"])
    return Answer(state, value) if finite else Answer(None)
