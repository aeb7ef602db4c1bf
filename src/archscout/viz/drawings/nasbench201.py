"""Drawings of NAS-Bench-201 cells: four nodes on a line, the longer edges above and below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archscout.viz.drawings.operations import operation_family, operation_tooltip
from archscout.viz.drawings.registry import DRAWINGS
from archscout.viz.svg import Theme, document, element, escape, number, text

if TYPE_CHECKING:
    from archscout.spaces.nasbench201.cell import NasBench201Cell

__all__ = ["draw_nasbench201"]

LEFT, STEP, RADIUS = 62.0, 168.0, 24.0
BOX = (84.0, 30.0)
MIDDLE, LANE = 174.0, 56.0
CORNER = 26.0
# Lanes above (negative) and below the line of nodes; edges between neighbours lie on it.
LANES = {(0, 1): 0, (1, 2): 0, (2, 3): 0, (0, 2): -1, (1, 3): 1, (0, 3): -2}
NAMES = {0: "input", 1: "1", 2: "2", 3: "output"}
LABELS = {
    "none": "none",
    "skip_connect": "skip",
    "nor_conv_1x1": "conv 1\u00d71",
    "nor_conv_3x3": "conv 3\u00d73",
    "avg_pool_3x3": "avg 3\u00d73",
}


def _x(node: int) -> float:
    return LEFT + STEP * node


def _path(source: int, target: int, lane: int) -> str:
    """From node to node: straight, or out of the node's side, along the lane, and back."""
    start, end = _x(source), _x(target)
    if not lane:
        return f"M{number(start + RADIUS)} {number(MIDDLE)}H{number(end - RADIUS)}"
    level = MIDDLE + LANE * lane
    side = RADIUS if lane > 0 else -RADIUS
    # Several edges leave a node on one side: they part by a few pixels, the longer ones further out.
    shift = 7.0 * (abs(lane) - 1.5) if lane < 0 else 0.0
    start, end = start - shift, end + shift
    turn = CORNER if lane > 0 else -CORNER
    leave, arrive = MIDDLE + side, MIDDLE + side
    return (
        f"M{number(start)} {number(leave)}V{number(level - turn)}"
        f"Q{number(start)} {number(level)} {number(start + CORNER)} {number(level)}"
        f"H{number(end - CORNER)}Q{number(end)} {number(level)} {number(end)} {number(level - turn)}"
        f"V{number(arrive)}"
    )


def _edge(source: int, target: int, operation: str) -> str:
    lane = LANES[source, target]
    width, height = BOX
    x, y = (_x(source) + _x(target)) / 2, MIDDLE + LANE * lane
    names = [f"node {node}" if NAMES[node].isdigit() else NAMES[node] for node in (source, target)]
    tip = operation_tooltip(operation, *names) if operation != "none" else f"no edge from {names[0]} to {names[1]}"
    box = element("rect", x=x - width / 2, y=y - height / 2, width=width, height=height, rx=6.0)
    label = text(LABELS[operation], x, y + 4.2, "as-label", "middle")
    wire = "as-absent" if operation == "none" else "as-out"
    content = element("title", escape(tip)) + element("path", class_=wire, d=_path(source, target, lane)) + box + label
    return element(
        "g",
        content,
        class_=f"operation as-{operation_family(operation)}{' as-ignored' if operation == 'none' else ''}",
        data_operation=operation,
        data_source=source,
        data_target=target,
    )


def _node(node: int) -> str:
    shape = element("circle", class_="as-node", cx=_x(node), cy=MIDDLE, r=RADIUS)
    class_ = "as-label" if NAMES[node].isdigit() else "as-small"
    return element("g", shape + text(NAMES[node], _x(node), MIDDLE + 4.0, class_, "middle"), class_="node")


def draw_nasbench201(cell: NasBench201Cell, *, theme: Theme = "auto") -> str:
    """The cell as SVG text: every edge with its operation; edges of `none` are faint and dashed."""
    from archscout.spaces.nasbench201 import EDGES, official_index

    title = f"NAS-Bench-201 cell #{official_index(cell)}"
    body = text(title, 14.0, 26.0, "as-title")
    if cell.dead:
        body += text("no path from input to output", 250.0, 26.0)
    # Longer edges first, so that the shorter ones lie above them.
    edges = sorted(zip(EDGES, cell.operations, strict=True), key=lambda edge: LANES[edge[0]])
    body += "".join(_edge(source, target, operation) for (source, target), operation in edges)
    body += "".join(_node(node) for node in NAMES)
    return document(_x(3) + LEFT, MIDDLE + LANE + 40.0, body, label=title, theme=theme)


@DRAWINGS.register("archscout.nasbench201_cell")
def _draw_registered(architecture: Any, theme: Theme) -> str:
    return draw_nasbench201(architecture, theme=theme)
