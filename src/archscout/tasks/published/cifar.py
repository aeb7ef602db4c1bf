"""CIFAR-10 and CIFAR-100, from the official python files or from an image folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.metrics.classification import accuracy, cross_entropy
from archscout.tasks.preparation import ImagePreparation
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.image_folder import scan_classes
from archscout.tasks.readers.images import read_images
from archscout.tasks.readers.pickles import read_python2_pickle
from archscout.tasks.readers.rendering import Rendering
from archscout.tasks.registry import register_task
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import horizontal_flip, normalizer, random_crop, uint8_to_float

__all__ = ["CIFAR10", "CIFAR100", "CifarFiles", "cifar100_task", "cifar10_task", "read_cifar"]

SIDE = 32
VALIDATION_FRACTION = 0.2  # the last 10,000 of 50,000; docs/methods/ednas.md#search-settings
CROP_PADDING = 4  # docs/methods/darts.md#images


@dataclass(frozen=True)
class CifarFiles:
    """How one of the official archives is laid out.

    Attributes:
        name: of the task.
        folder: that the archive unpacks to.
        train, test: file name to number of images, in storage order.
        label_key: of the labels in a file.
        names_file, names_key: where the class names are.
        classes: how many.
        mean, std: of each channel over the training images, in [0, 1].
    """

    name: str
    folder: str
    train: dict[str, int]
    test: dict[str, int]
    label_key: str
    names_file: str
    names_key: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CIFAR10 = CifarFiles(
    name="cifar10",
    folder="cifar-10-batches-py",
    train={f"data_batch_{number}": 10_000 for number in range(1, 6)},
    test={"test_batch": 10_000},
    label_key="labels",
    names_file="batches.meta",
    names_key="label_names",
    classes=10,
    mean=(0.49139968, 0.48215827, 0.44653124),  # docs/methods/darts.md#images
    std=(0.24703233, 0.24348505, 0.26158768),
)
CIFAR100 = CifarFiles(
    name="cifar100",
    folder="cifar-100-python",
    train={"train": 50_000},
    test={"test": 10_000},
    label_key="fine_labels",
    names_file="meta",
    names_key="fine_label_names",
    classes=100,
    mean=(0.50707519, 0.48654887, 0.44091785),  # docs/methods/darts.md#images
    std=(0.26733428, 0.25643846, 0.27615049),
)


@register_task(TaskSpec(name="cifar10", kind="classification", input_shape=(3, SIDE, SIDE), outputs=10))
def cifar10_task(root: Path) -> Task:
    """CIFAR-10: 60,000 colour images of 32 x 32, 10 classes; 40,000 train, 10,000 validation, 10,000 test."""
    return read_cifar(CIFAR10, root)


@register_task(TaskSpec(name="cifar100", kind="classification", input_shape=(3, SIDE, SIDE), outputs=100))
def cifar100_task(root: Path) -> Task:
    """CIFAR-100: 60,000 colour images of 32 x 32, 100 classes; 40,000 train, 10,000 validation, 10,000 test."""
    return read_cifar(CIFAR100, root)


def read_cifar(files: CifarFiles, root: Path) -> Task:
    """The task of official files, or of an image folder `train/<class>/*`, `test/<class>/*`.

    The last fifth of the training images, in storage order, is the validation split. The images of an image folder
    lie class by class; they are first brought into a fixed random order.

    Args:
        files: which of the two, and its counts.
        root: the folder with the files, or its parent.

    Raises:
        DataError: files are missing, truncated, of the wrong shape or with labels out of range.
    """
    inputs, targets, trained, names, origin = _read_official(files, root) or _read_folder(files, root)
    source = ArraySource(inputs, targets)
    cut = trained - round(trained * VALIDATION_FRACTION)
    indices = torch.arange(len(source))
    return Task(
        spec=TaskSpec(files.name, "classification", (3, SIDE, SIDE), files.classes),
        train=Split(source, indices[:cut]),
        validation=Split(source, indices[cut:trained]),
        test=Split(source, indices[trained:]),
        loss=cross_entropy,
        metric=accuracy(files.classes),
        to_float=uint8_to_float,
        normalize=normalizer(files.mean, files.std),
        preparation=ImagePreparation(Decoding(SIDE, SIDE, fit="squeeze", rendering=Rendering()).to_json()),
        augmentations=(random_crop(CROP_PADDING), horizontal_flip()),
        class_names=names,
        provenance={"source": origin, "split": "last fifth of the training images in storage order"},
    )


Contents = tuple[Tensor, Tensor, int, tuple[str, ...], str]
"""Images and labels, training ones first; the number of training ones; class names; where they came from."""


def _read_official(files: CifarFiles, root: Path) -> Contents | None:
    """From the official files; None where there is no sign of them."""
    wanted = [*files.train, *files.test]
    for folder in (root / files.folder, root):
        present = [name for name in wanted if (folder / name).is_file()]
        if present:
            break
    else:
        return None
    missing = [name for name in wanted if name not in present]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}. {_hint(files)}")
    images, labels = [], []
    for name, count in (files.train | files.test).items():
        x, y = _read_batch(files, folder / name, count)
        images.append(x)
        labels.append(y)
    return (
        torch.from_numpy(np.concatenate(images)),
        torch.from_numpy(np.concatenate(labels)),
        sum(files.train.values()),
        _class_names(files, folder / files.names_file),
        files.folder,
    )


def _read_batch(files: CifarFiles, path: Path, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images `(count, 3, 32, 32)` uint8 and labels `(count,)` int64 of one file, checked."""
    try:
        content = read_python2_pickle(path)
    except DataError as error:
        raise DataError(f"{error} {_hint(files)}") from None
    data, labels = content.get("data"), content.get(files.label_key)
    pixels = 3 * SIDE * SIDE
    if not isinstance(data, np.ndarray) or data.shape != (count, pixels):
        seen = data.shape if isinstance(data, np.ndarray) else "no array"
        raise DataError(f"{path}: 'data' must be uint8 of shape ({count}, {pixels}); got {seen}. {_hint(files)}")
    if not isinstance(labels, list) or len(labels) != count:
        seen = f"{len(labels)} labels" if isinstance(labels, list) else "none"
        raise DataError(f"{path}: '{files.label_key}' must be a list of {count} labels; got {seen}. {_hint(files)}")
    for position, label in enumerate(labels):
        if not isinstance(label, int) or not 0 <= label < files.classes:
            raise DataError(
                f"{path}: label {position} is {label!r}; allowed are 0 to {files.classes - 1}. {_hint(files)}"
            )
    return data.reshape(count, 3, SIDE, SIDE), np.array(labels, np.int64)


def _class_names(files: CifarFiles, path: Path) -> tuple[str, ...]:
    """From the names file; empty where it is missing, since nothing else depends on it."""
    if not path.is_file():
        return ()
    names = read_python2_pickle(path).get(files.names_key)
    if not isinstance(names, list) or len(names) != files.classes:
        raise DataError(f"{path}: '{files.names_key}' must be a list of {files.classes} names. {_hint(files)}")
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)


def _read_folder(files: CifarFiles, root: Path) -> Contents:
    """From an image folder of the class names."""
    for folder in (root, root / files.name):
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            break
    else:
        raise DataError(
            f"no {files.name} under {root}: looked for {files.folder}/ and for train/ and test/ with a folder for each "
            f"class. {_hint(files)}"
        )
    train = scan_classes(folder, "train")
    test = scan_classes(folder, "test", train.class_names)
    if len(train.class_names) != files.classes:
        raise DataError(f"{folder}/train has {len(train.class_names)} class folders; {files.name} has {files.classes}.")
    expected = (sum(files.train.values()), sum(files.test.values()))
    if (len(train), len(test)) != expected:
        raise DataError(
            f"{folder} has {len(train)} training and {len(test)} test images; {files.name} has {expected[0]} and "
            f"{expected[1]}. {_hint(files)}"
        )
    paths = [folder / name for name in (*train.names, *test.names)]
    images = read_images(paths, Decoding(SIDE, SIDE, random_crop=False, margin=1.0))
    order = torch.randperm(len(train), generator=generator(0, files.name, "storage order"))
    return (
        torch.cat([images[: len(train)][order], images[len(train) :]]),
        torch.cat([train.labels[order], test.labels]),
        len(train),
        train.class_names,
        "image folder",
    )


def _hint(files: CifarFiles) -> str:
    return (
        f"Get the official files with: archscout data fetch {files.name}; or name their folder with --data DIR or "
        "ARCHSCOUT_DATA."
    )
