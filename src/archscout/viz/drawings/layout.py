"""The geometry of a cell drawing: a layered layout in which nothing overlaps.

Every operation is a labelled box in front of its node. Connections that pass a layer run through it in a lane, one lane
for each source, and bend only between layers. So no curve crosses a box, whatever the cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from archscout.viz.drawings.operations import operation_label
from archscout.viz.drawings.ordering import Item, Key, Layers, Link, arrange
from archscout.viz.svg import text_width

if TYPE_CHECKING:
    from archscout.spaces.cells.genotype import Cell

__all__ = ["OUTPUT", "Box", "CellLayout", "OperationBox", "lay_out"]

OUTPUT = -1
"""Stands for the cell's output, which has no node number."""

LABEL_SIZE = 12.0
PILL_HEIGHT = 26.0
PILL_PITCH = 34.0
NODE = 34.0
INPUT_WIDTH = 66.0
INPUT_HEIGHT = 42.0
BLOCK_SPACE = 14.0
LANE_HEIGHT = 22.0
PILL_TO_NODE = 36.0
MARGIN = 14.0


class Box(NamedTuple):
    """A rectangle: its left upper corner and its size in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The y of its centre."""
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.x + self.width

    def overlaps(self, other: Box) -> bool:
        """Whether the two rectangles share any area."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(frozen=True)
class OperationBox:
    """One edge of the cell: an operation on the output of `source`, added into `target`.

    Attributes:
        path: waypoints from the source to the box.
    """

    box: Box
    operation: str
    source: int
    target: int
    path: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CellLayout:
    """Where everything of a cell stands.

    Attributes:
        nodes: boxes of the nodes by number, with the inputs 0 and 1, and the output as `OUTPUT`.
        operations: one for each edge, in the order of the cell.
        concat: waypoints from each node of the concatenation to the output.
        absent: nodes that are named as a source but do not exist.
    """

    width: float
    height: float
    nodes: dict[int, Box]
    operations: tuple[OperationBox, ...]
    concat: dict[int, tuple[tuple[float, float], ...]]
    absent: frozenset[int]


def _depths(cell: Cell) -> tuple[dict[int, int], frozenset[int]]:
    """The layer of each node (longest way from an input), and the sources that do not exist."""
    depth = {0: 0, 1: 0}
    inputs = {number: node for number, node in enumerate(cell.nodes, start=2) if node}
    absent = {source for node in inputs.values() for _, source in node if source > 1 and source not in inputs}
    for number in absent:
        depth[number] = 1
    for number, node in inputs.items():  # ascending: sources come before their nodes
        depth[number] = 1 + max(depth[source] if source not in absent else 0 for _, source in node)
    for number in absent:  # beside what names it, to keep the broken connection short
        users = [depth[user] for user, node in inputs.items() if any(source == number for _, source in node)]
        depth[number] = max(0, min(users) - 1)
    return depth, frozenset(absent)


def _block_height(cell: Cell, number: int) -> float:
    pills = len(cell.nodes[number - 2])
    return max(pills * PILL_PITCH - (PILL_PITCH - PILL_HEIGHT), NODE) + BLOCK_SPACE


def _layers(cell: Cell, depth: dict[int, int], absent: frozenset[int]) -> Layers:
    """The cell as layers of blocks (a node with its operations) and lanes (a connection that passes)."""
    last = max(depth.values()) + 1
    reach = dict.fromkeys(depth, 0)
    pairs: list[tuple[int, int]] = []
    for number, node in enumerate(cell.nodes, start=2):
        for _, source in node:
            reach[source] = max(reach[source], depth[number])
            pairs.append((source, number))
    items: list[list[Item]] = [[] for _ in range(last + 1)]
    links: list[list[Link]] = [[] for _ in range(last)]
    for number in sorted(depth):
        room = INPUT_HEIGHT + 24.0 if number < 2 else NODE + BLOCK_SPACE if number in absent else 0.0
        items[depth[number]].append(Item(number, room or _block_height(cell, number), rank=number))
    for source in sorted(depth):
        for layer in range(depth[source] + 1, reach[source]):
            items[layer].append(Item(("lane", source), LANE_HEIGHT, 2.0))
            before: Key = source if layer == depth[source] + 1 else ("lane", source)
            links[layer - 1].append(Link(before, ("lane", source)))
    for source, number in pairs:
        layer = depth[number] - 1
        links[layer].append(Link(source if depth[source] == layer else ("lane", source), number))
    items[last].append(Item(OUTPUT, INPUT_HEIGHT))
    first = min(depth[number] for number in cell.concat)
    for layer in range(first + 1, last):
        items[layer].append(Item(("lane", OUTPUT), LANE_HEIGHT, 2.0))
    for layer in range(first, last):
        target: Key = OUTPUT if layer + 1 == last else ("lane", OUTPUT)
        links[layer] += [Link(number, target) for number in cell.concat if depth[number] == layer]
        if layer > first:
            links[layer].append(Link(("lane", OUTPUT), target))
    return Layers(items, links, frozenset({0}))


class _Columns(NamedTuple):
    """The x positions of each layer: operations, nodes, and the right side."""

    pills: list[float]
    nodes: list[float]
    right: list[float]


def _columns(layers: Layers, centres: list[dict[Key, float]], pill_width: float) -> _Columns:
    pills, nodes, right = [MARGIN], [MARGIN], [MARGIN + INPUT_WIDTH]
    for layer, links in enumerate(layers.links, start=1):
        rise = max((abs(centres[layer - 1][link.source] - centres[layer][link.target]) for link in links), default=0.0)
        pills.append(right[-1] + min(max(48.0, 0.42 * rise), 100.0))
        if layer == len(layers.links):
            nodes.append(pills[-1])
            right.append(pills[-1] + INPUT_WIDTH)
        else:
            nodes.append(pills[-1] + pill_width + PILL_TO_NODE)
            right.append(nodes[-1] + NODE)
    return _Columns(pills, nodes, right)


class _Router:
    """Waypoints through the layers."""

    def __init__(self, columns: _Columns, centres: list[dict[Key, float]], depth: dict[int, int]) -> None:
        self.columns, self.centres, self.depth = columns, centres, depth

    def path(self, source: int, lane: int, layer: int, y: float) -> tuple[tuple[float, float], ...]:
        """From the right side of `source` along the lanes of `lane` to the height `y` at the left of a layer."""
        start = self.depth[source]
        points = [(self.columns.right[start], self.centres[start][source])]
        for passed in range(start + 1, layer):
            height = self.centres[passed]["lane", lane]
            points += [(self.columns.pills[passed], height), (self.columns.right[passed], height)]
        return (*points, (self.columns.pills[layer], y))


def _node_box(number: int, columns: _Columns, layer: int, y: float) -> Box:
    if number == OUTPUT or number < 2:
        return Box(columns.nodes[layer], y - INPUT_HEIGHT / 2, INPUT_WIDTH, INPUT_HEIGHT)
    x = columns.nodes[layer] if layer else columns.right[0] - NODE
    return Box(x, y - NODE / 2, NODE, NODE)


@lru_cache(maxsize=256)
def lay_out(cell: Cell) -> CellLayout:
    """The layout of a cell."""
    depth, absent = _depths(cell)
    layers = _layers(cell, depth, absent)
    centres = arrange(layers)
    last = len(layers.items) - 1
    tops = [centres[i][item.key] - item.height / 2 for i, layer in enumerate(layers.items) for item in layer]
    lows = [centres[i][item.key] + item.height / 2 for i, layer in enumerate(layers.items) for item in layer]
    centres = [{key: y - min(tops) for key, y in layer.items()} for layer in centres]
    labels = [operation_label(operation) for node in cell.nodes for operation, _ in node]
    pill_width = max(text_width(label, LABEL_SIZE) for label in labels) + 16.0
    columns = _columns(layers, centres, pill_width)
    router = _Router(columns, centres, depth)
    nodes = {number: _node_box(number, columns, layer, centres[layer][number]) for number, layer in depth.items()}
    nodes[OUTPUT] = _node_box(OUTPUT, columns, last, centres[last][OUTPUT])
    operations: list[OperationBox] = []
    for number, node in enumerate(cell.nodes, start=2):
        operations += _operations(node, number, router, pill_width)
    return CellLayout(
        width=columns.right[-1] + MARGIN,
        height=max(lows) - min(tops),
        nodes=nodes,
        operations=tuple(operations),
        concat={number: router.path(number, OUTPUT, last, nodes[OUTPUT].middle) for number in sorted(cell.concat)},
        absent=absent,
    )


def _operations(node: tuple[tuple[str, int], ...], number: int, router: _Router, width: float) -> list[OperationBox]:
    """The operations of a node, stacked in the order in which their sources arrive, so that they do not cross."""
    if not node:
        return []
    layer = router.depth[number]

    def arrival(slot: int) -> float:
        source = node[slot][1]
        return router.centres[layer - 1][source if router.depth[source] == layer - 1 else ("lane", source)]

    slots = sorted(range(len(node)), key=arrival)
    top = router.centres[layer][number] - (len(node) - 1) * PILL_PITCH / 2
    boxes: dict[int, OperationBox] = {}
    for row, slot in enumerate(slots):
        operation, source = node[slot]
        y = top + row * PILL_PITCH
        box = Box(router.columns.pills[layer], y - PILL_HEIGHT / 2, width, PILL_HEIGHT)
        boxes[slot] = OperationBox(box, operation, source, number, router.path(source, source, layer, y))
    return [boxes[slot] for slot in range(len(node))]
