"""Reading the official archives of NATS-Bench and NAS-Bench-201 without running anything that they name.

NATS-Bench's topology archive is a folder of bzip2-compressed pickles, `NNNNNN.pickle.pbz2`, one for each cell;
NAS-Bench-201's is one file of torch. Both hold, for each cell and for the trainings of 12 and of 200 epochs, the
accuracies, times and seeds of every run (docs/nasbench201.md#archives).
"""

from __future__ import annotations

import bz2
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from archscout.errors import ArchitectureError, DataError
from archscout.inert_pickle import NUMPY, Allowed, ForbiddenNameError, load_inert
from archscout.spaces.nasbench201.cell import NasBench201Cell

__all__ = ["read_archive"]

LARGEST_RECORD = 64 * 2**20  # bytes, uncompressed; a full record of NATS-Bench has about 3 MB
SCHEDULES = {"12": 12, "200": 200}
OLD_SCHEDULES = {"less": "12", "full": "200"}
# Official data set -> ours, and the evaluation set of each split. CIFAR-10 is searched on half of the training
# images (`cifar10-valid`) and reported from the training on all of them.
SETS = {
    ("cifar10-valid", "x-valid"): ("cifar10", "val"),
    ("cifar10", "ori-test"): ("cifar10", "test"),
    ("cifar100", "x-valid"): ("cifar100", "val"),
    ("cifar100", "x-test"): ("cifar100", "test"),
    ("ImageNet16-120", "x-valid"): ("imagenet16_120", "val"),
    ("ImageNet16-120", "x-test"): ("imagenet16_120", "test"),
}


ALLOWED: Allowed = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    **NUMPY,
}


def read_archive(source: Path) -> Iterator[tuple[str, NasBench201Cell, Mapping[str, float]]]:
    """File, cell and values of every record.

    Columns are means over seeds: `<dataset>_{val,test}_acc_{12,200}ep` after the last epoch, and
    `<dataset>_seconds_12ep`, the training of 12 epochs with one validation pass, which the official searches charge.

    Raises:
        DataError: unreadable, damaged, of another layout, or naming anything but plain containers and numbers.
    """
    for where, record in _read_folder(source) if source.is_dir() else _read_torch(source):
        try:
            texts = {str(info["arch_str"]) for info in record.values()}
            (text,) = texts
            values: dict[str, float] = {}
            for schedule, epochs in SCHEDULES.items():
                values |= _values(record[schedule], epochs)
            yield where, NasBench201Cell.from_text(text), values
        except (KeyError, TypeError, ValueError, AttributeError, ArchitectureError) as error:
            raise DataError(f"{where} has not the layout of NATS-Bench's topology records ({error!r}).") from None


def _read_folder(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    files = sorted(folder.glob("[0-9]*.pickle.pbz2"))
    if not files:
        raise DataError(f"{folder} has no files NNNNNN.pickle.pbz2, as NATS-Bench's topology archive has.")
    for file in files:
        yield file.name, _read_record(file)


def _read_record(file: Path) -> Mapping[str, Any]:
    try:
        with bz2.open(file) as opened:
            content = opened.read(LARGEST_RECORD + 1)
        if len(content) > LARGEST_RECORD:
            raise ValueError(f"more than {LARGEST_RECORD} bytes")
        record = load_inert(content, ALLOWED)
    except ForbiddenNameError as error:
        raise DataError(
            f"{file.name} is refused: the pickle names {error}, which could run code when loaded. The official files "
            "need nothing but containers and numbers."
        ) from None
    except Exception as error:  # a damaged pickle makes the reader fail in any way
        raise DataError(f"{file.name} is damaged or no record of NATS-Bench ({error}).") from None
    if not isinstance(record, Mapping):
        raise DataError(f"{file.name} holds a {type(record).__name__}; a record is a dictionary.")
    return record


def _read_torch(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        infos = content["arch2infos"]
        records = [(f"record {index}", dict(infos[index])) for index in infos]
    except FileNotFoundError:
        raise DataError(f"{file} does not exist.") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, ValueError, EOFError) as error:
        reason = str(error).strip().splitlines()
        raise DataError(
            f"{file} is no NAS-Bench-201 file that can be read safely ({reason[0] if reason else error!r})."
        ) from None
    for where, record in records:
        yield where, {OLD_SCHEDULES.get(str(name), str(name)): info for name, info in record.items()}


def _values(info: Mapping[str, Any], epochs: int) -> dict[str, float]:
    """The columns of one schedule."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for (dataset, _), result in info["all_results"].items():
        runs.setdefault(dataset, []).append(result)
    values: dict[str, float] = {}
    for (official, evaluation), (dataset, split) in SETS.items():
        if official not in runs:
            continue
        key = f"{evaluation}@{epochs - 1}"
        # Some official trainings have no pass over the search's validation set.
        found = [float(run["eval_acc1es"][key]) for run in runs[official] if key in run["eval_acc1es"]]
        if found:
            values[f"{dataset}_{split}_acc_{epochs}ep"] = _mean(found)
        if split == "val" and epochs == min(SCHEDULES.values()):
            cost = [_seconds(run, key) for run in runs[official]]
            values[f"{dataset}_seconds_{epochs}ep"] = _mean(cost)
    return values


def _seconds(run: Mapping[str, Any], key: str) -> float:
    """Of the whole training and one validation pass."""
    times = run["train_times"]
    every = times.values() if isinstance(times, Mapping) else times
    return sum(map(float, every)) + float(run["eval_times"][key])


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)
