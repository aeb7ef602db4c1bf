"""Read `.arff` files of the UCR and UEA archives: an attribute for each step, or, for several channels, one relational
attribute whose instances are the channels.

`scipy.io.arff` reads neither relational attributes nor texts, so the format is read here, after its description at
https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from archscout.errors import DataError
from archscout.tasks.readers.plain_text import read_plain_text
from archscout.tasks.readers.series_files import digest_of
from archscout.tasks.readers.series_tables import Table

__all__ = ["read_arff"]

NUMBERS = frozenset(("numeric", "real", "integer"))
TEXTS = frozenset(("string", "date"))
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# A value: in quotes, or up to the next comma.
VALUE = re.compile(r"""\s*(?:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)"|([^,]*))\s*(?:,|$)""", re.DOTALL)
NAME = re.compile(r"""\s*(?:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)"|(\S+))\s*""", re.DOTALL)
MOST_FAULTS = 20


@dataclass
class _Attributes:
    """The attributes of a file, in order; those inside of a relational one are its steps and have no name here."""

    names: list[str] = field(default_factory=list)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nested: list[str] = field(default_factory=list)
    inside: str | None = None  # the relational attribute that is being read


def read_arff(path: Path) -> Table:
    """The cells of an `.arff` file.

    Raises:
        DataError: missing, no text, sparse, or lines that are not as the format has them.
    """
    text = read_plain_text(path)
    lines = iter(enumerate(text.lines(), 1))
    attributes = _read_attributes(path, lines)
    rows: list[list[str]] = []
    numbers: list[int] = []
    faults: list[str] = []
    for number, line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("%"):
            continue
        if stripped.startswith("{"):
            raise DataError(
                f"{path}, line {number}: sparse data, {{index value, ...}}, is not read, for series have a value at "
                "every step. Save the file again as a dense one (in Weka: the filter SparseToNonSparse)."
            )
        row = _values(stripped)
        if row is not None and len(row) == len(attributes.names) + 1 and not row[-1]:
            row.pop()  # a comma behind the last value
        if row is None or len(row) != len(attributes.names):
            seen = "quotes that do not close" if row is None else f"{len(row)} values"
            faults.append(f"line {number}: {seen}, for {len(attributes.names)} attributes")
            continue
        rows.append(row)
        numbers.append(number)
    if faults:
        more = f"\n  and {len(faults) - MOST_FAULTS:,} more" if len(faults) > MOST_FAULTS else ""
        raise DataError(
            f"{path}: {len(faults):,} lines of data do not fit the header. They may be cut off.\n  "
            + "\n  ".join(faults[:MOST_FAULTS])
            + more
        )
    if not rows:
        raise DataError(f"{path} has no case behind @data. It is truncated; get it again.")
    _check_classes(path, attributes, rows)
    return Table(
        path=path,
        columns=tuple(attributes.names),
        named=True,
        rows=rows,
        lines=numbers,
        classes=attributes.classes,
        nested=tuple(attributes.nested),
        findings=text.findings,
        digest=digest_of(text.content),
    )


def _read_attributes(path: Path, lines: Iterator[tuple[int, str]]) -> _Attributes:
    """All up to `@data`."""
    found = _Attributes()
    for number, line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("%"):
            continue
        where = f"{path}, line {number}"
        key, _, rest = stripped.partition(" ") if " " in stripped else stripped.partition("\t")
        key = key.lower()
        if key == "@attribute":
            _add_attribute(where, rest, found)
        elif key == "@end":
            if found.inside is None:
                raise DataError(f"{where}: @end without a relational attribute before it.")
            found.inside = None
        elif key == "@data":
            if found.inside is not None:
                raise DataError(f"{where}: the relational attribute '{found.inside}' has no @end.")
            if not found.names:
                raise DataError(f"{where}: @data, but no @attribute before it.")
            if len(set(found.names)) < len(found.names):
                twice = next(name for name in found.names if found.names.count(name) > 1)
                raise DataError(f"{path}: two attributes have the name '{twice}'.")
            return found
        elif key != "@relation":
            raise DataError(f"{where}: expected @relation, @attribute or @data, found '{stripped[:40]}'.")
    raise DataError(f"{path} has no line @data: no .arff file, or truncated.")


def _add_attribute(where: str, text: str, found: _Attributes) -> None:
    match = NAME.match(text)
    if match is None:
        raise DataError(f"{where}: an attribute without a name.")
    name, kind = _unquoted(match), text[match.end() :].strip()
    word = kind.split("[")[0].split()[0].lower() if kind.split("[")[0].split() else ""
    if found.inside is not None:
        if word not in NUMBERS:
            raise DataError(
                f"{where}: '{name}', inside of '{found.inside}', is {kind[:40]}; steps of series are numeric."
            )
        return
    found.names.append(name)
    if word == "relational":
        found.nested.append(name)
        found.inside = name
    elif kind.startswith("{"):
        classes = _values(kind[1:].rpartition("}")[0].strip().removesuffix(","))
        if not kind.rstrip().endswith("}") or classes is None:
            raise DataError(f"{where}: the values of '{name}' are not written {{one,two,...}}.")
        found.classes[name] = tuple(classes)
    elif word not in NUMBERS | TEXTS:
        allowed = "numeric, real, integer, string, date, relational or {one,two,...}"
        raise DataError(f"{where}: the attribute '{name}' is '{kind[:40]}'; allowed: {allowed}.")


def _unquoted(match: re.Match[str]) -> str:
    quoted = match[1] if match[1] is not None else match[2]
    if quoted is None:
        return match[3].strip()
    return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), quoted)


def _values(line: str) -> list[str] | None:
    """The values of a line, between commas, without their quotes; None where quotes do not close."""
    if "'" not in line and '"' not in line:
        return [word.strip() for word in line.split(",")]
    values = []
    place = 0
    while place <= len(line):
        match = VALUE.match(line, place)
        if match is None or (match[3] is not None and match[3][:1] in ("'", '"')):
            return None
        values.append(_unquoted(match))
        place = match.end()
        if place == len(line):
            return [*values, ""] if match[0].endswith(",") else values
    return values


def _check_classes(path: Path, attributes: _Attributes, rows: list[list[str]]) -> None:
    """Raise where a nominal attribute has a value that the header does not allow."""
    for name, allowed in attributes.classes.items():
        place = attributes.names.index(name)
        strange = sorted({row[place] for row in rows} - set(allowed) - {"?"})
        if strange:
            raise DataError(
                f"{path}: the attribute '{name}' has the values {', '.join(strange[:5])}, which its header does not "
                f"name; it allows {', '.join(allowed[:20])}."
            )
