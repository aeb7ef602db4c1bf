"""Class labels: checked, as int64 from 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError

__all__ = ["check_classes", "read_labels"]


def read_labels(values: Any, samples: int, where: str) -> Tensor:
    """Labels `(N,)` or `(N, 1)` of any number type that holds whole numbers, as int64 `(N,)`.

    Args:
        values: array or tensor.
        samples: how many there must be.
        where: their name, for messages.

    Raises:
        DataError: of another shape, not numbers, not whole, negative, or of another number than the samples.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = " For one-hot labels give their argmax over the last axis." if array.ndim == 2 else ""
        raise DataError(f"{where} has the shape {array.shape}; class labels are (N,) or (N, 1).{hint}")
    if len(array) != samples:
        raise DataError(f"{where} has {len(array)} labels for {samples} samples; give one label for each sample.")
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} holds values of type {array.dtype}; give each class as a whole number from 0.")
    if array.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(array) | (array != np.floor(array)))
        if len(wrong):
            raise DataError(
                f"{where}[{wrong[0]}] is {array[wrong[0]]}, and {len(wrong)} labels in all are no whole numbers; "
                "class labels are whole numbers from 0."
            )
    if len(array) and (array < 0).any():
        position = int(np.flatnonzero(array < 0)[0])
        raise DataError(f"{where}[{position}] is {array[position]}; class labels are whole numbers from 0.")
    if len(array) and array.max() > 2**31:
        position = int(array.argmax())
        raise DataError(f"{where}[{position}] is {array[position]}, which is no class label; they count from 0.")
    return torch.from_numpy(array.astype(np.int64))


def _named(label: int, class_names: Sequence[str]) -> str:
    return f"class {label} ({class_names[label]})" if label < len(class_names) else f"class {label}"


def check_classes(train: tuple[str, Tensor], others: Mapping[str, Tensor], class_names: Sequence[str] = ()) -> int:
    """The number of classes: as many as named, else one more than the largest label in training.

    Raises:
        DataError: fewer than two classes, a class without a training sample, or a label out of range.
    """
    where, labels = train
    present = torch.unique(labels)
    classes = len(class_names) or int(present[-1]) + 1
    for name, values in {where: labels, **others}.items():
        high = int(values.max())
        if high >= classes:
            position = int((values >= classes).nonzero()[0])
            told = f"{classes} class names are given" if class_names else f"{where} has the classes 0 to {classes - 1}"
            raise DataError(f"{name}[{position}] is {int(values[position])}, which is out of range: {told}.")
    if len(present) < classes:
        # Found without a table of all classes, which a stray huge label would make enormous.
        gaps = (present != torch.arange(len(present))).nonzero()
        missing = int(gaps[0]) if len(gaps) else len(present)
        hint = " Labels count from 0: subtract 1?" if missing == 0 and len(present) == classes - 1 else ""
        count = classes - len(present)
        raise DataError(
            f"{_named(missing, class_names)} has no sample in {where}"
            f"{f' ({count} of {classes} classes have none)' if count > 1 else ''}; every class needs some.{hint}"
        )
    if classes < 2:
        raise DataError(f"{where} has only one class; a classification task needs at least two.")
    return classes
