"""Small charts as SVG text: lines over steps, and points in groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from archscout.viz.charts.axes import Axis, Format, compact, fit, usable
from archscout.viz.svg import SERIES, Theme, document, element, escape, number, text, text_width

__all__ = ["Point", "Series", "line_chart", "scatter_chart"]

WIDTH = 400.0
HEIGHT = 244.0
# Room for title, two rows of legend and the y label in a chart of that height.
HEAD = 98.0
SMALL = 11.0
PAD = 12.0
# More distinct dash patterns than colours repeat: with six colours, 24 series look different.
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_THIN_FROM = 600


@dataclass(frozen=True)
class Series:
    """A line: equally many x and y. Values of y that are not finite leave a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Point:
    """A point of a scatter chart; `title` appears under the pointer, chosen points are ringed and labelled."""

    x: float
    y: float
    group: str = ""
    title: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class _Frame:
    """The plotting area and its two axes."""

    left: float
    right: float
    top: float
    bottom: float
    x: Axis
    y: Axis
    height: float  # of the whole chart

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        return (
            self.left + (self.right - self.left) * self.x.fraction(x),
            self.bottom - (self.bottom - self.top) * self.y.fraction(y),
        )


def _frame(x: Axis, y: Axis, top: float, x_label: str, y_label: str) -> tuple[_Frame, str]:
    """The area below `top` that leaves room for all labels, and the drawing of grid, ticks and axis names."""
    # A legend of many rows makes the chart higher, never the plot smaller.
    top += 22.0 if y_label else 6.0
    height = HEIGHT + max(0.0, top - HEAD)
    label_width = max((text_width(label, SMALL) for _, label in y.ticks), default=0.0)
    bottom = height - PAD - 18.0 - (16.0 if x_label else 0.0)
    frame = _Frame(PAD + label_width + 8.0, WIDTH - PAD - 10.0, top, bottom, x, y, height)
    parts = [text(y_label, PAD, top - 12.0)] if y_label else []
    for value, label in y.ticks:
        level = frame.at(x.low, value)[1]
        parts.append(
            element("path", class_="as-grid", d=f"M{number(frame.left)} {number(level)}H{number(frame.right)}")
        )
        parts.append(text(label, frame.left - 7.0, level + 3.8, anchor="end"))
    line = f"M{number(frame.left)} {number(bottom)}H{number(frame.right)}"
    shown_until = -1.0
    for value, label in x.ticks:
        place = frame.at(value, y.low)[0]
        line += f"M{number(place)} {number(bottom)}v4"
        half = text_width(label, SMALL) / 2
        if place - half > shown_until:
            parts.append(text(label, place, bottom + 17.0, anchor="middle"))
            shown_until = place + half + 4.0
    parts.append(element("path", class_="as-axis", d=line))
    if x_label:
        parts.append(text(x_label, (frame.left + frame.right) / 2, height - PAD + 2.0, anchor="middle"))
    return frame, "".join(parts)


def _head(title: str, entries: list[tuple[str, str]]) -> tuple[str, float]:
    """Title and legend (mark and name), wrapped; and the y below them."""
    body, y = "", PAD
    if title:
        body, y = text(title, PAD, PAD + 13.0, "as-title"), PAD + 24.0
    x = PAD
    for mark, name in entries:
        needed = 24.0 + text_width(name, SMALL) + 14.0
        if x > PAD and x + needed > WIDTH - PAD + 14.0:
            x, y = PAD, y + 17.0
        body += element("g", mark, transform=f"translate({number(x)} {number(y + 6.0)})")
        body += text(name, x + 24.0, y + 10.0)
        x += needed
    return body, y + (22.0 if entries else 4.0)


def _empty(title: str, nothing: bool, theme: Theme) -> str:
    head, top = _head(title, [])
    reason = "nothing to show yet" if nothing else "no finite value to show"
    body = head + text(reason, WIDTH / 2, (top + HEIGHT) / 2, anchor="middle")
    return document(WIDTH, HEIGHT, body, label=title or "empty chart", theme=theme)


def _runs(series: Series, log: bool) -> list[list[tuple[float, float]]]:
    """The stretches of a series without gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(series.x, series.y, strict=True):
        if usable(x) and usable(y, log):
            runs[-1].append((float(x), float(y)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The first, lowest, highest and last point of each column of half a pixel."""
    if len(points) <= _THIN_FROM:
        return points
    columns: dict[int, list[int]] = {}
    for index, (x, _) in enumerate(points):
        columns.setdefault(round(2 * x), []).append(index)
    kept: set[int] = set()
    for indices in columns.values():
        kept |= {indices[0], indices[-1]}
        kept |= {min(indices, key=lambda i: points[i][1]), max(indices, key=lambda i: points[i][1])}
    return [points[index] for index in sorted(kept)]


def _line(series: Series, index: int, frame: _Frame, log: bool) -> str:
    """One series: a path for each stretch, a dot where a stretch is a single point."""
    path, dots = "", dict[str, str]()
    for run in _runs(series, log):
        points = _thin([frame.at(x, y) for x, y in run])
        if len(points) == 1:
            x, y = points[0]
            dots[f"{x:.0f} {y:.0f}"] = element("circle", class_=f"as-dot{index % SERIES}", cx=x, cy=y, r=3.0)
        else:
            path += "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
    dash = _DASHES[index // SERIES % len(_DASHES)]
    line = element("path", class_=f"as-line{index % SERIES}", d=path, stroke_dasharray=dash or "none") if path else ""
    return element("g", element("title", escape(series.name)) + line + "".join(dots.values()))


def _last(series: Series) -> str:
    """The name with its last value."""
    values = [y for y in series.y if usable(y)]
    return f"{series.name}  {compact(values[-1])}" if values else f"{series.name}  \u2013"


def line_chart(
    series: Sequence[Series],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log: bool = False,
    style: Format = "number",
    theme: Theme = "auto",
) -> str:
    """Lines with a legend that names the last value of each.

    Args:
        series: lines over a common x. Values that are not finite (or not positive on a logarithmic axis) are gaps.
            Thousands of points are thinned to what the pixels can show, extremes kept.
        title, x_label, y_label: foreign text is fine; empty ones take no room.
        log: logarithmic y axis.
        style: `percent` shows fractions as percent.
        theme: as in `archscout.viz.draw`.

    Returns:
        SVG text of 400 x 244 pixels, higher where the legend needs many rows.
    """
    xs = [x for line in series for run in _runs(line, log) for x, _ in run]
    ys = [y for line in series for run in _runs(line, log) for _, y in run]
    if not xs:
        return _empty(title, not any(len(line.y) for line in series), theme)
    marks = []
    for index, line in enumerate(series):
        dash = _DASHES[index // SERIES % len(_DASHES)] or "none"
        mark = element("path", class_=f"as-line{index % SERIES}", d="M0 0H18", stroke_dasharray=dash)
        marks.append((mark, _percent_last(line) if style == "percent" else _last(line)))
    head, top = _head(title, marks)
    x_axis = fit(xs, whole=all(x == int(x) for x in xs), snap=False, count=6)
    frame, grid = _frame(x_axis, fit(ys, log=log, style=style), top, x_label, y_label)
    lines = "".join(_line(line, index, frame, log) for index, line in enumerate(series))
    return document(WIDTH, frame.height, head + grid + lines, label=title or "line chart", theme=theme)


def _percent_last(series: Series) -> str:
    values = [y for y in series.y if usable(y)]
    return f"{series.name}  {100 * values[-1]:.1f}\u00a0%" if values else f"{series.name}  \u2013"


def _marker(group: int, x: float, y: float, title: str = "") -> str:
    """A circle, square, diamond or triangle: groups differ in shape as well as in colour."""
    tip = element("title", escape(title)) if title else ""
    class_ = f"as-dot{group % SERIES}"
    if group % 4 == 0:
        return element("circle", tip, class_=class_, cx=x, cy=y, r=3.6)
    outline = {
        1: [(-3.3, -3.3), (3.3, -3.3), (3.3, 3.3), (-3.3, 3.3)],
        2: [(0.0, -4.8), (4.8, 0.0), (0.0, 4.8), (-4.8, 0.0)],
        3: [(0.0, -4.6), (4.4, 3.4), (-4.4, 3.4)],
    }[group % 4]
    corners = " ".join(f"{number(x + dx)},{number(y + dy)}" for dx, dy in outline)
    return element("polygon", tip, class_=class_, points=corners)


def _unlike(points: Iterable[tuple[Point, float, float]]) -> list[tuple[Point, float, float]]:
    """One point of each group for every square of two pixels, and all chosen points."""
    kept: dict[tuple[object, ...], tuple[Point, float, float]] = {}
    for entry in points:
        point, x, y = entry
        key = (id(point),) if point.chosen else (point.group, round(x / 2), round(y / 2))
        kept.setdefault(key, entry)
    return list(kept.values())


def _rings(points: list[tuple[Point, float, float]], frame: _Frame, name: str) -> str:
    """Rings around the chosen points, each with a label on the side where there is room."""
    body = ""
    for _, x, y in points:
        left = x + 14.0 + text_width(name, 12.0) > frame.right
        body += element("circle", class_="as-ring", cx=x, cy=y, r=8.0)
        body += text(name, x - 13.0 if left else x + 13.0, y + 4.0, "as-label as-halo", "end" if left else "start")
    return body


def scatter_chart(
    points: Sequence[Point],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    style: Format = "number",
    chosen_label: str = "chosen",
    diagonal: bool = False,
    theme: Theme = "auto",
) -> str:
    """Points in groups of different colour and shape, with hover titles; chosen ones ringed and drawn last.

    Points without a finite position are left out; of those that would cover each other, one per group is drawn.
    Arguments as in `line_chart`; `diagonal` gives both axes one range, and draws where x equals y. Returns SVG text.
    """
    shown = [point for point in points if usable(point.x) and usable(point.y)]
    if not shown:
        return _empty(title, not points, theme)
    groups = list(dict.fromkeys(point.group for point in shown))
    named = [(_marker(index, 9.0, 0.0), group) for index, group in enumerate(groups) if group]
    head, top = _head(title, named)
    xs, ys = [point.x for point in shown], [point.y for point in shown]
    if diagonal:
        xs = ys = [*xs, *ys]
    x_axis, y_axis = _padded(xs, "number"), _padded(ys, style)
    frame, grid = _frame(x_axis, y_axis, top, x_label, y_label)
    if diagonal:
        (x0, y0), (x1, y1) = (frame.at(end, end) for end in (x_axis.low, x_axis.high))
        line = f"M{number(x0)} {number(y0)}L{number(x1)} {number(y1)}"
        grid += element("path", class_="as-axis", d=line, stroke_dasharray="4 4")
    placed = _unlike((point, *frame.at(point.x, point.y)) for point in sorted(shown, key=lambda point: point.chosen))
    dots = "".join(_marker(groups.index(point.group), x, y, point.title) for point, x, y in placed)
    rings = _rings([entry for entry in placed if entry[0].chosen], frame, chosen_label)
    return document(WIDTH, frame.height, head + grid + dots + rings, label=title or "scatter chart", theme=theme)


def _padded(values: list[float], style: Format) -> Axis:
    """An axis with a little room at both ends, so that no marker touches the border."""
    least, most = min(values), max(values)
    pad = (most - least) * 0.03
    low = max(0.0, least - pad) if least >= 0 else least - pad  # no room below zero for what is never negative
    return fit([low, most + pad], style=style, count=5)
