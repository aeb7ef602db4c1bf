from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from archscout.errors import DataError
from archscout.tasks import Task
from archscout.tasks.readers.arrays import task_from_datasets


class Samples(Dataset[Any]):
    """A map-style dataset of a function of the index."""

    def __init__(self, count: int, sample: Callable[[int], Any], **attributes: Any) -> None:
        self.count, self.sample = count, sample
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.sample(index)


def image(index: int, mode: str = "RGB") -> Image.Image:
    shape = (10, 12) if mode == "L" else (10, 12, 3)
    return Image.fromarray(np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8))


def first_input(task: Task) -> torch.Tensor:
    return next(task.test.source.batches([torch.tensor([0])], torch.device("cpu")))[0][0]


def test_tensor_dataset() -> None:
    x, y = torch.randint(256, (30, 3, 10, 12), dtype=torch.uint8), torch.arange(30) % 3
    task = Task.from_datasets(
        TensorDataset(x, y), TensorDataset(x[:6], y[:6]), validation=TensorDataset(x[6:9], y[6:9])
    )
    assert task.spec.input_shape == (3, 10, 12)
    assert (len(task.train), len(task.validation), len(task.test)) == (30, 3, 6)
    assert torch.equal(first_input(task), x[0])


def test_pillow_images_and_the_datasets_own_class_names() -> None:
    data = Samples(12, lambda index: (image(index), index % 2), classes=["cat", "dog"])
    task = task_from_datasets(data, data, name="pets")
    assert task.class_names == ("cat", "dog")
    assert task.spec.input_shape == (3, 10, 12)
    assert np.array_equal(first_input(task).numpy(), np.asarray(image(0)).transpose(2, 0, 1))


def test_hugging_face_columns_and_label_names() -> None:
    def sample(index: int) -> dict[str, Any]:
        return {"img": image(index, "L" if index else "RGB"), "fine_label": index % 2}

    features = {"fine_label": SimpleNamespace(names=["cat", "dog"])}
    data = Samples(12, sample, features=features)
    task = task_from_datasets(data, data)
    assert task.class_names == ("cat", "dog")
    assert task.spec.input_shape == (3, 10, 12)  # the first image is in colour, so all are read so
    named = Samples(12, lambda index: {"a": image(index, "L"), "b": index % 2})
    assert task_from_datasets(named, named, image_column="a", label_column="b").spec.input_shape == (1, 10, 12)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (iter([]), "the train dataset is a list_iterator without a length"),
        (Samples(0, image), "the train dataset is empty"),
        (Samples(4, lambda index: 3), "sample 0 of the train dataset is a int; it must be a pair"),
        (Samples(4, lambda index: {"image": 1}), "no label column among label, .* its columns are image"),
        (Samples(4, lambda index: (np.zeros((index + 1, 5, 3)), 0)), "but x_train.0. 1 x 5 x 3; all samples need"),
        (Samples(4, lambda index: (np.zeros(3), "cat")), "y_test holds numbers, but y_train texts"),
        (Samples(4, lambda index: (np.zeros(3), {"boxes": []})), r"y_train\[0\] is a dict"),
        (Samples(2**40, lambda index: (np.zeros(3), 0)), "more than the 4 GiB"),
        (Samples(4, lambda index: (np.zeros(3, np.int16 if index else np.int64), 0)), r"sample 1 .* is int16 \(3,\)"),
    ],
)
def test_unusable_datasets_are_told(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_from_datasets(data, Samples(4, lambda index: (np.zeros(3), 0)))


def test_labels_of_any_kind_and_a_missing_test_split() -> None:
    words = task_from_datasets(Samples(30, lambda index: (image(index), ["dog", "cat"][index % 2])))
    assert words.class_names == ("cat", "dog")
    assert len(words.train) + len(words.validation) + len(words.test) == 30
    numbers = task_from_datasets(Samples(30, lambda index: (image(index), torch.tensor(index / 7))))
    assert numbers.spec.kind == "regression"
    several = task_from_datasets(Samples(30, lambda index: (image(index), [["a"], ["a", "b"], []][index % 3])))
    assert (several.spec.kind, several.class_names) == ("multilabel", ("a", "b"))


def test_masks_as_images_keep_their_numbers() -> None:
    def sample(index: int) -> dict[str, Any]:
        mask = Image.fromarray(np.full((10, 12), index % 2 * 255, np.uint8))
        return {"image": image(index), "mask": mask.convert("P") if index == 3 else mask}

    task = task_from_datasets(Samples(12, sample))
    assert (task.spec.kind, task.class_names) == ("dense", ("0", "255"))


def test_colours_of_a_later_image_or_split_are_kept() -> None:
    grey = Samples(12, lambda index: (image(index, "L"), index % 2))
    late = Samples(12, lambda index: (image(index, "RGB" if index == 11 else "L"), index % 2))
    assert task_from_datasets(late).spec.input_shape == (3, 10, 12)
    assert task_from_datasets(grey, late).spec.input_shape == (3, 10, 12)
    assert task_from_datasets(grey, grey).spec.input_shape == (1, 10, 12)


def test_images_of_unequal_size_are_told_with_two_sizes() -> None:
    def sample(index: int) -> tuple[Image.Image, int]:
        return image(index).resize((12, 10 + (index == 5))), index % 2

    with pytest.raises(DataError, match=r"x_train\[0\] has the shape 10 x 12 x 3, but x_train\[5\] 11 x 12 x 3"):
        task_from_datasets(Samples(12, sample))


def test_labels_of_minus_one_in_the_test_split_are_none() -> None:
    features = {"label": SimpleNamespace(names=["cat", "dog"])}
    train = Samples(20, lambda index: {"image": image(index), "label": index % 2}, features=features)
    test = Samples(6, lambda index: {"image": image(index), "label": -1}, features=features)
    task = task_from_datasets(train, test)
    assert task.unlabelled is not None
    assert len(task.unlabelled) == 6


def test_images_are_read_as_a_viewer_shows_them() -> None:
    def sample(index: int) -> tuple[Image.Image, int]:
        turned = image(index)
        turned.getexif()[0x0112] = 6  # the viewer turns it by 90 degrees
        return turned, index % 2

    task = task_from_datasets(Samples(12, sample), Samples(12, sample))
    assert task.spec.input_shape == (3, 12, 10)
    assert np.array_equal(first_input(task).numpy().transpose(1, 2, 0), np.rot90(np.asarray(image(0)), -1))


def test_deep_images_keep_their_values() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (12, 10, 12)).astype(np.uint16)
    task = task_from_datasets(Samples(12, lambda index: (Image.fromarray(values[index]), index % 2)))
    stored = next(task.train.source.batches([task.train.indices], torch.device("cpu")))[0]
    assert np.allclose(stored[:, 0].numpy() * 65535, values[task.train.indices.numpy()])


def test_columns_that_are_not_read_are_told() -> None:
    data = Samples(20, lambda index: {"img": image(index), "fine_label": index % 2, "coarse_label": 0})
    assert [each.names for each in task_from_datasets(data).findings] == [("coarse_label",)]
