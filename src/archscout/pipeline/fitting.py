"""From arrays to a trained network in one call: what the estimators do when they are fitted."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archscout.driver import Observer
from archscout.errors import DataError, RunError, SettingsError, SpaceError, StoppedError
from archscout.pipeline.config import RunSettings, resolve_settings
from archscout.pipeline.run import Run
from archscout.progress import make_observer
from archscout.recipes import load_recipe, recipe_names
from archscout.spaces import get_space
from archscout.tasks import Task
from archscout.tasks.options import TaskOptions
from archscout.tasks.spec import TaskSpec

__all__ = ["FitWarning", "Fitted", "HowToFit", "fit_arrays"]

SMALL = "small"  # recipes of this name are made for arrays in memory
METHOD, SPACE = "ednas", "cells"
ELSEWHERE = "dash"  # for what the space of cells does not take


class FitWarning(UserWarning):
    """Something about the data or the search that looks doubtful; the message says what to do."""


@dataclass(frozen=True)
class HowToFit:
    """What the command line has as options.

    Attributes:
        method, space: None: EDNAS over cells where they take the data (classes of images), else DASH over backbones.
        recipe: None: `<method>/small` where there is one for the space, else the method's default one.
        overrides: settings as `section.key=value`.
        out: the run directory, kept; None takes a temporary one.
        verbose: 0 shows nothing, 1 the progress.
    """

    method: str | None = None
    space: str | None = None
    recipe: str | None = None
    overrides: Sequence[str] = ()
    seed: int = 0
    device: str = "auto"
    out: str | Path | None = None
    verbose: int = 0


@dataclass(frozen=True)
class Fitted:
    """What is kept of a run.

    Attributes:
        model: the content of `model.safetensors`.
        architecture: as JSON text.
        validation: metrics of the final network on validation samples that it has not learnt from; empty where it
            learns from all of them.
    """

    model: bytes
    architecture: str
    validation: Mapping[str, float] = field(default_factory=dict)


def fit_arrays(data: Mapping[str, Any], options: TaskOptions, how: HowToFit) -> Fitted:
    """Search and train on arrays. Nothing is held out for a test.

    Args:
        data: arguments of `task_from_arrays`. Validation samples that are given (`x_val`) are never learnt from; such
            that are held out here decide in the search, and are learnt from in the final training.
        options: how to read the data.

    Raises:
        DataError: the data is wrong.
        SettingsError: a setting is.
        KeyboardInterrupt: the fit was interrupted.
        StoppedError: by the time limit or another signal.
    """
    options = options.model_copy(update={"test_fraction": 0.0})
    task = _task(data, options)
    given = data.get("x_val") is not None
    settings = _settings(task.spec, options, how, given)
    if settings.task_options != options:  # an override is about the data
        task = _task(data, settings.task_options)
    heard = _Warnings()
    observers: list[Observer] = [heard] if how.verbose <= 0 else [make_observer()]
    with _folder(how.out) as path:
        run = _started(path, settings, task, observers)
        with _stoppable(path, kept=how.out is not None):
            run.proceed("train")
        last = run.metrics("train")[-1:] if given else []
        fitted = Fitted(
            (path / "model.safetensors").read_bytes(),
            run.directory.read("architecture.json"),
            {
                name.removeprefix("validation_"): float(value)
                for metrics in last
                for name, value in metrics.items()
                if name.startswith("validation_")
            },
        )
        doubts = [finding.message for finding in run.record.findings if finding.level == "doubtful"]
    for text in (*doubts, *heard.texts):
        warnings.warn(text, FitWarning, stacklevel=3)
    return fitted


def _started(path: Path, settings: RunSettings, task: Task, observers: Sequence[Observer]) -> Run:
    """The run of a fit, or the one that is there already, of the same settings and data."""
    try:
        run = Run.start(path, settings, command="Python", task=task, observers=observers)
        run.task  # noqa: B018  compares the data
    except RunError as error:
        reason = str(error).partition(". ")[0]
        raise RunError(f"{reason}. Choose another folder with out=, or remove {path} to fit anew.") from None
    return run


def _task(data: Mapping[str, Any], options: TaskOptions) -> Task:
    task = Task.from_arrays(**data, options=options)
    if len(task.test):
        raise SettingsError("nothing is tested when an estimator is fitted: leave test_fraction and folds out.")
    return task


def _settings(spec: TaskSpec, options: TaskOptions, how: HowToFit, given: bool) -> RunSettings:
    method, space, recipe = _choices(spec, how)

    def resolved(overrides: Sequence[str]) -> RunSettings:
        return resolve_settings(
            spec.name,
            method=method,
            recipe=recipe,
            values={
                "space": space,
                "seed": how.seed,
                "device": how.device,
                "task_options": options.model_dump(mode="json", exclude_defaults=True),
            },
            overrides=overrides,
        )

    settings = resolved(how.overrides)
    if given:
        learning = [*_splits("search", settings.search), *_splits("train", settings.train)]
        settings = resolved([*(f"{key}=train" for key in learning), *how.overrides])
    return settings


def _splits(where: str, section: Any) -> Iterator[str]:
    """The settings that say which split a stage learns from, where they say both."""
    values = section if isinstance(section, Mapping) else section.model_dump()
    for key, value in values.items():
        if key == "split" and value == "development":
            yield f"{where}.{key}"
        elif isinstance(value, Mapping):
            yield from _splits(f"{where}.{key}", value)


def _choices(spec: TaskSpec, how: HowToFit) -> tuple[str | None, str | None, str | None]:
    """Method, space and recipe."""
    if how.recipe is not None:
        return how.method, how.space, how.recipe
    method = how.method
    if method is None and how.space is None:
        method = METHOD if _fits(SPACE, spec) else ELSEWHERE
    elif method is None:
        method = ELSEWHERE if how.space == "backbones" else METHOD
    small = f"{method}/{SMALL}"
    if small in recipe_names() and how.space in (None, load_recipe(small).get("space", SPACE)):
        return method, how.space, small
    return method, how.space, None


def _fits(space: str, spec: TaskSpec) -> bool:
    try:
        get_space(space, None).check(spec)
    except (SpaceError, DataError):
        return False
    return True


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="archscout-", ignore_cleanup_errors=True) as name:
        yield Path(name) / "run"


@contextmanager
def _stoppable(path: Path, *, kept: bool) -> Iterator[None]:
    """A stop in the words of whoever called `fit`: Ctrl-C is a KeyboardInterrupt, as for every estimator."""
    try:
        yield
    except StoppedError as error:
        reason = str(error).partition(";")[0]
        told = (
            f"{reason}. Fit again with out={str(path)!r} and the same data, and it goes on from there."
            if kept
            else f"{reason}. Nothing was kept; name a folder with out=, and the next fit can go on where it was."
        )
        if error.exit_code == 130:
            raise KeyboardInterrupt(told) from None
        raise StoppedError(told, error.exit_code) from None


class _Warnings:
    """Keeps the warnings of a run that nobody watches."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def started(self, stage: str, step: int) -> None:
        """Nothing."""

    def advanced(self, stage: str, step: int, metrics: Any, seconds: float) -> None:
        """Nothing."""

    def checkpointed(self, stage: str, step: int, job: Any) -> None:
        """Nothing."""

    def finished(self, stage: str, seconds: float) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Keep a warning."""
        if text.startswith("warning"):
            self.texts.append(text.removeprefix("warning").lstrip(": "))
