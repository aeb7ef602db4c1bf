"""NinaPro DB5: muscle currents of a hand's gestures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from archscout.tasks.published.nasbench360.files import PUBLISHED, check_count, locate, numeric_array, whole_labels
from archscout.tasks.published.nasbench360.point_tasks import classification_task
from archscout.tasks.registry import register_task
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["ninapro_task", "read_ninapro"]

STEPS, ELECTRODES, CLASSES = 52, 16, 18
COUNTS = (2638, 659, 659)  # docs/nasbench360.md#the-ten-tasks-of-nas-bench-360
SPEC = TaskSpec("ninapro", "classification", (1, ELECTRODES, STEPS), CLASSES)


@register_task(SPEC)
def ninapro_task(root: Path) -> Task:
    """NinaPro DB5: electromyography of 18 gestures, 1 x 16 x 52; 2,638 train, 659 validation, 659 test."""
    return read_ninapro(root)


def read_ninapro(root: Path, counts: tuple[int, int, int] = COUNTS) -> Task:
    """The task of the published files, in their own splits; `counts` of train, validation and test.

    Raises:
        DataError: files are missing, truncated, of another shape or count, or with labels out of range.
    """
    paths = locate("ninapro", root, PUBLISHED["ninapro"].files)
    inputs, targets = [], []
    for path, label_path, count in zip(paths[:3], paths[3:], counts, strict=True):
        array = numeric_array(path, "ninapro", (None, STEPS, ELECTRODES))
        labels = whole_labels(numeric_array(label_path, "ninapro", None), str(label_path), "ninapro", 0, CLASSES)
        check_count(len(array), count, str(path), "ninapro")
        check_count(len(labels), count, str(label_path), "ninapro")
        inputs.append(torch.from_numpy(array.astype(np.float32).transpose(0, 2, 1).copy()).unsqueeze(1))
        targets.append(torch.from_numpy(labels))
    source = ArraySource(torch.cat(inputs), torch.cat(targets))
    train, validation, test = torch.split(torch.arange(len(source)), list(counts))
    return classification_task(
        SPEC,
        (Split(source, train), Split(source, validation), Split(source, test)),
        {"source": str(paths[0].parent.name), "split": "the published one"},
    )
