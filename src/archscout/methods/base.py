"""What a search method is: settings, and one or more jobs that end in an architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from archscout.engine import Engine
from archscout.errors import SpaceError
from archscout.jobs import Job
from archscout.measure import Measurements, measure
from archscout.registry import Registry
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import SearchSpace
from archscout.tasks.task import Task

__all__ = [
    "METHODS",
    "Candidate",
    "Method",
    "SearchContext",
    "SearchResult",
    "SearchStage",
    "check_fit",
]


@dataclass(frozen=True)
class Candidate:
    """An architecture that was scored.

    Attributes:
        architecture: what was scored.
        score: higher is better; on the validation split unless the method says otherwise.
        origin: where it came from, for example "policy", "arg-max", "random".
    """

    architecture: Architecture
    score: float
    origin: str


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search stage: the chosen architecture and everything that was scored, best first."""

    architecture: Architecture
    candidates: Sequence[Candidate] = ()


@dataclass(frozen=True)
class SearchContext:
    """All that a method gets.

    Attributes:
        task: its `train` and `validation` splits are for the search; `test` must not be read.
        space: what may be built; the method asks it only for what it declared in `requires`.
        settings: the method's own, of its `settings_model`.
        supernet_size, network_size: of the space's `size_model`.
        engine: where to compute.
        seed: the run's; derive one for each purpose.
    """

    task: Task
    space: SearchSpace
    settings: Any
    supernet_size: Any
    network_size: Any
    engine: Engine
    seed: int
    _costs: dict[Architecture, Measurements] = field(default_factory=dict, repr=False)

    def cost(self, architecture: Architecture) -> Measurements:
        """Parameters and MAdds of the architecture's evaluation network, without its auxiliary head; remembered."""
        if architecture not in self._costs:
            size = self.network_size
            if "auxiliary" in type(size).model_fields:
                size = size.model_copy(update={"auxiliary": False})
            with torch.device("meta"):
                network = self.space.build(architecture, self.task.spec, size)
            self._costs[architecture] = measure(
                network, self.task.spec.input_shape, vocabulary=self.task.spec.vocabulary
            )
        return self._costs[architecture]


@dataclass(frozen=True)
class SearchStage:
    """One job of a search. `make` gets the architecture of the stage before, or None in the first."""

    name: str
    make: Callable[[SearchContext, Architecture | None], Job]


class Method(Protocol):
    """How to look.

    Attributes:
        name: as registered.
        description: one line.
        settings_model: with the published defaults.
        requires: protocols of `archscout.spaces.base` that a space must implement.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    settings_model: ClassVar[type[Settings]]
    requires: ClassVar[tuple[type, ...]]

    def stages(self) -> Sequence[SearchStage]:
        """The jobs in order; each one's result is a `SearchResult`."""
        ...


METHODS: Registry[type[Method]] = Registry("method", "archscout.methods")


def check_fit(method: type[Method], space: SearchSpace, task: Task) -> None:
    """Raise SpaceError unless the method can search the space for the task."""
    missing = [need.__name__ for need in method.requires if not isinstance(space, need)]
    if missing:
        raise SpaceError(
            f"method '{method.name}' needs a space with {' and '.join(missing)}, which '{space.name}' does not have. "
            "See: archscout list spaces"
        )
    space.check(task.spec)
