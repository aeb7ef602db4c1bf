"""What a run is made of, and what came out of it: its settings, its run directory, and all that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archscout.driver import Observer
from archscout.engine import Engine
from archscout.errors import RunError, SettingsError
from archscout.methods.base import METHODS, ReadsTable, SearchContext, SearchStage, SplitsDevelopment, TaskSource
from archscout.pipeline.artifacts import INITIAL_WEIGHTS, load_network
from archscout.pipeline.config import RunSettings, data_path
from archscout.pipeline.data_record import Change, DataRecord, changed_message, compare, read_record, record_of
from archscout.rundir import TRAINING, RunDirectory
from archscout.settings import merge
from archscout.spaces import Architecture, ModuleSpace, SearchSpace, architecture_from_json, get_space
from archscout.state import read_state
from archscout.tasks import Task, load_task
from archscout.tasks.registry import absent_task
from archscout.tuning import tuning_stage

__all__ = ["FINAL_STAGES", "RunContents"]

FINAL_STAGES = ("train", "evaluate", "export", "report")


class RunContents:
    """A run as its stages and its report see it; `archscout.pipeline.run.Run` adds how it starts and proceeds.

    Args:
        directory: where everything is.
        settings: resolved.
        task: a task object of the caller's own; None loads the task that the settings name.
        model: a network of the caller's own, for the space `module`.
        observers: who watches.
        accepts_change: go on with data that differs from what the run was started with; `Run.proceed` then starts the
            stages again that depend on it.
        loaded: the task that the settings name, where somebody has loaded it already.
    """

    def __init__(
        self,
        directory: RunDirectory,
        settings: RunSettings,
        *,
        task: Task | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
        accepts_change: bool = False,
        loaded: Task | None = None,
    ) -> None:
        self.directory = directory
        self.settings = settings
        self._given_task = task
        self._given_model = model
        self._observers = tuple(observers)
        self._accepts_change = accepts_change
        self._already_loaded = loaded
        self._record: DataRecord | None = None
        self._change: Change | None = None

    # -- what the run is made of ---------------------------------------------------------------------------------

    @cached_property
    def task(self) -> Task:
        """The task, with the split that the search settings ask for.

        Raises:
            DataError: the data is missing or wrong.
            RunError: it is not the data that the run was started with.
        """
        settings = self.settings
        if settings.task is None:
            return absent_task(settings.search.dataset if isinstance(settings.search, ReadsTable) else None)
        task = self._given_task or self._loaded(settings.task)
        task = task if self._validation_fraction is None else task.resplit(self._validation_fraction)
        known = read_record(self.directory)
        if known is not None:
            self._record = record_of(task, data_path(settings.task), known.findings)
            self._change = compare(known, self._record)
            if self._change is not None and not self._accepts_change:
                raise RunError(changed_message(self.directory, self._change))
        return task

    def _loaded(self, name: str) -> Task:
        """The task of a name or path; of a path that is gone, the message says how to give the new one."""
        if self._already_loaded is not None:
            return self._already_loaded
        path = data_path(name)
        if path is not None and self.directory.has("config.yaml") and not Path(path).exists():
            raise RunError(
                f"the data of {self.directory.path} is not there any more: {path} does not exist. If it has moved, "
                f"give its new place: archscout resume {self.directory.path} --task PATH"
            )
        data = None if self.settings.data is None else Path(self.settings.data)
        return load_task(name, data, self.settings.task_options)

    @cached_property
    def record(self) -> DataRecord:
        """The digests of the data, and what its inspection found."""
        task = self.task
        if self._record is None:
            path = None if self.settings.task is None else data_path(self.settings.task)
            self._record = record_of(task, None if self._given_task is not None else path)
        return self._record

    @property
    def _validation_fraction(self) -> float | None:
        search = self.settings.search
        return search.validation_fraction if isinstance(search, SplitsDevelopment) else None

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        options = self.settings.space_options
        space = get_space(self.settings.space, options.model_dump() if options is not None else None)
        if self._given_model is None:
            return space
        if not isinstance(space, ModuleSpace):
            raise SettingsError(
                f"a model was given, but the space is '{space.name}'; set space=module, or leave it out."
            )
        return space.given(self._given_model)

    @cached_property
    def engine(self) -> Engine:
        """The engine."""
        return Engine.create(self.settings.device, self.settings.precision, self.settings.threads)

    @cached_property
    def context(self) -> SearchContext:
        """What the method gets."""
        settings = self.settings
        return SearchContext(
            task=self.task,
            space=self.space,
            settings=settings.search,
            supernet_size=settings.supernet,
            network_size=settings.network,
            engine=self.engine,
            seed=settings.seed,
            artifact=lambda stage: read_state(self.directory.path / f"{stage}.safetensors"),
            source=self._task_source(),
            train=settings.train,
            initial=self.initial_weights,
            folder=self.directory.path,
            executor=settings.executor,
        )

    def initial_weights(self) -> dict[str, Tensor] | None:
        """The weights that a search stage has handed to the final training; None: there are none."""
        path = self.directory.path / INITIAL_WEIGHTS
        return read_state(path) if path.is_file() else None

    @property
    def train_settings(self) -> Any:
        """The settings of the final training: those of the run, with what its stages found."""
        train = self.settings.train
        return type(train).read(merge(train.model_dump(), self.training), where="train")

    @property
    def training(self) -> dict[str, Any]:
        """What stages of this run have changed in the settings of the final training."""
        return dict(self.directory.read_json(TRAINING)) if self.directory.has(TRAINING) else {}

    def _task_source(self) -> TaskSource | None:
        settings = self.settings
        if self._given_task is not None or self._given_model is not None or settings.task is None:
            return None  # other processes do not have what was given from Python
        return TaskSource(settings.task, settings.data, settings.task_options, self._validation_fraction)

    def search_stages(self) -> Sequence[SearchStage]:
        """The method's stages, none where the architecture was given; then tuning, where it is asked for."""
        settings = self.settings
        stages = [] if settings.method is None else [*METHODS.get(settings.method).stages]
        if settings.tuning is not None and settings.task is not None:
            stages.append(tuning_stage(settings.tuning))
        return stages

    def stage_names(self) -> list[str]:
        """All stages in order. Without a task nothing can be trained."""
        final = FINAL_STAGES if self.settings.task is not None else FINAL_STAGES[-1:]
        return [*(stage.name for stage in self.search_stages()), *final]

    def pending(self) -> list[str]:
        """The stages that are not complete, in order."""
        return [name for name in self.stage_names() if not self.directory.complete(name)]

    # -- what came out -------------------------------------------------------------------------------------------

    @property
    def architecture(self) -> Architecture:
        """The architecture that was found or given. Raises RunError before."""
        return architecture_from_json(self.directory.read("architecture.json"))

    def model(self) -> nn.Module:
        """The trained network: a plain module in evaluation mode, on the CPU. Raises RunError before training."""
        if not self.directory.complete("train"):
            raise RunError(
                f"{self.directory.path} has no trained network yet. Next: archscout resume {self.directory.path}"
            )
        return load_network(self.directory.path / "model.safetensors", model=self._given_model)[0]

    def untrained(self) -> nn.Module:
        """The network of the architecture, in training mode, on the CPU, before the final training.

        Freshly initialised; of a network of the caller's own, what the search has not changed keeps its weights.
        """
        with self.engine.seeded(self.settings.seed, "network"):
            return self.space.build(self.architecture, self.task.spec, self.settings.network)

    @property
    def result(self) -> dict[str, Any]:
        """The content of `result.json`: metrics with their split, parameters, MAdds, latency, seconds."""
        return dict(self.directory.read_json("result.json"))

    @property
    def search_facts(self) -> dict[str, Any]:
        """What the search stages noted beside architectures, by stage: results over trials, the course of a search."""
        return dict(self.directory.read_json("search.json")) if self.directory.has("search.json") else {}

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        """The logged metrics of a stage, a dictionary for each step."""
        return self.directory.metrics(stage)

    def candidates(self) -> list[dict[str, Any]]:
        """Every architecture that was scored, best first."""
        return self.directory.read_lines("candidates.jsonl")
