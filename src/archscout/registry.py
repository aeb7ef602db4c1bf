"""A plain registry: a dictionary with a decorator, suggestions for typos, and an error on a clash.

Other packages add tasks, spaces, methods and zoo entries without any edit here: they call the `register` decorators
on import, and name the importing module as an entry point of the group `archscout.plugins`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar, runtime_checkable

from archscout.errors import ArchscoutError, UnknownNameError

__all__ = ["Registry", "line_of", "without_plugins"]

T = TypeVar("T")

PLUGIN_GROUP = "archscout.plugins"
_loaded_plugins: set[str] = set()
_paused: ContextVar[bool] = ContextVar("paused", default=False)


@cache
def _plugin_entries() -> tuple[EntryPoint, ...]:
    """Looked up once: it reads the metadata of every installed package."""
    return tuple(entry_points(group=PLUGIN_GROUP))


def load_plugins() -> None:
    """Import the modules that installed packages name as `archscout.plugins` entry points, once each."""
    for entry in () if _paused.get() else _plugin_entries():
        if entry.value not in _loaded_plugins:
            _loaded_plugins.add(entry.value)
            entry.load()


@contextmanager
def without_plugins() -> Iterator[None]:
    """For look-ups while a module of archscout is imported, which a plug-in may want to import, too."""
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


@runtime_checkable
class Described(Protocol):
    """Something registered that has a line for lists; of others it is the first line of the docstring."""

    @property
    def description(self) -> str:
        """One line."""
        ...


def line_of(entry: object) -> str:
    """What lists show of a registered thing."""
    return entry.description if isinstance(entry, Described) else (entry.__doc__ or "").strip().split("\n")[0]


class Registry(Generic[T]):
    """Names to things of one kind, for example `Registry("method", "archscout.methods")`.

    Args:
        noun: what is registered, for messages.
        package: the package whose import registers the built-in entries; imported on first look-up.
        lines: makes the lines of the built-in entries for lists, by the name that a list shows.
    """

    def __init__(self, noun: str, package: str, lines: Callable[[], Mapping[str, str]] = dict) -> None:
        self.noun = noun
        self._package = package
        self.lines = lines
        self._check: Callable[[str, T], None] | None = None
        self._entries: dict[str, T] = {}
        self._former: dict[str, str] = {}

    def register(self, name: str, *, formerly: Sequence[str] = ()) -> Callable[[T], T]:
        """Decorator that registers the decorated thing under `name`; a clash raises, and so does what is incomplete.

        Args:
            name: shown in lists, and written to files.
            formerly: names of earlier versions, which files and commands may still use.
        """

        def add(entry: T) -> T:
            for each in (name, *formerly):
                taken = self._entries.get(self._now(each))
                if taken is not None:
                    raise ArchscoutError(
                        f"the {self.noun} '{each}' is registered already, by {taken!r}. "
                        "Choose another name, or call `unregister` first."
                    )
            if self._check is not None:
                self._check(name, entry)
            self._entries[name] = entry
            self._former |= dict.fromkeys(formerly, name)
            return entry

        return add

    def check_with(self, check: Callable[[str, T], None]) -> None:
        """Let every entry be checked when it is registered: `check(name, entry)` raises an ArchscoutError."""
        self._check = check

    def unregister(self, name: str) -> None:
        """Remove an entry, for example at the end of a test."""
        self._entries.pop(name, None)
        self._former = {former: now for former, now in self._former.items() if now != name}

    def canonical(self, name: str) -> str:
        """The name of today for one of an earlier version; any other name as it is."""
        self._load()
        return self._now(name)

    def get(self, name: str) -> T:
        """The entry of that name, or of a former one. Raises UnknownNameError with the closest names."""
        self._load()
        entry = self._entries.get(self._now(name))
        if entry is None:
            raise UnknownNameError(self.noun, name, self._entries, f"See: archscout list {self.noun}s")
        return entry

    def names(self, pattern: str = "*") -> list[str]:
        """The registered names that match a shell pattern, sorted."""
        self._load()
        return sorted(fnmatch.filter(self._entries, pattern))

    def items(self) -> list[tuple[str, T]]:
        """Name and entry of all that is registered, sorted by name."""
        return [(name, self._entries[name]) for name in self.names()]

    def describe(self, show: Callable[[str, T], str] = lambda name, _: name) -> dict[str, str]:
        """A line on everything there is. Imports plug-ins, but not the package of the built-in entries.

        Args:
            show: the name that a list shows for an entry.
        """
        load_plugins()
        registered = {show(name, entry): line_of(entry) for name, entry in self._entries.items()}
        return dict(sorted((registered | dict(self.lines())).items()))

    def __contains__(self, name: object) -> bool:
        self._load()
        return isinstance(name, str) and self._now(name) in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _now(self, name: str) -> str:
        return self._former.get(name, name)

    def _load(self) -> None:
        import_module(self._package)
        load_plugins()
