"""Read a map-style dataset, of torch or of Hugging Face, into arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image
from torch import Tensor

from archscout.errors import DataError

__all__ = ["DatasetArrays", "read_dataset"]

MEMORY_LIMIT = 4 * 2**30  # bytes
IMAGE_COLUMNS = ("image", "img", "picture", "pixel_values", "x", "input")
LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class", "y")
PAIR_TYPES = (tuple, list)


@runtime_checkable
class _MapStyle(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


@runtime_checkable
class _HasClasses(Protocol):  # torchvision's datasets
    classes: Any


@runtime_checkable
class _HasFeatures(Protocol):  # Hugging Face's datasets
    features: Any


@runtime_checkable
class _ClassLabel(Protocol):  # Hugging Face's feature of labels
    names: Any


@dataclass(frozen=True)
class DatasetArrays:
    """A dataset in memory: inputs `(N, ...)`, labels `(N,)`, its class names, and its layout ("auto" if not known)."""

    inputs: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    class_names: tuple[str, ...]
    layout: str


def read_dataset(
    dataset: Any, part: str, image_column: str | None = None, label_column: str | None = None
) -> DatasetArrays:
    """All samples of a map-style dataset, in memory.

    Args:
        dataset: with `__len__` and `__getitem__`, whose samples are `(input, label)` or mappings.
        part: its name in messages, for example "train".
        image_column, label_column: keys of samples that are mappings; None looks for the usual ones.

    Raises:
        DataError: no map-style dataset, empty, samples of another form or of different shapes, or larger than 4 GiB.
    """
    if not isinstance(dataset, _MapStyle):
        raise DataError(
            f"the {part} dataset is a {type(dataset).__name__} without a length or without access by index; give a "
            "map-style dataset, or arrays."
        )
    count = len(dataset)
    if count == 0:
        raise DataError(f"the {part} dataset is empty; every split needs samples.")
    first = dataset[0]
    columns = _columns(first, part, image_column, label_column)
    sample, _ = _input_and_label(first, columns, part, 0)
    mode = ("L" if sample.mode in ("1", "L", "LA") else "RGB") if isinstance(sample, Image.Image) else None
    reference = _as_array(sample, mode)
    if count * reference.nbytes > MEMORY_LIMIT:
        raise DataError(
            f"the {part} dataset needs {count * reference.nbytes / 2**30:.1f} GiB in memory, more than the 4 GiB "
            "allowed. Write it as an image folder (train/<class>/*.jpg), which is read from disk."
        )
    inputs = np.empty((count, *reference.shape), reference.dtype)
    labels = np.empty(count, np.float64)
    for index in range(count):
        sample, label = _input_and_label(dataset[index], columns, part, index)
        array = _as_array(sample, mode)
        if array.shape != reference.shape or array.dtype != reference.dtype:
            raise DataError(
                f"sample {index} of the {part} dataset is {array.dtype} {array.shape}, but sample 0 is "
                f"{reference.dtype} {reference.shape}; all samples must be alike."
            )
        inputs[index] = array
        labels[index] = _label_value(label, part, index)
    layout = "auto" if mode is None else "NHW" if mode == "L" else "NHWC"
    return DatasetArrays(inputs, labels, _class_names(dataset, columns), layout)


def _columns(sample: Any, part: str, image_column: str | None, label_column: str | None) -> tuple[str, str] | None:
    """The columns of input and label, for samples that are mappings."""
    if not isinstance(sample, Mapping):
        return None
    found = []
    for what, wanted, usual in (("input", image_column, IMAGE_COLUMNS), ("label", label_column, LABEL_COLUMNS)):
        candidates = (wanted,) if wanted is not None else usual
        column = next((key for key in candidates if key in sample), None)
        if column is None:
            raise DataError(
                f"the {part} dataset has no {what} column among {', '.join(candidates)}; its columns are "
                f"{', '.join(str(key) for key in sample)}. Name it with "
                f"{'image_column' if what == 'input' else 'label_column'}=..."
            )
        found.append(column)
    return found[0], found[1]


def _input_and_label(sample: Any, columns: tuple[str, str] | None, part: str, index: int) -> tuple[Any, Any]:
    if columns is not None:
        return sample[columns[0]], sample[columns[1]]
    if isinstance(sample, PAIR_TYPES) and len(sample) == 2:
        return sample[0], sample[1]
    raise DataError(
        f"sample {index} of the {part} dataset is a {type(sample).__name__}; it must be a pair (input, label) or a "
        "mapping with an image and a label."
    )


def _as_array(sample: Any, mode: str | None) -> np.ndarray[Any, Any]:
    if isinstance(sample, Image.Image):
        return np.asarray(sample.convert(mode))
    return sample.detach().cpu().numpy() if isinstance(sample, Tensor) else np.asarray(sample)


def _label_value(label: Any, part: str, index: int) -> float:
    value = label.detach().cpu().numpy() if isinstance(label, Tensor) else np.asarray(label)
    if value.size != 1 or value.dtype.kind not in "buif":
        raise DataError(
            f"the label of sample {index} of the {part} dataset is {label!r}; class labels are whole numbers from 0."
        )
    return float(value.reshape(()))


def _class_names(dataset: Any, columns: tuple[str, str] | None) -> tuple[str, ...]:
    """The names of the classes: torchvision's `classes`, or those in the label feature of Hugging Face's."""
    if columns is not None:
        feature = dataset.features.get(columns[1]) if isinstance(dataset, _HasFeatures) and dataset.features else None
        names = feature.names if isinstance(feature, _ClassLabel) else None
    else:
        names = dataset.classes if isinstance(dataset, _HasClasses) else None
    return tuple(str(name) for name in names) if isinstance(names, PAIR_TYPES) else ()
