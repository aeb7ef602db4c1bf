"""Which tasks exist, and how a name or a path on the command line becomes one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archscout.errors import DataError
from archscout.registry import Registry
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Task

__all__ = ["TASKS", "TaskEntry", "TaskLoader", "data_root", "load_task", "register_task", "task_spec"]


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


TASKS: Registry[TaskEntry] = Registry("task", "archscout.tasks")


def register_task(spec: TaskSpec) -> Callable[[TaskLoader], TaskLoader]:
    """Decorator: register a loader `(root: Path) -> Task` under the name in the spec."""

    def add(load: TaskLoader) -> TaskLoader:
        TASKS.register(spec.name)(TaskEntry(spec, load))
        return load

    return add


def task_spec(name: str, data: Path | None = None) -> TaskSpec:
    """The shapes of a task; of a registered one without touching its data."""
    return TASKS.get(name).spec if name in TASKS else load_task(name, data).spec


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
    """The task of a registered name, a folder of pictures, a folder of three text files, or an `.npz` file.

    Raises:
        UnknownNameError: neither registered nor an existing path.
        DataError: its data is missing or wrong.
    """
    if name in TASKS:
        return TASKS.get(name).load(data_root(data))
    path = Path(name).expanduser()
    if path.is_dir():
        from archscout.tasks.text import is_text_folder, text_folder_task

        if is_text_folder(path):
            return text_folder_task(path)
        from archscout.tasks.folder import folder_task

        return folder_task(path)
    if path.is_file():
        if path.suffix != ".npz":
            raise DataError(
                f"{path} is a {path.suffix or 'file without suffix'}; a task can be a registered name, "
                "a folder of pictures (one folder for each class), a folder of texts (train.txt, valid.txt, test.txt), "
                "or an .npz file with x_train, y_train, x_test and "
                "y_test."
            )
        from archscout.tasks.arrays import npz_task

        return npz_task(path)
    if path.suffix or len(path.parts) > 1:
        raise DataError(
            f"{path} does not exist. Give an existing folder or .npz file, or a name from: archscout list tasks"
        )
    TASKS.get(name)  # raises, with the closest names
    raise AssertionError("unreachable")
