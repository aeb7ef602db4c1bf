"""A matrix as coloured squares with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.viz.svg import Theme, document, element, escape, text, text_width

__all__ = ["heat_map"]

CELL_WIDTH = 66.0
CELL_HEIGHT = 40.0
MARGIN = 16.0
TITLE = 34.0
LABEL_SIZE = 12.0
STRONGEST = 0.85  # of the colour: the numbers stay readable
LIGHT_TEXT_FROM = 0.55


def heat_map(matrix: Sequence[Sequence[float]], names: Sequence[str], *, title: str, theme: Theme = "auto") -> str:
    """A square matrix of numbers from 0 on, as SVG text: the larger, the stronger the colour.

    Args:
        matrix: a row for each name.
        names: of rows and columns.
        title: shown above it.
        theme: as in `archscout.viz.draw`.
    """
    largest = max((value for row in matrix for value in row), default=0.0) or 1.0
    label_width = max(text_width(name, LABEL_SIZE) for name in names) + 10.0
    left = MARGIN + label_width
    # Column names stand at 45 degrees.
    top = MARGIN + TITLE + 0.72 * label_width
    body = text(title, MARGIN, MARGIN + 14.0, "as-title")
    for column, name in enumerate(names):
        x, y = left + (column + 0.5) * CELL_WIDTH, top - 8.0
        turned = f"rotate(-45 {x:g} {y:g})"
        body += element("text", escape(name), class_="as-label", x=x, y=y, transform=turned)
    for row, (name, values) in enumerate(zip(names, matrix, strict=True)):
        y = top + row * CELL_HEIGHT
        body += text(name, left - 8.0, y + CELL_HEIGHT / 2 + 4.2, "as-label", "end")
        for column, value in enumerate(values):
            tip = element("title", escape(f"{name}, {names[column]}: {value:.6f}"))
            body += element("g", tip + _square(value / largest, value, left + column * CELL_WIDTH, y), class_="entry")
    width = left + len(names) * CELL_WIDTH + MARGIN + 0.72 * label_width
    height = top + len(names) * CELL_HEIGHT + MARGIN
    return document(width, height, body, label=title, theme=theme)


def _square(share: float, value: float, x: float, y: float) -> str:
    box = {"x": x + 1.0, "y": y + 1.0, "width": CELL_WIDTH - 2.0, "height": CELL_HEIGHT - 2.0, "rx": 4.0}
    text_class = "as-label as-on-heat" if share >= LIGHT_TEXT_FROM else "as-label"
    shown = text(f"{value:.3f}", x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2 + 4.2, text_class, "middle")
    return element("rect", class_="as-heat", fill_opacity=STRONGEST * share + 0.04, **box) + shown
