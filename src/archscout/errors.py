"""The errors that archscout raises on purpose.

Every message tells four things: what was wrong, the value seen, what is allowed, and what to do next. The command
line prints the message of an `ArchscoutError` as one paragraph and exits with its `exit_code`, never with a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArchitectureError",
    "ArchscoutError",
    "DataError",
    "DivergedError",
    "MissingExtraError",
    "RunError",
    "SettingsError",
    "SpaceError",
    "StoppedError",
    "UnknownNameError",
    "closest",
]


class ArchscoutError(Exception):
    """Root of all errors that archscout raises on purpose."""

    exit_code = 2


class ArchitectureError(ArchscoutError):
    """An architecture contradicts its space: the message names the field."""


class SpaceError(ArchscoutError):
    """A space, a task and a method do not fit together."""


class DataError(ArchscoutError):
    """Data is missing, truncated, of the wrong shape or out of range."""


class SettingsError(ArchscoutError):
    """A recipe or an override is wrong; all problems found are in the one message."""


class RunError(ArchscoutError):
    """A run directory cannot be created, locked, read or written."""


class DivergedError(ArchscoutError):
    """A job produced a number that is not finite."""


class MissingExtraError(ArchscoutError):
    """An optional dependency is not installed; the message has the exact install line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed. "
            f"Install it with: pip install 'archscout[{extra}]'"
        )
        self.package = package


class StoppedError(ArchscoutError):
    """A run was stopped by a signal or by its time limit, after a checkpoint: it can be resumed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UnknownNameError(ArchscoutError):
    """A name that is not registered; the message lists the closest ones."""

    def __init__(self, noun: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = closest(name, names)
        allowed = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."
        super().__init__(f"unknown {noun} '{name}'. {allowed}{' ' + hint if hint else ''}")


def closest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that look most like `name`, best first; empty where nothing is near."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
