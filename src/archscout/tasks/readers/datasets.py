"""Read a map-style dataset, of torch or of Hugging Face, into arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.containers import Array, as_array, is_missing
from archscout.tasks.findings import Finding
from archscout.tasks.readers.pillow_images import as_pixels
from archscout.tasks.readers.rendering import is_grey

__all__ = ["DatasetArrays", "read_dataset"]

MEMORY_LIMIT = 4 * 2**30  # bytes
IMAGE_COLUMNS = (
    *("image", "img", "picture", "pixel_values", "x", "input", "inputs", "images", "series", "signal", "past_target"),
    *("features", "data", "values"),
)
LABEL_COLUMNS = (
    *("label", "labels", "fine_label", "target", "targets", "class", "y", "mask", "annotation", "segmentation_mask"),
    *("output", "value", "score"),
)
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


@runtime_checkable
class _SequenceOf(Protocol):  # Hugging Face's feature of lists
    feature: Any


@dataclass(frozen=True)
class DatasetArrays:
    """A dataset in memory.

    Attributes:
        inputs: `(N, ...)`, or a list of arrays where they have unequal shapes.
        labels: one for each sample, as the dataset gives them.
        class_names: as the dataset tells.
        layout: "auto" where it is not known.
        grey: all inputs were images without colours.
        findings: what was noticed.
    """

    inputs: Array | list[Array]
    labels: list[Any]
    class_names: tuple[str, ...]
    layout: str
    grey: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def is_unlabelled(self) -> bool:
        """Whether no sample has a label: none at all, or -1 beside classes that have names."""
        return all(is_missing(label) or (bool(self.class_names) and _is_minus_one(label)) for label in self.labels)


def _is_minus_one(label: Any) -> bool:
    return isinstance(label, int | np.integer) and int(label) == -1


def read_dataset(
    dataset: Any,
    part: str,
    image_column: str | None = None,
    label_column: str | None = None,
    *,
    grey: bool = True,
) -> DatasetArrays:
    """All samples of a map-style dataset, in memory.

    Args:
        dataset: with `__len__` and `__getitem__`, whose samples are `(input, label)` or mappings.
        part: its name in messages, for example "train".
        image_column, label_column: keys of samples that are mappings; None looks for the usual ones.
        grey: whether images without colours get one channel; they all have none, or all get three.

    Raises:
        DataError: no map-style dataset, empty, samples of another form, or larger than 4 GiB.
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
    columns, findings = _columns(first, part, image_column, label_column)
    names = _class_names(dataset, columns)
    kept = _Kept(count, part)
    labels: list[Any] = []
    images = False
    for index in range(count):
        sample, label = _input_and_label(dataset[index] if index else first, columns, part, index)
        if isinstance(sample, Image.Image):
            images = True
            if grey and not is_grey(sample):  # the first with colours: all images get three channels
                return read_dataset(dataset, part, image_column, label_column, grey=False)
            sample = as_pixels(sample, grey=grey)
        if isinstance(label, Image.Image):
            label = np.asarray(label)
        elif isinstance(label, Tensor):
            label = as_array(label[None], f"the label of sample {index} of the {part} dataset")[0]
        kept.add(index, sample)
        labels.append(label)
    layout = "auto" if not images else "NHW" if grey else "NHWC"
    return DatasetArrays(kept.values(), labels, names, layout, images and grey, findings)


class _Kept:
    """Inputs in memory: one array while all shapes are equal, else a list."""

    def __init__(self, count: int, part: str) -> None:
        self.count, self.part = count, part
        self.whole: Array | None = None
        self.others: list[Array] | None = None
        self.bytes = 0

    def add(self, index: int, sample: Any) -> None:
        """Keep the sample at `index`, the next one."""
        where = f"sample {index} of the {self.part} dataset"
        one = sample if isinstance(sample, np.ndarray) else as_array(sample, where)
        if not isinstance(one, np.ndarray):
            raise DataError(f"{where} is no rectangle; give one array for each sample.")
        if self.whole is None:
            self._check(self.count * one.nbytes)
            self.whole = np.empty((self.count, *one.shape), one.dtype)
        if one.dtype != self.whole.dtype:
            raise DataError(
                f"{where} is {one.dtype} {one.shape}, but sample 0 is {self.whole.dtype} {self.whole.shape[1:]}; all "
                "samples must be alike."
            )
        if self.others is None and one.shape != self.whole.shape[1:]:
            self.others = list(self.whole[:index])
            self.bytes = index * self.whole[0].nbytes
        if self.others is None:
            self.whole[index] = one
            return
        self.bytes += one.nbytes
        self._check(self.bytes)
        self.others.append(one)

    def _check(self, size: int) -> None:
        if size > MEMORY_LIMIT:
            raise DataError(
                f"the {self.part} dataset needs {size / 2**30:.1f} GiB in memory, more than the 4 GiB allowed. "
                "Write it as an image folder (train/<class>/*.jpg), which is read from disk."
            )

    def values(self) -> Array | list[Array]:
        """All samples."""
        assert self.whole is not None, "no sample was added"
        return self.whole if self.others is None else self.others


def _columns(
    sample: Any, part: str, image_column: str | None, label_column: str | None
) -> tuple[tuple[str, str] | None, tuple[Finding, ...]]:
    """The columns of input and label, for samples that are mappings, and what to say of the others."""
    if not isinstance(sample, Mapping):
        return None, ()
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
    unread = [str(key) for key in sample if key not in found]
    if not unread:
        return (found[0], found[1]), ()
    note = f"the {part} samples are read by their columns {found[0]} and {found[1]}; not read: {', '.join(unread)}."
    return (found[0], found[1]), (Finding("note", "columns", note, tuple(unread)),)


def _input_and_label(sample: Any, columns: tuple[str, str] | None, part: str, index: int) -> tuple[Any, Any]:
    if columns is not None:
        return sample[columns[0]], sample[columns[1]]
    if isinstance(sample, PAIR_TYPES) and len(sample) == 2:
        return sample[0], sample[1]
    raise DataError(
        f"sample {index} of the {part} dataset is a {type(sample).__name__}; it must be a pair (input, label) or a "
        "mapping with an image and a label."
    )


def _class_names(dataset: Any, columns: tuple[str, str] | None) -> tuple[str, ...]:
    """The names of the classes: torchvision's `classes`, or those in the label feature of Hugging Face's."""
    if columns is not None:
        feature = dataset.features.get(columns[1]) if isinstance(dataset, _HasFeatures) and dataset.features else None
        if isinstance(feature, _SequenceOf):  # several labels for each sample
            feature = feature.feature
        names = feature.names if isinstance(feature, _ClassLabel) else None
    else:
        names = dataset.classes if isinstance(dataset, _HasClasses) else None
    return tuple(str(name) for name in names) if isinstance(names, PAIR_TYPES) else ()
