"""Tasks from Parquet and Arrow files, with a column of inputs and one of targets."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from archscout.errors import DataError, MissingExtraError
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.readers.array_files import FILE_OPTIONS, digest_of
from archscout.tasks.readers.array_names import PART_WORDS, other_folders, part_of_name
from archscout.tasks.readers.arrays import task_from_datasets
from archscout.tasks.readers.datasets import IMAGE_COLUMNS, LABEL_COLUMNS
from archscout.tasks.readers.image_formats import UnreadableError, load, open_checked, patient
from archscout.tasks.registry import register_reader
from archscout.tasks.task import Task

__all__ = ["Rows", "table_task", "task_of_rows"]

SUFFIXES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
IMAGES = "images"  # kinds of columns
ARRAYS = "arrays"
OTHER = "other"


class Rows:
    """The rows of a table as a map-style dataset.

    Args:
        table: a `pyarrow.Table`.
        where: for messages.
        root: folder that paths of images are below.
        target: columns of targets; several become one list of numbers.
    """

    def __init__(self, table: Any, where: str, root: Path, target: Sequence[str]) -> None:
        self.table, self.where, self.root, self.target = table, where, root, tuple(target)
        self.kinds = {name: _kind(table.schema.field(name).type) for name in table.column_names}
        self.features = _features(table)
        self._columns: dict[str, Any] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def use(self, column: str) -> None:
        """Make a column ready to be read row by row."""
        values = self.table.column(column)
        if self.kinds[column] == ARRAYS:
            if values.null_count:
                place = next(row for row, value in enumerate(values) if not value.is_valid)
                raise DataError(f"{self.where}, row {place}: {column} is empty. Remove that row.")
            self._columns[column] = _nested(values)
        else:
            self._columns[column] = values.to_pylist()

    def __getitem__(self, row: int) -> dict[str, Any]:
        found = {name: self._value(name, row) for name in self._columns if name not in self.target[1:]}
        if self.target[0] not in self._columns:
            found[self.target[0]] = None
        elif len(self.target) > 1:
            found[self.target[0]] = [self._columns[name][row] for name in self.target]
        return found

    def _value(self, name: str, row: int) -> Any:
        value = self._columns[name][row]
        return self._image(value, name, row) if self.kinds[name] == IMAGES else value

    def _image(self, value: Any, name: str, row: int) -> Image.Image:
        content = value.get("bytes") if isinstance(value, dict) else value
        path = value.get("path") if isinstance(value, dict) else None
        where = f"{self.where}, row {row}, {name}"
        try:
            if content is None and path:
                file = (self.root / path).resolve()
                if self.root.resolve() not in file.parents:
                    raise DataError(f"{where}: the image is the file {path}, which is not below {self.root}.")
                content = file.read_bytes()
            if content is None:
                raise DataError(f"{where} is empty. Remove that row.")
            image: Image.Image = open_checked(io.BytesIO(content), "")
            load(image)
        except (UnreadableError, OSError) as error:
            raise DataError(f"{where}: {error}. Repair or remove that row.") from None
        return image


class _Feature:
    """The names of a column's classes, as Hugging Face's `ClassLabel` has them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)


def _features(table: Any) -> dict[str, _Feature]:
    """The class names that Hugging Face writes beside the columns."""
    try:
        told = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    found = {}
    for name, feature in told.items() if isinstance(told, dict) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else feature[0] if feature else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list):
            found[name] = _Feature([str(each) for each in inner["names"]])
    return found


def _kind(of: Any) -> str:
    import pyarrow as pa

    if isinstance(of, pa.BaseExtensionType):
        of = of.storage_type
    if pa.types.is_struct(of):
        names = {of.field(index).name for index in range(of.num_fields)}
        return IMAGES if names == {"bytes", "path"} else OTHER
    if pa.types.is_binary(of) or pa.types.is_large_binary(of):
        return IMAGES
    depth = 0
    while pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_fixed_size_list(of):
        of, depth = of.value_type, depth + 1
    plain = pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_boolean(of)
    return ARRAYS if depth and plain else OTHER


def _nested(values: Any) -> Any:
    """A column of nested lists of numbers as one array; as a list of arrays where their sizes differ."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ChunkedArray):  # too large for one chunk
        parts = [_nested(chunk) for chunk in array.chunks]
        return [row for part in parts for row in part]
    if isinstance(array, pa.ExtensionArray):
        shape = getattr(array.type, "shape", None)
        plain = _nested(array.storage)
        return plain.reshape(len(array), *shape) if shape and isinstance(plain, np.ndarray) else plain
    if not (pa.types.is_nested(array.type)):
        return array.to_numpy(zero_copy_only=False)
    lengths = set(pc.unique(pc.list_value_length(array)).to_pylist())
    if len(lengths) == 1 and None not in lengths:
        inner = _nested(array.flatten())
        if isinstance(inner, np.ndarray):
            return inner.reshape(len(array), int(next(iter(lengths))), *inner.shape[1:])
    return [_nested(array.slice(row, 1).flatten()) for row in range(len(array))]


def _read_table(path: Path) -> Any:
    """The table in a Parquet, Arrow or Feather file. Raises DataError, MissingExtraError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("pyarrow", "hub", f"reading {path.name}") from None

    try:
        with path.open("rb") as file:
            start = file.read(8)
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty. Get it again.")
        if start[:4] == b"PAR1":
            return pq.ParquetFile(path).read()
        with pa.memory_map(str(path)) as source:
            whole = pa.ipc.open_file(source) if start[:6] == b"ARROW1" else pa.ipc.open_stream(source)
            return whole.read_all()
    except MemoryError:
        raise DataError(f"{path} does not fit into memory.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path} does not exist.") from None
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is damaged, truncated, or no Parquet or Arrow file ({told}). Get it again.") from None


def _files(path: Path) -> list[Path]:
    """The files of tables in a folder, in `data/` and in folders that are called like splits."""
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else []
    if not path.is_dir():
        return []
    known = {"data", *(word for words in PART_WORDS.values() for word in words)}
    folders = [path, *(folder for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name.lower() in known)]
    return [
        file
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith((".", "cache-", "tmp"))
    ]


def _reads(path: Path) -> bool:
    try:
        return bool(_files(path)) and (path.is_file() or len(other_folders(path)) < 2)  # else folders of classes
    except OSError:
        return False


def _splits(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split; those that are called by no split are the training data."""
    sets: dict[str, dict[str, list[Path]]] = {}
    for file in files:
        relative = file.relative_to(path) if path.is_dir() else Path(file.name)
        part, rest = part_of_name(str(relative.with_suffix("")))
        words = [word for word in rest.split("_") if not word.isdecimal() and word not in ("of", "data", "part")]
        sets.setdefault("_".join(words), {}).setdefault(part or "train", []).append(file)
    if len(sets) > 1:
        examples = some([str(next(iter(each.values()))[0].relative_to(path)) for each in sets.values()], 8)
        raise DataError(
            f"{path} has {len(sets)} data sets by the names of its files: {examples}. Give a folder for each."
        )
    splits = next(iter(sets.values()))
    if "train" not in splits:
        raise DataError(f"{path} has files of {' and '.join(splits)}, but none of train.")
    return splits


@register_reader("tables", "a Parquet or Arrow file, or a folder of those", _reads, heeds=FILE_OPTIONS)
def table_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """A task from Parquet or Arrow files: a row for each sample, a column of images or arrays, a column of targets.

    Images are structs of bytes and path as Hugging Face writes them, or bytes of an image file; arrays are lists of
    numbers, nested or not. `train-*.parquet`, `test-*.parquet` and `validation-*.parquet` are the splits.

    Raises:
        DataError: no such columns, or damaged files.
        MissingExtraError: pyarrow is not installed.
    """
    splits = _splits(path, _files(path))
    tables = {part: _joined(files) for part, files in splits.items()}
    root = path if path.is_dir() else path.parent
    rows = {part: Rows(table, str(splits[part][0]), root, options.target) for part, table in tables.items()}
    files = [file for each in splits.values() for file in each]
    provenance = {"source": some([file.name for file in files], 8), "sha256": digest_of(files)}
    name = path.resolve().name if path.is_dir() else path.stem
    try:
        with patient():
            return task_of_rows(rows, name, options, provenance, _siblings(path))
    except DataError as error:
        told = str(error)
        raise DataError(told if told.startswith(str(path)) else f"{path}: {told}") from None


def _siblings(path: Path) -> list[Finding]:
    """What to say where one file of a split is given, and files of other splits lie beside it."""
    part = part_of_name(path.stem)[0]
    if path.is_dir() or not part:
        return []
    others = [file.name for file in _files(path.parent) if part_of_name(file.stem)[0] not in ("", part)]
    told = f"{path.name} alone is read; to use {some(others)} beside it as other splits, give the folder: {path.parent}"
    return [Finding("doubtful", "siblings", told, tuple(others))] if others else []


def _joined(files: Sequence[Path]) -> Any:
    tables = [_read_table(file) for file in files]
    if len(tables) == 1:
        return tables[0]
    import pyarrow as pa

    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid:
        raise DataError(
            f"{files[0]} and the files beside it have unlike columns; they are no parts of one split."
        ) from None


def task_of_rows(
    rows: Mapping[str, Rows],
    name: str,
    options: TaskOptions,
    provenance: Mapping[str, Any],
    findings: Sequence[Finding] = (),
) -> Task:
    """The task of the rows of each split.

    Raises:
        DataError: no columns of inputs and targets, or what is in them is wrong.
    """
    train = rows["train"]
    inputs, targets = _choose(train, options)
    for part, each in rows.items():
        missing = [column for column in (inputs, *targets) if column not in each.kinds]
        each.target = targets
        if missing and part == "test" and missing == list(targets):
            each.use(inputs)  # without targets: rows to be predicted
            continue
        if missing:
            raise DataError(f"the {part} data has no column {', '.join(missing)}, which train has.")
        for column in (inputs, *targets):
            each.use(column)
    unread = [column for column in train.kinds if column not in (inputs, *targets)]
    notes = list(findings)
    if unread:
        read = f"read are the columns {inputs} and {', '.join(targets)}; not read: {some(unread, 10)}."
        notes.append(Finding("note", "columns", read, tuple(unread)))
    groups = None
    if options.groups is not None:
        column = options.groups.removeprefix("column:")
        if column not in train.kinds:
            raise DataError(f"there is no column '{column}' of groups; the columns are {', '.join(train.kinds)}.")
        groups = train.table.column(column).to_pylist()
    return task_from_datasets(
        train,
        rows.get("test"),
        validation=rows.get("validation"),
        name=name,
        image_column=inputs,
        label_column=targets[0],
        groups=groups,
        provenance=provenance,
        findings=notes,
        options=options.model_copy(update={"target": (), "groups": None}),
    )


def _choose(rows: Rows, options: TaskOptions) -> tuple[str, tuple[str, ...]]:
    """The columns of inputs and of targets."""
    told = ", ".join(f"{name} ({rows.table.schema.field(name).type})" for name in rows.kinds)
    unknown = [name for name in options.target if name not in rows.kinds]
    if unknown:
        raise DataError(f"there is no column {', '.join(unknown)} of targets; the columns are {told}.")
    possible = [name for name, kind in rows.kinds.items() if kind != OTHER and name not in options.target]
    lower = {name.lower(): name for name in possible}
    inputs = next((lower[name] for name in IMAGE_COLUMNS if name in lower), possible[0] if len(possible) == 1 else None)
    if inputs is None:
        reason = (
            f"several that can be the inputs: {', '.join(possible)}" if possible else "no column of images or lists"
        )
        raise DataError(
            f"it has {reason}. The columns are {told}. Inputs are a column of images (bytes) or of lists of "
            "numbers, called image or x."
        )
    if options.target:
        return inputs, options.target
    others = {name.lower(): name for name in rows.kinds if name != inputs}
    target = next((others[name] for name in LABEL_COLUMNS if name in others), None)
    if target is None and len(others) == 1:
        target = next(iter(others.values()))
    if target is None:
        raise DataError(f"no column is known to be the targets. The columns are {told}. Name one: --target COLUMN.")
    return inputs, (target,)
