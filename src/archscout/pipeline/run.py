"""A run: the stages from a task to a report, in one run directory, each marked when complete.

Every stage that takes long is a job, run by the driver. A run that was stopped or killed goes on where it was when
`proceed` is called again, in this process or in another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from archscout.atomic import TEMPORARY_PREFIX
from archscout.engine import Engine
from archscout.errors import RunError, SettingsError
from archscout.jobs import Driver, Observer, StopSignals
from archscout.methods.base import (
    METHODS,
    ChecksContext,
    SearchContext,
    SearchStage,
    TaskSource,
    check_fit,
)
from archscout.parallel import check_executor
from archscout.pipeline.artifacts import INITIAL_WEIGHTS, load_network
from archscout.pipeline.config import RunSettings, read_config, write_config
from archscout.pipeline.stages import FINAL_STAGES, run_stage
from archscout.pipeline.tensorboard import TensorBoardObserver
from archscout.rundir import TRAINING, RunDirectory
from archscout.settings import merge
from archscout.spaces import (
    Architecture,
    ModuleSpace,
    SearchSpace,
    architecture_from_json,
    architecture_to_json,
    get_space,
)
from archscout.spaces.base import KernelPatterned
from archscout.state import read_state
from archscout.tasks import Task, load_task
from archscout.tasks.absent import absent_task
from archscout.training.augmentation import AugmentationSettings, augmented, check_cutout
from archscout.tuning import check_tuning, tuning_stage

__all__ = ["Run"]


class Run:
    """One run directory with its settings. Use `Run.start` or `Run.open`.

    Args:
        directory: where everything is.
        settings: resolved.
        task: a task object of the caller's own; None loads the task that the settings name.
        model: a network of the caller's own, for the space `module`.
        observers: who watches.
    """

    def __init__(
        self,
        directory: RunDirectory,
        settings: RunSettings,
        *,
        task: Task | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.directory = directory
        self.settings = settings
        self._given_task = task
        self._given_model = model
        self._observers = tuple(observers)

    @classmethod
    def start(
        cls,
        path: Path,
        settings: RunSettings,
        *,
        command: str = "",
        architecture: Architecture | None = None,
        task: Task | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
    ) -> Run:
        """Create a run directory, or go on with one that was started with the same settings.

        Raises:
            RunError: the folder holds a run with other settings, or something else, or cannot be written.
        """
        directory = RunDirectory(path, writes=Engine.process_rank() == 0)
        if directory.exists():
            _check_same(directory, settings)
            return cls(directory, settings, task=task, model=model, observers=observers)
        if path.exists() and not _only_begun(path):
            raise RunError(f"{path} exists and is no run directory. Choose an empty or a new folder with --out.")
        run = cls(directory, settings, task=task, model=model, observers=observers)
        # Everything that can be wrong with the data shows before a folder is made.
        run.check()
        with directory.hold():
            if architecture is not None:
                directory.write("architecture.json", architecture_to_json(architecture))
            write_config(directory, settings, command, run.stage_names())
        return run

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        task: Task | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
        executor: str | None = None,
    ) -> Run:
        """An existing run; its independent trainings may go on elsewhere."""
        directory = RunDirectory(path, writes=Engine.process_rank() == 0)
        settings = read_config(directory)
        if executor is not None:
            check_executor(executor)
            settings = settings.model_copy(update={"executor": executor})
        return cls(directory, settings, task=task, model=model, observers=observers)

    def check(self) -> None:
        """Raise an ArchscoutError if device, data, space, method and settings are not there or do not fit together."""
        self.engine.describe()
        check_executor(self.settings.executor)
        if self.settings.tuning is not None:
            check_tuning(self.settings.tuning, self.settings.train)
        if self.settings.method is not None:
            method = METHODS.get(self.settings.method)
            check_fit(method, self.space, self.task, self.settings.search)
            if getattr(method, "starts_from_architecture", False) and self.settings.architecture is None:
                cast(KernelPatterned, self.space).kernel_base(self.task.spec)  # says so if there is none
            made = method()
            if isinstance(made, ChecksContext):
                made.check(self.context)
        else:
            self.space.check(self.task.spec)
        sections = {"search.child": getattr(self.settings.search, "child", None), "train": self.settings.train}
        for where, section in sections.items():
            if isinstance(section, AugmentationSettings):
                augmented(self.task, section, where)
                check_cutout(self.task, section, where)

    # -- what the run is made of ---------------------------------------------------------------------------------

    @cached_property
    def task(self) -> Task:
        """The task, with the split that the search settings ask for."""
        settings = self.settings
        if settings.task is None:
            return absent_task(settings.search.dataset)
        task = self._given_task or load_task(settings.task, None if settings.data is None else Path(settings.data))
        fraction = getattr(settings.search, "validation_fraction", None)
        return task if fraction is None else task.resplit(fraction)

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
        return TaskSource(settings.task, settings.data, getattr(settings.search, "validation_fraction", None))

    def search_stages(self) -> Sequence[SearchStage]:
        """The method's stages, none where the architecture was given; then tuning, where it is asked for."""
        settings = self.settings
        stages = [] if settings.method is None else [*METHODS.get(settings.method)().stages()]
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

    # -- the stages ----------------------------------------------------------------------------------------------

    def proceed(self, until: str | None = None) -> Run:
        """Run all pending stages, up to and including `until`.

        Raises:
            StoppedError: by a signal or the time limit, after a checkpoint.
        """
        names = self.stage_names()
        if until is not None:
            if until not in names:
                raise SettingsError(f"unknown stage '{until}'; this run has {', '.join(names)}.")
            names = names[: names.index(until) + 1]
        self.engine.wait()  # the first process has written the settings
        with self.directory.hold(), StopSignals().installed() as signals:
            driver = self._driver(signals)
            driver.message(f"{self.directory.path}: {self.engine.describe()}, seed {self.settings.seed}")
            for name in names:
                if not self.directory.complete(name):
                    run_stage(self, name, driver)
                    self.engine.wait()
        return self

    def _driver(self, signals: StopSignals) -> Driver:
        limit = self.settings.time_limit_minutes
        observers = (*self._observers, TensorBoardObserver(self.directory.path / "tensorboard"))
        return Driver(
            self.directory,
            observers=observers if self.engine.is_main else (),
            checkpoint_seconds=self.settings.checkpoint_seconds,
            time_limit_seconds=None if limit is None else 60 * limit,
            signals=signals,
            agree=self.engine.any,
        )


def _only_begun(path: Path) -> bool:
    """Whether a folder holds nothing but what a run writes before its settings: a kill may come in between."""
    begun = {".lock", "checkpoints", "architecture.json"}
    return path.is_dir() and all(
        entry.name in begun or entry.name.startswith(TEMPORARY_PREFIX) for entry in path.iterdir()
    )


def _check_same(directory: RunDirectory, settings: RunSettings) -> None:
    """Raise RunError if a run was started with other settings; how it is watched and stopped may change."""
    may_change = {"checkpoint_seconds", "time_limit_minutes", "threads", "data", "executor"}
    old = read_config(directory).model_dump(mode="json")
    new = settings.model_dump(mode="json")
    changed = sorted(key for key in new if key not in may_change and old.get(key) != new[key])
    if changed:
        details = "; ".join(f"{key}: {old.get(key)} then, {new[key]} now" for key in changed)
        raise RunError(
            f"{directory.path} was started with other settings ({details}). Choose another --out, or go on with the "
            f"old settings: archscout resume {directory.path}"
        )
