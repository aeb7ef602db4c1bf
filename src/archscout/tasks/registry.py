"""Which tasks exist, and how a name or a path on the command line becomes one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archscout.catalog import FAMILIES, TASKS
from archscout.errors import DataError, UnknownNameError
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Task

__all__ = [
    "FAMILIES",
    "TASKS",
    "TaskEntry",
    "TaskFamily",
    "TaskLoader",
    "data_root",
    "load_task",
    "register_family",
    "register_task",
    "task_spec",
]


TaskLoader = Callable[[Path], Task]
"""Builds a registered task from the folder that holds its files."""


@dataclass(frozen=True)
class TaskEntry:
    """A registered task: its shapes, known without any data, and its loader."""

    spec: TaskSpec
    load: TaskLoader

    @property
    def description(self) -> str:
        """The first line of the loader's docstring."""
        return (self.load.__doc__ or "").strip().split("\n")[0]


@dataclass(frozen=True)
class TaskFamily:
    """Tasks that differ by what stands behind the colon of their name, for example `ucr:GunPoint`.

    Attributes:
        load: from what stands behind the colon, and the folder of data files.
        spec: the shapes without any data, from what stands behind the colon; None where they are in the files.
        form: how a name looks, for lists and messages.
    """

    load: Callable[[str, Path], Task]
    spec: Callable[[str], TaskSpec] | None
    form: str

    @property
    def description(self) -> str:
        """The first line of the loader's docstring."""
        return (self.load.__doc__ or "").strip().split("\n")[0]


def register_task(spec: TaskSpec) -> Callable[[TaskLoader], TaskLoader]:
    """Decorator: register a loader `(root: Path) -> Task` under the name in the spec."""

    def add(load: TaskLoader) -> TaskLoader:
        TASKS.register(spec.name)(TaskEntry(spec, load))
        return load

    return add


def register_family(
    prefix: str, form: str, spec: Callable[[str], TaskSpec] | None = None
) -> Callable[[Callable[[str, Path], Task]], Callable[[str, Path], Task]]:
    """Decorator: register a loader `(what stands behind the colon, root) -> Task` under a prefix."""

    def add(load: Callable[[str, Path], Task]) -> Callable[[str, Path], Task]:
        FAMILIES.register(prefix)(TaskFamily(load, spec, form))
        return load

    return add


def _family(name: str) -> tuple[TaskFamily, str] | None:
    """The family that a name with a colon belongs to, and what stands behind the colon."""
    prefix, colon, rest = name.partition(":")
    return (FAMILIES.get(prefix), rest) if colon and prefix in FAMILIES else None


def task_spec(name: str, data: Path | None = None) -> TaskSpec:
    """The shapes of a task; of a registered one without touching its data."""
    if name in TASKS:
        return TASKS.get(name).spec
    found = _family(name)
    if found is not None and found[0].spec is not None:
        return found[0].spec(found[1])
    return load_task(name, data).spec


def data_root(data: Path | None = None) -> Path:
    """Where data files lie: the argument, else `ARCHSCOUT_DATA`, else a folder in the user's cache."""
    if data is not None:
        return data.expanduser()
    named = os.environ.get("ARCHSCOUT_DATA")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "archscout"


def load_task(name: str, data: Path | None = None) -> Task:
    """The task of a registered name, or of a path.

    A path may be a folder of images, of three text files or of `.ts` series, an `.npz` file, or a `.ts` file.

    Raises:
        UnknownNameError: neither registered nor an existing path.
        DataError: its data is missing or wrong.
    """
    if name in TASKS:
        return TASKS.get(name).load(data_root(data))
    found = _family(name)
    if found is not None:
        return found[0].load(found[1], data_root(data))
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder_task(path)
    if path.is_file():
        return _file_task(path)
    if path.suffix or len(path.parts) > 1:
        raise DataError(
            f"{path} does not exist. Give an existing folder, .npz or .ts file, or a name from: archscout list tasks"
        )
    forms = ", ".join(family.form for _, family in FAMILIES.items())
    raise UnknownNameError("task", name, TASKS, f"Names with a part of your own: {forms}.")


def _folder_task(path: Path) -> Task:
    from archscout.tasks.readers.series import is_series_folder, series_task
    from archscout.tasks.readers.text import is_text_folder, text_folder_task

    if is_text_folder(path):
        return text_folder_task(path)
    if is_series_folder(path):
        return series_task(path)
    from archscout.tasks.readers.folder import folder_task

    return folder_task(path)


def _file_task(path: Path) -> Task:
    if path.suffix == ".npz":
        from archscout.tasks.readers.arrays import npz_task

        return npz_task(path)
    if path.suffix == ".ts":
        from archscout.tasks.readers.series import series_task

        return series_task(path)
    raise DataError(
        f"{path} is a {path.suffix or 'file without suffix'}; a task can be a registered name, a folder of images "
        "(one folder for each class), a folder of texts (train.txt, valid.txt, test.txt), an .npz file with x_train, "
        "y_train, x_test and y_test, or a .ts file of series (NAME_TRAIN.ts, beside NAME_TEST.ts)."
    )
