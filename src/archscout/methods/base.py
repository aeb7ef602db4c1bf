"""What a search method is: settings, and one or more jobs that end in an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from archscout.catalog import METHODS
from archscout.engine import Engine
from archscout.errors import RunError, SpaceError
from archscout.jobs import Job
from archscout.measure import Measurements, measure
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import ClosedFormCost, SearchSpace
from archscout.tasks.registry import load_task
from archscout.tasks.task import Task

__all__ = [
    "METHODS",
    "Candidate",
    "ChecksContext",
    "Method",
    "SearchContext",
    "SearchResult",
    "SearchStage",
    "ShowsArchitecture",
    "TaskSource",
    "check_fit",
    "settings_model",
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
    """The outcome of a search stage.

    Attributes:
        architecture: the chosen one, so far.
        candidates: everything that was scored, best first.
        artifact: what later stages need, as in a job's state; they read it with `SearchContext.artifact`.
        weights: of the architecture's evaluation network, for the final training to start from; None: from scratch.
        training: settings that the final training takes instead of the run's `train`, nested as those are.
        facts: more that is worth keeping, as JSON types: results of several trials, the course of a search.
    """

    architecture: Architecture
    candidates: Sequence[Candidate] = ()
    artifact: Any = None
    weights: Mapping[str, Tensor] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def _no_artifact(stage: str) -> Any:
    raise RunError(f"the stage '{stage}' has left nothing; run the stages of a search in their order.")


@dataclass(frozen=True)
class TaskSource:
    """Where a task came from, for worker processes that load it again."""

    name: str
    data: str | None = None
    validation_fraction: float | None = None

    def load(self) -> Task:
        """The task, split as the search's is."""
        task = load_task(self.name, None if self.data is None else Path(self.data))
        return task if self.validation_fraction is None else task.resplit(self.validation_fraction)


@dataclass(frozen=True)
class SearchContext:
    """All that a method gets.

    Attributes:
        task: its `train` and `validation` splits are for the search; `test` must not be read.
        space: what may be built; the method asks it only for what it declared in `requires`.
        settings: the method's own, of its `settings_model` for the space.
        supernet_size, network_size: of the space's `size_model`.
        engine: where to compute.
        seed: the run's; derive one for each purpose.
        artifact: the artifact of an earlier stage, by its name.
        source: where the task can be loaded from again; None for a task object of the caller's own.
        train: the settings of the final training, with what earlier stages changed.
        initial: the weights that an earlier stage left for the final training; None where there are none.
        folder: where a stage may keep files of its own; None: nowhere.
        executor: where independent pieces of work run; see `archscout.parallel`.
    """

    task: Task
    space: SearchSpace
    settings: Any
    supernet_size: Any
    network_size: Any
    engine: Engine
    seed: int
    artifact: Callable[[str], Any] = field(default=_no_artifact, repr=False)
    source: TaskSource | None = None
    train: Any = None
    initial: Callable[[], Mapping[str, Tensor] | None] = field(default=lambda: None, repr=False)
    folder: Path | None = None
    executor: str = "local"
    _costs: dict[Architecture, Measurements] = field(default_factory=dict, repr=False)

    def cost(self, architecture: Architecture) -> Measurements:
        """Parameters and MAdds of the architecture's evaluation network, without its auxiliary head; remembered."""
        if isinstance(self.space, ClosedFormCost):
            return self.space.cost(architecture, self.task.spec, self.network_size)
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


@runtime_checkable
class ShowsArchitecture(Protocol):
    """A job that can tell between two steps which architecture it would choose now."""

    def architecture(self) -> Architecture:
        """The architecture as it stands; asking changes nothing."""
        ...


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
        requires: protocols of `archscout.spaces.base` that a space must implement; of a union one is enough.

    A method with settings of its own for some spaces has a further function `settings_for`; see `SettlesBySpace`. One
    whose first stage can start from an architecture that the user gives says `starts_from_architecture = True`.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    settings_model: ClassVar[type[Settings]]
    requires: ClassVar[tuple[Any, ...]]  # types and unions of types; the checker wants one kind in all classes

    def stages(self) -> Sequence[SearchStage]:
        """The jobs in order; each one's result is a `SearchResult`."""
        ...


@runtime_checkable
class ChecksContext(Protocol):
    """A method that can tell before the first step that its settings cannot work."""

    def check(self, context: SearchContext) -> None:
        """Raise an ArchscoutError that says why."""
        ...


@runtime_checkable
class SettlesBySpace(Protocol):
    """A method whose settings are others for some spaces."""

    @classmethod
    def settings_for(cls, space: type[SearchSpace]) -> type[Settings]:
        """The settings model for a class of spaces, in place of `settings_model`."""
        ...


def settings_model(method: type[Method], space: type[SearchSpace]) -> type[Settings]:
    """The settings of a method for a class of spaces."""
    return method.settings_for(space) if isinstance(method, SettlesBySpace) else method.settings_model


def check_fit(method: type[Method], space: SearchSpace, task: Task, settings: Any = None) -> None:
    """Raise SpaceError unless the method can search the space for the task.

    Settings with a function `check_space(space)` are asked too; it raises an ArchscoutError.
    """
    missing = [
        " or ".join(each.__name__ for each in (need.__args__ if isinstance(need, UnionType) else (need,)))
        for need in method.requires
        if not isinstance(space, need)
    ]
    if missing:
        raise SpaceError(
            f"method '{method.name}' needs a space with {' and '.join(missing)}, which '{space.name}' does not have. "
            "See: archscout list spaces"
        )
    space.check(task.spec)
    if hasattr(settings, "check_space"):
        settings.check_space(space)
