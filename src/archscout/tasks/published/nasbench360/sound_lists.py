"""The lists of FSD50K's chunks: their files, clips and labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.tasks.published.nasbench360.files import hint

__all__ = ["Chunks", "read_chunks", "read_label_map"]

COLUMNS = ("files", "labels", "ext")


@dataclass(frozen=True)
class Chunks:
    """The chunks of a list: files, the clip of each, and 0 or 1 for each label of each clip `(clips, labels)`."""

    files: list[Path]
    clips: np.ndarray[Any, np.dtype[np.int64]]
    clip_labels: np.ndarray[Any, np.dtype[np.uint8]]


def read_label_map(path: Path, labels: int) -> dict[str, int]:
    """Label to number. Raises DataError unless it has the numbers from 0 to `labels - 1`, each once."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON file ({error}). {hint('fsd50k')}") from None
    if not isinstance(content, dict) or sorted(content.values(), key=str) != sorted(range(labels), key=str):
        raise DataError(f"{path} must map {labels} labels to the numbers 0 to {labels - 1}. {hint('fsd50k')}")
    return content


def read_chunks(path: Path, label_map: Mapping[str, int], base: Path) -> Chunks:
    """A list of chunks.

    Args:
        path: of the list, with the columns `files`, `labels` (separated by commas) and `ext` (the clip).
        label_map: label to number.
        base: the data folder, below which the files are looked for.

    Raises:
        DataError: columns are missing, a label is unknown, or a recording is not there.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no list of chunks ({error}). {hint('fsd50k')}") from None
    missing = [name for name in COLUMNS if not rows or rows[0].get(name) is None]
    if missing:
        raise DataError(f"{path} has no column {', no column '.join(missing)}, or no row. {hint('fsd50k')}")
    files: list[Path] = []
    clips = np.zeros(len(rows), np.int64)
    numbers: dict[str, int] = {}
    labels: list[list[int]] = []
    for line, row in enumerate(rows):
        number = numbers.setdefault(str(row["ext"]), len(numbers))
        if number == len(labels):
            labels.append(_numbers(str(row["labels"]), label_map, f"{path}, line {line + 2}"))
        clips[line] = number
        files.append(_found(base, str(row["files"]), files[-1] if files else None, f"{path}, line {line + 2}"))
    clip_labels = np.zeros((len(numbers), len(label_map)), np.uint8)
    for number, own in enumerate(labels):
        clip_labels[number, own] = 1
    return Chunks(files, clips, clip_labels)


def _numbers(text: str, label_map: Mapping[str, int], where: str) -> list[int]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in label_map]
    if unknown:
        raise DataError(f"{where}: unknown label '{unknown[0]}'; lbl_map.json does not have it. {hint('fsd50k')}")
    return [label_map[name] for name in names]


def _found(base: Path, name: str, before: Path | None, where: str) -> Path:
    """A recording, wherever the data folder was when the list was written; most lie in the folder of the one before."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts:
        raise DataError(f"{where}: '{name[:200]}' leads out of its folder. {hint('fsd50k')}")
    if before is not None and (before.parent / parts[-1]).is_file():
        return before.parent / parts[-1]
    for begin in range(len(parts)):
        place = base.joinpath(*(part for part in parts[begin:] if part != "/"))
        if place.is_file():
            return place
    raise DataError(f"{where}: no recording {parts[-1]} below {base}. {hint('fsd50k')}")
