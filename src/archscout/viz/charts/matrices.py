"""Matrices as coloured squares: which class is taken for which, and errors over positions."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.viz.charts.axes import compact
from archscout.viz.svg import Theme, document, element, escape, text, text_width

__all__ = ["confusion_map", "position_map", "sparkline"]

CELL_WIDTH, CELL_HEIGHT = 40.0, 26.0
MARGIN, TITLE, LABEL_SIZE = 14.0, 30.0, 12.0
STRONGEST = 0.88
LIGHT_TEXT_FROM = 0.55
MOST_LETTERS = 18
MAP_SIDE = 300.0
HEADING = "Confusion: true classes in rows"
SPARK_WIDTH, SPARK_HEIGHT = 128.0, 72.0


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}\u2026"


def confusion_map(
    matrix: Sequence[Sequence[int]], names: Sequence[str], supports: Sequence[int], *, theme: Theme = "auto"
) -> str:
    """How often each class (row) is taken for each (column), as SVG text; right and wrong answers differ in colour.

    Args:
        matrix: counts, a row for each true class that is shown.
        names: of the classes.
        supports: how often each class is true: a colour's strength is the share of it.
        theme: as in `archscout.viz.draw`.
    """
    shown = [_short(name) for name in names]
    label_width = max((text_width(name, LABEL_SIZE) for name in shown), default=0.0) + 10.0
    cell = max(CELL_WIDTH, max((text_width(f"{c:,}", LABEL_SIZE) for row in matrix for c in row), default=0.0) + 8.0)
    left, top = MARGIN + label_width, MARGIN + TITLE + 0.72 * label_width
    body = text(HEADING, MARGIN, MARGIN + 13.0, "as-title")
    for column, name in enumerate(shown):
        x, y = left + (column + 0.5) * cell, top - 7.0
        turned = f"rotate(-45 {x:g} {y:g})"
        tip = element("title", escape(names[column]))
        body += element("text", tip + escape(name), class_="as-label", x=x, y=y, transform=turned)
    for row, (name, counts) in enumerate(zip(shown, matrix, strict=True)):
        y = top + row * CELL_HEIGHT
        body += text(name, left - 8.0, y + CELL_HEIGHT / 2 + 4.2, "as-label", "end")
        for column, count in enumerate(counts):
            share = count / supports[row] if supports[row] else 0.0
            tip = element("title", escape(f"{names[row]}, predicted {names[column]}: {count:,} of {supports[row]:,}"))
            x = left + column * cell
            box = {"x": x + 1.0, "y": y + 1.0, "width": cell - 2.0, "height": CELL_HEIGHT - 2.0, "rx": 3.0}
            opacity = (STRONGEST * share + 0.08) if count else 0.03
            class_ = "as-heat" if row == column else "as-heat-wrong"
            square = element("rect", class_=class_, fill_opacity=opacity, **box)
            style = "as-label as-on-heat" if share >= LIGHT_TEXT_FROM else "as-label"
            number = text(f"{count:,}", x + cell / 2, y + CELL_HEIGHT / 2 + 4.2, style, "middle") if count else ""
            body += element("g", tip + square + number)
    title_width = text_width(HEADING, 15.0)
    width = max(left + len(names) * cell + MARGIN + 0.72 * label_width, title_width + 2 * MARGIN)
    height = top + len(names) * CELL_HEIGHT + MARGIN
    label = f"Confusion matrix of {len(names)} classes; the table of pairs says the same in words"
    return document(width, height, body, label=label, theme=theme)


def position_map(cells: Sequence[Sequence[float | None]], *, title: str, theme: Theme = "auto") -> str:
    """An error at each position of a map, as SVG text: the larger, the stronger the colour.

    Args:
        cells: rows of numbers; None where nothing is known.
        title: what is shown.
        theme: as in `archscout.viz.draw`.
    """
    known = [value for row in cells for value in row if value is not None]
    largest = max(known, default=0.0) or 1.0
    rows, columns = len(cells), max(map(len, cells))
    side = MAP_SIDE / max(rows, columns)
    top = MARGIN + TITLE
    body = text(title, MARGIN, MARGIN + 13.0, "as-title")
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            if value is None:
                continue
            tip = element("title", escape(f"row {row + 1}, column {column + 1}: {value:.4g}"))
            box = {"x": MARGIN + column * side, "y": top + row * side, "width": side, "height": side}
            opacity = round(STRONGEST * value / largest + 0.04, 3)
            body += element("rect", tip, class_="as-heat-wrong", fill_opacity=opacity, **box)
    bottom = top + rows * side
    outline = {"x": MARGIN, "y": top, "width": columns * side, "height": rows * side}
    body += element("rect", class_="as-axis", **outline)
    low = min(known, default=0.0)
    body += text(f"from {compact(low)} (weakest colour) to {compact(largest)}", MARGIN, bottom + 18.0)
    width = max(MAP_SIDE, text_width(title, 15.0)) + 2 * MARGIN
    return document(width, bottom + 18.0 + MARGIN, body, label=title, theme=theme)


def sparkline(curves: Sequence[Sequence[float]], *, label: str, theme: Theme = "auto") -> str:
    """Small curves on one scale without axes, as SVG text."""
    values = [value for curve in curves for value in curve if value == value and abs(value) != float("inf")]
    low, high = min(values, default=0.0), max(values, default=1.0)
    body = ""
    for index, curve in enumerate(curves):
        step = (SPARK_WIDTH - 4.0) / max(1, len(curve) - 1)
        points, pen = "", "M"
        for place, value in enumerate(curve):
            if not low <= value <= high:
                pen = "M"  # a gap
                continue
            y = SPARK_HEIGHT - 3.0 - (SPARK_HEIGHT - 6.0) * (value - low) / ((high - low) or 1.0)
            points += f"{pen}{2.0 + place * step:.1f} {y:.1f}"
            pen = "L"
        body += element("path", class_=f"as-line{index % 6}", d=points)
    return document(SPARK_WIDTH, SPARK_HEIGHT, body, label=label, theme=theme)
