"""Classification of series: `.ts` files of the UCR and UEA archives, by path or by name."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from archscout.errors import DataError
from archscout.tasks.options import DEFAULTS, HOLD_OUT, TaskOptions
from archscout.tasks.readers.arrays import task_from_arrays
from archscout.tasks.readers.series_files import Series, SeriesFile, read_series
from archscout.tasks.registry import register_family, register_reader
from archscout.tasks.task import Task

__all__ = ["series_task", "ucr_task"]

PARTS = ("TRAIN", "TEST")
# Where the archives unpack to, below the data folder.
FOLDERS = ("", "ucr", "uea", "Univariate_ts", "Multivariate_ts")


def _holds_series(path: Path) -> bool:
    """Whether a path is a `.ts` file, or a folder that has some."""
    return next(path.glob("*.ts"), None) is not None if path.is_dir() else path.suffix == ".ts" and path.is_file()


def _pair(path: Path) -> tuple[Path, Path]:
    """The training and the test file: of a folder, or of one of the two."""
    if path.is_dir():
        names = sorted({file.name.removesuffix("_TRAIN.ts") for file in path.glob("*_TRAIN.ts")})
        if path.resolve().name in names:
            names = [path.resolve().name]
        if len(names) != 1:
            found = f"several: {', '.join(names)}" if names else "none"
            raise DataError(
                f"{path} should have one pair NAME_TRAIN.ts and NAME_TEST.ts; it has {found}. Name one of the files."
            )
        path = path / f"{names[0]}_TRAIN.ts"
    name = path.name.removesuffix(".ts")
    stem = next((name.removesuffix(f"_{part}") for part in PARTS if name.endswith(f"_{part}")), None)
    if stem is None:
        raise DataError(f"{path}: series come in pairs NAME_TRAIN.ts and NAME_TEST.ts; this name ends in neither.")
    train, test = (path.with_name(f"{stem}_{part}.ts") for part in PARTS)
    for file in (train, test):
        if not file.is_file():
            raise DataError(f"{file} does not exist; series come in pairs NAME_TRAIN.ts and NAME_TEST.ts.")
    return train, test


def _without_gaps(case: Series) -> tuple[Series, int]:
    """Missing values filled by straight lines within the channel, and their number."""
    missing = np.isnan(case)
    count = int(missing.sum())
    if count:
        steps = np.arange(case.shape[1])
        for channel, gaps in zip(case, missing, strict=True):
            if gaps.all():
                channel[:] = 0
            elif gaps.any():
                channel[gaps] = np.interp(steps[gaps], steps[~gaps], channel[~gaps])
    return case, count


def _padded(file: SeriesFile, length: int, fill: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Series:
    """All cases `(N, C, length)`: the shorter ones are followed by the channel's fill value."""
    whole = np.empty((len(file.cases), file.channels, length), np.float32)
    whole[:] = fill[:, None]
    for row, case in zip(whole, file.cases, strict=True):
        row[:, : case.shape[1]] = case
    return whole


@register_reader(
    "series",
    "a .ts file of series (NAME_TRAIN.ts, beside NAME_TEST.ts) or their folder",
    _holds_series,
    heeds=HOLD_OUT,
)
def series_task(path: Path, options: TaskOptions = DEFAULTS, *, name: str | None = None) -> Task:
    """The task of a pair `NAME_TRAIN.ts`, `NAME_TEST.ts`.

    A sixth of the training cases is held out for validation, each class in proportion. Missing values are filled by
    straight lines. Shorter cases are padded at their end, to the longest of both files, with the channel's mean over
    the training file, which is 0 after normalisation.

    Args:
        path: of one of the two files, or of a folder with one pair.
        name: of the task; default: that of the files.

    Raises:
        DataError: a file is missing or wrong, or the two do not belong together.
    """
    files = tuple(read_series(file) for file in _pair(path))
    train, test = files
    if (train.channels, train.class_names) != (test.channels, test.class_names):
        raise DataError(
            f"{test.path} has {test.channels} channels and the classes {', '.join(test.class_names)}, but "
            f"{train.path.name} {train.channels} and {', '.join(train.class_names)}: they do not belong together."
        )
    missing = sum(_without_gaps(case)[1] for file in files for case in file.cases)
    values = np.concatenate(train.cases, axis=1)
    fill = values.mean(1, dtype=np.float64).astype(np.float32)
    lengths = [file.lengths for file in files]
    short, long = min(low for low, _ in lengths), max(high for _, high in lengths)
    digest = hashlib.sha256(b"".join(file.path.read_bytes() for file in files)).hexdigest()
    facts: dict[str, object] = {"source": f"{train.path.name}, {test.path.name}", "sha256": digest}
    if short < long:
        facts["padded"] = f"cases of {short} to {long} steps, at their end"
    if missing:
        facts["filled"] = f"{missing} missing values, by straight lines"
    try:
        return task_from_arrays(
            _padded(train, long, fill),
            np.array(train.labels),
            _padded(test, long, fill),
            np.array(test.labels),
            name=name or train.path.name.removesuffix("_TRAIN.ts"),
            class_names=train.class_names,
            provenance=facts,
            options=options,
            layout="NCL",
        )
    except DataError as error:
        raise DataError(f"{train.path}: {error}") from None


def _aeon_data() -> Path | None:
    """The data sets inside the package aeon, which is looked for but not imported: it pins old versions of numpy."""
    found = find_spec("aeon")
    return None if found is None or found.origin is None else Path(found.origin).parent / "datasets" / "data"


def _series_below(folder: Path) -> list[str]:
    return sorted(
        file.parent.name for file in folder.glob("*/*_TRAIN.ts") if file.name == f"{file.parent.name}_TRAIN.ts"
    )


@register_family("ucr", "ucr:NAME")
def ucr_task(name: str, root: Path) -> Task:
    """Series of the UCR and UEA archives, by name: ucr:ItalyPowerDemand, ucr:JapaneseVowels, ...

    Files `NAME/NAME_TRAIN.ts` and `NAME/NAME_TEST.ts` are looked for in the data folder, in `ucr`, `uea`,
    `Univariate_ts` and `Multivariate_ts` there, and among the data sets that the package aeon brings.
    """
    bundled = _aeon_data()
    places = [root / folder / name for folder in FOLDERS] + ([bundled / name] if bundled is not None else [])
    for place in places if name else []:
        if (place / f"{name}_TRAIN.ts").is_file():
            return series_task(place / f"{name}_TRAIN.ts", DEFAULTS, name=f"ucr:{name}")
    here = sorted({found for folder in FOLDERS for found in _series_below(root / folder)})
    known = [*here, *(_series_below(bundled) if bundled is not None else [])]
    listed = f"There are: {', '.join(dict.fromkeys(known))}. " if known else ""
    message = (
        f"no series '{name}': looked for {name}/{name}_TRAIN.ts in {root} and in its folders "
        f"{', '.join(filter(None, FOLDERS))}. {listed}Get the archive from timeseriesclassification.com and name its "
        "folder with --data DIR or ARCHSCOUT_DATA."
    )
    if bundled is None:
        message += " A dozen small ones come with a package: pip install --no-deps aeon"
    raise DataError(message)
