"""Read pickles of dictionaries, lists, texts, numbers and numpy arrays of any plain type, without running anything.

The published files of several data sets are such pickles, by themselves, gzipped, or inside an `.npy` file that holds
Python objects. As in `pickles.py`, the few names that numpy writes stand for inert records, any other name is refused,
and arrays are rebuilt from recorded bytes.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.inert_pickle import ForbiddenNameError, load_inert
from archscout.tasks.readers.pickles import latin1_bytes

__all__ = ["read_pickled"]

LARGEST = 8 * 2**30  # bytes of a pickle once it is unzipped: no official one has as many
PLAIN = re.compile(r"([biufSU])(\d+)")  # names of the types of numbers and texts
NAMED = {"bool": "b1", "float64": "f8", "float32": "f4", "int64": "i8", "int32": "i4", "uint8": "u1"}


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


class _Array:
    """Stands for a numpy array: what the pickle sets, unread."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def rebuild(self) -> np.ndarray[Any, Any]:
        state = self.state
        if not (isinstance(state, tuple) and len(state) == 5):
            raise ValueError("an array without content")
        _, shape, dtype, fortran_order, content = state
        return _array(shape, dtype, content, "F" if fortran_order else "C")


class _Flat:
    """Stands for `_frombuffer(content, dtype, shape, order)`, how protocol 5 writes an array."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def rebuild(self) -> np.ndarray[Any, Any]:
        if len(self.parts) != 4:
            raise ValueError("an array without content")
        content, dtype, shape, order = self.parts
        return _array(shape, dtype, content, _text(order))


class _Scalar:
    """Stands for `scalar(dtype, content)`, a single number of numpy's."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def rebuild(self) -> Any:
        dtype, content = self.parts
        return _array((1,), dtype, content, "C")[0]


class _Type:
    """Stands for the type `numpy.ndarray`, which is passed to `_reconstruct`."""


ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _Type,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): latin1_bytes,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Flat),
        )
    },
}


def _array(shape: object, dtype: object, content: object, order: str) -> np.ndarray[Any, Any]:
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array without a type")
    if not (isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)):
        raise ValueError("an array without a shape")
    count = math.prod(shape)
    if dtype.is_object:
        if not isinstance(content, list) or len(content) != count:
            raise ValueError("an array with too few or too many objects")
        objects = np.empty(count, dtype=object)
        for position, value in enumerate(content):
            objects[position] = _rebuilt(value)
        return objects.reshape(shape, order="F" if order == "F" else "C")
    kind = dtype.plain()
    if not isinstance(content, bytes | bytearray) or len(content) != count * kind.itemsize:
        raise ValueError("an array with too few or too many bytes")
    return np.frombuffer(content, kind).reshape(shape, order="F" if order == "F" else "C")


def _rebuilt(value: Any) -> Any:
    """The value with its arrays rebuilt and its byte texts as text."""
    if isinstance(value, _Array | _Flat | _Scalar):
        return value.rebuild()
    if isinstance(value, dict):
        return {_text(key) if isinstance(key, bytes) else key: _rebuilt(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rebuilt(each) for each in value]
    if isinstance(value, tuple):
        return tuple(_rebuilt(each) for each in value)
    if isinstance(value, bytes):
        return value.decode("latin1")
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"a {type(value).__name__}")


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def read_pickled(path: Path, hint: str = "") -> Any:
    """What a pickle holds: by itself, gzipped, or as the object in an `.npy` file.

    Arrays are read-only, object arrays are of dtype object with rebuilt entries; byte strings become text.

    Args:
        path: of the file.
        hint: ends every message; how to get the file.

    Raises:
        DataError: missing, truncated, too large, something else, or a pickle that names anything but numpy's arrays.
    """
    try:
        content = _content(path)
        return _rebuilt(load_inert(content, ALLOWED, encoding="bytes"))
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise DataError(f"{path} is no gzip file ({error}). {hint}".rstrip()) from None
        raise DataError(f"cannot read {path}: {error.strerror or error}. {hint}".rstrip()) from None
    except ForbiddenNameError as error:
        raise DataError(
            f"{path} is refused: the pickle names {error}, which could run code when loaded. The published file needs "
            f"nothing but numpy arrays, numbers and texts. {hint}".rstrip()
        ) from None
    except Exception as error:  # a damaged pickle makes the reader fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is truncated or no such pickle ({reason}). {hint}".rstrip()) from None


def _content(path: Path) -> bytes:
    """The bytes of the pickle."""
    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(file) as unzipped:
                try:
                    content = unzipped.read(LARGEST + 1)
                except (EOFError, zlib.error):
                    raise ValueError("the gzip stream breaks off") from None
        else:
            if magic == b"\x93NUMPY":
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                _, _, dtype = read(file)
                if not dtype.hasobject:
                    raise ValueError(f"an array of {dtype}, not of objects")
            content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    return content
