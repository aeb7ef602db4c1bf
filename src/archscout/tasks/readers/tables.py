"""Tables of text (CSV and the like) as editors and programs write them, and which column names files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archscout.errors import DataError
from archscout.tasks.findings import Finding
from archscout.tasks.readers.file_tree import alike, suffix_of

__all__ = ["TABLE_SUFFIXES", "FileColumn", "FileIndex", "Table", "column_of_files", "joined", "read_table"]

TABLE_SUFFIXES = frozenset((".csv", ".tsv"))
DELIMITERS = ",;\t|"
FILE_NAME = re.compile(r"[^.\s]\.[A-Za-z]{1,4}[0-9]?$")
LARGEST = 2**30  # bytes
SNIFFED = 100  # lines that decide what separates the fields


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        columns: by name, the values of every row.
        lines: of each row, its line in the file, for messages.
        delimiter: what separates the fields.
        headless: whether the first line seemed to be a row, not names of columns.
    """

    path: Path
    columns: Mapping[str, list[str]]
    lines: Sequence[int]
    delimiter: str
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> list[str]:
        """A column by its name, or by one that reads alike. Raises DataError that lists the columns."""
        if name in self.columns:
            return self.columns[name]
        near = [known for known in self.columns if alike(known).casefold() == alike(name).casefold()]
        if len(near) == 1:
            return self.columns[near[0]]
        raise DataError(f"{self.path} has no column '{name}'; it has {', '.join(self.columns)}.")


def read_table(path: Path, *, header: bool = True) -> Table:
    """A table from a text file with one row a line, the first of which names the columns.

    Fields are separated by commas, semicolons, tabs or bars, whichever fits; UTF-8 or UTF-16, else Windows-1252, which
    is said.

    Args:
        header: False: the first line is a row like the others; columns are called "column 1" and so on.

    Raises:
        DataError: missing, no text, without rows, or a row of another length; the message has the line.
    """
    text, findings = _text(path)
    delimiter = _delimiter(text)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}: {error}. A table has a row a line; quotation marks come in pairs.") from None
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows or (header and len(rows) == 1):
        raise DataError(f"{path} has {'no line' if not rows else 'only one line'}; a table has a header and rows.")
    width = max(len(_trimmed(rows[0][1])), 1)
    names = rows[0][1][:width] if header else []
    columns: dict[str, list[str]] = {}
    for place in range(width):
        name = names[place] if place < len(names) and names[place] else f"column {place + 1}"
        while name in columns:
            name += " again"
        columns[name] = []
    lines = []
    for line, row in rows[1:] if header else rows:
        if len(_trimmed(row)) > width or len(row) < width:
            raise DataError(
                f"{path}, line {line}: {len(row)} fields, but the first line has {width}. Put fields that hold a "
                f"'{delimiter}' between quotes, and keep a field for every column."
            )
        for values, value in zip(columns.values(), row, strict=False):
            values.append(value)
        lines.append(line)
    return Table(path, columns, lines, delimiter, findings)


def joined(tables: Mapping[str, Table]) -> Table:
    """Tables of the same columns below each other, with a column "split" that says which one a row is of.

    Args:
        tables: by split.
    """
    first = next(iter(tables.values()))
    columns = {name: [value for table in tables.values() for value in table.columns[name]] for name in first.columns}
    columns["split"] = [part for part, table in tables.items() for _ in range(len(table))]
    lines = [line for table in tables.values() for line in table.lines]
    findings = tuple(finding for table in tables.values() for finding in table.findings)
    return Table(first.path, columns, lines, first.delimiter, findings)


def _trimmed(row: Sequence[str]) -> Sequence[str]:
    """Without empty fields at the end, as spreadsheets write them."""
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return row[:end]


def _text(path: Path) -> tuple[str, tuple[Finding, ...]]:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} has more than 1 GiB; a table of labels is smaller.")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from None
    if content[:2] == b"PK" or content[:4] == b"PAR1":
        raise DataError(f"{path} is no text but a spreadsheet or an archive. Save it as CSV first.")
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    encodings = ["utf-16"] if wide else ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if encoding in ("utf-8-sig", "utf-16"):
            return text, ()
        message = f"{path.name} is no UTF-8; it was read as Windows-1252 (Latin-1). Check names with accents."
        return text, (Finding("doubtful", "encoding", message),)
    raise DataError(f"{path} is no text. Save the table as CSV, in UTF-8.")


def _delimiter(text: str) -> str:
    """What separates the fields: the sign by which most lines have as many fields as the first, two or more."""
    lines = [line for line in text.splitlines() if line.strip()][:SNIFFED]
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) == 5:
        return lines[0][4]
    best, delimiter = (0.0, 0), ","
    for sign in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=sign)]
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        score = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
        if score > best:
            best, delimiter = score, sign
    return delimiter


@dataclass
class FileIndex:
    """Finds files by what people write of them: whole paths, names, names without suffix, numbers.

    Args:
        names: paths below the data's root.
        suffixes: of samples; a value may have another one of them than the file.
    """

    names: Sequence[str]
    suffixes: frozenset[str]
    _found: list[dict[str, list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        exact: dict[str, list[int]] = {}
        folded: dict[str, list[int]] = {}
        stems: dict[str, list[int]] = {}
        numbers: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            tail = alike(name)
            lower, suffix = tail.casefold(), suffix_of(tail)
            while True:  # the whole path, and what is left of it without its first folder, and so on
                stem = lower.removesuffix(suffix)
                exact.setdefault(tail, []).append(index)
                folded.setdefault(lower, []).append(index)
                stems.setdefault(stem, []).append(index)
                if "/" not in lower:
                    break
                tail, lower = tail.partition("/")[2], lower.partition("/")[2]
            if stem.isdecimal() and stem.isascii():
                numbers.setdefault(str(int(stem)), []).append(index)
        self._found = [exact, folded, stems, numbers]

    def find(self, value: str) -> list[int]:
        """The files that a value may mean: one, none, or several of one name in several folders."""
        plain = alike(value).replace("\\", "/")
        while plain.startswith("./"):
            plain = plain[2:]
        if not plain:
            return []
        exact, folded, stems, numbers = self._found
        lower = plain.casefold()
        suffix = suffix_of(lower)
        for known, written in ((exact, plain), (folded, lower), (stems, lower)):
            if found := _by_tail(known, written):
                return found
        if suffix in self.suffixes and (found := _by_tail(stems, lower.removesuffix(suffix))):
            return found
        whole = lower.removesuffix(".0")
        return numbers.get(str(int(whole)), []) if whole.isdecimal() and whole.isascii() and len(whole) < 30 else []


def _by_tail(known: Mapping[str, list[int]], value: str) -> list[int]:
    parts = value.split("/")
    for start in range(len(parts)):
        if found := known.get("/".join(parts[start:])):
            return found
    return []


def _is_file_name(value: str) -> bool:
    return FILE_NAME.search(value) is not None


@dataclass(frozen=True)
class FileColumn:
    """The column that names files: its name, the files that each row may mean, and how many files it names."""

    name: str
    files: Sequence[Sequence[int]]
    matched: int


def column_of_files(table: Table, index: FileIndex) -> FileColumn | None:
    """The column whose values name most files; None where none names one.

    Where a column has names with suffixes, whole numbers in another one are not taken for files.
    """
    best: FileColumn | None = None
    written = {name for name, values in table.columns.items() if 2 * sum(map(_is_file_name, values)) > len(values)}
    for name, values in table.columns.items():
        if written and name not in written:
            continue
        files = [index.find(value) for value in values]
        distinct = len({each[0] for each in files if each})
        if distinct and (best is None or distinct > best.matched):
            best = FileColumn(name, files, distinct)
    return best
