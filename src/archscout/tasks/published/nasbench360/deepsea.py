"""DeepSEA: which proteins bind to a piece of the genome, and where it is open."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archscout.errors import DataError
from archscout.tasks.metrics.ranking import auroc
from archscout.tasks.published.nasbench360.files import PUBLISHED, check_array, check_count, hint, locate
from archscout.tasks.published.nasbench360.point_tasks import multilabel_task
from archscout.tasks.readers.prepared import file_key, load_array, prepared, save_array
from archscout.tasks.registry import register_task
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["deepsea_task", "read_deepsea"]

PLACES, BASES, LABELS = 1000, 4, 36
COUNTS = (71_753, 2_490, 149_400)  # docs/nasbench360.md#the-ten-tasks-of-nas-bench-360
POSITIVE_WEIGHT = 4.0
PARTS = ("train", "val", "test")
CHUNK = 4096  # sequences at a time
SPEC = TaskSpec("deepsea", "multilabel", (BASES, PLACES), LABELS)


@register_task(SPEC)
def deepsea_task(root: Path) -> Task:
    """DeepSEA: pieces of the genome, 4 x 1000, 36 labels; 71,753 train, 2,490 validation, 149,400 test."""
    return read_deepsea(root)


def read_deepsea(root: Path, counts: tuple[int, int, int] = COUNTS) -> Task:
    """The task of the published file, in its own splits; sequences are kept as uint8.

    Raises:
        DataError: the file is missing, truncated, or of other shapes or counts; a value is neither 0 nor 1.
    """
    (path,) = locate("deepsea", root, PUBLISHED["deepsea"].files)

    def build(folder: Path) -> None:
        for part, count in zip(PARTS, counts, strict=True):
            inputs = _member(path, f"x_{part}", (None, PLACES, BASES), count)
            save_array(folder, f"x_{part}", _bits(inputs, f"{path}, x_{part}").transpose(0, 2, 1).copy())
            del inputs
            targets = _member(path, f"y_{part}", (None, LABELS), count)
            save_array(folder, f"y_{part}", _bits(targets, f"{path}, y_{part}"))

    folder = prepared(root, "deepsea", {"files": file_key([path]), "counts": counts}, build)
    sources = [ArraySource(load_array(folder, f"x_{part}"), load_array(folder, f"y_{part}")) for part in PARTS]
    train, validation, test = (Split(source, torch.arange(len(source))) for source in sources)
    return multilabel_task(
        SPEC,
        (train, validation, test),
        {"source": path.name, "split": "the published one"},
        auroc(LABELS),
        POSITIVE_WEIGHT,
    )


def _member(path: Path, key: str, shape: tuple[int | None, ...], count: int) -> np.ndarray[Any, Any]:
    """One array of the archive, checked; the others are not read."""
    try:
        with path.open("rb") as stream:
            array = np.load(stream, allow_pickle=False)[key]
    except KeyError:
        raise DataError(f"{path} has no array {key}. {hint('deepsea')}") from None
    except (ValueError, OSError, EOFError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}, {key}: truncated or no .npz file ({error}). {hint('deepsea')}") from None
    check_array(array, f"{path}, {key}", "deepsea", shape)
    check_count(len(array), count, f"{path}, {key}", "deepsea")
    return array  # type: ignore[no-any-return]


def _bits(values: np.ndarray[Any, Any], where: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    bits = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        if not ((part == 0) | (part == 1)).all():
            raise DataError(f"{where} has a value that is neither 0 nor 1, at or behind {start}. {hint('deepsea')}")
        bits[start : start + CHUNK] = part
    return bits
