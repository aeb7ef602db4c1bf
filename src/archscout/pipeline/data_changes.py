"""Data that has moved, or has changed while a run rested: which stages start again."""

from __future__ import annotations

from pathlib import Path

from archscout.driver import Driver
from archscout.errors import RunError
from archscout.pipeline.config import RunSettings, task_reference
from archscout.pipeline.contents import FINAL_STAGES, RunContents
from archscout.pipeline.data_record import Change
from archscout.rundir import RunDirectory
from archscout.tasks.registry import is_registered

__all__ = ["moved", "start_again"]

FILES_OF_STAGE = {
    "train": ("model.safetensors", "model.json", "vocabulary.txt"),
    "evaluate": ("result.json", "insight.json", "test_predictions.csv", "predictions.csv"),
    "export": ("export.json",),
    "report": ("report.html",),
}
START = "start.json"  # the architecture that was given


def moved(run: RunDirectory, settings: RunSettings, place: str) -> RunSettings:
    """The settings with the data at its new place. Whether it is the same data shows when it is read.

    Raises:
        RunError: the run has no data of its own, or there is nothing at the new place.
    """
    if settings.task is None or is_registered(settings.task):
        named = f"the registered task {settings.task}" if settings.task else "no data: it reads a table"
        raise RunError(f"{run.path} has {named}; --task gives the new place of data that has moved.")
    if is_registered(place) and not Path(place).exists():
        raise RunError(
            f"{run.path} was started with {settings.task}; its data cannot become the registered task {place}."
        )
    path = Path(place).expanduser()
    if not path.exists():
        raise RunError(f"{place} does not exist; give the folder or file where the data of {run.path} is now.")
    return settings.model_copy(update={"task": task_reference(str(path.absolute()))})


def start_again(run: RunContents, change: Change, driver: Driver) -> None:
    """Forget the stages whose data has changed: those after the final training where only test samples have, else all.

    Raises:
        RunError: the run began with an architecture of which no copy was kept.
    """
    directory = run.directory
    everything = bool(change.splits - {"test"})
    driver.message(
        f"the data has changed: {'; '.join(change.words)}. "
        + ("All stages start again." if everything else "Only the test split is concerned: it is evaluated again.")
    )
    stages = run.stage_names() if everything else [name for name in FINAL_STAGES if name in ("evaluate", "report")]
    if everything and run.settings.architecture is not None and not directory.has(START):
        raise RunError(
            f"{directory.path} began with an architecture of which an earlier version kept no copy, so it cannot start "
            "again. Start a new run with --out."
        )
    directory.forget(stages, [file for name in stages for file in FILES_OF_STAGE.get(name, ())])
    if everything:
        kept = directory.read(START) if directory.has(START) else None
        directory.remove_results()
        if kept is not None:
            directory.write("architecture.json", kept)
