"""ImageNet16-120, the third data set of NAS-Bench-201: 120 classes of ImageNet at 16 x 16 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.metrics.classification import accuracy, cross_entropy
from archscout.tasks.preparation import ImagePreparation
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.pickles import read_python2_pickle
from archscout.tasks.readers.rendering import Rendering
from archscout.tasks.registry import register_task
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import horizontal_flip, normalizer, random_crop, uint8_to_float

__all__ = ["imagenet16_120_task", "read_imagenet16"]

SIDE = 16
CLASSES = 120  # the first ones; labels in the files count from 1 to 1,000
TRAIN_FILES = tuple(f"train_data_batch_{number}" for number in range(1, 11))
TEST_FILE = "val_data"
COUNTS = (151_700, 6_000)  # of the 120 classes; docs/nasbench201.md#data-and-training
CROP_PADDING = 2
MEAN = tuple(value / 255 for value in (122.68, 116.66, 104.01))  # docs/nasbench201.md#data-and-training
STD = tuple(value / 255 for value in (63.22, 61.26, 65.09))
FOLDER = "ImageNet16"
HINT = (
    "Get the downsampled ImageNet of 16 x 16 pixels (train_data_batch_1 to 10 and val_data) and name its folder with "
    "--data DIR or ARCHSCOUT_DATA."
)

SPEC = TaskSpec(name="imagenet16_120", kind="classification", input_shape=(3, SIDE, SIDE), outputs=CLASSES)


@register_task(SPEC)
def imagenet16_120_task(root: Path) -> Task:
    """ImageNet16-120: colour images of 16 x 16, 120 classes; 151,700 train, 3,000 validation, 3,000 test."""
    return read_imagenet16(root, COUNTS)


def read_imagenet16(root: Path, counts: tuple[int, int]) -> Task:
    """The task of the official files.

    The 6,000 images of `val_data` are halved into validation and test by a fixed shuffle. The benchmark's own halves
    are of the same sizes but other images: its list of indices is no part of the data's archive.

    Args:
        root: the folder with the files, or its parent.
        counts: images of the 120 classes in the training files, and in `val_data`.

    Raises:
        DataError: files are missing, truncated, of another shape, or have other counts.
    """
    folder = next((place for place in (root / FOLDER, root) if (place / TEST_FILE).is_file()), None)
    if folder is None:
        raise DataError(f"no {FOLDER} under {root}: looked for {TEST_FILE} and {TRAIN_FILES[0]}. {HINT}")
    missing = [name for name in TRAIN_FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}. {HINT}")
    train = [_read_batch(folder / name) for name in TRAIN_FILES]
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    held, held_labels = _read_batch(folder / TEST_FILE)
    if (len(labels), len(held_labels)) != counts:
        raise DataError(
            f"{folder} has {len(labels):,} training images and {len(held_labels):,} others of the first {CLASSES} "
            f"classes; ImageNet16-120 has {counts[0]:,} and {counts[1]:,}. {HINT}"
        )
    source = ArraySource(
        torch.from_numpy(np.concatenate([images, held])), torch.from_numpy(np.concatenate([labels, held_labels]))
    )
    order = len(labels) + torch.randperm(len(held_labels), generator=generator(0, "imagenet16_120", "halves"))
    half = len(held_labels) // 2
    return Task(
        spec=SPEC,
        train=Split(source, torch.arange(len(labels))),
        validation=Split(source, order[:half].sort().values),
        test=Split(source, order[half:].sort().values),
        loss=cross_entropy,
        metric=accuracy(CLASSES),
        to_float=uint8_to_float,
        normalize=normalizer(MEAN, STD),
        preparation=ImagePreparation(Decoding(SIDE, SIDE, fit="squeeze", rendering=Rendering()).to_json()),
        augmentations=(random_crop(CROP_PADDING), horizontal_flip()),
        provenance={"source": FOLDER, "split": "val_data halved by a fixed shuffle, not the benchmark's own halves"},
    )


def _read_batch(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images `(n, 3, 16, 16)` uint8 and labels `(n,)` from 0 of the first 120 classes in a file, checked."""
    try:
        content = read_python2_pickle(path, arrays=("data",))
    except DataError as error:
        raise DataError(f"{error} {HINT}") from None
    data, labels = content.get("data"), content.get("labels")
    pixels = 3 * SIDE * SIDE
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != pixels:
        seen = data.shape if isinstance(data, np.ndarray) else "no array"
        raise DataError(f"{path}: 'data' must be uint8 of shape (n, {pixels}); got {seen}. {HINT}")
    if not isinstance(labels, list) or len(labels) != len(data):
        seen = f"{len(labels)} labels" if isinstance(labels, list) else "none"
        raise DataError(f"{path}: 'labels' must be a list of {len(data)} labels; got {seen}. {HINT}")
    if not all(isinstance(label, int) and 1 <= label <= 1000 for label in labels):
        raise DataError(f"{path}: a label is not from 1 to 1,000. {HINT}")
    numbers = np.array(labels, np.int64)
    wanted = numbers <= CLASSES
    return data[wanted].reshape(-1, 3, SIDE, SIDE), numbers[wanted] - 1
