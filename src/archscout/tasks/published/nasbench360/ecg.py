"""ECG: heart beats of one lead; PhysioNet's challenge of 2017."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.metrics.classification import macro_f1
from archscout.tasks.published.nasbench360.files import PUBLISHED, hint, locate
from archscout.tasks.published.nasbench360.point_tasks import classification_task
from archscout.tasks.readers.pickles import read_pickled
from archscout.tasks.readers.prepared import file_key, load_array, prepared, save_array
from archscout.tasks.registry import register_task
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["WindowSource", "ecg_task", "read_ecg"]

WINDOW = 1000
CLASSES = ("N", "A", "O", "~")  # normal, atrial fibrillation, other rhythm, noise
HOPS = (500, 83, 250, 25)  # from window to window, by class; docs/nasbench360.md#what-is-done-with-the-data
HELD = 0.1  # of the records, for validation and for test
SPEC = TaskSpec("ecg", "classification", (1, WINDOW), len(CLASSES))


class WindowSource:
    """Windows of long records; a sample is `(1, window)`.

    Args:
        values: all records, one behind the other, float32.
        starts: of each window.
        targets: of each window.
        window: values in one.
    """

    def __init__(self, values: Tensor, starts: Tensor, targets: Tensor, window: int) -> None:
        self._values, self._starts, self.targets, self._window = values, starts, targets, window
        self._resident: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield windows and their classes; `seed` is not used."""
        if device not in self._resident:
            self._resident[device] = (self._values.to(device), self._starts.to(device), self.targets.to(device))
        values, starts, targets = self._resident[device]
        steps = torch.arange(self._window, device=device)
        for index in indices:
            where = index.to(device)
            yield values[starts[where].unsqueeze(1) + steps].unsqueeze(1), targets[where]


@register_task(SPEC)
def ecg_task(root: Path) -> Task:
    """ECG: windows of 1,000 steps of heart beats, 4 classes; split by record, 8 : 1 : 1."""
    return read_ecg(root)


def read_ecg(root: Path) -> Task:
    """The task of the published file: each record standardised, cut into windows, split by record.

    No window of a record is in two splits. The records of the splits are drawn with scikit-learn and seed 0.

    Raises:
        DataError: the file is missing, truncated, refused, or holds something else.
    """
    (path,) = locate("ecg", root, PUBLISHED["ecg"].files)

    def build(folder: Path) -> None:
        records, labels = _read(path)
        save_array(folder, "values", np.concatenate([_standardised(record) for record in records]))
        save_array(folder, "lengths", np.array([len(record) for record in records], np.int64))
        save_array(folder, "labels", labels)

    folder = prepared(root, "ecg", {"files": file_key([path])}, build)
    lengths, labels = load_array(folder, "lengths"), load_array(folder, "labels")
    starts, owners = _windows(lengths, labels)
    source = WindowSource(load_array(folder, "values"), starts, labels[owners], WINDOW)
    splits = _split_records(len(lengths))
    parts = [Split(source, torch.isin(owners, torch.from_numpy(records)).nonzero().view(-1)) for records in splits]
    if not all(len(part) for part in parts):
        raise DataError(f"{path} has {len(lengths)} records: too few for three splits of windows. {hint('ecg')}")
    train, validation, test = parts
    return classification_task(
        SPEC,
        (train, validation, test),
        {"source": path.name, "records": len(lengths), "split": "by record, 8 : 1 : 1, seed 0"},
        macro_f1(len(CLASSES)),
    )


def _read(path: Path) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Records and class numbers."""
    content = read_pickled(path, hint("ecg"))
    if not isinstance(content, dict) or "data" not in content or "label" not in content:
        raise DataError(f"{path} must hold a dictionary with 'data' and 'label'. {hint('ecg')}")
    records = [np.asarray(record) for record in content["data"]]
    names = [str(label) for label in np.asarray(content["label"]).ravel().tolist()]
    if not records or len(records) != len(names):
        raise DataError(f"{path} has {len(records)} records and {len(names)} labels. {hint('ecg')}")
    for number, (record, name) in enumerate(zip(records, names, strict=True)):
        if record.ndim != 1 or record.dtype.kind not in "iuf" or not np.isfinite(record).all():
            raise DataError(f"{path}: record {number} is no series of finite numbers. {hint('ecg')}")
        if name not in CLASSES:
            raise DataError(f"{path}: label {number} is '{name}'; allowed are {', '.join(CLASSES)}. {hint('ecg')}")
    return records, np.array([CLASSES.index(name) for name in names], np.int64)


def _standardised(record: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = record.astype(np.float64)
    deviation = values.std()
    standardised: np.ndarray[Any, np.dtype[np.float32]] = (
        (values - values.mean()) / (deviation if deviation > 0 else 1.0)
    ).astype(np.float32)
    return standardised


def _windows(lengths: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The start of each window in the joined records, and its record."""
    begins = torch.cumsum(lengths, 0) - lengths
    starts, owners = [], []
    for number, (begin, length, label) in enumerate(
        zip(begins.tolist(), lengths.tolist(), labels.tolist(), strict=True)
    ):
        own = torch.arange(0, max(0, length - WINDOW), HOPS[label])
        starts.append(begin + own)
        owners.append(torch.full_like(own, number))
    return torch.cat(starts), torch.cat(owners)


def _split_records(count: int) -> tuple[np.ndarray[Any, Any], ...]:
    """The records of train, validation and test."""
    held = max(1, round(HELD * count))
    if count < 3:
        return (np.arange(count), np.arange(0), np.arange(0))
    from sklearn.model_selection import train_test_split  # takes half a second, which other tasks need not wait for

    rest, test = train_test_split(np.arange(count), test_size=held, random_state=0)
    train, validation = train_test_split(rest, test_size=held, random_state=0)
    return train, validation, test
