"""Folds of a task: by sample, by group, in order of time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import Task

COUNT, FOLDS = 60, 4
IMAGES = np.arange(COUNT, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)  # every image says its number
LABELS = np.arange(COUNT) % 3
PATIENTS = [f"patient {number // 5}" for number in range(COUNT)]


def fold(number: int, **options: Any) -> dict[str, list[int]]:
    """The numbers of the samples in each split."""
    task = Task.from_arrays(IMAGES, LABELS, folds=FOLDS, fold=number, **options)
    found = {}
    for part in ("train", "validation", "test"):
        split = task.split(part)
        ((inputs, _),) = split.source.batches([split.indices], torch.device("cpu"))
        found[part] = inputs[:, 0, 0, 0].tolist()
    return found


def test_every_sample_is_tested_once() -> None:
    folds = [fold(number) for number in range(1, FOLDS + 1)]
    assert sorted(number for each in folds for number in each["test"]) == list(range(COUNT))
    for each in folds:
        assert sorted(number for part in each.values() for number in part) == list(range(COUNT))
        assert np.bincount(LABELS[each["test"]]).tolist() == [5, 5, 5]


def test_groups_stay_together() -> None:
    for number in range(1, FOLDS + 1):
        groups = [{PATIENTS[sample] for sample in part} for part in fold(number, groups=PATIENTS).values()]
        assert sum(map(len, groups)) == len(set.union(*groups)) == COUNT // 5
        assert len(groups[2]) == COUNT // 5 // FOLDS


def test_in_order_of_time_each_block_is_tested_by_what_was_before_it() -> None:
    for number in range(1, FOLDS + 1):
        parts = fold(number, order="time")
        assert parts["train"] + parts["validation"] + parts["test"] == list(range(12 * (number + 1)))
        assert len(parts["test"]) == 12


def test_folds_of_data_with_a_test_split_are_refused() -> None:
    with pytest.raises(DataError, match="has a test split of its own"):
        Task.from_arrays(IMAGES, LABELS, IMAGES[:9], LABELS[:9], folds=FOLDS, fold=1)
    with pytest.raises(DataError, match="13 folds were asked for, but there are only 12 samples or groups"):
        Task.from_arrays(IMAGES, LABELS, folds=13, fold=1, groups=PATIENTS)
