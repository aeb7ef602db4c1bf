from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import load_task, task_spec
from archscout.tasks.readers.images import ImageSource
from tests.tasks.images_on_disk import write_classes, write_image

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ImageNet: 1000 classes, 5 training images and one of validation each, all links to one image."""
    folder = tmp_path_factory.mktemp("data") / "imagenet"
    image = write_image(folder.parent / "one.png", size=(40, 30))
    for number in range(1000):
        for split, count in (("train", 5), ("val", 1)):
            (folder / split / f"n{number:08d}").mkdir(parents=True)
            for copy in range(count):
                os.link(image, folder / split / f"n{number:08d}" / f"{copy}.png")
    return folder


def test_the_official_validation_folder_is_the_test_split(root: Path) -> None:
    task = load_task("imagenet", root)
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [4000, 1000, 1000]
    source = task.train.source
    assert isinstance(source, ImageSource)
    assert source.path(int(task.test.indices[7])) == root / "val" / "n00000007" / "0.png"
    assert source.targets[task.test.indices].tolist() == list(range(1000))
    assert torch.bincount(source.targets[task.validation.indices]).tolist() == [1] * 1000
    assert torch.equal(load_task("imagenet", root.parent).validation.indices, task.validation.indices)


def test_batches_have_224_pixels_and_published_normalisation(root: Path) -> None:
    task = load_task("imagenet", root)
    source = task.train.source
    assert isinstance(source, ImageSource)
    source.workers = 0
    raw, targets = next(source.batches([task.train.indices[:2]], CPU, seed=1))
    assert raw.shape == (2, 3, 224, 224) == (2, *task_spec("imagenet").input_shape)
    assert targets.tolist() == source.targets[task.train.indices[:2]].tolist()
    expected = (0.5 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(task.normalize(torch.full((1, 3, 1, 1), 0.5)).view(-1), expected)
    assert [metric.name for metric in task.metrics] == ["accuracy", "top5_accuracy"]


def test_top5_counts_a_label_among_the_five_best(root: Path) -> None:
    (top5,) = load_task("imagenet", root).extra_metrics
    outputs = torch.zeros(3, 1000)
    outputs[:, :6] = torch.tensor([6.0, 5, 4, 3, 2, 1])
    assert top5.measure(outputs, torch.tensor([4, 5, 0])) == pytest.approx(2 / 3)


def test_missing_folders_and_other_numbers_of_classes_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no ImageNet under .* --data DIR"):
        load_task("imagenet", tmp_path)
    write_classes(tmp_path / "train", ("n1", "n2"), 2)
    with pytest.raises(DataError, match="no ImageNet under"):
        load_task("imagenet", tmp_path)
    write_classes(tmp_path / "val", ("n1", "n2"), 2)
    with pytest.raises(DataError, match="train has 2 class folders; ImageNet has 1000"):
        load_task("imagenet", tmp_path)
