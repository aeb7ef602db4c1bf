"""The small tasks that benchmarks compare methods on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from archscout.tasks import load_task
from benchmarks.diverse import table
from benchmarks.small_tasks import write_pairs, write_scenes


def test_pairs_of_digits_have_one_or_two_labels_each(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.npz")
    task = load_task(str(tmp_path / "pairs.npz"))
    assert (task.spec.kind, task.spec.input_shape, task.spec.outputs) == ("multilabel", (1, 8, 16), 10)
    assert [len(task.split(part)) for part in ("train", "validation", "test")] == [1000, 200, 400]
    with np.load(tmp_path / "pairs.npz") as arrays:
        assert set(arrays["y_train"].sum(1).tolist()) == {1, 2}


def test_the_masks_of_scenes_are_the_strokes_of_a_digit(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes.npz")
    task = load_task(str(tmp_path / "scenes.npz"))
    assert (task.spec.kind, task.spec.input_shape, task.spec.outputs) == ("dense", (1, 16, 16), 2)
    with np.load(tmp_path / "scenes.npz") as arrays:
        images, masks = arrays["x_test"], arrays["y_test"][:, 0]
        assert (images[masks == 1] >= 128).all()
        assert (images[masks == 0] >= 128).any()  # brightness alone does not tell
        rows = [np.flatnonzero(mask.any(1)) for mask in masks]
        assert all(row.max() - row.min() < 8 for row in rows)


def test_the_same_files_are_written_each_time(tmp_path: Path) -> None:
    for number in (0, 1):
        write_scenes(tmp_path / f"{number}.npz")
    with np.load(tmp_path / "0.npz") as first, np.load(tmp_path / "1.npz") as second:
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_an_empty_comparison_is_the_head_of_a_table() -> None:
    assert len(table({}).splitlines()) == 2
