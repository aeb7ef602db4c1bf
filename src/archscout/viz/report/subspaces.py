"""How a search by subspaces went: its centres as a graph, their scores over the steps, and every proposal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from archscout.viz.charts.charts import Point, Series, line_chart, scatter_chart
from archscout.viz.report.content import SubspaceView
from archscout.viz.svg import SERIES, Theme, document, element, escape, number, text

__all__ = ["draw_subspace_graph", "subspace_charts"]

WIDTH, HEIGHT = 400.0, 320.0
RADIUS, ORBIT = 30.0, 98.0
HEAD = 5.0  # half the width of an arrow's head


def draw_subspace_graph(view: SubspaceView, *, theme: Theme = "auto") -> str:
    """The centres at the end: edges go from a worse to a better one, with the number of layers in which they differ.

    Args:
        view: scores, moves and distances; the label of a node is its score, below it how often it was replaced.
        theme: as in `archscout.viz.draw`.
    """
    count = len(view.scores)
    places = [_place(slot, count) for slot in range(count)]
    best = max(range(count), key=view.scores.__getitem__)
    body = text("Centres at the end", 12.0, 25.0, "as-title")
    body += text("numbers on edges: layers that differ", 12.0, 42.0)
    for high in range(count):
        for low in range(high):
            ends = (low, high) if view.scores[low] <= view.scores[high] else (high, low)
            body += _arrow(places[ends[0]], places[ends[1]], view.distances[low][high])
    for slot, (x, y) in enumerate(places):
        tip = element("title", escape(f"centre {slot + 1}: {view.texts[slot]}"))
        ring = element("circle", class_=f"as-line{slot % SERIES}", cx=x, cy=y, r=RADIUS)
        shape = element("circle", class_="as-node", cx=x, cy=y, r=RADIUS)
        halo = element("circle", class_="as-ring", cx=x, cy=y, r=RADIUS + 4.0) if slot == best else ""
        score = text(f"{view.scores[slot]:.2f}", x, y + 1.0, "as-label", "middle")
        moves = sum(1 for _, moved, _, replaced in view.steps if moved == slot and replaced)
        note = text(f"{moves} moves", x, y + 15.0, anchor="middle")
        body += element("g", tip + shape + ring + halo + score + note, class_="node")
    return document(WIDTH, HEIGHT, body, label="graph of the centres", theme=theme)


def _place(slot: int, count: int) -> tuple[float, float]:
    """On a circle, the first at the top."""
    angle = 2 * math.pi * slot / count - math.pi / 2
    return WIDTH / 2 + 1.25 * ORBIT * math.cos(angle), 186.0 + ORBIT * math.sin(angle)


def _arrow(start: tuple[float, float], end: tuple[float, float], distance: int) -> str:
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    gap = RADIUS + 6.0
    tip = (x1 - gap * dx, y1 - gap * dy)
    line = f"M{number(x0 + gap * dx)} {number(y0 + gap * dy)}L{number(tip[0])} {number(tip[1])}"
    for side in (-HEAD, HEAD):
        line += f"M{number(tip[0])} {number(tip[1])}"
        line += f"L{number(tip[0] - 2 * HEAD * dx - side * dy)} {number(tip[1] - 2 * HEAD * dy + side * dx)}"
    label = text(distance, (x0 + x1) / 2, (y0 + y1) / 2 + 4.0, "as-small as-halo", "middle")
    return element("path", class_="as-wire", d=line) + label


def subspace_charts(view: SubspaceView, *, theme: Theme = "auto") -> list[str]:
    """The graph, the scores of the centres over the steps, and all proposals."""
    lines = [
        Series(f"centre {slot + 1}", *_course(view.steps, slot, first)) for slot, first in enumerate(view.first_scores)
    ]
    points = [
        Point(
            float(step),
            score,
            "took its centre's place" if replaced else "not better",
            f"step {step:g}: score {score:.2f} near centre {slot + 1:g}",
        )
        for step, slot, score, replaced in sorted(view.steps, key=lambda entry: entry[3])
    ]
    return [
        draw_subspace_graph(view, theme=theme),
        line_chart(lines, title="Scores of the centres", x_label="step", theme=theme),
        scatter_chart(points, title="Proposals", x_label="step", y_label="score", theme=theme),
    ]


def _course(steps: Sequence[Sequence[float]], slot: int, first: float) -> tuple[list[float], list[float]]:
    """A centre's score as a line with steps."""
    x, y = [0.0], [first]
    for step, moved, score, replaced in steps:
        if moved == slot and replaced:
            x += [float(step), float(step)]
            y += [y[-1], float(score)]
    last = float(steps[-1][0]) if steps else 0.0
    return [*x, last], [*y, y[-1]]
