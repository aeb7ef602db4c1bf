"""Tasks from IDX files, the format of MNIST and its relatives: `train-images-idx3-ubyte`, packed with gzip or not.

A file is two zero bytes, a byte for the type, one for the number of axes, four bytes for each axis, then the values;
all big-endian. Source: http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from archscout.errors import DataError
from archscout.tasks.containers import Array
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.readers.array_files import FILE_OPTIONS, ArrayStore, check_size, task_of_stores
from archscout.tasks.readers.array_names import ArrayHeader, part_of_name
from archscout.tasks.registry import register_reader
from archscout.tasks.task import Task

__all__ = ["idx_task", "read_idx"]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(?:^|[-._])idx\d*(?:[-._]?(?:ubyte|u?byte|short|int|float|double))?(?:\.gz)?$", re.IGNORECASE)
GZIP = b"\x1f\x8b"


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The content of a file, unpacked where it is packed, whatever its name says."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked


def _header(stream: IO[bytes] | gzip.GzipFile, path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or start[3] == 0:
        raise DataError(
            f"{path} is no IDX file: it begins with {start.hex(' ') or 'nothing'}, not with 00 00, a type (08, 09, "
            "0b, 0c, 0d or 0e) and the number of axes. Get it again."
        )
    sizes = stream.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise DataError(f"{path} is truncated: it ends in its header. Get it again.")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return shape, np.dtype(TYPES[start[2]])


def read_idx(path: Path, *, header_only: bool = False) -> tuple[ArrayHeader, Array | None]:
    """The shape and type that an IDX file tells, and its values.

    Raises:
        DataError: missing, no IDX file, shorter or longer than its header says, or damaged gzip; the message has the
            path.
    """
    try:
        with _opened(path) as stream:
            shape, dtype = _header(stream, path)
            header = ArrayHeader(shape, str(dtype.newbyteorder("=")))
            if header_only:
                return header, None
            check_size(str(path), shape, dtype.itemsize)
            expected = math.prod(shape) * dtype.itemsize
            # One byte more than there should be: a bomb that unpacks to more is not unpacked.
            content = stream.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path} does not exist.") from None
        if isinstance(error, PermissionError | IsADirectoryError):
            raise DataError(f"cannot read {path}: {error.strerror}.") from None
        raise DataError(f"{path} is damaged or truncated ({error}). Get it again.") from None
    except MemoryError:
        raise DataError(f"{path} does not fit into memory.") from None
    if len(content) != expected:
        seen = f"only {len(content):,}" if len(content) < expected else "more"
        raise DataError(
            f"{path}: its header says {' x '.join(map(str, shape))} values, {expected:,} bytes, but there are "
            f"{seen}. Get it again."
        )
    return header, np.frombuffer(content, dtype).reshape(shape)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if NAME.search(file.name) and file.is_file())
    return [path] if NAME.search(path.name) and path.is_file() else []


def _reads(path: Path) -> bool:
    try:
        return bool(_files(path))
    except OSError:
        return False


def _told_by_name(file: Path) -> tuple[str, str, str]:
    """Prefix, split and role of a file; the role is "" where the name does not tell."""
    stem = NAME.sub("", file.name)
    part, rest = part_of_name(stem)
    words = rest.split("_")
    role = next((word for word in words if word in ("images", "labels", "image", "label", "x", "y")), "")
    prefix = "-".join(word for word in words if word and word != role)
    return prefix, part or "train", {"image": "images", "x": "images", "label": "labels", "y": "labels"}.get(role, role)


@register_reader("idx", "a folder of IDX files (train-images-idx3-ubyte, ...)", _reads, heeds=FILE_OPTIONS)
def idx_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """A task from a folder of IDX files: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-...`.

    Each may be packed (`.gz`). Files with one more word before the split (`emnist-letters-train-images-...`) are a data
    set by that name; name one of its files where a folder has several.

    Raises:
        DataError: a file is missing, damaged, or not as long as its header says; several data sets.
    """
    chosen = _told_by_name(path)[0] if not path.is_dir() else None
    folder = path if path.is_dir() else path.parent
    sets: dict[str, dict[str, list[Path]]] = {}
    for file in _files(folder):
        prefix, part, role = _told_by_name(file)
        if not role:
            role = "labels" if len(read_idx(file, header_only=True)[0].shape) == 1 else "images"
        sets.setdefault(prefix, {}).setdefault(f"{part}_{role}", []).append(file)
    if chosen is None and len(sets) > 1:
        examples = some([str(next(iter(each.values()))[0]) for each in sets.values()], 8)
        raise DataError(f"{folder} has {len(sets)} sets of IDX files. Give one file of the one you mean: {examples}")
    if not sets:
        raise DataError(f"{folder} has no IDX files.")
    prefix = next(iter(sets)) if chosen is None else chosen
    by_name, twice = {}, []
    for name, files in sets[prefix].items():
        by_name[name] = files[0]  # sorted: the one without .gz
        twice += [file.name for file in files[1:] if file.name != f"{files[0].name}.gz"]
        if twice:
            raise DataError(f"{folder} has {files[0].name} and {some(twice)}, which both seem to be {name}; keep one.")
    left = [file.name for files in sets[prefix].values() for file in files[1:]]
    findings = []
    if left:
        note = f"{folder}: {some(left)} also lie there unpacked, and were not read."
        findings.append(Finding("note", "unread", note, tuple(left)))
    headers = {name: read_idx(file, header_only=True)[0] for name, file in by_name.items()}

    def read(name: str) -> Array:
        array = read_idx(by_name[name])[1]
        assert array is not None, "the whole file was read"
        return array

    store = ArrayStore(str(folder), headers, read)
    name = prefix or folder.resolve().name
    return task_of_stores({"": store}, list(by_name.values()), name, options, findings)
