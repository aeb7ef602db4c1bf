"""Cross-validation: a whole run for each fold, in one folder, with mean and spread over their test folds.

    RUN/folds.json      number of folds, settings, command
    RUN/fold-1 ...      a run each, whose test split is that fold
    RUN/result.json     mean, standard deviation and 95 % interval of every metric
    RUN/report.html

Every fold searches and trains anew: what is estimated is the whole procedure, choice of the architecture included. The
network to take is that of the first fold. It is fixed beforehand: the fold with the best test result would be chosen by
its test data, and its result would look better than it is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from archscout.driver import Observer
from archscout.engine import Engine
from archscout.errors import RunError, SettingsError, StoppedError
from archscout.pipeline.config import RunSettings, read_settings
from archscout.pipeline.data_changes import moved
from archscout.pipeline.data_record import read_record
from archscout.pipeline.run import Run
from archscout.pipeline.summary import comparison_row
from archscout.rundir import FOLDS, RunDirectory
from archscout.spaces import Architecture, architecture_from_json, architecture_to_json
from archscout.viz.report.content import NumberView, ReportContent
from archscout.viz.report.report import render_report

__all__ = ["CrossValidation", "spread"]

CONFIDENCE = 0.95
MAY_CHANGE = {"checkpoint_seconds", "time_limit_minutes", "threads", "data", "executor"}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation, and the ends of the 95 % interval of the mean by Student's t.

    Of one value there is no spread: None.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "std": None, "low": None, "high": None, "each": list(values)}
    from scipy.stats import t

    deviation = statistics.stdev(values)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return {"mean": mean, "std": deviation, "low": mean - reach, "high": mean + reach, "each": list(values)}


class CrossValidation:
    """The folder of a cross-validation. Use `CrossValidation.start` or `CrossValidation.open`.

    Attributes:
        directory: of all folds.
        settings: of each run, but for the fold.
        count: of folds.
    """

    def __init__(
        self,
        directory: RunDirectory,
        settings: RunSettings,
        *,
        command: str = "",
        architecture: Architecture | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
        accepts_change: bool = False,
    ) -> None:
        folds = settings.task_options.folds
        assert folds is not None
        self.directory, self.settings, self.count = directory, settings, folds
        self._command, self._base = command, architecture
        self._model, self._observers = model, tuple(observers)
        self._moved, self._accepts_change = False, accepts_change

    @classmethod
    def start(
        cls,
        path: Path,
        settings: RunSettings,
        *,
        command: str = "",
        architecture: Architecture | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
    ) -> CrossValidation:
        """Create the folder, or go on with one that was started with the same settings.

        Raises:
            SettingsError: there is no test in these settings, or one fold was named.
            RunError: the folder holds something else, or other settings.
        """
        options = settings.task_options
        if options.folds is None or options.fold is not None:
            raise SettingsError(
                f"folds = {options.folds}, fold = {options.fold}: all folds are run in turn; give their number alone."
            )
        if settings.task is None:
            raise SettingsError("a search by table has no test data: leave --folds out, and set search.trials instead.")
        directory = RunDirectory(path, writes=Engine.process_rank() == 0)
        made = cls(directory, settings, command=command, architecture=architecture, model=model, observers=observers)
        if directory.has(FOLDS):
            _check_same(directory, settings)
            return made
        if directory.writes and path.exists() and any(path.iterdir()):
            raise RunError(f"{path} exists and is no cross-validation. Choose an empty or a new folder with --out.")
        # Everything that can be wrong with data and settings shows before a folder is made.
        Run(RunDirectory(path / "fold-1"), made._settings_of(1), model=model).check()
        with directory.hold():
            if architecture is not None:
                directory.write("architecture.json", architecture_to_json(architecture))
            directory.write_json(
                FOLDS,
                {
                    "format": "archscout.folds",
                    "version": 1,
                    "folds": made.count,
                    "command": command,
                    "settings": settings.model_dump(mode="json"),
                },
            )
        return made

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        task: str | Path | None = None,
        model: nn.Module | None = None,
        observers: Sequence[Observer] = (),
        accepts_change: bool = False,
    ) -> CrossValidation:
        """An existing cross-validation; `task` is where its data is now, `accepts_change` as in `Run.open`.

        Raises:
            RunError: there is none, or its data cannot move.
        """
        directory = RunDirectory(path, writes=Engine.process_rank() == 0)
        if not directory.has(FOLDS):
            raise RunError(f"{path} is no cross-validation: it has no {FOLDS}.")
        record = directory.read_json(FOLDS)
        known = directory.has("architecture.json")
        settings = read_settings(record["settings"])
        if task is not None:
            settings = moved(directory, settings, str(task))
        made = cls(
            directory,
            settings,
            command=str(record.get("command", "")),
            architecture=architecture_from_json(directory.read("architecture.json")) if known else None,
            model=model,
            observers=observers,
            accepts_change=accepts_change,
        )
        made._moved = task is not None
        return made

    # -- the folds -------------------------------------------------------------------------------------------------

    def folder(self, fold: int) -> Path:
        """Of a fold, from 1."""
        return self.directory.path / f"fold-{fold}"

    def _settings_of(self, fold: int) -> RunSettings:
        options = self.settings.task_options.model_copy(update={"fold": fold})
        return self.settings.model_copy(update={"task_options": options})

    def runs(self) -> list[Run]:
        """The runs that were begun, in the order of their folds."""
        found = [fold for fold in range(1, self.count + 1) if RunDirectory(self.folder(fold)).exists()]
        return [self._opened(fold) for fold in found]

    def _opened(self, fold: int) -> Run:
        return Run.open(
            self.folder(fold),
            task=self.settings.task if self._moved else None,
            model=self._model,
            observers=self._observers,
            accepts_change=self._accepts_change,
        )

    def pending(self) -> list[int]:
        """The folds that are not complete."""
        done = {run.settings.task_options.fold for run in self.runs() if not run.pending()}
        return [fold for fold in range(1, self.count + 1) if fold not in done]

    def proceed(self, until: str | None = None) -> CrossValidation:
        """Run all folds one after the other, each up to and including a stage; then sum them up.

        Raises:
            StoppedError: by a signal or the time limit, which is for all folds together.
        """
        began = time.monotonic()
        limit = self.settings.time_limit_minutes
        with self.directory.hold():
            for fold in range(1, self.count + 1):
                run = self._run(fold)
                if fold > 1:
                    self._check_same_data(run)
                if limit is not None:
                    left = max(1e-3, limit - (time.monotonic() - began) / 60)
                    run.settings = run.settings.model_copy(update={"time_limit_minutes": left})
                try:
                    run.proceed(until)
                except (RunError, StoppedError) as error:
                    # What is to be resumed is the whole.
                    error.args = (str(error).replace(f"resume {run.directory.path}", f"resume {self.directory.path}"),)
                    if isinstance(error, StoppedError):
                        self.write_summary()
                    raise
            self.write_summary()
        return self

    def _check_same_data(self, run: Run) -> None:
        """Raise RunError where a fold would be made of other samples than the first one."""
        first = read_record(RunDirectory(self.folder(1)))
        if first is None:
            return
        old, new = (
            Counter((row.target, row.sha) for rows in each.rows.values() for row in rows)
            for each in (first, run.record)
        )
        in_time = self.settings.task_options.order == "time"  # later folds have all of the earlier ones, and more
        if old - new or (new - old and not in_time):
            raise RunError(
                f"the data has changed since fold-1 of {self.directory.path} was made: {sum((old - new).values()):,} "
                f"of its samples are gone or changed, {sum((new - old).values()):,} are new. Bring the data back, or "
                "start anew with another --out."
            )

    def _run(self, fold: int) -> Run:
        path = self.folder(fold)
        if RunDirectory(path).exists():
            return self._opened(fold)
        return Run.start(
            path,
            self._settings_of(fold),
            command=self._command,
            architecture=self._base,
            model=self._model,
            observers=self._observers,
        )

    # -- what came out -----------------------------------------------------------------------------------------------

    @property
    def result(self) -> dict[str, Any]:
        """The content of `result.json`. Raises RunError before the first fold was evaluated."""
        return dict(self.directory.read_json("result.json"))

    def write_summary(self) -> None:
        """Write `result.json` and `report.html` of the folds that were evaluated; nothing where none was."""
        evaluated = [run for run in self.runs() if run.directory.has("result.json")]
        if not evaluated or not self.directory.writes:
            return
        result = _summed_up(evaluated, self.count)
        self.directory.write_json("result.json", result)
        self.directory.write("report.html", self._report(evaluated, result))

    def _report(self, runs: Sequence[Run], result: dict[str, Any]) -> str:
        first, settings = runs[0], self.settings
        name = f"{first.task.name}: {settings.method or settings.architecture}"
        pending = self.pending()
        path = self.directory.path
        go_on = (
            [(f"archscout resume {path}", f"go on with the folds {', '.join(map(str, pending))}")] if pending else []
        )
        return render_report(
            ReportContent(
                title=f"{name}, {self.count} folds",
                command=self._command,
                task=first.task.spec.describe(),
                task_name=first.task.name,
                method=settings.method or f"given: {settings.architecture}",
                space=settings.space,
                seed=settings.seed,
                created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                settings_yaml=yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
                numbers=_numbers(first, result),
                comparison=[comparison_row(run) for run in runs],
                provenance={str(key): str(value) for key, value in first.task.provenance.items()},
                next_commands=[
                    *go_on,
                    (f"archscout export {path / 'fold-1'}", f"the network to take; {WHY_FIRST}"),
                ],
                warnings=[f"only {len(runs)} of {self.count} folds were evaluated so far."] * (len(runs) < self.count),
            )
        )


WHY_FIRST = "the fold with the best test result would be chosen by its test data"


def _summed_up(runs: Sequence[Run], folds: int) -> dict[str, Any]:
    results = [run.result for run in runs]
    names = [name for name in results[0]["test"] if name != "samples"]
    constants = [name for name in results[0].get("constant", {}) if all(name in each["constant"] for each in results)]
    return {
        "task": results[0]["task"],
        "metric": results[0]["metric"],
        "folds": folds,
        "evaluated": [run.settings.task_options.fold for run in runs],
        "test": {name: spread([each["test"][name] for each in results]) for name in names},
        "samples": [each["test"]["samples"] for each in results],
        "constant": {name: spread([each["constant"][name]["value"] for each in results]) for name in constants},
        "parameters": [each["parameters"] for each in results],
        "madds": [each["madds"] for each in results],
        "seconds": sum(sum(filter(None, each["seconds"].values())) for each in results),
        "network": "fold-1",
        "why": WHY_FIRST,
    }


def _numbers(run: Run, result: dict[str, Any]) -> list[NumberView]:
    """Each metric on the mean over the folds, with its spread."""
    folds = len(result["evaluated"])
    split = f"mean \u00b1 standard deviation over {folds} test folds, {sum(result['samples']):,} samples in all"
    numbers = []
    for metric in run.task.metrics:
        if metric.name not in result["test"]:
            continue
        found = result["test"][metric.name]
        notes = [metric.tendency]
        if found["std"] is not None:
            notes.append(f"95 % interval of the mean {metric.format(found['low'])} to {metric.format(found['high'])}")
        if metric.name in result["constant"]:
            notes.append(f"a constant answer reaches {metric.format(result['constant'][metric.name]['mean'])}")
        numbers.append(NumberView(metric.name.replace("_", " "), shown(metric.format, found), split, "; ".join(notes)))
    for name, key in (("parameters", "parameters"), ("MAdds", "madds")):
        least, most = min(result[key]), max(result[key])
        numbers.append(NumberView(name, f"{least:,}" if least == most else f"{least:,} to {most:,}"))
    return [*numbers, NumberView("wall time", f"{result['seconds']:,.0f} s", "", "all folds")]


def shown(form: Callable[[float], str], found: dict[str, Any]) -> str:
    """Mean and deviation as people read them."""
    return form(found["mean"]) + ("" if found["std"] is None else f" \u00b1 {form(found['std'])}")


def _check_same(directory: RunDirectory, settings: RunSettings) -> None:
    """Raise RunError if the folds were started with other settings."""
    old, new = directory.read_json(FOLDS)["settings"], settings.model_dump(mode="json")
    changed = sorted(key for key in new if key not in MAY_CHANGE and old.get(key) != new[key])
    if changed:
        details = "; ".join(f"{key}: {old.get(key)} then, {new[key]} now" for key in changed)
        raise RunError(
            f"{directory.path} was started with other settings ({details}). Choose another --out, or go on with the "
            f"old settings: archscout resume {directory.path}"
        )
