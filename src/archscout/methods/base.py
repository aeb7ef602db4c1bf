"""What a search method is: settings, and one or more jobs that end in an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from archscout import catalog
from archscout.engine import Engine
from archscout.errors import ArchscoutError, RunError, SpaceError
from archscout.jobs import Job
from archscout.measure import Measurements, measure
from archscout.registry import Registry
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import ClosedFormCost, SearchSpace, without_auxiliary_head
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.registry import load_task
from archscout.tasks.task import Task
from archscout.training.augmentation import AugmentationSettings

__all__ = [
    "METHODS",
    "Candidate",
    "ChecksSpace",
    "Method",
    "ReadsTable",
    "SearchContext",
    "SearchResult",
    "SearchStage",
    "ShowsArchitecture",
    "SplitsDevelopment",
    "TaskSource",
    "TrainsSharedWeights",
    "register_method",
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
    options: TaskOptions = DEFAULTS
    validation_fraction: float | None = None

    def load(self) -> Task:
        """The task, split as the search's is."""
        task = load_task(self.name, None if self.data is None else Path(self.data), self.options)
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
            size = without_auxiliary_head(self.network_size)
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


@runtime_checkable
class SplitsDevelopment(Protocol):
    """Settings of a method that may move the border between training and validation data."""

    validation_fraction: float | None


@runtime_checkable
class TrainsSharedWeights(Protocol):
    """Settings of a method that trains a supernet along paths, with augmentations of its own."""

    child: AugmentationSettings


@runtime_checkable
class ReadsTable(Protocol):
    """Settings of a method that may look scores up in place of a task: the table's file, and the data set's name."""

    table: str | None
    dataset: str | None


@runtime_checkable
class ChecksSpace(Protocol):
    """Settings that do not go with every space."""

    def check_space(self, space: SearchSpace) -> None:
        """Raise an ArchscoutError that says why."""
        ...


@dataclass(frozen=True)
class SearchStage:
    """One job of a search. `make` gets the architecture of the stage before, or None in the first."""

    name: str
    make: Callable[[SearchContext, Architecture | None], Job[SearchResult]]


@dataclass(frozen=True)
class Method:
    """How to look: data, whose stages make the jobs that do it.

    Attributes:
        name: as registered.
        description: one line.
        settings: the model of its settings, with the published defaults.
        requires: protocols of `archscout.spaces.base` that a space must implement; of a union one is enough.
        stages: the jobs of a search in their order; a run shows each under its name.
        settings_for: other settings for some spaces, by their class; None: the same for all.
        check: raises an ArchscoutError, before the first step, where the settings cannot work; None checks nothing.
        starts_from_architecture: whether its first stage can start from an architecture that the user gives.
        tunes_training: whether a run tunes the final training unless its settings say otherwise.
    """

    name: str
    description: str
    settings: type[Settings]
    requires: tuple[Any, ...]  # types and unions of types
    stages: tuple[SearchStage, ...]
    settings_for: Callable[[type[SearchSpace]], type[Settings]] | None = None
    check: Callable[[SearchContext], None] | None = None
    starts_from_architecture: bool = False
    tunes_training: bool = False

    def settings_model(self, space: type[SearchSpace]) -> type[Settings]:
        """The settings for a class of spaces."""
        return self.settings if self.settings_for is None else self.settings_for(space)

    def check_fit(self, space: SearchSpace, task: Task, settings: Any = None) -> None:
        """Raise an ArchscoutError unless the method can search the space for the task, with these settings."""
        missing = [
            " or ".join(each.__name__ for each in (need.__args__ if isinstance(need, UnionType) else (need,)))
            for need in self.requires
            if not isinstance(space, need)
        ]
        if missing:
            raise SpaceError(
                f"method '{self.name}' needs a space with {' and '.join(missing)}, which '{space.name}' does not have. "
                "See: archscout list spaces"
            )
        space.check(task.spec)
        if isinstance(settings, ChecksSpace):
            settings.check_space(space)


def check_method(name: str, method: Method) -> None:
    """Raise ArchscoutError unless a method is complete."""
    stages = [stage.name for stage in method.stages]
    wrong = None
    if not method.description.strip() or "\n" in method.description:
        wrong = f"its description must be one line, not {method.description!r}"
    elif not (isinstance(method.settings, type) and issubclass(method.settings, Settings)):
        wrong = f"its settings must be a class derived from archscout.settings.Settings, not {method.settings!r}"
    elif not stages or len(set(stages)) < len(stages):
        wrong = f"it needs stages with different names, not {stages}"
    if wrong is not None:
        raise ArchscoutError(f"the method '{name}' cannot be registered: {wrong}. See docs/extending.md.")


METHODS: Registry[Method] = catalog.METHODS
METHODS.check_with(check_method)


def register_method(method: Method, *, formerly: Sequence[str] = ()) -> Method:
    """Make a method known under its name.

    Args:
        formerly: names of earlier versions that files and commands may still use.

    Raises:
        ArchscoutError: the name is taken, or something of the method is not what it must be.
    """
    return METHODS.register(method.name, formerly=formerly)(method)
