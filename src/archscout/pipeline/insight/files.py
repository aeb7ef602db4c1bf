"""An insight as files: tables as CSV, the worst samples as a contact sheet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from archscout.atomic import write_atomic
from archscout.errors import RunError
from archscout.pipeline.insight.content import Insight
from archscout.pipeline.insight.judges import Table, shown_number
from archscout.pipeline.insight.observe import as_csv
from archscout.viz.report.insight import MistakeView
from archscout.viz.report.report import render_sheet

__all__ = ["tables_of", "write_insight_files"]

KNOWN = (
    "calibration.csv",
    "confusion.csv",
    "costly_words.csv",
    "intervals.csv",
    "mistakes.csv",
    "mistakes.html",
    "per_class.csv",
    "per_number.csv",
    "positions.csv",
    "word_frequency.csv",
)


def tables_of(insight: Insight) -> dict[str, Table]:
    """The tables of an insight by their file names; those without content are left out."""
    tables = {
        "confusion.csv": _confusion(insight),
        "per_class.csv": _classes(insight),
        "per_number.csv": _numbers(insight),
        "calibration.csv": _calibration(insight),
        "mistakes.csv": _mistakes(insight),
        "positions.csv": _positions(insight),
        "word_frequency.csv": _bands(insight),
        "costly_words.csv": _costly(insight),
        "intervals.csv": [
            ["metric", "value", "low", "high", "resamples", "drawn"],
            *(
                [name, repr(insight.values[name]), repr(each.low), repr(each.high), str(each.resamples), each.unit]
                for name, each in insight.intervals.items()
            ),
        ],
    }
    return {name: table for name, table in tables.items() if len(table) > 1}


def write_insight_files(
    folder: Path, title: str, insight: Insight, mistakes: Sequence[MistakeView], answers: Sequence[list[str]] = ()
) -> list[Path]:
    """Write the tables and the contact sheet of an insight into a folder.

    Files of an earlier explanation that have no content now are removed; files of other names stay.

    Args:
        title: of the contact sheet.
        mistakes: the worst samples.
        answers: to each sample, for `predictions.csv`.

    Raises:
        RunError: the folder cannot be written.
    """
    contents = {name: as_csv(table) for name, table in tables_of(insight).items()}
    if len(answers) > 1:
        contents["predictions.csv"] = as_csv(list(answers))
    if mistakes:
        contents["mistakes.html"] = render_sheet(title, mistakes)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in {*KNOWN} - {*contents}:
            (folder / name).unlink(missing_ok=True)
        for name, content in contents.items():
            write_atomic(folder / name, content)
            written.append(folder / name)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {os.strerror(error.errno or 0)}. Choose another --out.") from None
    return written


def _confusion(insight: Insight) -> Table:
    if not insight.confusion:
        return []
    names = insight.class_names
    rows = zip(names, insight.confusion_matrix().tolist(), strict=True)
    return [["true \\ predicted", *names]] + [[name, *map(str, row)] for name, row in rows]


def _optional(value: float | None) -> str:
    return "" if value is None else shown_number(value)


def _classes(insight: Insight) -> Table:
    head = ["class", "precision", "recall", "f1", "support", "predicted", "iou", "average_precision", "threshold"]
    rows = [
        [
            each.name,
            *map(shown_number, (each.precision, each.recall, each.f1)),
            str(each.support),
            str(each.predicted),
            *map(_optional, (each.iou, each.average_precision, each.threshold)),
        ]
        for each in insight.classes
    ]
    kept = [place for place in range(len(head)) if place < 6 or any(row[place] for row in rows)]
    return [[row[place] for place in kept] for row in [head, *rows]]


def _numbers(insight: Insight) -> Table:
    head = ["number", "mean_absolute_error", "root_mean_squared_error", "r_squared", "bias", "largest_error"]
    return [head] + [
        [
            each.name,
            *map(
                shown_number,
                (each.mean_absolute_error, each.root_mean_squared_error, each.r_squared, each.bias, each.largest),
            ),
        ]
        for each in insight.numbers
    ]


def _calibration(insight: Insight) -> Table:
    bins = [] if insight.calibration is None else insight.calibration.bins
    return [["low", "high", "count", "confidence", "accuracy"]] + [
        [
            *map(shown_number, (each.low, each.high)),
            str(each.count),
            *map(shown_number, (each.confidence, each.accuracy)),
        ]
        for each in bins
    ]


def _mistakes(insight: Insight) -> Table:
    head = ["sample", "true", "predicted", "probability", "value"]
    rows = [
        [each.sample, each.true, each.predicted, _optional(each.probability), _optional(each.value)]
        for each in insight.mistakes
    ]
    titles = {"masks": "mean_iou", "fields": "root_mean_squared_error", "numbers": "residual"}
    head[4] = titles.get(insight.form, "value")
    kept = [place for place in range(len(head)) if place == 0 or any(row[place] for row in rows)]
    return [[row[place] for place in kept] for row in [head, *rows]]


def _positions(insight: Insight) -> Table:
    if insight.positions is None:
        return []
    cells = insight.positions.cells
    head = ["row \\ column", *(str(column + 1) for column in range(len(cells[0])))]
    return [head] + [[str(row + 1), *map(_optional, values)] for row, values in enumerate(cells)]


def _bands(insight: Insight) -> Table:
    return [["seen_from", "seen_to", "words", "perplexity"]] + [
        [str(each.low), "" if each.high is None else str(each.high), str(each.words), shown_number(each.perplexity)]
        for each in insight.bands
    ]


def _costly(insight: Insight) -> Table:
    return [["word", "times", "perplexity", "share_of_loss"]] + [
        [word, str(count), shown_number(value), shown_number(share)] for word, count, value, share in insight.costly
    ]
