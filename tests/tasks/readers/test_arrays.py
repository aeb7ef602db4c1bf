from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import Task, load_task
from archscout.tasks.readers.arrays import task_from_arrays
from archscout.tasks.readers.npz import npz_task

Arrays = dict[str, Any]
CPU = torch.device("cpu")


def arrays(train: int = 60, test: int = 12, shape: tuple[int, ...] = (8, 8, 3), classes: int = 3) -> Arrays:
    draw = np.random.default_rng(0)
    return {
        "x_train": draw.integers(0, 256, (train, *shape), dtype=np.uint8),
        "y_train": np.arange(train) % classes,
        "x_test": draw.integers(0, 256, (test, *shape), dtype=np.uint8),
        "y_test": np.arange(test) % classes,
    }


def test_a_task_from_images() -> None:
    raw = arrays()
    task = Task.from_arrays(**raw, name="mine", class_names=["a", "b", "c"])
    assert task.spec.input_shape == (3, 8, 8)
    assert (task.spec.outputs, task.name, task.class_names) == (3, "mine", ("a", "b", "c"))
    assert (len(task.train), len(task.validation), len(task.test)) == (50, 10, 12)
    assert len(task.augmentations) == 2
    inputs, targets = next(task.test.source.batches([torch.tensor([3])], CPU))
    assert np.array_equal(inputs[0].numpy(), raw["x_test"][3].transpose(2, 0, 1))
    assert targets.tolist() == [0]


def test_train_and_validation_are_disjoint_stratified_and_seeded() -> None:
    raw = arrays()
    task, again, other = (task_from_arrays(**raw, seed=seed) for seed in (1, 1, 2))
    assert sorted([*task.train.indices.tolist(), *task.validation.indices.tolist()]) == list(range(60))
    counts = np.bincount(raw["y_train"][task.validation.indices.numpy()])
    assert counts.max() - counts.min() <= 1
    assert torch.equal(task.validation.indices, again.validation.indices)
    assert not torch.equal(task.validation.indices, other.validation.indices)
    assert len(task.development) == 60


def test_given_validation_data_is_the_validation_split() -> None:
    raw = arrays()
    task = task_from_arrays(**raw, x_val=raw["x_test"][:5], y_val=raw["y_test"][:5])
    inputs, targets = next(task.validation.source.batches([task.validation.indices], CPU))
    assert np.array_equal(inputs.numpy(), raw["x_test"][:5].transpose(0, 3, 1, 2))
    assert targets.tolist() == raw["y_test"][:5].tolist()
    assert (len(task.train), len(task.validation), len(task.development)) == (60, 5, 65)


def test_normalisation_uses_the_train_split_alone() -> None:
    raw = arrays()
    raw["x_test"][:] = 255
    task = task_from_arrays(**raw, x_val=np.zeros_like(raw["x_test"]), y_val=raw["y_test"])
    inputs, _ = next(task.train.source.batches([task.train.indices], CPU))
    prepared = task.prepare(inputs)
    assert prepared.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert prepared.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("shape", "input_shape"), [((8, 8), (1, 8, 8)), ((3, 50), (3, 50)), ((50,), (1, 50)), ((3, 8, 8), (3, 8, 8))]
)
def test_shapes_of_grey_images_and_series(shape: tuple[int, ...], input_shape: tuple[int, ...]) -> None:
    raw = {key: value.astype(np.float32) if key[0] == "x" else value for key, value in arrays(shape=shape).items()}
    task = task_from_arrays(**raw)
    assert task.spec.input_shape == input_shape
    inputs, _ = next(task.train.source.batches([task.train.indices[:4]], CPU))
    assert task.prepare(inputs, seed=0).shape == (4, *input_shape)


def test_tensors_and_column_labels_are_taken() -> None:
    raw = arrays()
    task = task_from_arrays(
        torch.from_numpy(raw["x_train"]),
        torch.from_numpy(raw["y_train"]).unsqueeze(1).float(),
        torch.from_numpy(raw["x_test"]),
        raw["y_test"].reshape(-1, 1),
    )
    assert task.spec.outputs == 3


def test_halves_of_validation_data_are_refused() -> None:
    raw = arrays()
    with pytest.raises(DataError, match="x_val and y_val belong together"):
        task_from_arrays(**raw, x_val=raw["x_test"])


def test_wrong_validation_labels_are_named() -> None:
    raw = arrays()
    with pytest.raises(DataError, match=r"y_val\[0\] is 7, which is out of range"):
        task_from_arrays(**raw, x_val=raw["x_test"], y_val=raw["y_test"] + 7)


def test_npz_with_all_keys(tmp_path: Path) -> None:
    raw = arrays(shape=(2, 8, 8))
    path = tmp_path / "mine.npz"
    np.savez_compressed(
        path, **raw, x_val=raw["x_test"], y_val=raw["y_test"], class_names=["a", "b", "c"], layout="NCHW", other=[1]
    )
    task = load_task(str(path))
    assert task.name == "mine"
    assert task.spec.input_shape == (2, 8, 8)
    assert task.class_names == ("a", "b", "c")
    assert len(task.validation) == 12
    assert task.provenance["source"] == "mine.npz"
    assert len(task.provenance["sha256"]) == 64


def test_npz_without_targets_of_the_test_split_keeps_its_inputs_to_be_predicted(tmp_path: Path) -> None:
    raw = arrays()
    del raw["y_test"]
    np.savez(tmp_path / "a.npz", **raw)
    task = npz_task(tmp_path / "a.npz")
    assert task.unlabelled is not None
    inputs, _ = next(task.unlabelled.source.batches([task.unlabelled.indices], CPU))
    assert np.array_equal(inputs.numpy(), raw["x_test"].transpose(0, 3, 1, 2))
    assert len(task.train) + len(task.validation) + len(task.test) == 60
    assert [(finding.level, finding.code) for finding in task.findings] == [("doubtful", "unlabelled")]


def test_npz_problems_name_the_file(tmp_path: Path) -> None:
    raw = arrays()
    raw["y_test"][2] = 9
    np.savez(tmp_path / "a.npz", **raw)
    with pytest.raises(DataError, match=r"a\.npz: y_test\[2\] is 9"):
        npz_task(tmp_path / "a.npz")


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_npz_is_one_sentence(tmp_path: Path, fraction: float) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **arrays())
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(DataError, match=r"truncated or no \.npz file"):
        npz_task(path)


def test_damaged_npz_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    content = bytearray(path.read_bytes())
    middle = content.find(b"x_train.npy") + 4000
    content[middle : middle + 100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz, array x_train: truncated"):
        npz_task(path)


class Bomb:
    """Writes a file if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_objects_in_npz_are_refused_and_not_run(tmp_path: Path) -> None:
    raw = arrays()
    raw["y_train"] = np.array([Bomb(tmp_path / "ran")] * 60, dtype=object)
    np.savez(tmp_path / "a.npz", **raw)
    with pytest.raises(DataError, match="array y_train: holds Python objects, which are refused"):
        npz_task(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_or_a_single_array_called_npz_is_refused(tmp_path: Path) -> None:
    import pickle

    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(DataError, match="holds Python objects, which are refused"):
        npz_task(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()
    with (tmp_path / "b.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="holds a single array"):
        npz_task(tmp_path / "b.npz")


def test_a_missing_npz_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        npz_task(tmp_path / "none.npz")
