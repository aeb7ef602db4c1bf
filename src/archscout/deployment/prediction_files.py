"""Predictions as files: tables as CSV or JSON, maps as PNG or `.npy`; whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from PIL import Image

from archscout.atomic import TEMPORARY_PREFIX, sync_directory
from archscout.deployment.answers import Cell
from archscout.deployment.card import ModelCard
from archscout.errors import SettingsError
from archscout.tasks.readers.decoding import Decoding

__all__ = [
    "CsvRows",
    "JsonRows",
    "MapFiles",
    "Rows",
    "csv_cell",
    "csv_value",
    "printable",
    "whole_file",
    "whole_folder",
]

Array = np.ndarray[Any, Any]

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
QUOTED = re.compile(r'[,;"\r\n\t]|^\s|\s$')
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Colours that are far from each other, for the classes of a map; after them, all that 256 entries allow.
COLOURS = (
    (0, 0, 0), (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255), (170, 110, 40),
    (255, 250, 200), (128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180), (0, 0, 128), (128, 128, 128),
    (255, 255, 255),
)  # fmt: skip
UNKNOWN = 255  # value of positions that the network did not see


def csv_cell(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe before it.

    Numbers stay; `csv_value` is the way back.
    """
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")  # file names may be no text
    return f"'{plain}" if FORMULA.match(plain) and not NUMBER.fullmatch(plain) else plain


def csv_value(cell: str) -> str:
    """The text of a cell that `csv_cell` wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def printable(text: str) -> str:
    """A text for a terminal: without line breaks and control characters."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in plain)


class Rows(Protocol):
    """A table that is written row by row."""

    def add(self, row: Mapping[str, Cell]) -> None:
        """Write a row."""
        ...

    def close(self) -> None:
        """Write what stands behind the last row."""
        ...


class CsvRows:
    """Rows as CSV (RFC 4180, UTF-8): names of columns first, texts safe for spreadsheets, see `csv_cell`."""

    def __init__(self, stream: IO[str], columns: Sequence[str]) -> None:
        self._stream, self._columns = stream, tuple(columns)
        self._write([csv_cell(column) for column in columns])

    def add(self, row: Mapping[str, Cell]) -> None:
        """Write a row."""
        self._write([self._cell(row.get(column)) for column in self._columns])

    def _write(self, cells: Sequence[str]) -> None:
        # The module csv leaves a lone carriage return without quotes.
        quoted = ['"' + cell.replace('"', '""') + '"' if QUOTED.search(cell) else cell for cell in cells]
        self._stream.write(",".join(quoted) + "\n")

    @staticmethod
    def _cell(value: Cell) -> str:
        return "" if value is None else csv_cell(value) if isinstance(value, str) else repr(value)

    def close(self) -> None:
        """Nothing stands behind the last row."""


class JsonRows:
    """Rows as a JSON array of objects, one a line; texts as they are."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._before = "[\n"

    def add(self, row: Mapping[str, Cell]) -> None:
        """Write an object, without columns that are empty."""
        plain = {column: value for column, value in row.items() if value is not None}
        self._stream.write(self._before + json.dumps(plain))
        self._before = ",\n"

    def close(self) -> None:
        """The array's end."""
        self._stream.write("\n]\n" if self._before == ",\n" else "[]\n")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text to write, which takes the file's place when all went well."""
    with _made_beside(path) as beside:
        with beside.open("w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.chmod(0o644)
        beside.replace(path)
        sync_directory(path.parent)


@contextlib.contextmanager
def _made_beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which gets its name when all went well.

    Raises:
        SettingsError: the folder exists and is not empty.
    """
    import shutil

    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise SettingsError(f"{path} exists and is not empty; name another folder with --out, or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class MapFiles:
    """Predicted maps as files: classes as PNG, numbers as `.npy`, called like the samples.

    Classes have the values that their masks had in the training, where these are 0 to 255, else their numbers; each has
    a colour of its own in the palette, that of its mask where masks were coloured. A map is brought back to the size of
    its image without mixing values; where the network saw a part of the image only, the rest has a value of its own.

    Args:
        card: of the network.
        folder: to write into.
        decoding: of the images; None: maps keep the size that the network gives them.
    """

    def __init__(self, card: ModelCard, folder: Path, decoding: Decoding | None = None) -> None:
        self._card, self._folder, self._decoding = card, folder, decoding
        self._taken: set[str] = set()
        self.values, self._palette = _values_and_palette(card)
        free = [value for value in range(UNKNOWN, -1, -1) if value not in self.values]
        self.unknown = free[0] if free else UNKNOWN
        self.partly = 0

    def write(self, below: str, output: Array, size: tuple[int, int] | None) -> str:
        """Write the map of a sample; returns the file's path below the folder.

        Args:
            below: the sample's path, which names the file.
            output: decoded, `(K, *positions)`.
            size: height and width of its image.
        """
        suffix = ".png" if self._card.is_map_of_classes and output.ndim == 3 else ".npy"
        name = self._name(below, suffix)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._card.is_map_of_classes:
            np.save(path, output[0] if len(output) == 1 else output, allow_pickle=False)
            return name
        classes = output.argmax(0)
        if output.ndim != 3:  # of series: classes at every step
            np.save(path, self.values[classes], allow_pickle=False)
            return name
        values = self.values[classes].astype(np.uint8)
        if self._decoding is not None and size is not None and size != values.shape:
            values = self._as_image(values, size, self._decoding)
        image = Image.fromarray(values)
        image.putpalette(self._palette)
        image.save(path)
        return name

    def _name(self, below: str, suffix: str) -> str:
        """A path of its own that lies below the folder."""
        parts = [part for part in re.split(r"[\\/]", below.replace("\0", "")) if part not in ("", ".", "..")]
        parts = parts or ["map"]
        plain = "/".join(parts)
        stem = plain if plain.endswith("]") else os.path.splitext(plain)[0]  # noqa: PTH122 - keeps names as they are
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in self._taken:
            name = f"{plain}{suffix}" if number == 1 else f"{plain} ({number}){suffix}"
            number += 1
        self._taken.add(name.casefold())
        return name

    def _as_image(self, values: Array, size: tuple[int, int], decoding: Decoding) -> Array:
        """A map of the network's size at the size of its image: the way that the image went, backwards."""
        height, width = size
        inner = Image.fromarray(values)
        if decoding.fit == "squeeze":
            return np.asarray(inner.resize((width, height), Image.Resampling.NEAREST))
        if decoding.fit == "pad":
            scale = min(decoding.width / width, decoding.height / height)
            scale = scale if scale < 1 or decoding.enlarge else 1.0
            w = min(decoding.width, max(1, round(width * scale)))
            h = min(decoding.height, max(1, round(height * scale)))
            left, top = (decoding.width - w) // 2, (decoding.height - h) // 2
            part = inner.crop((left, top, left + w, top + h))
            return np.asarray(part.resize((width, height), Image.Resampling.NEAREST))
        target_w, target_h = round(decoding.width * decoding.margin), round(decoding.height * decoding.margin)
        scale = max(target_w / width, target_h / height)
        w, h = max(1, round(decoding.width / scale)), max(1, round(decoding.height / scale))
        frame = np.full((height, width), self.unknown, np.uint8)
        left, top = (width - w) // 2, (height - h) // 2
        seen = np.asarray(inner.resize((w, h), Image.Resampling.NEAREST))
        x, y = max(0, -left), max(0, -top)
        part_h, part_w = min(h - y, height - max(0, top)), min(w - x, width - max(0, left))
        frame[max(0, top) : max(0, top) + part_h, max(0, left) : max(0, left) + part_w] = seen[
            y : y + part_h, x : x + part_w
        ]
        self.partly += (part_h, part_w) != (height, width)
        return frame


def _values_and_palette(card: ModelCard) -> tuple[Array, list[int]]:
    """The value of each class in a PNG, and the colours of all values."""
    names = [card.output_name(place) for place in range(card.spec.outputs)]
    numbers = [int(name) if re.fullmatch(r"\d{1,9}", name) else -1 for name in names]
    values = list(range(len(names)))
    if len(set(numbers)) == len(numbers) and all(
        0 <= number <= (255 if len(names) <= 256 else -1) for number in numbers
    ):
        values = numbers
    palette = [component for place in range(256) for component in _colour(place)]
    for value, place in zip(values, range(len(names)), strict=True):
        colour = re.fullmatch(r"#([0-9a-f]{6})", names[place])
        own = tuple(bytes.fromhex(colour[1])) if colour is not None else _colour(place)
        if value < 256:
            palette[3 * value : 3 * value + 3] = own
    return np.array(values, np.int64), palette


def _colour(place: int) -> tuple[int, int, int]:
    if place < len(COLOURS):
        return COLOURS[place]
    return (37 * place % 256, 91 * place % 256, 151 * place % 256)
