"""Reading pickles without running anything that they name.

A pickle can name any function for the reader to call. Here a caller lists the few names that its official files need,
each with an inert stand-in; every other name is refused.
"""

from __future__ import annotations

import io
import pickle  # only subclassed, to refuse what a pickle could run
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["ForbiddenNameError", "StandInDtype", "load_inert"]

Allowed = Mapping[tuple[str, str], Callable[..., object]]
"""Module and name, and what stands for it."""


class ForbiddenNameError(Exception):
    """The pickle names something that is not allowed; the message is that name."""


class StandInDtype:
    """Stands for `numpy.dtype(name, align, copy)`."""

    def __init__(self, name: object = None, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Byte order and flags: of no interest for bytes, and the official files are little-endian."""


class _Reader(pickle.Unpickler):
    def __init__(self, content: bytes, allowed: Allowed, encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise ForbiddenNameError(f"{module}.{name}")
        return self._allowed[module, name]


def load_inert(content: bytes, allowed: Allowed, *, encoding: str = "ASCII") -> Any:
    """What a pickle holds, with stand-ins for what it names.

    Args:
        content: the pickle.
        allowed: see `Allowed`.
        encoding: of Python 2's strings; "bytes" leaves them as they are.

    Raises:
        ForbiddenNameError: it names anything else.
        Exception: of any kind, if the pickle is damaged.
    """
    return _Reader(content, allowed, encoding).load()
