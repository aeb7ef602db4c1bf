"""What a user names, as files in order: single files, folders with all below, patterns, and lists of files."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archscout.errors import DataError
from archscout.tasks.findings import some
from archscout.tasks.preparation import (
    ArrayPreparation,
    ImagePreparation,
    Preparation,
    SoundPreparation,
    TextPreparation,
)
from archscout.tasks.readers.file_tree import natural, read_tree, suffix_of
from archscout.tasks.readers.image_formats import IMAGE_SUFFIXES
from archscout.tasks.readers.tables import read_table

__all__ = ["ARRAYS", "SERIES", "SOUNDS", "Found", "Inputs", "Kinds", "find_inputs", "is_series", "kinds_of"]

ARRAYS = frozenset((".npy", ".npz"))
SERIES = frozenset((".ts", ".tsv", ".csv", ".arff"))
SOUNDS = frozenset((".wav", ".wave"))
TEXTS = frozenset((".txt", ".tokens", ".text", ".md"))
LISTS = frozenset((".csv", ".tsv", ".txt", ".lst"))
FILE_COLUMNS = (
    "file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path", "img", "name", "sound",
    "audio", "wav", "fname", "id",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A file to predict.

    Attributes:
        path: of the file.
        name: as the user knows it: as given, or the folder as given with what is below it.
        below: the path below what was given, for files that are written for it.
        error: why it cannot be read, if that is known.
    """

    path: Path
    name: str
    below: str
    error: str = ""


@dataclass
class Inputs:
    """The files that were found, in order, and what is to be said of others."""

    files: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kinds:
    """Suffixes of files that a network takes.

    Attributes:
        what: they are, in the plural.
        first: are looked for in folders.
        others: are looked for in folders without any of the first.
        lists: of files.
    """

    what: str
    first: frozenset[str]
    others: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """All suffixes of files that hold samples."""
        return self.first | self.others


def is_series(preparation: Preparation) -> bool:
    """Whether samples are series, which may be shorter than those of the training."""
    return isinstance(preparation, ArrayPreparation) and preparation.layout in ("NL", "NCL", "NLC")


def kinds_of(preparation: Preparation) -> Kinds:
    """The files that a network takes whose samples are prepared so."""
    if isinstance(preparation, ImagePreparation):
        return Kinds("images", IMAGE_SUFFIXES, ARRAYS, LISTS)
    if isinstance(preparation, SoundPreparation):
        return Kinds("sounds", SOUNDS, ARRAYS, LISTS)
    if isinstance(preparation, TextPreparation):
        return Kinds("texts", TEXTS)
    if is_series(preparation):
        return Kinds("series", SERIES, ARRAYS)
    return Kinds("arrays", ARRAYS, IMAGE_SUFFIXES, LISTS)


def find_inputs(given: Iterable[str | Path], kinds: Kinds) -> Inputs:
    """All files of what was given: in the order given; those of a folder or pattern as people count.

    Raises:
        DataError: a path that does not exist, a folder or pattern without a file that the network takes.
    """
    inputs = Inputs()
    for each in given:
        _find(str(each), kinds, inputs)
    if not inputs.files:
        raise DataError(f"there is nothing to predict: name files or folders of {kinds.what}.")
    return inputs


def _find(given: str, kinds: Kinds, inputs: Inputs) -> None:
    path = Path(given)
    if _exists(path):
        _of_path(path, kinds, inputs)
        return
    if not glob.has_magic(given):
        raise DataError(f"{given} does not exist. Name files, folders or patterns (in quotes) of {kinds.what}.")
    matches = sorted(glob.glob(given, recursive=True), key=natural)  # noqa: PTH207 - keeps the pattern's beginning
    files = [Path(match) for match in matches if Path(match).is_file()]
    wanted = [file for file in files if suffix_of(file.name) in kinds.all] or files
    if not wanted:
        raise DataError(f"no file matches {given}. Write patterns in quotes, as 'folder/*.png'; ** goes into folders.")
    inputs.files += [Found(file, str(file), file.name) for file in wanted]
    _passed_over(given, len(files) - len(wanted), kinds, inputs)


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):
        return False


def _of_path(path: Path, kinds: Kinds, inputs: Inputs) -> None:
    if path.is_dir():
        _of_folder(path, kinds, inputs)
    elif suffix_of(path.name) in kinds.lists:
        inputs.files += _of_list(path, kinds)
    else:
        inputs.files.append(Found(path, str(path), path.name))


def _of_folder(path: Path, kinds: Kinds, inputs: Inputs) -> None:
    tree = read_tree(path, kinds.first)
    names = tree.top.samples()
    if not names and kinds.others:
        tree = read_tree(path, kinds.others)
        names = tree.top.samples()
    if not names and not tree.broken:
        others = tree.top.other_files()
        there = f"it has {len(others):,} other files, for example {some(others)}" if others else "it is empty"
        raise DataError(
            f"{path} has no {kinds.what}: {there}. Allowed suffixes: {', '.join(sorted(kinds.all)[:12])}"
            f"{', ...' if len(kinds.all) > 12 else ''}."
        )
    found = [Found(path / name, str(path / name), name) for name in names]
    found += [Found(path / name, str(path / name), name, "a link that leads nowhere") for name in tree.broken]
    inputs.files += sorted(found, key=lambda each: natural(each.below)) if tree.broken else found
    _passed_over(str(path), len(tree.top.other_files()), kinds, inputs)
    if tree.unreadable:
        inputs.notes.append(f"{path}: {len(tree.unreadable):,} folders cannot be read: {some(tree.unreadable)}.")


def _passed_over(where: str, count: int, kinds: Kinds, inputs: Inputs) -> None:
    if count > 0:
        inputs.notes.append(f"{where}: {count:,} files that are no {kinds.what} are passed over.")


def _of_list(path: Path, kinds: Kinds) -> list[Found]:
    """The files that a list names: a table with a column of names, or a name a line."""
    values = _names_in(path, kinds)
    places: Sequence[Callable[[str], Path]] = (lambda value: path.parent / value, Path)
    found = []
    for value in values:
        file = next((place(value) for place in places if _exists(place(value))), places[0](value))
        missing = "" if file.is_file() else "does not exist" if not _exists(file) else "is no file"
        found.append(Found(file, value, Path(value).name if Path(value).is_absolute() else value, missing))
    if all(each.error for each in found):
        raise DataError(
            f"none of the {len(found):,} files that {path} names exists, for example {found[0].path}. Names are looked "
            "for beside the list, and in the working directory."
        )
    return found


def _names_in(path: Path, kinds: Kinds) -> list[str]:
    if suffix_of(path.name) not in (".csv", ".tsv"):
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"{path} is no text in UTF-8; a list has the name of a file in each line.") from None
        values = [line.strip() for line in lines if line.strip()]
        if not values:
            raise DataError(f"{path} is empty; a list has the name of a file in each line.")
        return values

    def naming(values: Sequence[str]) -> int:
        return sum(suffix_of(value) in kinds.all for value in values)

    table = read_table(path, header=False)
    rows = len(table)
    columns = {name: list(values) for name, values in table.columns.items()}
    headed = not any(naming(values[:1]) for values in columns.values())
    if headed:
        columns = {values[0]: values[1:] for values in columns.values()}
    named = {name.strip().lower(): name for name in columns}
    best = max(columns, key=lambda name: naming(columns[name]))
    if not naming(columns[best]):
        known = next((named[name] for name in FILE_COLUMNS if name in named), None)
        if known is None or not headed or rows < 2:
            raise DataError(
                f"{path} names no {kinds.what}: no column holds names of files. Its columns are {some(list(columns))}."
            )
        best = known
    return columns[best]
