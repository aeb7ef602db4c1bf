"""A toy task, job, space and method: small, complete, and registered from outside archscout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Self

import torch
from torch import nn

from archscout.errors import ArchitectureError, SpaceError
from archscout.jobs import Job, Metrics, State
from archscout.methods import METHODS, Candidate, Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.settings import Settings
from archscout.spaces import ARCHITECTURES, SPACES
from archscout.tasks import TASKS, Split, Task, TaskSpec, register_task
from archscout.tasks.metrics.classification import accuracy, cross_entropy
from archscout.tasks.sources import ArraySource

SPEC = TaskSpec(name="toy-points", kind="classification", input_shape=(4,), outputs=3)


def toy_task(root: Path) -> Task:
    """Three clouds of points in four dimensions."""
    draw = torch.Generator().manual_seed(0)
    targets = torch.arange(120) % 3
    inputs = torch.eye(4)[targets] * 3 + torch.randn(120, 4, generator=draw)
    source = ArraySource(inputs, targets)
    parts = [Split(source, torch.arange(start, start + 40)) for start in (0, 40, 80)]
    return Task(
        spec=SPEC,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        loss=cross_entropy,
        metric=accuracy(3),
        to_float=lambda raw: raw.float(),
        normalize=lambda inputs: inputs,
    )


@dataclass(frozen=True)
class Widths:
    """The widths of hidden layers."""

    format: ClassVar[str] = "toy.widths"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "toy-perceptrons"

    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.widths):
            raise ArchitectureError(f"widths: {self.widths} must be positive.")

    def to_fields(self) -> dict[str, Any]:
        return {"widths": list(self.widths)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        return cls(tuple(fields["widths"]))

    def describe(self) -> str:
        return f"hidden layers: {self.widths}"


class ToyOptions(Settings):
    widest: int = 8


class ToySize(Settings):
    layers: int = 2


class ToySpace:
    """Perceptrons with hidden layers of searched widths."""

    name: ClassVar[str] = "toy-perceptrons"
    options_model: ClassVar[type[Settings]] = ToyOptions
    size_model: ClassVar[type[Settings]] = ToySize

    def __init__(self, options: ToyOptions) -> None:
        self.options = options

    def check(self, spec: TaskSpec) -> None:
        if len(spec.input_shape) != 1:
            raise SpaceError(f"perceptrons take vectors, not {spec.input_shape}.")

    def random(self, draw: Random) -> Widths:
        return Widths(tuple(draw.randint(1, self.options.widest) for _ in range(2)))

    def build(self, architecture: Widths, spec: TaskSpec, size: ToySize) -> nn.Module:
        sizes = [spec.input_shape[0], *architecture.widths[: size.layers]]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], spec.outputs))

    def extremes(self, spec: TaskSpec, size: ToySize) -> tuple[Widths, Widths]:
        return Widths((1, 1)), Widths((self.options.widest,) * 2)


class ToySettings(Settings):
    tries: int = 5


class WidestOf(Job[SearchResult]):
    """Draws architectures and takes the one with the most parameters."""

    scores: State[list[float]]

    def __init__(self, context: SearchContext) -> None:
        self.context, self.scores = context, []

    def run(self) -> Iterator[Metrics]:
        while len(self.scores) < self.context.settings.tries:
            cost = self.context.cost(self.drawn(len(self.scores)))
            self.scores.append(float(cost.parameters))
            yield {"score": self.scores[-1]}

    def work(self) -> Iterator[tuple[float, float]]:
        yield len(self.scores), self.context.settings.tries

    def result(self) -> SearchResult:
        found = [Candidate(self.drawn(number), score, "toy") for number, score in enumerate(self.scores)]
        found.sort(key=lambda candidate: -candidate.score)
        return SearchResult(found[0].architecture, found)

    def drawn(self, number: int) -> Widths:
        found: Widths = self.context.space.random(Random(1000 * self.context.seed + number))
        return found


TOY_METHOD = Method(
    name="toy-widest",
    description="takes the widest of some draws",
    settings=ToySettings,
    requires=(),
    stages=(SearchStage("search", lambda context, before: WidestOf(context)),),
)


@contextmanager
def registered_toys() -> Iterator[None]:
    """Register the toys for a while."""
    register_task(SPEC)(toy_task)
    ARCHITECTURES.register(Widths.format)(Widths)
    SPACES.register(ToySpace.name)(ToySpace)
    register_method(TOY_METHOD)
    try:
        yield
    finally:
        TASKS.unregister(SPEC.name)
        ARCHITECTURES.unregister(Widths.format)
        SPACES.unregister(ToySpace.name)
        METHODS.unregister(TOY_METHOD.name)


class CountingJob(Job[int]):
    """Counts to a number; optionally reports a bad metric at one step."""

    count: State[int]
    tensor: State[torch.Tensor]

    def __init__(self, steps: int, bad_step: int | None = None) -> None:
        self.steps, self.bad_step, self.count = steps, bad_step, 0
        self.tensor = torch.zeros(2, 2)

    def run(self) -> Iterator[Metrics]:
        while self.count < self.steps:
            assert float(self.tensor[0, 0]) == self.count
            self.count += 1
            self.tensor += 1
            yield {"loss": float("nan") if self.count == self.bad_step else 1 / self.count}

    def work(self) -> Iterator[tuple[float, float]]:
        yield self.count, self.steps

    def result(self) -> int:
        return self.count
