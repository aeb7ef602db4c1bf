"""The part of a report that says where a network fails: its content as plain values, and its charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archscout.viz.charts.charts import Point, Series, line_chart, scatter_chart
from archscout.viz.charts.matrices import confusion_map, position_map, sparkline

__all__ = ["InsightView", "MistakeView", "Picture", "insight_charts", "picture_html"]

MOST_CLASSES = 20
MOST_POINTS = 5000


@dataclass(frozen=True)
class Picture:
    """One picture of a sample: an image as PNG in base 64, or curves."""

    name: str
    image: str = ""
    curves: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class MistakeView:
    """A sample on which the network is wrong: its name, lines about it, and what it looks like."""

    sample: str
    lines: tuple[str, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class InsightView:
    """Where a network fails. Every part but the sentences may be empty.

    Attributes:
        verdict: sentences.
        class_names, matrix: a row for each true class, of all classes.
        pairs: true class, predicted class, how often.
        columns: title, class of the style sheet and cells, of the table of classes, numbers or words.
        bins: mean confidence, share that is right, how many.
        residuals: for each number its name, and sample, true and predicted value of each.
        cells, cells_title: errors over positions.
        mistakes: the worst samples.
        wrong: how many there are in all.
    """

    verdict: Sequence[str]
    class_names: Sequence[str] = ()
    matrix: Sequence[Sequence[int]] = ()
    pairs: Sequence[tuple[str, str, int]] = ()
    columns: Sequence[tuple[str, str, Sequence[str]]] = ()
    bins: Sequence[tuple[float, float, int]] = ()
    residuals: Sequence[tuple[str, Sequence[tuple[str, float, float]]]] = ()
    cells: Sequence[Sequence[float | None]] = ()
    cells_title: str = ""
    mistakes: Sequence[MistakeView] = ()
    wrong: int | None = None

    @property
    def shown_classes(self) -> list[int]:
        """All classes where they are few, else those that are in most confusions, in order."""
        count = len(self.class_names)
        if not self.matrix or count <= MOST_CLASSES:
            return list(range(count if self.matrix else 0))
        errors = [
            sum(self.matrix[one]) + sum(row[one] for row in self.matrix) - 2 * self.matrix[one][one]
            for one in range(count)
        ]
        return sorted(sorted(range(count), key=lambda one: -errors[one])[:MOST_CLASSES])

    @property
    def rows(self) -> int:
        """Of the table."""
        return len(self.columns[0][2]) if self.columns else 0


def insight_charts(view: InsightView) -> list[str]:
    """The charts as SVG text that takes its style from the page."""
    charts = []
    shown = view.shown_classes
    if shown:
        matrix = [[view.matrix[row][column] for column in shown] for row in shown]
        supports = [sum(view.matrix[row]) for row in shown]
        charts.append(confusion_map(matrix, [view.class_names[one] for one in shown], supports, theme="inherit"))
    if view.bins:
        charts.append(_reliability(view.bins))
    for name, samples in view.residuals:
        step = -(-len(samples) // MOST_POINTS) or 1
        points = [
            Point(true, found - true, title=f"{sample}: true {true:.6g}, off by {found - true:+.6g}")
            for sample, true, found in samples[::step]
        ]
        title = f"Predicted minus true: {name}"
        charts.append(scatter_chart(points, title=title, x_label="true", y_label="residual", theme="inherit"))
    if view.cells and len(view.cells) > 1:
        charts.append(position_map(view.cells, title=view.cells_title, theme="inherit"))
    elif view.cells:
        values = [float("nan") if value is None else value for value in view.cells[0]]
        line = Series("error", list(range(1, len(values) + 1)), values)
        charts.append(line_chart([line], title=view.cells_title, x_label="position", theme="inherit"))
    return charts


def _reliability(bins: Sequence[tuple[float, float, int]]) -> str:
    points = [
        Point(sure, right, title=f"{count:,} answers, {100 * sure:.1f} % sure, {100 * right:.1f} % right")
        for sure, right, count in bins
    ]
    return scatter_chart(
        points,
        title="Reliability: on the line, as sure as right",
        x_label="confidence",
        y_label="share that is right",
        diagonal=True,
        theme="inherit",
    )


def picture_html(picture: Picture, sample: str) -> str:
    """A picture as HTML, for a page with the drawings' styles; foreign text is escaped."""
    from archscout.viz.svg import element

    if picture.image:
        return element("img", src=f"data:image/png;base64,{picture.image}", alt=f"{picture.name} of {sample}")
    return sparkline(picture.curves, label=f"{picture.name} of {sample}", theme="inherit")
