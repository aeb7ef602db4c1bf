"""Published files that are pickles: of dictionaries, lists, texts, numbers and numpy arrays, read without running them.

CIFAR and the downsampled ImageNet come as dictionaries that Python 2 pickled; other data sets as pickles by themselves,
gzipped, or inside an `.npy` file that holds Python objects.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.inert_pickle import NUMPY, ForbiddenNameError, StandInArray, load_inert, rebuilt

__all__ = ["read_pickled", "read_python2_pickle"]

LARGEST_PYTHON2 = 512 * 2**20  # bytes; the official files have 31 to 154 MB
LARGEST = 8 * 2**30  # bytes of a pickle once it is unzipped: no official one has as many


def read_python2_pickle(path: Path, arrays: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The dictionary in a pickle of the CIFAR kind, its byte-string keys as text, its arrays as read-only uint8.

    Args:
        arrays: keys of the arrays to rebuild, others are left out; None rebuilds all.

    Raises:
        DataError: the file is missing, truncated, no such pickle, or names anything but numpy's arrays; then the
            message has the name.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_PYTHON2:
            raise DataError(f"{path} has {size} bytes; a file of CIFAR has at most {LARGEST_PYTHON2}.")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from None
    try:
        loaded = load_inert(content, NUMPY, encoding="bytes")
        if not isinstance(loaded, dict):
            raise ValueError(f"a {type(loaded).__name__} instead of a dictionary")
        found = {_text(key): value for key, value in loaded.items()}
        return {
            key: _bytes_array(value) if isinstance(value, StandInArray) else value
            for key, value in found.items()
            if arrays is None or key in arrays or not isinstance(value, StandInArray)
        }
    except ForbiddenNameError as error:
        raise DataError(
            f"{path} is refused: the pickle names {error}, which could run code when loaded. CIFAR's files need "
            "nothing but numpy arrays and byte strings; get the official ones."
        ) from None
    except Exception as error:  # a damaged pickle makes the reader fail in any way
        raise DataError(f"{path} is truncated or no file of CIFAR ({' '.join(str(error).split())}).") from None


def _bytes_array(value: StandInArray) -> np.ndarray[Any, Any]:
    array = value.rebuild()
    if array.dtype != np.uint8:
        raise ValueError("an array of another type than uint8")
    return array


def _text(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("ascii")
    if isinstance(key, str):
        return key
    raise ValueError(f"a key of type {type(key).__name__}")


def read_pickled(path: Path, hint: str = "") -> Any:
    """What a pickle holds: by itself, gzipped, or as the object in an `.npy` file.

    Arrays are read-only, object arrays are of dtype object with rebuilt entries; byte strings become text.

    Args:
        hint: ends every message; how to get the file.

    Raises:
        DataError: missing, truncated, too large, something else, or a pickle that names anything but numpy's arrays.
    """
    try:
        content = _content(path)
        return rebuilt(load_inert(content, NUMPY, encoding="bytes"))
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
