"""Drawings of recurrent cells: a tree from left to right, for every node has one source.

A node lies in the column after its source, in the middle of the rows of what it feeds; so no two subtrees share a row,
and no curve meets a box that is not its own. The output is the mean of the nodes with a strong border: lines to it
would only cross the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archscout.viz.drawings.registry import DRAWINGS
from archscout.viz.svg import Theme, curve, document, element, escape, text, text_width

if TYPE_CHECKING:
    from archscout.spaces.recurrent.genotype import RecurrentGenotype

__all__ = ["draw_recurrent", "tree_places"]

# The colours of the families of operations, for the four activations.
FAMILIES = {"tanh": "separable", "relu": "dilated", "sigmoid": "pooling", "identity": "skip"}
MARGIN, TITLE, LEGEND = 16.0, 40.0, 30.0
COLUMN, ROW = 172.0, 46.0
NODE, PILL_WIDTH, PILL_HEIGHT, GAP = 32.0, 70.0, 26.0, 14.0
INPUT_WIDTH, INPUT_HEIGHT = 96.0, 42.0


def tree_places(genotype: RecurrentGenotype) -> list[tuple[int, float]]:
    """Column and row of every node, node 0 first. Leaves have a row each; others lie amid their children."""
    fed: dict[int, list[int]] = {}
    for number, (_, source) in enumerate(genotype.nodes, start=1):
        fed.setdefault(source, []).append(number)
    columns = [0]
    for _, source in genotype.nodes:
        columns.append(columns[source] + 1)
    rows = [0.0] * len(columns)
    free = 0
    pending = [(0, False)]
    while pending:
        number, ready = pending.pop()
        children = fed.get(number, [])
        if not children:
            rows[number], free = float(free), free + 1
        elif ready:
            rows[number] = (rows[children[0]] + rows[children[-1]]) / 2
        else:
            pending += [(number, True), *((child, False) for child in reversed(children))]
    return list(zip(columns, rows, strict=True))


def _pill(activation: str, x: float, middle: float, path: list[tuple[float, float]], tip: str) -> str:
    """The activation's box before its node, with the line from its source and the line to the node."""
    content = (
        element("title", escape(tip))
        + element("path", class_="as-wire", d=curve(path))
        + element("path", class_="as-out", d=curve([(x + PILL_WIDTH, middle), (x + PILL_WIDTH + GAP, middle)]))
        + element("rect", x=x, y=middle - PILL_HEIGHT / 2, width=PILL_WIDTH, height=PILL_HEIGHT, rx=6.0)
        + text(activation, x + PILL_WIDTH / 2, middle + 4.2, "as-label", "middle")
    )
    return element("g", content, class_=f"operation as-{FAMILIES[activation]}", data_operation=activation)


def _node(number: int, x: float, middle: float, averaged: bool) -> str:
    centre = x + NODE / 2
    circle = {"cx": centre, "cy": middle, "r": NODE / 2}
    tip = f"node {number}" + (", averaged into the output h(t)" if averaged else "")
    ring = element("circle", class_="as-ring", **circle) if averaged else ""
    shape = element("circle", class_="as-node", **circle)
    content = element("title", tip) + shape + ring + text(str(number), centre, middle + 4.2, "as-label", "middle")
    return element("g", content, class_="node")


def _input(middle: float) -> str:
    box = element("rect", class_="as-node", x=MARGIN, y=middle - INPUT_HEIGHT / 2, width=INPUT_WIDTH,
                  height=INPUT_HEIGHT, rx=9.0)  # fmt: skip
    names = text("x(t)", MARGIN + INPUT_WIDTH / 2, middle - 3, "as-label", "middle")
    return element("g", box + names + text("h(t\u22121)", MARGIN + INPUT_WIDTH / 2, middle + 13, "as-label", "middle"))


def _legend(genotype: RecurrentGenotype, y: float) -> tuple[str, float]:
    """The activations that occur and the strong border. Also the width used."""
    used = {activation for activation, _ in genotype.nodes} | {"tanh"}
    x, parts = MARGIN, []
    for activation in [name for name in FAMILIES if name in used]:
        mark = element("rect", x=x, y=y - 6.0, width=16.0, height=12.0, rx=3.0)
        parts.append(element("g", mark, class_=f"as-{FAMILIES[activation]}"))
        parts.append(text(activation, x + 22.0, y + 4.0))
        x += 36.0 + text_width(activation, 11.0)
    note = "averaged into the output h(t)"
    parts.append(element("circle", class_="as-ring", cx=x + 8.0, cy=y, r=7.0))
    parts.append(text(note, x + 22.0, y + 4.0))
    return "".join(parts), x + 22.0 + text_width(note, 11.0) + MARGIN


def draw_recurrent(genotype: RecurrentGenotype, *, theme: Theme = "auto") -> str:
    """A recurrent cell as SVG text: the input left, every node behind the box of its activation."""
    places = tree_places(genotype)
    top = TITLE + 6.0 + max(INPUT_HEIGHT, ROW) / 2
    middles = [top + ROW * row for _, row in places]
    lefts = [MARGIN + INPUT_WIDTH + 34.0 + COLUMN * column for column, _ in places]
    nodes = [left + PILL_WIDTH + GAP for left in lefts]
    body = text("Recurrent cell", MARGIN, 30.0, "as-title") + _input(middles[0])
    body += _pill("tanh", lefts[0], middles[0], [(MARGIN + INPUT_WIDTH, middles[0]), (lefts[0], middles[0])],
                  "tanh of the gated input, into node 0")  # fmt: skip
    for number, (activation, source) in enumerate(genotype.nodes, start=1):
        path = [(nodes[source] + NODE, middles[source]), (lefts[number], middles[number])]
        tip = f"{activation} of node {source}, gated into node {number}"
        body += _pill(activation, lefts[number], middles[number], path, tip)
    for number, (left, middle) in enumerate(zip(nodes, middles, strict=True)):
        body += _node(number, left, middle, number in genotype.concat)
    bottom = max(middles) + ROW / 2 + 18.0
    legend, width = _legend(genotype, bottom)
    width = max(width, max(nodes) + NODE + MARGIN)
    return document(width, bottom + LEGEND, body + legend, label="recurrent cell", theme=theme)


@DRAWINGS.register("archscout.recurrent_genotype")
def _draw_registered(architecture: Any, theme: Theme) -> str:
    return draw_recurrent(architecture, theme=theme)
