"""Tables of series: a row a series (the UCR archive's `.tsv`, `.txt` and files without suffix, `.csv`, `.arff`), or a
row a step of a series (`.csv` with a column that tells the series apart)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from archscout.errors import DataError
from archscout.tasks.findings import Finding
from archscout.tasks.readers.plain_text import read_plain_text
from archscout.tasks.readers.series_files import MISSING, as_number, digest_of

__all__ = ["Table", "listed", "read_table"]

DELIMITERS = ("\t", ";", "|", ",")  # the first that all lines have: commas may be decimal ones
PROBED_LINES = 50
MOST_LISTED = 20
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
LABEL_NAMES = ("label", "labels", "class", "class_label", "classlabel", "target", "targets", "category", "y")
FIELD_LIMIT = 2**31 - 1  # characters of a cell


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of a file, as text.

    Attributes:
        path: of the file.
        columns: their names; where the file names none, their numbers from 1.
        named: whether the file names them.
        rows: cells, as many as columns.
        lines: the number of the line that each row begins in.
        classes: allowed values of nominal columns, in their order (`.arff`).
        nested: columns whose cells hold whole series of several channels (`.arff`).
        delimiter: of the file; None: blanks.
        findings, digest: as in `SeriesFile`.
    """

    path: Path
    columns: tuple[str, ...]
    named: bool
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nested: tuple[str, ...] = ()
    delimiter: str | None = ","
    findings: tuple[Finding, ...] = ()
    digest: str = ""

    @property
    def shown(self) -> str:
        """The columns, for messages."""
        return listed(self.columns)

    def column(self, name: str) -> list[str]:
        """All cells of a column."""
        return list(map(itemgetter(self.columns.index(name)), self.rows))

    def find(self, name: str) -> str:
        """The column of a name, a number from 1, or first or last. Raises DataError."""
        if name in self.columns:
            return name
        alike = [column for column in self.columns if column.strip().lower() == name.strip().lower()]
        if len(alike) == 1:
            return alike[0]
        ends = {"first": self.columns[0], "last": self.columns[-1]}
        if name.lower() in ends:
            return ends[name.lower()]
        what = "columns are" if self.named else "columns have no names, only numbers:"
        raise DataError(f"{self.path} has no column '{name}'; its {what} {listed(self.columns)}.")


def listed(columns: Sequence[str]) -> str:
    """Names of columns, in a message; of many, the first and the last."""
    shown = [column or "(no name)" for column in columns]
    if len(shown) > MOST_LISTED:
        shown = [*shown[: MOST_LISTED - 3], f"... ({len(shown) - MOST_LISTED + 1:,} more)", *shown[-2:]]
    return ", ".join(shown)


def read_table(path: Path) -> Table:
    """The cells of a `.csv`, `.tsv` or `.txt` file, or one without suffix.

    Columns stand between tabs, semicolons, bars, commas or blanks. The first line names them where it has words above
    numbers, or counts the columns. Lines may be of different lengths where columns have no names.

    Raises:
        DataError: missing, no text, empty, or lines that contradict the first; the message has all of them.
    """
    text = read_plain_text(path)
    content = "\n".join(text.lines())
    rows, lines, delimiter, comment = _cells(path, content)
    findings = list(text.findings)
    if not rows:
        raise DataError(f"{path} has no rows. Give a table with one series a row.")
    if _decimal_commas(rows, delimiter):
        rows = [[cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell for cell in row] for row in rows]
        findings.append(Finding("note", "decimals", f"{path.name}: commas within numbers were read as decimal points."))
    rows, trailing = _without_trailing(rows)
    if trailing:
        findings.append(Finding("note", "columns", f"{path.name}: every line ends with a separator; it was left out."))
    if comment is not None and len(comment) == len(rows[0]) and not _is_header(rows):
        names: list[str] | None = comment  # numpy.savetxt writes names behind a #
    elif _is_header(rows):
        names, rows, lines = [cell.strip() for cell in rows[0]], rows[1:], lines[1:]
        if all(as_number(name) is not None for name in names):
            findings.append(
                Finding(
                    "note", "columns", f"{path.name}: the first line counts the columns; it was read as their names."
                )
            )
    else:
        names = None
    if not rows:
        raise DataError(f"{path} has names of columns but no rows.")
    columns, rows = _squared(path, names, rows, lines)
    return Table(
        path=path,
        columns=columns,
        named=names is not None,
        rows=rows,
        lines=lines,
        delimiter=delimiter,
        findings=tuple(findings),
        digest=digest_of(text.content),
    )


def _cells(path: Path, content: str) -> tuple[list[list[str]], list[int], str | None, list[str] | None]:
    """Cells of all lines that are neither blank nor comments, the lines' numbers, the separator, and the cells of the
    last comment before the first row."""
    first, _, rest = content.partition("\n")
    told = SEPARATOR.fullmatch(first.strip())
    if told is not None:  # as Excel writes it
        content = "\n" + rest
    probe = [line for line in content.split("\n", PROBED_LINES)[:PROBED_LINES] if line.strip()]
    plain = [line for line in probe if not line.startswith(("#", "%"))] or probe
    delimiter = (
        told[1]
        if told is not None
        else next((each for each in DELIMITERS if all(each in line.strip("\r\n ") for line in plain)), None)
    )
    if delimiter is None:
        delimiter = "," if any("," in line for line in plain) else None
    rows: list[list[str]] = []
    lines: list[int] = []
    comment: list[str] | None = None
    if delimiter is None:
        for number, line in enumerate(content.split("\n"), 1):
            if line.strip() and not line.lstrip().startswith(("#", "%")):
                rows.append(line.split())
                lines.append(number)
        return rows, lines, None, None
    before = csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t")
    try:
        start = 1
        for row in reader:
            number, start = start, reader.line_num + 1
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if row[0].startswith(("#", "%")):
                if not rows:
                    comment = [row[0].lstrip("#% "), *row[1:]]
                continue
            rows.append(row)
            lines.append(number)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}. Is a quotation mark missing?") from None
    finally:
        csv.field_size_limit(before)
    return rows, lines, delimiter, comment


def _decimal_commas(rows: Sequence[Sequence[str]], delimiter: str | None) -> bool:
    """Whether numbers are written 1,5: only where commas do not separate cells, and no number has a point."""
    if delimiter == ",":
        return False
    cells = [cell.strip() for row in rows[:PROBED_LINES] for cell in row]
    commas = any(DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    return commas and not any("." in cell and as_number(cell) is not None for cell in cells)


def _without_trailing(rows: list[list[str]]) -> tuple[list[list[str]], bool]:
    """Rows without their last cell, where that is empty in all and all are of one length."""
    width = len(rows[0])
    if width > 1 and len(rows) > 1 and all(len(row) == width and not row[-1].strip() for row in rows):
        return [row[:-1] for row in rows], True
    return rows, False


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns."""
    first, others = [cell.strip() for cell in rows[0]], rows[1:PROBED_LINES]
    if any(cell.lower() in LABEL_NAMES for cell in first) and len(set(first)) == len(first):
        return True
    for place, cell in enumerate(first):
        below = [row[place].strip() for row in others if place < len(row)]
        known = [word for word in below if word.lower() not in MISSING]
        if cell.lower() not in MISSING and as_number(cell) is None and known:
            numbers = sum(as_number(word) is not None for word in known)
            if numbers > len(known) / 2:
                return True
    counted = [cell for cell in first if cell]
    return len(counted) > 3 and any(
        counted == [str(number) for number in range(begin, begin + len(counted))] for begin in (0, 1)
    )


def _squared(
    path: Path, names: list[str] | None, rows: list[list[str]], lines: Sequence[int]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Names of the columns, and rows of equal length.

    Without names, shorter rows are filled behind their values: a label at the end, which only text can be told from
    values by, stays at the end.
    """
    widest = max(map(len, rows))
    if names is None:
        columns = tuple(str(number) for number in range(1, widest + 1))
        if all(len(row) == widest for row in rows):
            return columns, rows
        at_end = as_number(rows[0][-1].strip()) is None
        return columns, [
            row[:-1] + [""] * (widest - len(row)) + row[-1:] if at_end else row + [""] * (widest - len(row))
            for row in rows
        ]
    if "" not in names and all(len(row) == len(names) + 1 for row in rows):
        names = ["", *names]  # as R writes tables: numbers of rows have no name
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{path}: columns have the same name: {listed(twice)}. Give each its own.")
    wrong = [f"line {line}: {len(row)} cells" for line, row in zip(lines, rows, strict=True) if len(row) != len(names)]
    if wrong:
        more = f"\n  and {len(wrong) - MOST_LISTED:,} more" if len(wrong) > MOST_LISTED else ""
        raise DataError(
            f"{path}: the first line names {len(names)} columns, but {len(wrong):,} lines have more or fewer cells. "
            f"Lines may be cut off.\n  " + "\n  ".join(wrong[:MOST_LISTED]) + more
        )
    return tuple(names), rows
