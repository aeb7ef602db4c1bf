"""Series from files: classes or numbers, by path, or by their name in the UCR, UEA and TSER archives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from archscout.errors import DataError
from archscout.tasks.findings import Finding, raise_wrong
from archscout.tasks.options import DEFAULTS, HOLD_OUT, TaskOptions
from archscout.tasks.preparation import ArrayPreparation
from archscout.tasks.readers.series_arff import read_arff
from archscout.tasks.readers.series_columns import Columns, choose_columns, series_of_table
from archscout.tasks.readers.series_files import Series, SeriesFile, counted
from archscout.tasks.readers.series_tables import Table, read_table
from archscout.tasks.readers.series_targets import SeriesTargets, series_targets
from archscout.tasks.readers.series_ts import read_ts
from archscout.tasks.readers.split_names import PARTS as WORDS
from archscout.tasks.registry import register_family, register_reader
from archscout.tasks.samples import Samples, task_of_samples
from archscout.tasks.sources import ArraySource
from archscout.tasks.statistics import statistics_of_array
from archscout.tasks.task import Split, Task

__all__ = ["fill_gaps", "padded_cases", "read_new_series", "series_task", "ucr_task"]

SUFFIXES = (".ts", ".tsv", ".arff", ".csv", ".txt", "")
"""Of files of series; where one task is there in several formats, the first is read."""
ANY_NAME = (".ts", ".tsv", ".arff", ".csv")  # files with other suffixes are series only where their names say so
TABLES = (".tsv", ".csv", ".txt", "")
SERIES_OPTIONS = HOLD_OUT | {"kind", "target", "series_id"}
# Of the words for splits those that stand in names of files; two letters may mean anything.
PARTS = {word: part for word, part in WORDS.items() if part in ("train", "validation", "test") and len(word) > 2}
PART = re.compile(rf"(?:(.*)[_\-. ])?({'|'.join(sorted(PARTS, key=len, reverse=True))})", re.IGNORECASE)
DIMENSION = re.compile(r"Dimension\d+$")
# Where the archives unpack to, below the data folder.
FOLDERS = (
    "",
    "ucr",
    "uea",
    "tser",
    "Univariate_ts",
    "Multivariate_ts",
    "Univariate_arff",
    "Multivariate_arff",
    "UCRArchive_2018",
    "UCR_TS_Archive_2015",
    "Monash_UEA_UCR_Regression_Archive",
)


@dataclass(frozen=True)
class _FileName:
    """A file of series: the name of its task, and the split that it is ("" where its name says none)."""

    path: Path
    stem: str
    part: str

    @property
    def suffix(self) -> str:
        return _suffix(self.path)


def _suffix(path: Path) -> str:
    """The suffix of a file of series; none where what looks like one belongs to the name."""
    return path.suffix.lower() if path.suffix.lower() in SUFFIXES else ""


def _file_name(path: Path) -> _FileName | None:
    """What a file's name tells; None where it is not one of a file of series."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or path.name.startswith((".", "~$")):
        return None
    match = PART.fullmatch(path.name[: len(path.name) - len(suffix)])
    if suffix not in ANY_NAME and (match is None or not match[1] or match[2] not in ("TRAIN", "TEST")):
        return None  # texts and scripts; the UCR archive writes NAME_TRAIN and NAME_TEST
    return _FileName(path, match[1] or "", PARTS[match[2].lower()]) if match else _FileName(path, path.stem, "")


def _files_of(folder: Path) -> list[_FileName]:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []
    return [name for name in map(_file_name, files) if name is not None]


def _holds_series(path: Path) -> bool:
    """Whether a path is a file of series, or a folder that has some: any `.ts` file, else, in a folder without others,
    files whose names say which split they are, or a single table."""
    if path.is_file():
        return _file_name(path) is not None
    if not path.is_dir():
        return False
    files = _files_of(path)
    if any(file.suffix == ".ts" for file in files):
        return True
    if not files or any(child.is_dir() and not child.name.startswith((".", "__")) for child in path.iterdir()):
        return False
    return any(file.part == "train" for file in files) or len(files) == 1


def _find_files(path: Path) -> tuple[str, dict[str, Path], list[Finding]]:
    """The name of the task, its files by split, and what was passed over. Raises DataError."""
    findings: list[Finding] = []
    if path.is_dir():
        chosen, findings = _choose(path)
    else:
        given = _file_name(path)
        if given is None:
            raise DataError(f"{path} is no file of series; allowed: {', '.join(filter(None, SUFFIXES))}.")
        chosen = given
    if not chosen.part:
        return chosen.stem, {"train": chosen.path}, findings
    files: dict[str, Path] = {chosen.part: chosen.path}
    beside = [file for file in _files_of(chosen.path.parent) if file.stem == chosen.stem and file.part]
    for file in sorted(beside, key=lambda file: (file.suffix != chosen.suffix, SUFFIXES.index(file.suffix))):
        files.setdefault(file.part, file.path)
    if "train" not in files:
        raise DataError(
            f"{chosen.path.name} is there, but no file with TRAIN in its place in {chosen.path.parent}. Series come as "
            "NAME_TRAIN and NAME_TEST; a file with another name is read alone, and its test split is held out."
        )
    return chosen.stem or chosen.path.resolve().parent.name, files, findings


def _choose(folder: Path) -> tuple[_FileName, list[Finding]]:
    """The training file of a folder: of the task that has the folder's name, else of the only one."""
    files = _files_of(folder)
    trains = [file for file in files if file.part == "train"]
    # The UEA archive has files of single channels beside the whole ones.
    stems_of_all = {file.stem for file in trains}
    trains = [file for file in trains if DIMENSION.sub("", file.stem) not in stems_of_all - {file.stem}]
    named = [file for file in trains if file.stem == folder.resolve().name]
    candidates = named or trains or [file for file in files if not file.part]
    stems = sorted({file.stem for file in candidates})
    if len(stems) != 1:
        found = f"several: {', '.join(stems)}" if stems else "none"
        raise DataError(
            f"{folder} should have one pair NAME_TRAIN.ts and NAME_TEST.ts (or .tsv, .arff, .csv), or one file; it has "
            f"{found}. Name one of the files."
        )
    best = min(candidates, key=lambda file: SUFFIXES.index(file.suffix))
    over = tuple(file.path.name for file in candidates if file is not best)
    if not over:
        return best, []
    message = f"{best.path.name} was read; the same task in other formats was passed over."
    return best, [Finding("note", "passed over", message, over)]


_Read = Callable[[str, Path, float | None], SeriesFile]
"""Reads the file of a split: `(split, path, step of time)`."""


def _read(files: Mapping[str, Path], options: TaskOptions) -> tuple[dict[str, SeriesFile], Columns | None]:
    """All files, the training file first: its step of time is that of the others; and what its columns are.

    Raises:
        DataError: what is wrong with each of them.
    """
    suffix = _suffix(files["train"])
    for file in files.values():
        if _suffix(file) != suffix and {suffix, _suffix(file)} - set(TABLES):
            raise DataError(f"{files['train'].name} and {file.name} are of different formats; give both in one.")
    columns = None
    if suffix == ".ts":
        read = _ts_reader(files["train"], options)
    else:
        read, columns = _table_reader(files["train"], options)
    found: dict[str, SeriesFile] = {}
    faults: list[str] = []
    step: float | None = None
    for part in [part for part in ("train", "validation", "test") if part in files]:
        try:
            found[part] = read(part, files[part], step)
        except DataError as error:
            faults.append(str(error))
        else:
            step = step if step is not None else found[part].step
    if faults:
        raise DataError("\n".join(faults))
    return found, columns


def _ts_reader(train: Path, options: TaskOptions) -> _Read:
    named = sorted({"target", "series_id", "groups"} & options.given())
    if named:
        raise DataError(
            f"{train}: a .ts file has no columns, so {' and '.join(named)} cannot be told. Its targets stand at the "
            "end of each case."
        )
    return lambda _, path, step: read_ts(path, step=step, skip_damaged=options.skip_damaged)


def _table_reader(train: Path, options: TaskOptions) -> tuple[_Read, Columns]:
    """The columns of all tables are those that are chosen for the training file."""
    suffix = _suffix(train)
    read = read_arff if suffix == ".arff" else read_table
    table = read(train)
    name = _file_name(train)
    columns = choose_columns(table, options, published=_is_published(name, table))

    def one(part: str, path: Path, step: float | None) -> SeriesFile:
        own = table if part == "train" else read(path)
        series = series_of_table(own, columns, step=step, skip_damaged=options.skip_damaged)
        # What was decided of the columns holds for all files, and is said once.
        return series if part != "train" else replace(series, findings=(*columns.findings, *series.findings))

    return one, columns


def _is_published(name: _FileName | None, table: Table) -> bool:
    return name is not None and name.suffix in (".tsv", ".txt", "") and not table.named and bool(name.part)


def read_new_series(path: Path, preparation: ArrayPreparation) -> SeriesFile:
    """The series of a file that a trained network is to predict; targets are not needed, and not looked at.

    Series that cannot be read are left out; the finding "damaged" names their lines.

    Raises:
        DataError: no such file, none of its series can be read, or a table with other columns than in the training.
    """
    suffix = _suffix(path)
    if suffix == ".ts":
        return read_ts(path, step=preparation.step, skip_damaged=True)
    table = read_arff(path) if suffix == ".arff" else read_table(path)
    columns = None if preparation.columns is None else Columns.from_json(preparation.columns)
    columns = _columns_of_new(table, columns, preparation.length)
    return series_of_table(table, columns, step=preparation.step, skip_damaged=True)


def _columns_of_new(table: Table, known: Columns | None, length: int | None) -> Columns:
    """The columns of a table without targets, from those of the training table if there was one."""
    values = None if known is None else [name for channel in known.channels for name in channel]
    if known is not None and values is not None and (table.named or table.nested or known.series is not None):
        return known
    width = len(table.columns)
    without = Columns(("",), (tuple(table.columns),))
    if values is not None and known is not None:
        if width == len(values):
            return without
        if width == len(values) + len(known.targets):
            return known
        raise DataError(
            f"{table.path} has {width} columns without names; the training table had {len(values)} values in a row and "
            f"{len(known.targets)} targets."
        )
    if width == length:
        return without
    return choose_columns(table, DEFAULTS, published=_is_published(_file_name(table.path), table))


def fill_gaps(case: Series, fill: Sequence[float]) -> int:
    """Fill missing values by straight lines within the channel, in place; return their number."""
    missing = np.isnan(case)
    count = int(missing.sum())
    if count:
        steps = np.arange(case.shape[1])
        for channel, gaps, value in zip(case, missing, fill, strict=True):
            if gaps.all():
                channel[:] = value
            elif gaps.any():
                channel[gaps] = np.interp(steps[gaps], steps[~gaps], channel[~gaps])
    return count


_Array = np.ndarray[Any, np.dtype[np.float32]]
_Values = np.ndarray[Any, np.dtype[np.float32]]
"""One for each channel."""


def _filled(files: Mapping[str, SeriesFile], rules: int) -> tuple[_Values, _Values, list[Finding]]:
    """Fill missing values of all cases; of each channel over the training file its mean, and what stood for channels
    without values; and what was done.

    A channel without any value in a case gets the channel's mean (by the rules of version 1: 0).
    """
    train = files["train"].cases
    before = np.zeros(len(train[0]), np.float32)
    if rules >= 2:
        total = sum(np.nansum(case, 1, dtype=np.float64) for case in train)
        known = sum((~np.isnan(case)).sum(1) for case in train)
        before = np.divide(total, known, out=np.zeros(len(before)), where=known > 0).astype(np.float32)
    findings = []
    for file in files.values():
        counts = [fill_gaps(case, before.tolist()) for case in file.cases]
        if sum(counts):
            message = (
                f"{file.path.name}: {sum(counts):,} missing values in {counted(sum(map(bool, counts)))} were filled by "
                "straight lines between their neighbours; a channel without values, by its mean in training."
            )
            findings.append(Finding("note", "filled", message))
    # In one step over all values, as in earlier versions, so that no result changes.
    mean = np.concatenate(train, axis=1).mean(1, dtype=np.float64).astype(np.float32)
    return mean, before, findings


def padded_cases(cases: Sequence[Series], length: int, fill: np.ndarray[Any, np.dtype[np.float32]]) -> _Array:
    """All cases `(N, C, length)`: the shorter ones are followed by the channel's fill value."""
    whole: _Array = np.empty((len(cases), len(fill), length), np.float32)
    whole[:] = fill[:, None]
    for row, case in zip(whole, cases, strict=True):
        row[:, : case.shape[1]] = case
    return whole


@register_reader(
    "series",
    "series in .ts, .tsv, .arff or .csv files (NAME_TRAIN and NAME_TEST, or one file), or their folder",
    _holds_series,
    heeds=SERIES_OPTIONS,
)
def series_task(path: Path, options: TaskOptions = DEFAULTS, *, name: str | None = None) -> Task:
    """The task of series in files: `NAME_TRAIN` and `NAME_TEST`, also `NAME_VALID`, or one file.

    Splits that have no file are held out of the training file. Missing values are filled by straight lines. Shorter
    cases are padded at their end, to the longest of all files, with the channel's mean over the training file, which is
    0 after normalisation.

    Args:
        path: of one of the files, or of a folder with the files of one task.
        name: of the task; default: that of the files.

    Raises:
        DataError: a file is missing or wrong, or files do not belong together.
    """
    own, paths, findings = _find_files(path)
    files, columns = _read(paths, options)
    train = files["train"]
    for file in files.values():
        findings.extend(file.findings)
        if file.channels != train.channels:
            raise DataError(
                f"{file.path} has {file.channels} channels, but {train.path.name} {train.channels}: they do not belong "
                "together."
            )
    targets = series_targets(files, options)
    findings.extend(targets.findings)
    raise_wrong(findings)
    fill, empty, notes = _filled(files, options.rules)
    findings += notes
    low, high = (
        min(file.lengths[0] for file in files.values()),
        max(file.lengths[1] for file in files.values()),
    )
    if low < high:
        message = (
            f"the series have {low} to {high} steps; shorter ones were padded at their end with the channel's mean, "
            "which is 0 after normalisation."
        )
        findings.append(Finding("note", "padded", message))
    if "test" not in targets.samples:
        findings.append(_held_out(files, options))
    samples = Samples(
        name=name or own,
        kind=targets.kind,
        input_shape=(train.channels, high),
        parts=_parts(files, targets, high, fill),
        statistics=lambda split: statistics_of_array(cast(ArraySource, split.source).inputs, split.indices),
        by_name=all(file.names is not None for file in files.values()),
        class_names=targets.class_names,
        groups=_groups(files, targets),
        unlabelled=_unlabelled(files, targets, high, fill),
        preparation=ArrayPreparation(
            "NCL",
            length=high,
            fill=tuple(fill.tolist()),
            empty=tuple(empty.tolist()),
            columns=None if columns is None else columns.to_json(),
            step=train.step,
        ),
        provenance=_provenance(files, low, high, findings),
        findings=tuple(findings),
    )
    try:
        return task_of_samples(samples, options)
    except DataError as error:
        raise DataError(f"{train.path}: {error}") from None


def _held_out(files: Mapping[str, SeriesFile], options: TaskOptions) -> Finding:
    train = files["train"].path.name
    why = "the test file has no targets" if "test" in files else "there is no test file"
    if options.folds is not None:
        return Finding("note", "held out", f"{why}: fold {options.fold or 1} of {train} is the test split.")
    return Finding("note", "held out", f"{why}: {100 * options.test_fraction:.3g} % of {train} were held out as test.")


def _parts(
    files: Mapping[str, SeriesFile], targets: SeriesTargets, length: int, fill: np.ndarray[Any, np.dtype[np.float32]]
) -> dict[str, Split]:
    """The splits that have files with targets."""
    parts = {}
    for part, places in targets.samples.items():
        file = files[part]
        names = [file.name_of(place) for place in places]
        inputs = torch.from_numpy(padded_cases([file.cases[place] for place in places], length, fill))
        parts[part] = Split(ArraySource(inputs, targets.values[part], names), torch.arange(len(inputs)))
    return parts


def _unlabelled(
    files: Mapping[str, SeriesFile], targets: SeriesTargets, length: int, fill: np.ndarray[Any, np.dtype[np.float32]]
) -> Split | None:
    """The cases without targets, of all files."""
    cases, names = [], []
    for part, file in files.items():
        known = set(targets.samples.get(part, ()))
        for place, case in enumerate(file.cases):
            if place not in known:
                cases.append(case)
                names.append(file.name_of(place))
    if not cases:
        return None
    values = next(iter(targets.values.values()))
    nothing = torch.zeros(len(cases), *values.shape[1:], dtype=values.dtype)
    inputs = torch.from_numpy(padded_cases(cases, length, fill))
    return Split(ArraySource(inputs, nothing, names), torch.arange(len(cases)))


def _groups(files: Mapping[str, SeriesFile], targets: SeriesTargets) -> dict[str, list[str]] | None:
    groups = {
        part: [file.groups[place] for place in targets.samples[part]]
        for part, file in files.items()
        if file.groups is not None and part in targets.samples
    }
    return groups or None


def _provenance(files: Mapping[str, SeriesFile], low: int, high: int, findings: Sequence[Finding]) -> dict[str, object]:
    # One digest over the bytes of all files, as in earlier versions.
    together = hashlib.sha256()
    for file in files.values():
        together.update(file.path.read_bytes())
    facts: dict[str, object] = {
        "source": ", ".join(file.path.name for file in files.values()),
        "layout": "NCL",
        "sha256": together.hexdigest(),
    }
    if low < high:
        facts["padded"] = f"cases of {low} to {high} steps, at their end"
    filled = [finding.message for finding in findings if finding.code == "filled"]
    if filled:
        facts["filled"] = " ".join(filled)
    return facts


def _aeon_data() -> Path | None:
    """The data sets inside the package aeon, which is looked for but not imported: it pins old versions of numpy."""
    found = find_spec("aeon")
    return None if found is None or found.origin is None else Path(found.origin).parent / "datasets" / "data"


def _train_file(folder: Path, name: str) -> Path | None:
    """The training file of a name, in a folder of that name or in the folder itself."""
    for place in (folder / name, folder):
        for suffix in SUFFIXES:
            file = place / f"{name}_TRAIN{suffix}"
            if file.is_file():
                return file
    return None


def _series_below(folder: Path) -> list[str]:
    found = (_file_name(file) for file in folder.glob("*/*_TRAIN*") if file.is_file())
    return sorted({name.stem for name in found if name is not None and name.stem == name.path.parent.name})


@register_family("ucr", "ucr:NAME", heeds=SERIES_OPTIONS)
def ucr_task(name: str, root: Path, options: TaskOptions = DEFAULTS) -> Task:
    """Series of the UCR, UEA and TSER archives, by name: ucr:ItalyPowerDemand, ucr:JapaneseVowels, ...

    Files `NAME/NAME_TRAIN` and `NAME/NAME_TEST` (`.ts`, `.tsv`, `.arff`, `.csv`, `.txt` or without suffix) are looked
    for in the data folder and in the archives' own folders there, and among the data sets that the package aeon brings.
    """
    bundled = _aeon_data()
    places = [root / folder for folder in FOLDERS] + ([bundled] if bundled is not None else [])
    for place in places if name and not set(name) & set("/\\\0") else []:
        file = _train_file(place, name)
        if file is not None:
            return series_task(file, options, name=f"ucr:{name}")
    here = sorted({found for folder in FOLDERS for found in _series_below(root / folder)})
    known = [*here, *(_series_below(bundled) if bundled is not None else [])]
    listed = f"There are: {', '.join(dict.fromkeys(known))}. " if known else ""
    message = (
        f"no series '{name}': looked for {name}/{name}_TRAIN.ts, .tsv, .arff, .csv, .txt or without suffix in "
        f"{root} and in its folders {', '.join(filter(None, FOLDERS))}. {listed}Get the archive from "
        "timeseriesclassification.com and name its folder with --data DIR or ARCHSCOUT_DATA."
    )
    if bundled is None:
        message += " A dozen small ones come with a package: pip install --no-deps aeon"
    raise DataError(message)
