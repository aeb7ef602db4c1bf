"""Series of files that a network is to predict, in the order of their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.tasks.preparation import ArrayPreparation
from archscout.tasks.readers.series import read_new_series
from archscout.tasks.readers.series_files import SeriesFile

__all__ = ["series_rows"]

LINE = re.compile(r"line (\d+): (.*)", re.DOTALL)


def series_rows(path: Path, preparation: ArrayPreparation) -> tuple[SeriesFile, Iterator[tuple[str, Any]]]:
    """A file of series, and its rows: what stands behind the file's name, and the series `(channels, steps)` or why it
    cannot be read, a DataError.

    Raises:
        DataError: nothing of the file can be read.
    """
    file = read_new_series(path, preparation)
    damaged = [
        (int(match[1]), match[2])
        for finding in file.findings
        if finding.code == "damaged"
        for match in map(LINE.fullmatch, finding.names)
        if match is not None
    ]
    lines = file.lines or tuple(range(1, len(file.cases) + 1))
    rows: list[tuple[int, str, Any]] = [(line, "", DataError(f"line {line}: {why}")) for line, why in damaged]
    for place, (line, case) in enumerate(zip(lines, file.cases, strict=True)):
        rows.append((line, file.names[place] if file.names is not None else "", case))
    rows.sort(key=lambda row: row[0])

    def labelled() -> Iterator[tuple[str, np.ndarray[Any, Any] | DataError]]:
        for place, (_, name, case) in enumerate(rows):
            yield f"[{place}]" if not name else f": {name}", case

    return file, labelled()
