"""A run: the stages from a task to a report, in one run directory, each marked when complete.

Every stage that takes long is a job, run by the driver. A run that was stopped or killed goes on where it was when
`proceed` is called again, in this process or in another one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import nn

from archscout.atomic import TEMPORARY_PREFIX
from archscout.driver import Driver, Observer, StopSignals
from archscout.engine import Engine
from archscout.errors import DataError, RunError, SettingsError
from archscout.exporting import ExportError
from archscout.methods.base import METHODS, TrainsSharedWeights
from archscout.notebook import html_table
from archscout.parallel import check_executor
from archscout.pipeline.config import (
    ExportSettings,
    RunSettings,
    read_config,
    task_reference,
    update_config,
    with_absolute_paths,
    write_config,
)
from archscout.pipeline.contents import RunContents
from archscout.pipeline.data_changes import moved, start_again
from archscout.pipeline.data_record import read_record, write_record
from archscout.pipeline.exports import write_exports
from archscout.pipeline.insight.content import Insight
from archscout.pipeline.insight.of_run import insight_of_run
from archscout.pipeline.stages import run_stage
from archscout.pipeline.tensorboard import TensorBoardObserver
from archscout.rundir import RunDirectory
from archscout.spaces import Architecture, architecture_to_json
from archscout.spaces.base import KernelPatterned
from archscout.tasks import Task
from archscout.tasks.findings import raise_wrong, some, told
from archscout.tasks.looks import is_in_memory
from archscout.tasks.sources import overview_of
from archscout.training.augmentation import AugmentationSettings, augmented, check_cutout, check_label_smoothing
from archscout.tuning import check_tuning

__all__ = ["Run"]


class Run(RunContents):
    """One run directory with its settings. Use `Run.start` or `Run.open`."""

    def __repr__(self) -> str:
        facts = self._facts()
        return f"<Run {self.directory.path}: {'; '.join(f'{name} {value}' for name, value in facts.items())}>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return html_table(f"Run {self.directory.path}", self._facts())

    def _facts(self) -> dict[str, str]:
        """What people ask of a run first; no data is read for it."""
        settings, pending = self.settings, self.pending()
        facts = {
            "task": settings.task or "none, by table",
            "method": settings.method or f"none, architecture {settings.architecture}",
            "space": settings.space,
            "state": f"next: {pending[0]}" if pending else "complete",
        }
        if self.directory.has("result.json"):
            result = self.result
            facts[f"test {result['metric']}"] = f"{result['test'][result['metric']]:.4g}"
            facts["parameters"] = f"{result['parameters']:,}"
        return facts

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
        loaded: Task | None = None,
    ) -> Run:
        """Create a run directory, or go on with one that was started with the same settings.

        Raises:
            RunError: the folder holds a run with other settings, or something else, or cannot be written.
        """
        directory = RunDirectory(path, writes=Engine.process_rank() == 0)
        if directory.exists():
            _check_same(directory, settings)
            return cls(directory, settings, task=task, model=model, observers=observers, loaded=loaded)
        if path.exists() and not _only_begun(path):
            raise RunError(f"{path} exists and is no run directory. Choose an empty or a new folder with --out.")
        run = cls(directory, settings, task=task, model=model, observers=observers, loaded=loaded)
        # Everything that can be wrong with the data shows before a folder is made.
        run.check()
        with directory.hold():
            if architecture is not None:
                directory.write("architecture.json", architecture_to_json(architecture))
                directory.write("start.json", architecture_to_json(architecture))
            write_config(directory, settings, command, run.stage_names())
            if settings.task is not None:
                write_record(directory, run.record)
        return run

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        task: Task | str | Path | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
        executor: str | None = None,
        accepts_change: bool = False,
    ) -> Run:
        """An existing run; its independent trainings may go on elsewhere, and its data may have moved.

        Args:
            task: the caller's own task object, or the path where the run's data is now.
            accepts_change: whether stages start again whose data has changed; see `proceed`.

        Raises:
            RunError: no run directory, or one whose data cannot move.
        """
        directory = RunDirectory(path, writes=Engine.process_rank() == 0)
        settings = read_config(directory)
        if isinstance(task, str | Path):
            settings, task = moved(directory, settings, str(task)), None
        if executor is not None:
            check_executor(executor)
            settings = settings.model_copy(update={"executor": executor})
        return cls(directory, settings, task=task, model=model, observers=observers, accepts_change=accepts_change)

    def insight(self) -> Insight:
        """Where the network fails on the test split: confusion, scores of classes, calibration, the worst samples.

        Raises:
            RunError: the run is not evaluated yet.
        """
        return insight_of_run(self)

    def check(self) -> None:
        """Raise an ArchscoutError if device, data, space, method and settings are not there or do not fit together."""
        self.engine.describe()
        if self.settings.task is not None:
            raise_wrong(self.record.findings)
        check_executor(self.settings.executor)
        if self.settings.tuning is not None:
            check_tuning(self.settings.tuning, self.settings.train)
        if self.settings.method is not None:
            method = METHODS.get(self.settings.method)
            method.check_fit(self.space, self.task, self.settings.search)
            if method.starts_from_architecture and self.settings.architecture is None:
                cast(KernelPatterned, self.space).kernel_base(self.task.spec)  # says so if there is none
            if method.check is not None:
                method.check(self.context)
        else:
            self.space.check(self.task.spec)
        search = self.settings.search
        child = search.child if isinstance(search, TrainsSharedWeights) else None
        for where, section in {"search.child": child, "train": self.settings.train}.items():
            if isinstance(section, AugmentationSettings):
                augmented(self.task, section, where)
                check_cutout(self.task, section, where)
                check_label_smoothing(self.task, section, where)

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
            driver.message(f"{self.directory.path}: {self.described}")
            if self.settings.task is not None:
                self._tie_to_data(driver)
                self._check_test(names)
            for name in names:
                if not self.directory.complete(name):
                    self.check_files()
                    run_stage(self, name, driver)
                    self.engine.wait()
        return self

    def export(self, wanted: ExportSettings) -> Run:
        """Train and evaluate if that is still to be done, then export as wanted, whatever was exported before.

        The report is written anew if there is one.

        Raises:
            ExportError: a file cannot be written, or the network in int8 is not good enough; what could be written is.
        """
        self.proceed("evaluate")
        refused = ""
        if self.engine.is_main:
            with self.directory.hold(), StopSignals().installed() as signals:
                driver = self._driver(signals)
                began = time.monotonic()
                refused = write_exports(self, wanted, driver)
                self.directory.update_stage("export", seconds=round(time.monotonic() - began, 3), complete=True)
                if self.directory.has("report.html"):
                    run_stage(self, "report", driver)
        self.engine.wait()
        if refused:
            raise ExportError(refused)
        return self

    def _tie_to_data(self, driver: Driver) -> None:
        """Note the data of the run, start again what depends on what has changed, and tell what was found in it."""
        self.task  # noqa: B018  reads the data, and compares it
        if self._change is not None:
            start_again(self, self._change, driver)
        self.note_data()
        if not self.directory.stages():
            for finding in self.record.findings:
                driver.message("\n".join(told(finding)))

    @property
    def described(self) -> str:
        """In one line: what searches what, where, from which seed."""
        settings = self.settings
        search = f"{settings.method} on {settings.space}" if settings.method else f"a network of {settings.space}"
        return f"{search}, {self.engine.describe()}, seed {settings.seed}"

    def _check_test(self, stages: Sequence[str]) -> None:
        """Raise DataError if the network is to be tested, but nothing is there to test on."""
        if "evaluate" in stages and not self.directory.complete("evaluate") and len(self.task.test) == 0:
            raise DataError(
                f"{self.task.name} has no test split, so nothing can be evaluated. Give test samples, hold some out "
                "(test_fraction above 0), or stop before: until='train'."
            )

    def check_files(self) -> None:
        """Raise RunError if files that are read while the run goes on have changed since they were listed."""
        for part in ("train", "test") if self.settings.task is not None else ():
            source = self.task.split(part).source
            known = None if is_in_memory(source) else overview_of(source)
            changed = known.changed() if known is not None else []
            if changed:
                raise RunError(
                    f"{len(changed):,} files have changed while {self.directory.path} was running: {some(changed)}. "
                    f"Bring them back, or start what depends on them again: archscout resume {self.directory.path} "
                    "--accept-data-change"
                )

    def note_data(self) -> None:
        """Write down what the data is and where, if that is new. The caller holds the run."""
        known = read_record(self.directory)
        if known is None or known.path != self.record.path or self._change is not None:
            write_record(self.directory, self.record)
            update_config(self.directory, self.settings)

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
    begun = {".lock", "checkpoints", "architecture.json", "start.json"}
    return path.is_dir() and all(
        entry.name in begun or entry.name.startswith(TEMPORARY_PREFIX) for entry in path.iterdir()
    )


def _check_same(directory: RunDirectory, settings: RunSettings) -> None:
    """Raise RunError if a run was started with other settings; how it is watched and stopped may change."""
    may_change = {"checkpoint_seconds", "time_limit_minutes", "threads", "data", "executor"}
    known = with_absolute_paths(read_config(directory))
    known = known.model_copy(update={"task": None if known.task is None else task_reference(known.task)})
    old = known.model_dump(mode="json")
    new = settings.model_dump(mode="json")
    changed = sorted(key for key in new if key not in may_change and old.get(key) != new[key])
    if changed:
        details = "; ".join(f"{key}: {old.get(key)} then, {new[key]} now" for key in changed)
        raise RunError(
            f"{directory.path} was started with other settings ({details}). Choose another --out, or go on with the "
            f"old settings: archscout resume {directory.path}"
        )
