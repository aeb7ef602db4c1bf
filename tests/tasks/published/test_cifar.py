from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import load_task, task_spec
from archscout.tasks.published.cifar import CIFAR10, CIFAR100, CifarFiles, read_cifar
from archscout.tasks.sources import ArraySource
from tests.tasks.images_on_disk import write_classes
from tests.tasks.readers.test_pickles import python2_pickle

SMALL10 = replace(CIFAR10, train={f"data_batch_{number}": 20 for number in range(1, 6)}, test={"test_batch": 30})
SMALL100 = replace(CIFAR100, train={"train": 200}, test={"test": 100})


def batch(files: CifarFiles, count: int, seed: int) -> dict[bytes, Any]:
    draw = np.random.default_rng(seed)
    return {
        b"data": draw.integers(0, 256, (count, 3072), dtype=np.uint8),
        files.label_key.encode(): [number % files.classes for number in range(count)],
        b"filenames": [b"x.png"] * count,
    }


def write_official(files: CifarFiles, folder: Path) -> dict[str, dict[bytes, Any]]:
    """Random images in the official layout; returns what was written."""
    folder.mkdir(parents=True)
    written = {}
    for seed, (name, count) in enumerate((files.train | files.test).items()):
        written[name] = batch(files, count, seed)
        (folder / name).write_bytes(python2_pickle(written[name]))
    names = [f"class{number:02d}".encode() for number in range(files.classes)]
    (folder / files.names_file).write_bytes(python2_pickle({files.names_key.encode(): names}))
    return written


@pytest.mark.parametrize("files", [SMALL10, SMALL100], ids=["cifar10", "cifar100"])
@pytest.mark.parametrize("inside", [False, True])
def test_official_files_are_read_in_storage_order(tmp_path: Path, files: CifarFiles, inside: bool) -> None:
    written = write_official(files, tmp_path / files.folder)
    task = read_cifar(files, tmp_path / files.folder if inside else tmp_path)
    pixels = np.concatenate([content[b"data"] for content in written.values()]).reshape(-1, 3, 32, 32)
    source = task.train.source
    assert isinstance(source, ArraySource)
    assert np.array_equal(source.inputs.numpy(), pixels)
    assert source.targets.tolist() == [y for content in written.values() for y in content[files.label_key.encode()]]
    count = sum(files.train.values())
    assert task.train.indices.tolist() == list(range(count * 4 // 5))
    assert task.validation.indices.tolist() == list(range(count * 4 // 5, count))
    assert task.test.indices.tolist() == list(range(count, len(source)))
    assert task.class_names[1] == "class01"
    assert task.spec == task_spec(files.name)


def test_specs_need_no_data() -> None:
    assert task_spec("cifar10").describe() == "classification of 3 x 32 x 32 into 10 classes"
    assert task_spec("cifar100").outputs == 100


def test_normalisation_and_augmentation_are_the_published_ones(tmp_path: Path) -> None:
    write_official(SMALL10, tmp_path / SMALL10.folder)
    task = read_cifar(SMALL10, tmp_path)
    grey = task.normalize(torch.full((1, 3, 1, 1), 0.5)).view(-1)
    mean, std = torch.tensor([0.49139968, 0.48215827, 0.44653124]), torch.tensor([0.24703233, 0.24348505, 0.26158768])
    assert torch.allclose(grey, (0.5 - mean) / std)
    assert len(task.augmentations) == 2
    ramp = torch.arange(1.0, 33).view(1, 1, 1, 32).expand(500, 3, 32, 32)
    augmented = task.augmentations[0](ramp, torch.Generator().manual_seed(0))
    assert {int((sample[0, 16] == 0).sum()) for sample in augmented} == {0, 1, 2, 3, 4}  # at most 4 padded columns


def test_missing_data_tells_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no cifar10 under .* archscout data fetch cifar10; .* --data DIR or ARCHSCOUT"
    ):
        load_task("cifar10", tmp_path)


def damage_missing(folder: Path) -> None:
    (folder / "data_batch_3").unlink()


def damage_truncated(folder: Path) -> None:
    path = folder / "data_batch_2"
    path.write_bytes(path.read_bytes()[:5000])


def damage_shape(folder: Path) -> None:
    content = batch(SMALL10, 19, 0)
    (folder / "data_batch_2").write_bytes(python2_pickle(content))


def damage_labels(folder: Path) -> None:
    content = batch(SMALL10, 20, 0) | {b"labels": [10] * 20}
    (folder / "test_batch").write_bytes(python2_pickle(content | {b"data": np.zeros((30, 3072), np.uint8)}))


def damage_range(folder: Path) -> None:
    content = batch(SMALL10, 20, 0)
    content[b"labels"][7] = 10
    (folder / "data_batch_1").write_bytes(python2_pickle(content))


def damage_keys(folder: Path) -> None:
    (folder / "data_batch_1").write_bytes(python2_pickle({b"labels": []}))


def damage_names(folder: Path) -> None:
    (folder / "batches.meta").write_bytes(python2_pickle({b"label_names": [b"cat"]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, "cifar-10-batches-py lacks data_batch_3"),
        (damage_truncated, "data_batch_2 is truncated or no file of CIFAR"),
        (damage_shape, r"data_batch_2: 'data' must be uint8 of shape \(20, 3072\); got \(19, 3072\)"),
        (damage_labels, "test_batch: 'labels' must be a list of 30 labels; got 20 labels"),
        (damage_range, "data_batch_1: label 7 is 10; allowed are 0 to 9"),
        (damage_keys, "data_batch_1: 'data' must be .*; got no array"),
        (damage_names, "batches.meta: 'label_names' must be a list of 10 names"),
    ],
)
def test_damaged_files_are_named_with_the_next_step(tmp_path: Path, damage: Any, message: str) -> None:
    write_official(SMALL10, tmp_path / SMALL10.folder)
    damage(tmp_path / SMALL10.folder)
    with pytest.raises(DataError, match=message) as raised:
        read_cifar(SMALL10, tmp_path)
    assert "archscout data fetch cifar10" in str(raised.value)


def test_class_names_are_not_needed(tmp_path: Path) -> None:
    write_official(SMALL10, tmp_path / SMALL10.folder)
    (tmp_path / SMALL10.folder / "batches.meta").unlink()
    assert read_cifar(SMALL10, tmp_path).class_names == ()


CLASSES = tuple(f"class{number}" for number in range(10))


@pytest.mark.parametrize("parent", [False, True])
def test_an_image_folder_is_read_in_a_fixed_random_order(tmp_path: Path, parent: bool) -> None:
    root = tmp_path / "cifar10"
    write_classes(root / "train", CLASSES, 10, size=(32, 32))
    write_classes(root / "test", CLASSES, 3, size=(32, 32))
    task = read_cifar(SMALL10, tmp_path if parent else root)
    source = task.train.source
    assert isinstance(source, ArraySource)
    assert torch.bincount(source.targets[:100]).tolist() == [10] * 10
    assert len(set(source.targets[task.validation.indices].tolist())) > 4  # in folder order it would be two classes
    assert torch.equal(source.targets, read_cifar(SMALL10, root).test.source.targets)  # type: ignore[attr-defined]
    assert task.class_names == CLASSES


def test_incomplete_image_folders_are_told(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", CLASSES, 9, size=(32, 32))
    write_classes(tmp_path / "test", CLASSES, 3, size=(32, 32))
    with pytest.raises(DataError, match="has 90 training and 30 test images; cifar10 has 100 and 30"):
        read_cifar(SMALL10, tmp_path)
    with pytest.raises(DataError, match="has 10 class folders; cifar100 has 100"):
        read_cifar(SMALL100, tmp_path)


@pytest.mark.slow
def test_real_cifar10_from_both_layouts(shared_data: Path, tmp_path: Path) -> None:
    unpack = shared_data / "cifar10" / "unpack.py"
    for layout in ("folder", "batches"):
        command = [sys.executable, str(unpack), str(tmp_path / layout), "--layout", layout]
        subprocess.run(command, check=True, env=os.environ)
    official, folder = (load_task("cifar10", tmp_path / layout) for layout in ("batches", "folder"))
    assert [len(official.split(name)) for name in ("train", "validation", "test")] == [40_000, 10_000, 10_000]
    assert official.class_names == folder.class_names
    assert isinstance(official.train.source, ArraySource)
    assert isinstance(folder.train.source, ArraySource)

    def contents(source: ArraySource, indices: torch.Tensor) -> set[tuple[bytes, int]]:
        return {(source.inputs[i].numpy().tobytes(), int(source.targets[i])) for i in indices.tolist()}

    assert contents(official.train.source, official.test.indices) == contents(folder.train.source, folder.test.indices)
    pixels = official.train.source.inputs[:50_000].double().mean((0, 2, 3)) / 255
    assert pixels.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.002)  # JPEG: close to the official pixels
