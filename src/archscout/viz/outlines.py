"""Shapes of our own drawings as polylines: what a canvas fills and strokes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from archscout.errors import DrawingError

__all__ = ["Outline", "Point", "circle", "dashes", "path", "polygon", "rectangle"]

Point = tuple[float, float]

_QUARTER = 6  # pieces of a quarter of a circle
_CURVE = 16  # pieces of a Bezier curve
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?")
_COMMANDS = {"M": 2, "L": 2, "H": 1, "V": 1, "v": 1, "Q": 4, "C": 6}


class Outline(NamedTuple):
    """Corners in pixels of the drawing; a closed one goes back to its first."""

    points: tuple[Point, ...]
    closed: bool

    def ring(self) -> tuple[Point, ...]:
        """All corners in order, the first once more at the end of a closed outline."""
        return (*self.points, self.points[0]) if self.closed else self.points


def _arc(x: float, y: float, radius: float, start: float) -> list[Point]:
    """A quarter of a circle from an angle on (0 is right, a quarter turn is down)."""
    angles = [start + math.pi / 2 * step / _QUARTER for step in range(_QUARTER + 1)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def rectangle(x: float, y: float, width: float, height: float, radius: float) -> Outline:
    """A rectangle with round corners."""
    radius = min(radius, width / 2, height / 2)
    if radius <= 0:
        return Outline(((x, y), (x + width, y), (x + width, y + height), (x, y + height)), True)
    corners = ((width, height), (0.0, height), (0.0, 0.0), (width, 0.0))
    points: list[Point] = []
    for number, (right, below) in enumerate(corners):
        middle_x = x + (right - radius if right else radius)
        middle_y = y + (below - radius if below else radius)
        points += _arc(middle_x, middle_y, radius, number * math.pi / 2)
    return Outline(tuple(points), True)


def circle(x: float, y: float, radius: float) -> Outline:
    """A circle."""
    return rectangle(x - radius, y - radius, 2 * radius, 2 * radius, radius)


def polygon(points: str) -> Outline:
    """The corners of an SVG polygon."""
    values = [float(value) for value in _NUMBER.findall(points)]
    return Outline(tuple(zip(values[::2], values[1::2], strict=True)), True)


def _bezier(start: Point, values: Sequence[float]) -> list[Point]:
    """A curve of any degree: two further points are a quadratic one, three a cubic one."""
    corners = [start, *zip(values[::2], values[1::2], strict=True)]
    degree = len(corners) - 1
    points = []
    for step in range(1, _CURVE + 1):
        t = step / _CURVE
        weights = [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)]
        x, y = (sum(w * corner[axis] for w, corner in zip(weights, corners, strict=True)) for axis in (0, 1))
        points.append((x, y))
    return points


_STEPS: Mapping[str, Callable[[Point, Sequence[float]], list[Point]]] = {
    "L": lambda place, values: [(values[0], values[1])],
    "H": lambda place, values: [(values[0], place[1])],
    "V": lambda place, values: [(place[0], values[0])],
    "v": lambda place, values: [(place[0], place[1] + values[0])],
    "Q": _bezier,
    "C": _bezier,
}


def path(data: str) -> list[Outline]:
    """The stretches of an SVG path of the commands M, L, H, V, v, Q and C, one each. Raises DrawingError."""
    stretches: list[list[Point]] = []
    for command, text in re.findall(r"([A-DF-Za-df-z])([^A-DF-Za-df-z]*)", data):
        values = [float(value) for value in _NUMBER.findall(text)]
        if len(values) != _COMMANDS.get(command) or (command != "M" and not stretches):
            raise DrawingError(
                f"the path command '{command}{text}' cannot be drawn in pixels; known: {', '.join(_COMMANDS)} with "
                "the numbers of one step, M first."
            )
        if command == "M":
            stretches.append([(values[0], values[1])])
        else:
            stretches[-1] += _STEPS[command](stretches[-1][-1], values)
    return [Outline(tuple(points), False) for points in stretches]


def dashes(outline: Outline, pattern: Sequence[float]) -> list[Outline]:
    """The dashes of an outline; the pattern holds lengths of dash and gap in turn."""
    ring = outline.ring()
    found: list[list[Point]] = [[ring[0]]]
    index, left = 0, pattern[0]
    for (x0, y0), (x1, y1) in pairwise(ring):
        length, place = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - place > left:
            place += left
            point = (x0 + (x1 - x0) * place / length, y0 + (y1 - y0) * place / length)
            if index % 2 == 0:
                found[-1].append(point)
            else:
                found.append([point])
            index += 1
            left = pattern[index % len(pattern)]
        left -= length - place
        if index % 2 == 0:
            found[-1].append((x1, y1))
    return [Outline(tuple(points), False) for points in found if len(points) > 1]
