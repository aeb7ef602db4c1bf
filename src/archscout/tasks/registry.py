"""Which tasks exist, and how a name or a path on the command line becomes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch

from archscout import catalog
from archscout.errors import DataError, UnknownNameError
from archscout.registry import Registry
from archscout.tasks.choices import with_choices
from archscout.tasks.metrics.classification import accuracy, cross_entropy
from archscout.tasks.options import TaskOptions, options_with
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskKind, TaskSpec
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import uint8_to_float

__all__ = [
    "FAMILIES",
    "READERS",
    "Reader",
    "TASKS",
    "TaskEntry",
    "TaskFamily",
    "TaskLoader",
    "absent_task",
    "data_root",
    "is_registered",
    "load_task",
    "named_task",
    "register_family",
    "register_reader",
    "register_task",
    "task_spec",
    "user_cache",
]

ReaderLoader = TypeVar("ReaderLoader", bound=Callable[..., Task])
TaskLoader = Callable[[Path], Task]
"""Builds a registered task from the folder that holds its files."""
FamilyLoader = TypeVar("FamilyLoader", bound=Callable[..., Task])


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
        load: from what stands behind the colon, the folder of data files, and options.
        spec: the shapes without any data, from what stands behind the colon; None where they are in the files.
        form: how a name looks, for lists and messages.
        heeds: names of the `TaskOptions` that it reads by, as in `Reader`.
    """

    load: Callable[[str, Path, TaskOptions], Task]
    spec: Callable[[str], TaskSpec] | None
    form: str
    heeds: frozenset[str] = frozenset()

    @property
    def description(self) -> str:
        """The first line of the loader's docstring."""
        return (self.load.__doc__ or "").strip().split("\n")[0]


@dataclass(frozen=True)
class Reader:
    """Makes a task of a path.

    Attributes:
        form: what it reads, for messages, for example "a folder of images".
        reads: whether it is for this path, which need not exist. Looks at names only, not into files.
        load: the task of a path that it is for, and options. Raises DataError that says what is wrong with the files.
        priority: readers with higher ones are asked first; of equal ones, those of plug-ins before archscout's own.
        heeds: names of the `TaskOptions` that it reads by; others are refused, except those that hold for every task.
        holds: whether there is data for it at the path, where `reads` takes more paths than that; None: as `reads`.
    """

    form: str
    reads: Callable[[Path], bool]
    load: Callable[[Path, TaskOptions], Task]
    priority: int = 0
    heeds: frozenset[str] = frozenset()
    holds: Callable[[Path], bool] | None = None


def _check_task(name: str, entry: TaskEntry) -> None:
    """Raise DataError unless the shapes are those of a task and the loader can be called."""
    spec = entry.spec
    if spec.kind not in get_args(TaskKind):
        raise DataError(f"the task '{name}' has the kind '{spec.kind}'; allowed: {', '.join(get_args(TaskKind))}.")
    if spec.outputs < 1 or not spec.input_shape or any(size < 1 for size in spec.input_shape):
        raise DataError(
            f"the task '{name}' has inputs of shape {spec.input_shape} and {spec.outputs} outputs; give sizes above 0."
        )
    if not callable(entry.load):
        raise DataError(f"the task '{name}' has no loader: register_task(spec) decorates a function (root) -> Task.")


REGISTERED = "task:"
"""Before a name: the registered task, not a folder that is called so."""

TASKS: Registry[TaskEntry] = catalog.TASKS
TASKS.check_with(_check_task)
FAMILIES: Registry[TaskFamily] = catalog.FAMILIES
READERS: Registry[Reader] = Registry("reader", "archscout.tasks")


def register_task(spec: TaskSpec) -> Callable[[TaskLoader], TaskLoader]:
    """Decorator: register a loader `(root: Path) -> Task` under the name of its `TaskSpec`."""

    def add(load: TaskLoader) -> TaskLoader:
        TASKS.register(spec.name)(TaskEntry(spec, load))
        return load

    return add


def register_family(
    prefix: str, form: str, spec: Callable[[str], TaskSpec] | None = None, *, heeds: Iterable[str] = ()
) -> Callable[[FamilyLoader], FamilyLoader]:
    """Decorator: register a loader `(what stands behind the colon, root, options) -> Task` under a prefix.

    The other arguments are as in `TaskFamily`. Metric, loss and sampling of the options are the loader's, see
    `with_choices`.
    """

    def add(load: FamilyLoader) -> FamilyLoader:
        FAMILIES.register(prefix)(TaskFamily(load, spec, form, frozenset(heeds)))
        return load

    return add


def register_reader(
    name: str,
    form: str,
    reads: Callable[[Path], bool],
    *,
    priority: int = 0,
    heeds: Iterable[str] = (),
    holds: Callable[[Path], bool] | None = None,
) -> Callable[[ReaderLoader], ReaderLoader]:
    """Decorator: register a loader `(path, options) -> Task`, with the other arguments as in `Reader`."""

    def add(load: ReaderLoader) -> ReaderLoader:
        READERS.register(name)(Reader(form, reads, load, priority, frozenset(heeds), holds))
        return load

    return add


def _family(name: str) -> tuple[TaskFamily, str] | None:
    """The family that a name with a colon belongs to, and what stands behind the colon."""
    prefix, colon, rest = name.partition(":")
    return (FAMILIES.get(prefix), rest) if colon and prefix in FAMILIES else None


def is_registered(name: str) -> bool:
    """Whether a name is that of a registered task, or of a family's."""
    return name in TASKS or _family(name) is not None


def named_task(name: str, data: Path | str | None = None) -> str:
    """What a user named, without `task:` in front; asked once, before a run starts.

    Args:
        name: a registered name or a path; `task:digits` is the registered one wherever one is.
        data: the folder of a registered task's files, where the user has named one.

    Raises:
        DataError: a registered name, and a folder of data here that is called so: which one is meant?
    """
    plain = _without_mark(name)
    path = Path(name)
    if plain == name in TASKS and data is None and _is_data(path) and data_root() not in path.resolve().parents:
        raise DataError(
            f"{name} is a registered task, and a folder of data here is called so, too. For the folder write ./{name}, "
            f"for the registered task {REGISTERED}{name}"
        )
    return plain


def _without_mark(name: str) -> str:
    plain = name.removeprefix(REGISTERED)
    return plain if plain in TASKS else name


def _is_data(path: Path) -> bool:
    """Whether a reader would read a folder, which is no run directory."""
    if not path.is_dir() or (path / "config.yaml").is_file():
        return False
    return any((reader.holds or reader.reads)(path) for _, reader in READERS.items())


def task_spec(name: str, data: Path | None = None, options: TaskOptions | None = None) -> TaskSpec:
    """The shapes of a task; of a registered one without touching its data."""
    name = _without_mark(name)
    if name in TASKS:
        return TASKS.get(name).spec
    found = _family(name)
    if found is not None and found[0].spec is not None:
        return found[0].spec(found[1])
    return load_task(name, data, options).spec


def _rank(reader: Reader) -> tuple[int, bool]:
    """The order in which readers are asked."""
    return -reader.priority, reader.load.__module__.startswith("archscout.")


def data_root(data: Path | None = None) -> Path:
    """Where data files lie: the argument, else `ARCHSCOUT_DATA`, else a folder in the user's cache."""
    if data is not None:
        return data.expanduser()
    named = os.environ.get("ARCHSCOUT_DATA")
    if named:
        return Path(named).expanduser()
    return user_cache()


def user_cache() -> Path:
    """archscout's folder in the user's cache, which may not exist."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "archscout"


def load_task(name: str, data: Path | None = None, options: TaskOptions | None = None, **named: Any) -> Task:
    """The task of a registered name, or of a path that a registered reader knows.

    archscout's own read folders of images, of texts or of series, `.npz` files, files of series (`.ts`, `.tsv`,
    `.arff`, `.csv`) and texts (`.txt`).

    Args:
        data: folder of a registered task's files.
        options: how to read the data, and what to learn from it.
        named: fields of `TaskOptions`, which win over `options`.

    Raises:
        UnknownNameError: neither registered nor an existing path.
        DataError: its data is missing or wrong.
        SettingsError: an option that does not exist, or that is not for this data.
    """
    options = options_with(options, named)
    name = _without_mark(name)
    found = _family(name)
    if name in TASKS:
        options.check_heeded(frozenset(), f"the registered task {name}")
        return with_choices(TASKS.get(name).load(data_root(data)), options)
    if found is not None:
        options.check_heeded(found[0].heeds, f"the registered task {name}")
        return found[0].load(found[1], data_root(data), options)
    path = Path(name).expanduser()
    readers = sorted((reader for _, reader in READERS.items()), key=_rank)
    for reader in readers:
        if reader.reads(path):
            options.check_heeded(reader.heeds, reader.form)
            return reader.load(path, options)
    if path.exists():
        forms = ", ".join(reader.form for reader in readers)
        raise DataError(
            f"{path} is a {path.suffix or 'file without suffix'}; a task can be a registered name, or a path: {forms}."
        )
    if path.suffix or len(path.parts) > 1:
        raise DataError(f"{path} does not exist. Give an existing folder or file, or a name from: archscout list tasks")
    forms = ", ".join(family.form for _, family in FAMILIES.items())
    raise UnknownNameError("task", name, TASKS, f"Names with a part of your own: {forms}.")


# Stands in where the data set of a table is none of our tasks: the shapes that the table's networks were trained on.
TABLE = TaskSpec("table", "classification", (3, 32, 32), 10)


def absent_task(dataset: str | None) -> Task:
    """A task without data, for searches that read all they need from a table.

    It has the shapes of the registered task of that name, else of small images, and three empty splits.
    """
    known = TASKS.get(dataset).spec if dataset is not None and dataset in TASKS else None
    spec = known or TaskSpec(dataset or TABLE.name, TABLE.kind, TABLE.input_shape, TABLE.outputs)
    source = ArraySource(torch.zeros(0, *spec.input_shape, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    nothing = Split(source, torch.arange(0))
    return Task(
        spec=spec,
        train=nothing,
        validation=nothing,
        test=nothing,
        loss=cross_entropy,
        metric=accuracy(spec.outputs),
        to_float=uint8_to_float,
        normalize=lambda inputs: inputs,
        provenance={"data": "none was read: scores are from a table"},
    )
