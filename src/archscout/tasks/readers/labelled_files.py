"""Files whose targets stand in a table: which row is of which file, in which split, with which targets."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import TaskOptions
from archscout.tasks.readers.file_tree import Tree, alike, natural
from archscout.tasks.readers.layout_of_folder import PARTS, FileList, FolderLayout, Wording, given_splits
from archscout.tasks.readers.other_tasks import boxes_in
from archscout.tasks.readers.split_names import read_name, words_of
from archscout.tasks.readers.table_targets import (
    TableTargets,
    UnclearTargetError,
    choose_targets,
    is_time,
    merged,
    read_columns,
)
from archscout.tasks.readers.tables import (
    TABLE_SUFFIXES,
    FileColumn,
    FileIndex,
    Table,
    column_of_files,
    joined,
    read_table,
)

__all__ = ["fitting_tables", "table_layout", "table_path", "tables_of_splits"]

SPLIT_WORDS = frozenset(("split", "set", "subset", "partition", "phase", "usage", "dataset", "data", "fold"))
FITS = 0.5  # share of the rows, or of the files, that a table beside the files must name
MOST_TABLES = 20  # beside the files, that are looked into


@dataclass
class _Rows:
    """A table with the files that its rows name.

    Attributes:
        files: of each row that names one, its file's index.
        rows: of the same, the row.
    """

    table: Table
    names: Sequence[str]
    column: str
    files: list[int]
    rows: list[int]
    parts: list[str]
    findings: list[Finding] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


def table_path(labels: str, root: Path) -> Path:
    """The file that `--labels` names: as it is, else below the data's root or beside it.

    Raises:
        DataError: there is none.
    """
    given = Path(labels).expanduser()
    for path in (given, root / given, root.parent / given, root / given.name):
        if path.is_file():
            return path
    raise DataError(f"--labels {labels}: there is no such file, and none in {root}.")


def fitting_tables(tree: Tree, index: FileIndex) -> tuple[list[Path], list[str]]:
    """Tables in a folder that name its files, without those that are for answers of tests where another is there.

    Returns:
        Their paths, and what is wrong with tables that cannot be read.
    """
    found, problems = [], []
    paths = [name for name in tree.top.other_files() if Path(name).suffix.lower() in TABLE_SUFFIXES]
    paths.sort(key=lambda name: (name.count("/"), natural(name)))
    for name in paths[:MOST_TABLES]:
        try:
            table, column = _with_files(tree.root / name, index)
        except DataError as error:
            problems.append(str(error))
            continue
        others = len(table.columns) > 1
        if column is not None and others and column.matched >= FITS * min(len(table), len(index.names)):
            found.append(tree.root / name)
    learnt = [path for path in found if read_name(path.stem).part not in ("test", "unlabelled")]
    return learnt if len(learnt) == 1 else found, problems


def tables_of_splits(paths: Sequence[Path]) -> dict[str, Path]:
    """Tables of one header that are called like splits, as train.csv and val.csv; empty where they are not."""
    parts = {read_name(path.stem).part: path for path in paths}
    parts = {"validation" if part == "evaluation" else part: path for part, path in parts.items()}
    if len(parts) < len(paths) or "train" not in parts or not set(parts) <= set(PARTS):
        return {}
    headers = [list(read_table(path).columns) for path in paths]
    same = all(header == headers[0] for header in headers) and "split" not in headers[0]
    return parts if same else {}


def _with_files(path: Path, index: FileIndex) -> tuple[Table, FileColumn | None]:
    """A table and its column of files; where its first line is a row, it is read as such."""
    table = read_table(path)
    column = column_of_files(table, index)
    if column is not None and index.find(column.name):
        table = read_table(path, header=False)
        column = column_of_files(table, index)
        message = f"the first line of {path.name} names no columns; they are called {', '.join(table.columns)}."
        table = replace(table, findings=(*table.findings, Finding("note", "header", message)))
    return table, column


def table_layout(
    tree: Tree, paths: Path | Mapping[str, Path], index: FileIndex, wording: Wording, options: TaskOptions
) -> FolderLayout:
    """The samples of a folder by a table with a row for each, or by one for each split.

    The column of file names is the one whose values name most files: paths, names, names without suffix, or numbers. A
    column of splits is used, else folders of splits.

    Raises:
        DataError: no column names files, or what the targets are is not clear.
    """
    names = index.names
    if isinstance(paths, Path):
        path = paths
        table, column = _with_files(path, index)
    else:
        path = paths["train"]
        table = joined({part: read_table(each) for part, each in paths.items()})
        column = column_of_files(table, index)
    if column is None:
        first = next(iter(table.columns.items()))
        raise DataError(
            f"no column of {path} names {wording.samples} in {tree.root}: its first column, {first[0]}, begins with "
            f"{some([repr(value) for value in first[1]])}; the {wording.samples} are {some(names)}."
        )
    matched = _match(tree, table, column, names, wording)
    targets, target_names = _targets(tree, table, matched, options)
    rows_of: dict[int, list[int]] = {}
    for place, file in enumerate(matched.files):
        rows_of.setdefault(file, []).append(place)
    targets, parts = _without_repeats(matched, targets, list(rows_of.values()), names)
    groups = _groups(table, matched, [names[file] for file in rows_of], options)
    lists, unlabelled = _lists(list(rows_of), parts, targets, groups, names, matched, options)
    unlabelled += _without_rows(tree, matched, names, set(rows_of), wording)
    labels = str(path) if isinstance(paths, Path) else ", ".join(str(each) for each in paths.values())
    return FolderLayout(
        kind=targets.kind,
        parts=lists,
        class_names=targets.names,
        unlabelled=tuple(unlabelled),
        findings=(*table.findings, *matched.findings, *targets.findings),
        provenance={"labels": labels, "targets": ", ".join(target_names)},
    )


def _match(tree: Tree, table: Table, column: FileColumn, names: Sequence[str], wording: Wording) -> _Rows:
    """Which file each row is of; rows without one are said."""
    found: list[Finding] = []
    folders = given_splits(tree, found)
    folder_part = {}
    for part, folder in folders.items():
        folder_part.update(dict.fromkeys(folder.samples(), part))
    splits = _split_column(table, column.name)
    matched = _Rows(table, names, column.name, [], [], [], found, {column.name})
    wanted: Sequence[str] = [""] * len(table)
    if splits is not None:
        matched.used.add(splits)
        wanted = _row_parts(table, splits, found)
    lost: list[str] = []
    unclear: list[str] = []
    for row, files in enumerate(column.files):
        near = [file for file in files if folder_part.get(names[file], "") == (wanted[row] or "train")]
        best = files if len(files) < 2 else near if len(near) == 1 else files
        if len(best) == 1:
            matched.files.append(best[0])
            matched.rows.append(row)
            matched.parts.append(wanted[row] or folder_part.get(names[best[0]], "train"))
        else:
            (unclear if files else lost).append(table.columns[column.name][row])
    if unclear:
        which = column.files[table.columns[column.name].index(unclear[0])]
        found.append(
            Finding(
                "wrong",
                "rows",
                f"{len(unclear):,} rows of {table.path.name} may mean several files, for example {unclear[0]}: "
                f"{some([names[file] for file in which])}. Write the paths into the column {column.name}.",
                tuple(unclear),
            )
        )
    if lost:
        found.append(
            Finding(
                "doubtful",
                "rows without files",
                f"{len(lost):,} rows of {table.path.name} name no {wording.samples} in {tree.root}: {some(lost)}. They "
                "were left out.",
                tuple(lost),
            )
        )
    return matched


def _split_column(table: Table, files: str) -> str | None:
    """The column that says the split of each row: by its name, and as all its values are names of splits."""
    for name, values in table.columns.items():
        words = set(words_of(name))
        if name != files and words and words <= SPLIT_WORDS:
            parts = {read_name(value).part for value in values}
            if all(parts) and "train" in parts:
                return name
            if words <= {"split"} and not all(value.isdecimal() for value in values):
                raise DataError(
                    f"the column {name} of {table.path} has the values {some(sorted(set(values)))}; a split is "
                    "train, val or test, and some rows must be of train."
                )
    return None


def _row_parts(table: Table, column: str, findings: list[Finding]) -> list[str]:
    values = table.columns[column]
    parts = [read_name(value).part for value in values]
    free = [part for part in ("validation", "test") if part not in parts]
    if "evaluation" in parts:
        meant = free[0] if free else "validation"
        parts = [meant if part == "evaluation" else part for part in parts]
    counts = Counter(parts)
    listed = ", ".join(f"{part} {counts[part]:,}" for part in (*PARTS, "unlabelled") if counts[part])
    findings.append(Finding("note", "splits", f"the splits are those of the column {column}: {listed}."))
    return parts


def _fold_column(table: Table, files: str) -> str | None:
    for name, values in table.columns.items():
        if name != files and words_of(name) in (["fold"], ["folds"]) and 1 < len(set(values)) <= len(values) // 2:
            return name
    return None


def _targets(tree: Tree, table: Table, matched: _Rows, options: TaskOptions) -> tuple[TableTargets, list[str]]:
    """The targets of the rows that name a file."""
    if options.target:
        chosen = [name for wanted in options.target for name in _named(table, wanted)]
        notes: list[Finding] = []
    else:
        others = set(matched.used)
        if fold := _fold_column(table, matched.column):
            others.add(fold)
        if options.groups is not None and options.groups.startswith("column:"):
            others.add(options.groups.partition(":")[2].strip())
        free = {name: values for name, values in table.columns.items() if name not in others}
        try:
            chosen, notes = choose_targets(free, options.kind)
        except UnclearTargetError as error:
            if boxes_in(free):
                raise DataError(
                    f"{table.path} has columns of boxes ({', '.join(error.columns)}): object detection is not served. "
                    "One box for each file can be learnt as numbers: name its columns with --target, with --kind "
                    "regression."
                ) from None
            raise DataError(
                f"{table.path}: which column is the target? There are {', '.join(error.columns)}. Say for example: "
                f"archscout run {tree.root} --labels {table.path} --target {shlex.quote(error.columns[0])}"
            ) from None
        except DataError as error:
            raise DataError(f"{table.path}: {error}") from None
    if matched.column in chosen:
        raise DataError(f"the column {matched.column} of {table.path} names the files; the target is another one.")
    values = {name: [table.columns[name][row] for row in matched.rows] for name in chosen}
    try:
        targets = read_columns(values, options.kind)
    except DataError as error:
        raise DataError(f"{table.path}: {error}") from None
    return replace(targets, findings=(*notes, *targets.findings)), chosen


def _named(table: Table, wanted: str) -> list[str]:
    table.column(wanted)  # raises where there is none
    if wanted in table.columns:
        return [wanted]
    return [name for name in table.columns if alike(name).casefold() == alike(wanted).casefold()]


def _without_repeats(
    matched: _Rows, targets: TableTargets, groups: list[list[int]], names: Sequence[str]
) -> tuple[TableTargets, list[str]]:
    """One row for each file: its targets and its split."""
    single, contradicting = merged(targets, groups)
    parts = [matched.parts[group[0]] for group in groups]
    torn = [place for place, group in enumerate(groups) if len({matched.parts[row] for row in group}) > 1]
    repeated = [names[matched.files[group[0]]] for group in groups if len(group) > 1]
    for places, what, help_ in (
        (contradicting, "contradicting targets", "Keep one row for each"),
        (torn, "rows in two splits", "Keep one row for each"),
    ):
        if places:
            files = tuple(names[matched.files[groups[place][0]]] for place in places)
            lines = [matched.table.lines[matched.rows[row]] for row in groups[places[0]]]
            have = "files have" if len(files) > 1 else "file has"
            several = (
                ""
                if targets.kind != "classification" or what != "contradicting targets"
                else ("; if a file may have several labels, say --kind multilabel")
            )
            matched.findings.append(
                Finding(
                    "wrong",
                    "rows",
                    f"{len(files):,} {have} {what} in {matched.table.path.name}, for example {files[0]} in lines "
                    f"{', '.join(str(line) for line in lines[:5])}. {help_}{several}.",
                    files,
                )
            )
    if repeated and not contradicting and not torn:
        message = f"{len(repeated):,} files have several rows, for example {repeated[0]}; they were taken together."
        matched.findings.append(Finding("note", "rows", message, tuple(repeated)))
    return single, parts


def _groups(table: Table, matched: _Rows, files: Sequence[str], options: TaskOptions) -> list[str] | None:
    """The group of each file."""
    column = None
    if options.groups is None:
        column = _fold_column(table, matched.column)
    elif options.groups.startswith("column:"):
        (column,) = _named(table, options.groups.partition(":")[2].strip())
    elif not options.groups.startswith("column:"):
        return None  # told by names, as of all files
    if column is None:
        return None
    by_file: dict[str, str] = {}
    for file, row in zip(matched.files, matched.rows, strict=True):
        by_file.setdefault(matched.names[file], alike(table.columns[column][row]))
    empty = [name for name in files if not by_file[name]]
    if empty:
        raise DataError(
            f"{len(empty):,} rows of {table.path} have no value in the column {column} of the groups: {some(empty)}."
        )
    groups = sorted(set(by_file.values()), key=natural)
    message = f"{len(groups):,} groups by the column {column}, for example {some(groups)}; each is kept in one split."
    matched.findings.append(Finding("note", "groups", message))
    return [by_file[name] for name in files]


def _lists(
    files: Sequence[int],
    parts: Sequence[str],
    targets: TableTargets,
    groups: Sequence[str] | None,
    names: Sequence[str],
    matched: _Rows,
    options: TaskOptions,
) -> tuple[dict[str, FileList], list[str]]:
    """The samples of each split in the order of their rows, and those whose row has no targets."""
    known = targets.known.tolist()
    unlabelled = [names[file] for file, is_known in zip(files, known, strict=True) if not is_known]
    if unlabelled:
        matched.findings.append(
            Finding(
                "doubtful",
                "rows without targets",
                f"{len(unlabelled):,} rows of {matched.table.path.name} have no target: {some(unlabelled)}. Their "
                "files are only predicted at the end.",
                tuple(unlabelled),
            )
        )
    lists = {}
    for part in (*PARTS, "unlabelled"):
        places = [place for place, own in enumerate(parts) if own == part and known[place]]
        if part == "unlabelled":
            unlabelled += [names[files[place]] for place in places]
        elif places:
            lists[part] = FileList(
                tuple(names[files[place]] for place in places),
                targets.values[torch.tensor(places)],
                groups=None if groups is None else tuple(groups[place] for place in places),
            )
    if "train" not in lists:
        raise DataError(f"no row of {matched.table.path} is of a training file with a target.")
    _check_time(matched, options)
    return lists, unlabelled


def _check_time(matched: _Rows, options: TaskOptions) -> None:
    """Say what a column of times means for what is held out."""
    for name, values in matched.table.columns.items():
        if is_time(name):
            times = [values[row] for row in matched.rows]
            if sorted(times, key=natural) == times:
                if options.order != "time" and len(set(times)) > 1:
                    matched.findings.append(
                        Finding(
                            "doubtful",
                            "time",
                            f"the rows are in the order of the column {name}, and samples near in time may be alike; "
                            "say --order time to hold out the last ones in place of random ones.",
                        )
                    )
            else:
                matched.findings.append(
                    Finding(
                        "doubtful",
                        "time",
                        f"the rows are not in the order of the column {name}; with --order time the order of the rows "
                        "counts. Sort the table first.",
                    )
                )


def _without_rows(tree: Tree, matched: _Rows, names: Sequence[str], used: set[int], wording: Wording) -> list[str]:
    """The files that no row names: those of test folders are predicted at the end, the others are left out."""
    ignored: list[Finding] = []
    folders: Mapping[str, object] = {
        name: part for part, folder in given_splits(tree, ignored).items() for name in folder.samples()
    }
    rest = [name for index, name in enumerate(names) if index not in used]
    predicted = [name for name in rest if folders.get(name) in ("test", "unlabelled")]
    lost = [name for name in rest if folders.get(name) not in ("test", "unlabelled")]
    if predicted:
        message = f"{len(predicted):,} {wording.samples} of the test folder have no row: they are predicted at the end."
        matched.findings.append(Finding("note", "unlabelled", message, tuple(predicted)))
    if lost:
        matched.findings.append(
            Finding(
                "doubtful",
                "files without rows",
                f"{len(lost):,} {wording.samples} have no row in {matched.table.path.name}: {some(lost)}. They were "
                "left out.",
                tuple(lost),
            )
        )
    return predicted
