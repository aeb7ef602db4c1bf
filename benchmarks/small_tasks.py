"""Small tasks as `.npz` files: two that are made of scikit-learn's digits, and a fifth of CIFAR-10.

The digits serve for several labels an image, and for a label at every pixel. Images of the train, validation and
test parts are made of different digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from archscout.tasks import load_task

__all__ = ["write_cifar", "write_pairs", "write_scenes"]

PARTS = {"train": (slice(0, 1197), 1000), "val": (slice(1197, 1497), 200), "test": (slice(1497, None), 400)}
SIDE = 16
NOISE = 40
INK = 128
CIFAR_TRAIN, CIFAR_VALIDATION = 10_000, 1_000
Bytes = NDArray[np.uint8]


def write_pairs(path: Path) -> None:
    """Two digits side by side, 8 x 16 pixels; ten labels say which digits are there."""
    arrays: dict[str, Any] = {}
    for part, (digits, classes, count, draw) in _parts():
        pairs = draw.integers(0, len(digits), (count, 2))
        arrays[f"x_{part}"] = np.concatenate([digits[pairs[:, 0]], digits[pairs[:, 1]]], axis=2)
        labels = np.zeros((count, 10), dtype=np.uint8)
        for column in (0, 1):
            labels[np.arange(count), classes[pairs[:, column]]] = 1
        arrays[f"y_{part}"] = labels
    np.savez_compressed(path, kind=np.array("multilabel"), **arrays)


def write_scenes(path: Path) -> None:
    """A digit at some place of a noisy image of 16 x 16 pixels; the mask of its strokes is wanted."""
    arrays: dict[str, Any] = {}
    for part, (digits, _, count, draw) in _parts():
        images = draw.integers(0, NOISE, (count, SIDE, SIDE)).astype(np.int64)
        masks = np.zeros((count, 1, SIDE, SIDE), dtype=np.uint8)
        for number in range(count):
            digit, (row, column) = digits[draw.integers(len(digits))], draw.integers(0, SIDE - 8, 2)
            images[number, row : row + 8, column : column + 8] += digit
            masks[number, 0, row : row + 8, column : column + 8] = digit >= INK
        spots = draw.random(images.shape) < 0.05  # as bright as strokes: the neighbours must be looked at
        images[spots] += draw.integers(INK, 256, int(spots.sum()))
        arrays[f"x_{part}"], arrays[f"y_{part}"] = images.clip(0, 255).astype(np.uint8), masks
    np.savez_compressed(path, kind=np.array("dense"), **arrays)


def write_cifar(path: Path, data: Path | None) -> None:
    """Some of CIFAR-10's training images, and all of the test."""
    task = load_task("cifar10", data)
    arrays: dict[str, Any] = {}
    indices = task.development.indices.sort().values  # by place in the files, which are shuffled
    parts = {
        "train": (task.development, indices[:CIFAR_TRAIN]),
        "val": (task.development, indices[CIFAR_TRAIN : CIFAR_TRAIN + CIFAR_VALIDATION]),
        "test": (task.test, task.test.indices),
    }
    for part, (split, chosen) in parts.items():
        images, labels = next(iter(split.source.batches(iter([chosen]), torch.device("cpu"))))
        arrays[f"x_{part}"], arrays[f"y_{part}"] = images.numpy(), labels.numpy()
    np.savez(path, **arrays)


def _parts() -> list[tuple[str, tuple[Bytes, NDArray[np.int64], int, np.random.Generator]]]:
    """Name, images, classes, number of samples and generator of each part."""
    bunch = load_digits()
    images = (bunch.images * (255 / 16)).round().astype(np.uint8)
    return [
        (part, (images[chosen], bunch.target[chosen], count, np.random.default_rng(number)))
        for number, (part, (chosen, count)) in enumerate(PARTS.items())
    ]
