from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archscout.errors import DataError, UnknownNameError
from archscout.tasks.checks import DataSummary, check_data, check_task
from archscout.tasks.readers.arrays import task_from_arrays
from tests.tasks.images_on_disk import write_classes


def images(source: str | Path) -> DataSummary:
    summary = check_data(source)
    assert isinstance(summary, DataSummary)
    return summary


def test_digits_are_understood() -> None:
    summary = images("digits")
    assert summary.spec.input_shape == (1, 8, 8)
    assert [(split.name, split.size) for split in summary.splits] == [
        ("train", 1197),
        ("validation", 300),
        ("test", 300),
    ]
    assert [sum(split.class_counts) for split in summary.splits] == [1197, 300, 300]
    assert (summary.dtype, summary.low, summary.high) == ("uint8", 0, 255)
    assert summary.mean == pytest.approx([0.3053], abs=1e-4)  # the constants that the task normalises with
    assert summary.std == pytest.approx([0.3758], abs=1e-4)
    assert summary.samples_read == 1797
    assert summary.duplicates == 0
    assert summary.warnings == ()
    lines = summary.lines()
    assert lines[0] == "digits: classification of 1 x 8 x 8 into 10 classes"
    assert "splits: train 1,197, validation 300, test 300" in lines
    assert any(line.startswith("  9: ") for line in lines)


def test_duplicates_imbalance_and_small_classes_are_warned_of() -> None:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (130, 8, 8, 3), dtype=np.uint8)
    y = np.array([0] * 120 + [1] * 8 + [2] * 2)
    test = np.concatenate([x[:5], draw.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)])
    summary = check_task(task_from_arrays(x, y, test, np.array([0, 1] * 5), class_names=["cat", "dog", "eel"]))
    assert summary.duplicates == 5
    imbalance, few, *missing, duplicates = summary.warnings
    assert "cat has" in imbalance
    assert "eel" in imbalance
    assert few.startswith("2 classes have fewer than 10 training samples")
    assert missing[-1] == "1 classes have no test sample, the first is eel."
    assert duplicates.startswith("5 of 10 test samples are also in")
    assert summary.lines()[-1] == "warning: " + duplicates


def test_folders_of_large_images_are_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSCOUT_WORKERS", "0")
    monkeypatch.setattr("archscout.tasks.readers.image_samples.MEMORY_LIMIT", 0)
    write_classes(tmp_path, ("cat", "dog"), 30, size=(90, 70))
    whole = images(tmp_path)
    assert (whole.samples_read, whole.duplicates) == (60, 0)
    monkeypatch.setattr("archscout.tasks.checks.MOST_IMAGES", 12)
    part = images(tmp_path)
    assert 3 <= part.samples_read <= 12
    assert part.duplicates is None
    assert f"read {part.samples_read} of 60 samples" in part.lines()
    assert [split.class_counts for split in part.splits] == [split.class_counts for split in whole.splits]


def test_many_classes_are_told_in_one_line() -> None:
    x = np.random.default_rng(0).normal(size=(600, 4, 9))
    summary = check_task(task_from_arrays(x, np.arange(600) % 150, x[:150] + 1, np.arange(150)))
    assert sum(line.startswith("training samples of a class: ") for line in summary.lines()) == 1
    assert len(summary.lines()) < 12
    assert summary.dtype == "float32"


def test_broken_data_and_unknown_names_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"a\.npz"):
        check_data(tmp_path / "a.npz")
    with pytest.raises(UnknownNameError, match="Did you mean digits"):
        check_data("digit")
