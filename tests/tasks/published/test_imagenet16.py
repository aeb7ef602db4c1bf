"""ImageNet16-120 from files of the official layout."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import load_task, task_spec
from archscout.tasks.published.imagenet16 import COUNTS, FOLDER, TRAIN_FILES, read_imagenet16

LABELS = [1, 120, 121, 1000, 60]  # three of the five are within the 120 classes


def write_files(root: Path, protocol: int = 4, **changes: Any) -> Path:
    folder = root / FOLDER
    folder.mkdir(parents=True)
    for number, name in enumerate([*TRAIN_FILES, "val_data"]):
        draw = np.random.default_rng(number)
        content = {
            "data": draw.integers(0, 256, (5, 768), np.uint8),
            "labels": list(LABELS),
            "mean": np.zeros(768),  # float64: official files have it, nothing reads it
            **(changes if name == "val_data" else {}),
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    return root


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_first_classes_are_read(tmp_path: Path, protocol: int) -> None:
    task = read_imagenet16(write_files(tmp_path, protocol), (30, 3))
    assert (len(task.train), len(task.validation), len(task.test)) == (30, 1, 2)
    source = task.train.source
    raw, labels = next(iter(source.batches(iter([torch.arange(3)]), torch.device("cpu"))))
    assert labels.tolist() == [0, 119, 59]
    first = np.random.default_rng(0).integers(0, 256, (5, 768), np.uint8)
    assert torch.equal(raw[2].flatten(), torch.from_numpy(first[4]))
    assert task.prepare(raw, seed=0).shape == (3, 3, 16, 16)
    everything = torch.cat([task.train.indices, task.validation.indices, task.test.indices])
    assert sorted(everything.tolist()) == list(range(33))


def test_its_shapes_are_known_without_files() -> None:
    spec = task_spec("imagenet16_120")
    assert (spec.input_shape, spec.outputs) == ((3, 16, 16), 120)
    assert COUNTS == (151_700, 6_000)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": [0, 1, 2, 3, 4]}, "from 1 to 1,000"),
        ({"labels": [1, 2]}, "list of 5 labels; got 2"),
        ({"data": np.zeros((5, 3), np.uint8)}, r"shape \(n, 768\); got \(5, 3\)"),
        ({"data": np.zeros((5, 768))}, "another type than uint8"),
        ({"data": None}, "no array"),
        ({}, "30 training images and 3 others"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_task("imagenet16_120", write_files(tmp_path, **changes))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no ImageNet16 under"):
        load_task("imagenet16_120", tmp_path)
    (write_files(tmp_path) / FOLDER / "train_data_batch_7").unlink()
    with pytest.raises(DataError, match="lacks train_data_batch_7"):
        load_task("imagenet16_120", tmp_path)
