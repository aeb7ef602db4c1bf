"""Read the pickles that CIFAR and the downsampled ImageNet come in, without running anything that they name.

The official files were written by Python 2: dictionaries of byte strings, numbers, lists and numpy arrays. A pickle can
name any function for the reader to call; here the three names that those files need stand for inert records, and every
other name is refused. Not even numpy's own functions are called on foreign values: arrays are rebuilt from the
recorded bytes afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.inert_pickle import ForbiddenNameError, StandInDtype, load_inert

__all__ = ["latin1_bytes", "read_python2_pickle"]

LARGEST_FILE = 512 * 2**20  # bytes; the official files have 31 to 154 MB


def latin1_bytes(text: object = "", encoding: object = b"") -> bytes:
    """Stands for `_codecs.encode(text, "latin1")`, which is how protocol 2 writes the bytes of Python 3."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ValueError("bytes in another encoding than latin1")
    return text.encode("latin1")


class _Array:
    """Stands for a numpy array: the state that the pickle sets, unread."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def rebuild(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The array. Raises ValueError unless the state is that of a uint8 array with all its bytes."""
        state = self.state
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array without content")
        _, shape, dtype, fortran_order, content = state
        if not (isinstance(dtype, StandInDtype) and dtype.name in ("u1", "uint8", b"u1", b"uint8")):
            raise ValueError("an array of another type than uint8")
        if not (isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)):
            raise ValueError("an array without a shape")
        if not isinstance(content, bytes) or len(content) != math.prod(shape):
            raise ValueError("an array with too few or too many bytes")
        order = "F" if fortran_order else "C"
        return np.frombuffer(content, np.uint8).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


class _NdarrayType:
    """Stands for the type `numpy.ndarray`, which the files pass to `_reconstruct`."""


ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _NdarrayType,
    ("numpy", "dtype"): StandInDtype,
    ("_codecs", "encode"): latin1_bytes,
}


def read_python2_pickle(path: Path, arrays: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The dictionary in a pickle of the CIFAR kind, its byte-string keys as text, its arrays as read-only uint8.

    Args:
        path: of the file.
        arrays: keys of the arrays to rebuild, others are left out; None rebuilds all.

    Raises:
        DataError: the file is missing, truncated, no such pickle, or names anything but numpy's arrays; then the
            message has the name.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise DataError(f"{path} has {size} bytes; a file of CIFAR has at most {LARGEST_FILE}.")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from None
    try:
        loaded = load_inert(content, ALLOWED, encoding="bytes")
        if not isinstance(loaded, dict):
            raise ValueError(f"a {type(loaded).__name__} instead of a dictionary")
        found = {_text(key): value for key, value in loaded.items()}
        return {
            key: value.rebuild() if isinstance(value, _Array) else value
            for key, value in found.items()
            if arrays is None or key in arrays or not isinstance(value, _Array)
        }
    except ForbiddenNameError as error:
        raise DataError(
            f"{path} is refused: the pickle names {error}, which could run code when loaded. CIFAR's files need "
            "nothing but numpy arrays and byte strings; get the official ones."
        ) from None
    except Exception as error:  # a damaged pickle makes the reader fail in any way
        raise DataError(f"{path} is truncated or no file of CIFAR ({' '.join(str(error).split())}).") from None


def _text(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("ascii")
    if isinstance(key, str):
        return key
    raise ValueError(f"a key of type {type(key).__name__}")
