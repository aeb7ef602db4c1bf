from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from archscout.errors import DataError, UnknownNameError
from archscout.tasks.checks import DataSummary, check_data, check_task
from archscout.tasks.readers.arrays import task_from_arrays
from archscout.tasks.registry import load_task
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
    assert summary.findings == ()
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
    found = {finding.code: finding for finding in summary.findings}
    assert "cat has" in found["imbalance"].message
    assert "eel" in found["imbalance"].message
    assert found["few"].message.startswith("2 classes have fewer than 10 training samples")
    assert found["absent"].message.startswith("1 class has no test sample, the first is eel; ")
    assert found["duplicates"].message.startswith("5 of 10 test samples are also in")
    assert found["duplicates"].names == tuple(f"test[{place}]" for place in range(5))
    assert found["small"].message.startswith("the test split has only 10 samples: one answer more or less is 10.0")
    assert "warning: " + found["duplicates"].message in summary.lines()


def test_all_images_of_a_folder_are_looked_at_by_their_thumbnails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHSCOUT_WORKERS", "0")
    monkeypatch.setattr("archscout.tasks.readers.image_samples.MEMORY_LIMIT", 0)
    write_classes(tmp_path, ("cat", "dog"), 30, size=(90, 70))
    summary = check_task(load_task(str(tmp_path)), most=1)
    assert (summary.samples_read, summary.duplicates) == (60, 0)
    test = load_task(str(tmp_path)).sample_names("test")[0]
    learnt = load_task(str(tmp_path)).sample_names("train")[0]
    shutil.copy(tmp_path / learnt, tmp_path / test)
    found = {finding.code: finding for finding in check_task(load_task(str(tmp_path))).findings}
    assert found["duplicates"].names == (test,)


def test_frames_of_one_recording_on_both_sides_are_told() -> None:
    """Eight frames of each of twelve patients, whose values differ by 1."""
    draw = np.random.default_rng(0)
    patients = draw.integers(20, 230, (12, 1, 24, 24))
    frames = (patients + draw.integers(-1, 2, (12, 8, 24, 24))).reshape(96, 24, 24).astype(np.uint8)
    labels = np.repeat(np.arange(12) % 2, 8)
    order = draw.permutation(96)
    test, rest = order[:20], order[20:]
    summary = check_task(task_from_arrays(frames[rest], labels[rest], frames[test], labels[test]))
    (near,) = [finding for finding in summary.findings if finding.code == "near-duplicates"]
    assert near.message.startswith("20 of 20 test samples look nearly the same as one that is learnt from")
    assert "--groups" in near.message
    other = draw.integers(20, 230, (116, 24, 24)).astype(np.uint8)
    summary = check_task(task_from_arrays(other[20:], labels, other[:20], labels[:20]))
    assert "near-duplicates" not in [finding.code for finding in summary.findings]


def test_other_units_flat_samples_and_contradicting_labels_are_told() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 3, 40)).astype(np.float32)
    y = np.arange(200) % 2
    x[5], x[7] = x[4], 3.0
    other = draw.normal(size=(60, 3, 40))
    task = task_from_arrays(x, y, 1000 * other, y[:60], x_val=other, y_val=y[:60], layout="NCL")
    summary = check_task(task)
    found = {finding.code: finding for finding in summary.findings}
    assert "their contrast is 995 on average, that of the training samples 0.9" in found["unlike"].message
    assert found["flat"].names == ("train[7]",)
    assert found["contradictions"].names == ("train[4]", "train[5]")


def test_many_classes_are_told_in_one_line() -> None:
    x = np.random.default_rng(0).normal(size=(600, 4, 9))
    summary = check_task(task_from_arrays(x, np.arange(600) % 150, x[:150] + 1, np.arange(150)))
    assert sum(line.startswith("training samples of a class: ") for line in summary.lines()) == 1
    assert sum(not line.startswith(("warning", "  ")) for line in summary.lines()) < 12
    assert [finding.code for finding in summary.findings] == ["few", "absent", "unlike"]
    assert summary.dtype == "float32"


def test_broken_data_and_unknown_names_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"a\.npz"):
        check_data(tmp_path / "a.npz")
    with pytest.raises(UnknownNameError, match="Did you mean digits"):
        check_data("digit")
