"""Tasks from `.npz` files, `.npy` files, and folders of either."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from archscout.errors import DataError
from archscout.tasks.containers import Array
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.readers.array_files import FILE_OPTIONS, ArrayStore, check_size, task_of_stores
from archscout.tasks.readers.array_names import HELP, PART_WORDS, ArrayHeader, is_input, other_folders, part_of_name
from archscout.tasks.registry import register_reader
from archscout.tasks.task import Task

__all__ = ["array_folder_task", "npy_task", "npz_task"]

READ_ERRORS = (ValueError, OSError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)
SUFFIXES = (".npz", ".npy")


@register_reader(
    "npz",
    "an .npz file of inputs and targets",
    lambda path: path.suffix.lower() == ".npz" and path.is_file(),
    heeds=FILE_OPTIONS,
)
def npz_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """A task from an `.npz` file.

    Its arrays are told by their names, see `array_names.find_roles`: `x_train`, `y_train`, `x_test`, `y_test` and
    others that are usual; `class_names` (text, one for each class), `layout`, `kind` (text, as in `task_from_arrays`)
    and `groups` are used too. Python objects in the file are refused.

    Raises:
        DataError: the file is missing, truncated, no `.npz`, its arrays are not recognised, or are wrong.
    """
    store = _npz(path)
    part, _ = part_of_name(path.stem)
    findings = []
    if part:
        others = [other.name for other in _siblings(path) if part_of_name(other.stem)[0] not in ("", part)]
        if others:
            findings.append(
                Finding(
                    "doubtful",
                    "siblings",
                    f"{path.name} alone is read; {some(others)} beside it may be its other splits. To use them, "
                    f"give the folder: {path.parent}",
                )
            )
    return task_of_stores({"": store}, [path], path.stem, options, findings)


def _siblings(path: Path) -> list[Path]:
    """The files beside it whose names differ in the split alone."""
    _, stem = part_of_name(path.stem)
    return [
        other
        for other in sorted(path.parent.glob("*.npz"))
        if other.name != path.name and part_of_name(other.stem)[1] == stem
    ]


def _explained(error: Exception, where: str, *, text: bool = False) -> DataError:
    """What went wrong when numpy read an array."""
    if "pickle" in str(error).lower() or "object" in str(error).lower():
        advice = "Save texts as numpy.array(texts, dtype=str)." if text else "Save plain arrays: numbers, or texts of "
        advice += "" if text else "dtype str (dtype not object)."
        return DataError(
            f"{where}: holds Python objects, which are refused because loading them can run code. {advice}"
        )
    if isinstance(error, MemoryError):
        return DataError(f"{where}: does not fit into memory.")
    if isinstance(error, FileNotFoundError):
        return DataError(f"{where.split(', array')[0]} does not exist.")
    if isinstance(error, PermissionError | IsADirectoryError):
        return DataError(f"cannot read {where}: {error.strerror}.")
    kind, write = (".npz", "savez") if ".npz" in where.lower() else (".npy", "save")
    return DataError(f"{where}: truncated or no {kind} file ({error}). Write it again with numpy.{write}.")


def _header(stream: IO[bytes]) -> tuple[ArrayHeader, np.dtype[Any]]:
    """Shape and type of an array in numpy's format; the stream stands behind its header then."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return ArrayHeader(shape, "objects" if dtype.hasobject else dtype.str if dtype.kind in "US" else str(dtype)), dtype


def _npz(path: Path) -> ArrayStore:
    headers: dict[str, ArrayHeader] = {}
    members: dict[str, str] = {}
    key = ""
    try:
        with path.open("rb") as file:  # opened here: numpy leaves a damaged file open
            start = file.read(6)
        if start == b"\x93NUMPY":
            raise DataError(f"{path} holds a single array, not an .npz archive; write it with numpy.savez.")
        if start[:1] == b"\x80":
            raise _explained(ValueError("pickle"), str(path))
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                key = info.filename.removesuffix(".npy")
                if not info.filename.endswith(".npy"):
                    continue
                with archive.open(info) as member:
                    headers[key], dtype = _header(member)
                    members[key] = info.filename
                    check_size(f"{path}, array {key}", headers[key].shape, dtype.itemsize)
                    expected = int(np.prod(headers[key].shape, dtype=object)) * dtype.itemsize
                    if not dtype.hasobject and info.file_size < expected:
                        raise ValueError(f"{expected:,} bytes expected, {info.file_size:,} there")
                key = ""
    except READ_ERRORS as error:
        raise _explained(error, f"{path}, array {key}" if key else str(path)) from None

    def read(name: str) -> Array:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(members[name]) as member:
                array: Array = np.lib.format.read_array(member, allow_pickle=False)
                member.read(1)  # to the end, where the checksum is compared
                return array
        except READ_ERRORS as error:
            is_text = name.lower().endswith("names")
            raise _explained(error, f"{path}, array {name}", text=is_text) from None

    return ArrayStore(str(path), headers, read)


@register_reader(
    "npy",
    "a folder of .npy files (X_train.npy, y_train.npy, ...)",
    lambda path: path.suffix.lower() == ".npy" and path.is_file(),
    heeds=FILE_OPTIONS,
)
def npy_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """A single `.npy` file is no task: the error says what to do with it.

    Raises:
        DataError: always.
    """
    header = _npy_header(path)
    beside = sorted(other.name for other in path.parent.glob("*.npy") if other.name != path.name)
    hint = f" It lies beside {some(beside)}: give the folder, {path.parent}" if beside else ""
    raise DataError(
        f"{path} holds one array ({' x '.join(map(str, header.shape))}, {header.dtype}); a task needs inputs and "
        "targets. Put them into one folder as X_train.npy and y_train.npy (X_test.npy, ... where you have them) and "
        f"give the folder, or write both with numpy.savez(FILE, x_train=..., y_train=...).{hint}"
    )


def _npy_header(path: Path) -> ArrayHeader:
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if start[:1] == b"\x80":
                raise ValueError("pickle")
            file.seek(0)
            header, dtype = _header(file)
        check_size(str(path), header.shape, dtype.itemsize)
        return header
    except READ_ERRORS as error:
        raise _explained(error, str(path)) from None


def _arrays_in(path: Path) -> list[Path]:
    """The files of arrays in a folder, and in its folders that are called like splits; names below the folder."""
    if not path.is_dir():
        return []
    known = {word for words in PART_WORDS.values() for word in words}
    folders = [path, *(folder for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name.lower() in known)]
    found = []
    for folder in folders:
        files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES and file.is_file()]
        found += [file.relative_to(path) for file in files if not file.name.startswith(".")]
    return found


def _holds_arrays(path: Path) -> bool:
    """Whether a folder is one of arrays: it has some, and nothing but them, or their names tell what they are."""
    try:
        files = _arrays_in(path)
        others = other_folders(path) if files else []
    except OSError:
        return False
    return bool(files) and (not others or any(is_input(str(file.with_suffix(""))) for file in files))


@register_reader("array folder", "a folder of .npz or .npy files", _holds_arrays, heeds=FILE_OPTIONS)
def array_folder_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """A task from a folder of `.npy` files, one array each, or of `.npz` files, one for each split.

    The names tell what each is: `X_train.npy`, `train/y.npy`; `darcy_train_16.npz` with `darcy_test_16.npz`.

    Raises:
        DataError: what belongs together cannot be told, or a file is wrong.
    """
    files = _arrays_in(path)
    archives = [file for file in files if file.suffix.lower() == ".npz"]
    singles = [file for file in files if file.suffix.lower() == ".npy"]
    if archives and singles:
        raise DataError(
            f"{path} has .npz files ({some([str(file) for file in archives])}) and .npy files "
            f"({some([str(file) for file in singles])}); keep one kind, or give one .npz file."
        )
    if singles:
        return _of_npy(path, singles, options)
    if len(archives) == 1:
        return npz_task(path / archives[0], options)
    return _of_archives(path, archives, options)


def _of_npy(path: Path, files: Sequence[Path], options: TaskOptions) -> Task:
    by_name = {str(file.with_suffix("")).replace("\\", "/"): path / file for file in files}
    headers = {name: _npy_header(file) for name, file in by_name.items()}

    def read(name: str) -> Array:
        try:
            array: Array = np.load(by_name[name], mmap_mode="r", allow_pickle=False)
            return array
        except READ_ERRORS as error:
            raise _explained(error, str(by_name[name]), text=name.lower().endswith("names")) from None

    return task_of_stores(
        {"": ArrayStore(str(path), headers, read)}, list(by_name.values()), path.resolve().name, options
    )


def _of_archives(path: Path, files: Sequence[Path], options: TaskOptions) -> Task:
    """The files whose names differ in the split alone."""
    series: dict[str, dict[str, Path]] = {}
    for file in files:
        part, stem = part_of_name(str(file.with_suffix("")))
        if part and part in series.get(stem, {}):
            raise DataError(f"{path} has {series[stem][part]} and {file}, both of {part}; keep one.")
        if part:
            series.setdefault(stem, {})[part] = file
    complete = {stem: parts for stem, parts in series.items() if "train" in parts}
    names = some([str(file) for file in files], 8)
    if not complete:
        raise DataError(
            f"{path} has several .npz files, {names}, none of them called train. Give one file, or call them like "
            "NAME_train.npz and NAME_test.npz. " + HELP
        )
    if len(complete) > 1:
        raise DataError(
            f"{path} has {len(complete)} data sets: "
            f"{some([str(parts['train']) for parts in complete.values()], 8)}. Give one of the files, or a folder "
            "for each."
        )
    ((stem, parts),) = complete.items()
    findings = []
    unread = [str(file) for file in files if file not in parts.values()]
    if unread:
        read = ", ".join(str(file) for file in parts.values())
        findings.append(Finding("note", "unread", f"{path}: read are {read}; not read: {some(unread)}.", tuple(unread)))
    stores = {part: _npz(path / file) for part, file in parts.items()}
    return task_of_stores(
        stores, [path / file for file in parts.values()], stem or path.resolve().name, options, findings
    )
