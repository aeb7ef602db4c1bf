"""What the ten data sets of NAS-Bench-360 consist of, where they are published, and checks of what is there.

Source: Tu et al. 2022, "NAS-Bench-360" (arXiv 2110.05668); docs/nasbench360.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError, UnknownNameError

__all__ = [
    "PUBLISHED",
    "PublishedData",
    "check_array",
    "check_count",
    "hint",
    "inventory",
    "locate",
    "numeric_array",
    "places",
    "published",
    "whole_labels",
]

DRIVE = "https://drive.google.com/drive/folders/1OOp6UrCiP79mTIkCrUdjjHWDo8K0bJUw"
SITE = "https://nb360.ml.cmu.edu"


@dataclass(frozen=True)
class PublishedData:
    """One data set.

    Attributes:
        files: what must be there, as paths below the data folder; patterns (`*`) stand for several.
        size: of the download, as published.
        licence: as the benchmark's site says.
        place: where it is published.
        holds: what is in the files.
        md5: of the archive, where one is published.
    """

    files: tuple[str, ...]
    size: str
    licence: str
    holds: str
    place: str = f"{SITE} (files: {DRIVE})"
    md5: str = ""


PUBLISHED: dict[str, PublishedData] = {
    "cifar100": PublishedData(
        ("cifar-100-python/train", "cifar-100-python/test"),
        "161 MB",
        "CC BY 4.0",
        "the official python files",
        "https://www.cs.toronto.edu/~kriz/ (archscout data fetch cifar100)",
        "eb9058c3a382ffc7106e4002c42a8d85",
    ),
    "spherical": PublishedData(
        ("s2_cifar100.gz",), "272 MB", "CC BY-SA", "a gzipped pickle: train and test with images (N, 3, 60, 60), labels"
    ),
    "ninapro": PublishedData(
        tuple(f"ninaPro/{kind}_{part}.npy" for kind in ("ninapro", "label") for part in ("train", "val", "test")),
        "30 MB",
        "CC BY-ND",
        "series (N, 52, 16) and labels 0 to 17",
    ),
    "fsd50k": PublishedData(
        ("chunks/tr.csv", "chunks/val.csv", "chunks/eval.csv", "chunks/lbl_map.json", "noise_22050/*.wav"),
        "24 GB (audio.zip)",
        "CC BY 4.0",
        "lists of wav files of 22,050 Hz with labels and clips, and background noise",
    ),
    "darcy": PublishedData(
        ("piececonst_r421_N1024_smooth1.mat", "piececonst_r421_N1024_smooth2.mat"),
        "1.6 GB each",
        "MIT",
        "coeff and sol, each (1024, 421, 421)",
    ),
    "psicov": PublishedData(
        (
            "protein/deepcov.lst",
            "protein/psicov.lst",
            "protein/deepcov/features/*.pkl",
            "protein/deepcov/distance/*-cb.npy",
            "protein/psicov/features/*.pkl",
            "protein/psicov/distance/*-cb.npy",
        ),
        "1.1 GB (protein.zip)",
        "GPL",
        "features and distances of the residues of a protein, a file each",
    ),
    "cosmic": PublishedData(
        ("cosmic/npy_train/f435w/*/*/*.npy", "cosmic/npy_test/f435w/*/*/*.npy"),
        "6.5 and 2.0 GB (deepCR.ACS-WFC.train.tar and .test.tar)",
        "open data",
        "image, cosmic-ray mask and ignored pixels (2 or 3, H, W) of each field, sky.npy of each visit",
    ),
    "ecg": PublishedData(
        ("challenge2017.pkl",), "150 MB", "ODC-BY 1.0", "a pickle: data, 1-D records, and label, N, A, O or ~"
    ),
    "satellite": PublishedData(
        ("satellite_train.npy", "satellite_test.npy"),
        "322 and 35 MB",
        "GPL",
        "a pickled dictionary each: data (N, 46) and label 1 to 24",
    ),
    "deepsea": PublishedData(
        ("deepsea_filtered.npz",),
        "860 MB",
        "CC BY 4.0",
        "x_train, x_val, x_test (N, 1000, 4), one of four bases at each place, and y_train, ... (N, 36)",
    ),
}


def published(task: str) -> PublishedData:
    """The data set of a task. Raises UnknownNameError for others than the ten."""
    if task not in PUBLISHED:
        raise UnknownNameError("task of NAS-Bench-360", task, PUBLISHED)
    return PUBLISHED[task]


def hint(task: str) -> str:
    """What to do about missing or wrong files."""
    return (
        f"What is needed and where it is published: archscout data nasbench360 {task}; name the folder with --data DIR "
        "or ARCHSCOUT_DATA."
    )


def places(task: str, root: Path) -> tuple[Path, ...]:
    """The folders in which the files of a task are looked for."""
    return (root, root / task, root / "nasbench360", root / "nasbench360" / task)


def locate(task: str, root: Path, files: Sequence[str]) -> list[Path]:
    """The files, below the data folder or below a folder with the task's name in it.

    Raises:
        DataError: some are missing.
    """
    best: tuple[Path, list[str]] = (root, list(files))
    for place in places(task, root):
        missing = [name for name in files if not (place / name).is_file()]
        if not missing:
            return [place / name for name in files]
        if len(missing) < len(best[1]):
            best = (place, missing)
    raise DataError(f"{best[0]} has no {', no '.join(best[1])}. {hint(task)}")


def numeric_array(path: Path, task: str, shape: tuple[int | None, ...] | None) -> np.ndarray[Any, Any]:
    """An `.npy` file of numbers, checked and mapped.

    Args:
        task: for messages.
        shape: that it must have, with None for an axis of any size; None alone: nothing is checked.

    Raises:
        DataError: missing, truncated, of objects, of another shape, or with values that are not finite.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. {hint(task)}") from None
    except (ValueError, OSError, EOFError) as error:
        what = "holds Python objects" if "object" in str(error).lower() else f"is truncated or no .npy file ({error})"
        raise DataError(f"{path} {what}. {hint(task)}") from None
    if shape is not None:
        check_array(array, str(path), task, shape)
    return array  # type: ignore[no-any-return]


def check_array(array: Any, where: str, task: str, shape: tuple[int | None, ...]) -> None:
    """Raise DataError unless it is an array of finite numbers of that shape (None fits any size)."""
    if not isinstance(array, np.ndarray):
        raise DataError(f"{where} is a {type(array).__name__}; it must be an array. {hint(task)}")
    fits = len(array.shape) == len(shape) and all(
        want in (None, size) for size, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
        raise DataError(f"{where} has the shape {array.shape}; it must be {wanted}. {hint(task)}")
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} holds {array.dtype}; it must hold numbers. {hint(task)}")
    if array.dtype.kind == "f":
        for start in range(0, len(array), 4096):
            if not np.isfinite(array[start : start + 4096]).all():
                raise DataError(f"{where} holds values that are not finite, at or behind index {start}. {hint(task)}")


def check_count(seen: int, wanted: int | None, where: str, task: str) -> None:
    """Raise DataError unless as many samples are there; None allows any number but 0."""
    if seen == 0 or wanted not in (None, seen):
        raise DataError(f"{where} has {seen:,} samples; {task} has {wanted or 'some':,}. {hint(task)}")


def whole_labels(values: Any, where: str, task: str, first: int, classes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Labels `(N,)` or `(N, 1)` from `first` on, as int64 from 0.

    Raises:
        DataError: of another shape, or out of range; the message has the first that is.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype == object:
        array = np.array(
            [label if isinstance(label, int | float | np.number) else np.nan for label in array], np.float64
        )
    check_array(array, where, task, (None,))
    whole: np.ndarray[Any, np.dtype[np.int64]] = array.astype(np.int64)
    wrong = np.flatnonzero((whole != array) | (whole < first) | (whole >= first + classes))
    if len(wrong):
        raise DataError(
            f"{where}[{wrong[0]}] is {array[wrong[0]]}; labels are {first} to {first + classes - 1}. {hint(task)}"
        )
    return whole - first


def inventory(task: str, root: Path) -> list[str]:
    """Lines for people, the last of them with the next step.

    Raises:
        UnknownNameError: none of the ten tasks.
    """
    data = published(task)
    folder = max(places(task, root), key=lambda place: sum(bool(_files(place, name)) for name in data.files))
    missing = [name for name in data.files if not _files(folder, name)]
    lines = [f"{task}: {data.holds}"]
    lines += [f"  {_state(folder, name)}  {name}" for name in data.files]
    digest = f", MD5 {data.md5}" if data.md5 else ", no checksum is published"
    lines += [f"  published at {data.place}", f"  {data.size}; licence {data.licence}{digest}"]
    if missing:
        lines.append(f"  missing in {folder}: get the files and put them there as named above, or name their folder")
    else:
        lines.append(f"  all there in {folder}; next: archscout check-data {task} --data {root}")
    return lines


def _files(folder: Path, name: str) -> Sequence[Path]:
    """The file, or the first of those that a pattern stands for."""
    if "*" not in name:
        return [folder / name] if (folder / name).is_file() else []
    first = next(folder.glob(name), None) if folder.is_dir() else None
    return [] if first is None else [first]


def _state(folder: Path, name: str) -> str:
    found = _files(folder, name)
    if not found:
        return f"{'missing':>11}"
    if "*" in name:
        return f"{sum(1 for _ in folder.glob(name)):>5,} files"
    return f"{found[0].stat().st_size / 1e6:>8,.1f} MB"
