"""Reading pickles without running anything that they name.

A pickle can name any function for the reader to call. Here a caller lists the few names that its official files need,
each with an inert stand-in; every other name is refused. Not even numpy's own functions are called on foreign values:
`NUMPY` has stand-ins for what numpy writes, and arrays are rebuilt from the recorded bytes.
"""

from __future__ import annotations

import io
import math
import pickle  # only subclassed, to refuse what a pickle could run
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["NUMPY", "Allowed", "ForbiddenNameError", "StandInArray", "load_inert", "rebuilt"]

Allowed = Mapping[tuple[str, str], Callable[..., object]]
"""Module and name, and what stands for it."""

PLAIN = re.compile(r"([biufSU])(\d+)")  # names of the types of numbers and texts
NAMED = {"bool": "b1", "float64": "f8", "float32": "f4", "int64": "i8", "int32": "i4", "uint8": "u1"}


class ForbiddenNameError(Exception):
    """The pickle names something that is not allowed; the message is that name."""


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
        allowed: see `Allowed`.
        encoding: of Python 2's strings; "bytes" leaves them as they are.

    Raises:
        ForbiddenNameError: it names anything else.
        Exception: of any kind, if the pickle is damaged.
    """
    return _Reader(content, allowed, encoding).load()


def rebuilt(value: Any) -> Any:
    """A loaded value with its arrays rebuilt, read-only, and its byte strings as text.

    Raises:
        ValueError: it holds something else than containers, texts, numbers and arrays of these, or a damaged array.
    """
    if isinstance(value, StandInArray):
        return value.rebuild()
    if isinstance(value, dict):
        return {_text(key) if isinstance(key, bytes) else key: rebuilt(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rebuilt(each) for each in value]
    if isinstance(value, tuple):
        return tuple(rebuilt(each) for each in value)
    if isinstance(value, bytes):
        return _text(value)
    if value is None or isinstance(value, str | int | float | np.ndarray | np.generic):
        return value
    raise ValueError(f"a {type(value).__name__}")


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


class _Dtype:
    """Stands for `numpy.dtype(name, align, copy)`; the state that follows has the byte order."""

    def __init__(self, name: object = None, *_: object) -> None:
        self.name, self.order = _text(name), "<"

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and _text(state[1]) in ("<", ">", "|", "="):
            self.order = _text(state[1])

    @property
    def is_object(self) -> bool:
        return self.name in ("O", "O8", "O4", "object")

    def plain(self) -> np.dtype[Any]:
        """The type; ValueError unless it is one of numbers or texts."""
        name = NAMED.get(self.name.lstrip("<>|="), self.name.lstrip("<>|="))
        if not PLAIN.fullmatch(name):
            raise ValueError(f"an array of the type '{self.name[:40]}'")
        return np.dtype(name).newbyteorder(">" if self.order == ">" else "<")


class StandInArray:
    """Stands for a numpy array: what the pickle sets, unread until `rebuild`."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def rebuild(self) -> np.ndarray[Any, Any]:
        """The array, read-only. Raises ValueError unless the state is that of an array with all its content."""
        state = self.state
        if not (isinstance(state, tuple) and len(state) == 5):
            raise ValueError("an array without content")
        _, shape, dtype, fortran_order, content = state
        return _array(content, dtype, shape, "F" if fortran_order else "C")


class _NdarrayType:
    """Stands for the type `numpy.ndarray`, which the files pass to `_reconstruct`."""


def _array(content: object, dtype: object, shape: object, order: object) -> np.ndarray[Any, Any]:
    """Stands for `_frombuffer(content, dtype, shape, order)`, how protocol 5 writes an array."""
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array without a type")
    if not (isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)):
        raise ValueError("an array without a shape")
    count = math.prod(shape)
    if dtype.is_object:
        if not isinstance(content, list) or len(content) != count:
            raise ValueError("an array with too few or too many objects")
        flat = np.empty(count, dtype=object)
        for position, value in enumerate(content):
            flat[position] = rebuilt(value)
    else:
        kind = dtype.plain()
        if not isinstance(content, bytes | bytearray) or len(content) != count * kind.itemsize:
            raise ValueError("an array with too few or too many bytes")
        flat = np.frombuffer(content, kind)
    return flat.reshape(shape, order="F" if _text(order) == "F" else "C")


def _scalar(dtype: object, content: object = b"") -> Any:
    """Stands for `scalar(dtype, content)`, a single number of numpy's."""
    return _array(content, dtype, (1,), "C")[0]


def _latin1_bytes(text: object = "", encoding: object = b"") -> bytes:
    """Stands for `_codecs.encode(text, "latin1")`, which is how protocol 2 writes the bytes of Python 3."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ValueError("bytes in another encoding than latin1")
    return text.encode("latin1")


NUMPY: Allowed = {
    ("numpy", "ndarray"): _NdarrayType,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1_bytes,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", StandInArray),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array),
        )
    },
}
"""Stand-ins for the names that numpy writes for arrays and numbers."""
