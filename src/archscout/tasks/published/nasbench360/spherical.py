"""Spherical CIFAR-100: images projected on a sphere and rotated."""

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

__all__ = ["read_spherical", "spherical_task"]

SIDE, CLASSES = 60, 100
COUNTS = (50_000, 10_000)  # docs/nasbench360.md#the-ten-tasks-of-nas-bench-360
VALIDATION = 0.2  # 10,000 of 50,000
SPEC = TaskSpec("spherical", "classification", (3, SIDE, SIDE), CLASSES)


@register_task(SPEC)
def spherical_task(root: Path) -> Task:
    """Spherical CIFAR-100: 3 x 60 x 60, 100 classes; 40,000 train, 10,000 validation, 10,000 test."""
    return read_spherical(root)


def read_spherical(root: Path, counts: tuple[int, int] = COUNTS) -> Task:
    """The task of the published file; a fixed random fifth of its training images is the validation split.

    Values are not scaled, as published: networks begin with a batch norm.

    Args:
        counts: of training and of test images.

    Raises:
        DataError: the file is missing, truncated, refused, or of other shapes, counts or labels.
    """
    (path,) = locate("spherical", root, PUBLISHED["spherical"].files)

    def build(folder: Path) -> None:
        content = read_pickled(path, hint("spherical"))
        parts = [_part(content, name, path, count) for name, count in zip(("train", "test"), counts, strict=True)]
        save_array(folder, "images", np.concatenate([images for images, _ in parts]))
        save_array(folder, "labels", np.concatenate([labels for _, labels in parts]))

    folder = prepared(root, "spherical", {"files": file_key([path]), "counts": counts}, build)
    source = ArraySource(load_array(folder, "images"), load_array(folder, "labels"))
    order = torch.randperm(counts[0], generator=generator(0, "spherical", "validation"))
    held = round(VALIDATION * counts[0])
    test = torch.arange(counts[0], sum(counts))
    return classification_task(
        SPEC,
        (Split(source, order[held:]), Split(source, order[:held]), Split(source, test)),
        {"source": path.name, "split": "validation: a fixed random fifth of train"},
    )


def _part(content: Any, name: str, path: Path, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images, uint8 where that is exact, and labels of one part."""
    part = content.get(name) if isinstance(content, dict) else None
    if not isinstance(part, dict) or "images" not in part or "labels" not in part:
        raise DataError(f"{path} must hold '{name}' with 'images' and 'labels'. {hint('spherical')}")
    images = part["images"]
    check_array(images, f"{path}, {name} images", "spherical", (None, 3, SIDE, SIDE))
    check_count(len(images), count, f"{path}, {name}", "spherical")
    labels = whole_labels(part["labels"], f"{path}, {name} labels", "spherical", 0, CLASSES)
    check_count(len(labels), count, f"{path}, {name} labels", "spherical")
    if images.dtype != np.uint8:
        small = images.astype(np.uint8)
        images = small if np.array_equal(small, images) else images.astype(np.float32)
    return images, labels
