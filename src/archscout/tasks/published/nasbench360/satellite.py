"""Satellite: a year of vegetation seen from above, and what grows there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.published.nasbench360.files import PUBLISHED, check_array, check_count, hint, locate, whole_labels
from archscout.tasks.published.nasbench360.point_tasks import classification_task
from archscout.tasks.readers.pickles import read_pickled
from archscout.tasks.readers.prepared import file_key, load_array, prepared, save_array
from archscout.tasks.registry import register_task
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["read_satellite", "satellite_task"]

STEPS, CLASSES = 46, 24
COUNTS = (900_000, 100_000)  # docs/nasbench360.md#the-ten-tasks-of-nas-bench-360
SPEC = TaskSpec("satellite", "classification", (1, STEPS), CLASSES)


@register_task(SPEC)
def satellite_task(root: Path) -> Task:
    """Satellite: series of 46 steps, 24 kinds of land cover; 800,000 train, 100,000 validation, 100,000 test."""
    return read_satellite(root)


def read_satellite(root: Path, counts: tuple[int, int] = COUNTS) -> Task:
    """The task of the published files; as many training series as there are test series are the validation split.

    They are drawn at random with a fixed seed, from all of the training file, and are no longer in train. Values are
    not normalised, as in DASH and D2NAS; NAS-Bench-360 itself standardises each series.

    Args:
        counts: of training and of test series.

    Raises:
        DataError: files are missing, truncated, refused, or of other shapes, counts or labels.
    """
    paths = locate("satellite", root, PUBLISHED["satellite"].files)

    def build(folder: Path) -> None:
        parts = [_part(path, count) for path, count in zip(paths, counts, strict=True)]
        save_array(folder, "series", np.concatenate([series for series, _ in parts])[:, None])
        save_array(folder, "labels", np.concatenate([labels for _, labels in parts]))

    folder = prepared(root, "satellite", {"files": file_key(paths), "counts": counts}, build)
    source = ArraySource(load_array(folder, "series"), load_array(folder, "labels"))
    order = torch.randperm(counts[0], generator=generator(0, "satellite", "validation"))
    test = torch.arange(counts[0], sum(counts))
    return classification_task(
        SPEC,
        (Split(source, order[counts[1] :]), Split(source, order[: counts[1]]), Split(source, test)),
        {"source": ", ".join(path.name for path in paths), "split": "validation: a fixed random part of train"},
    )


def _part(path: Path, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    content = read_pickled(path, hint("satellite"))
    if isinstance(content, np.ndarray) and content.shape == ():
        content = content.item()
    if not isinstance(content, dict) or "data" not in content or "label" not in content:
        raise DataError(f"{path} must hold a dictionary with 'data' and 'label'. {hint('satellite')}")
    check_array(content["data"], f"{path}, data", "satellite", (None, STEPS))
    check_count(len(content["data"]), count, f"{path}, data", "satellite")
    labels = whole_labels(content["label"], f"{path}, label", "satellite", 1, CLASSES)
    check_count(len(labels), count, f"{path}, label", "satellite")
    return content["data"].astype(np.float32), labels
