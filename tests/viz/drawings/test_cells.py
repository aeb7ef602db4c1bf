"""Drawings of cells: nothing overlaps, nothing is missing, whatever the published cell."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import combinations, pairwise
from typing import Any

import pytest

from archscout.errors import SettingsError
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.viz import draw_cell, draw_genotype
from archscout.viz.drawings.layout import OUTPUT, Box, lay_out
from archscout.viz.drawings.operations import operation_label
from archscout.viz.svg import text_width

# Published cells, in a short notation: operation<-source, nodes separated by |.
_OPERATIONS = {
    "max3": "max_pool_3x3",
    "avg3": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "sep7": "sep_conv_7x7",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
    "conv7": "conv_7x1_1x7",
}


def read_cell(text: str, concat: tuple[int, ...] = ()) -> Cell:
    """A cell in this notation: nodes separated by `|`, or numbered as in `4: sep3<-0`."""
    nodes: dict[int, tuple[Input, ...]] = {}
    for part in re.split(r"\||\s+(?=\d:)", text):
        number, _, inputs = part.rpartition(":")
        items = [item.split("<-") for item in inputs.split()]
        nodes[int(number or len(nodes) + 2)] = tuple(Input(_OPERATIONS[name], int(source)) for name, source in items)
    return Cell(tuple(nodes.get(number, ()) for number in range(2, max(nodes) + 1)), concat or tuple(sorted(nodes)))


_TEXTS = {
    "ednas.cifar10": (
        "sep3<-0 dil3<-1 | sep5<-0 avg3<-1 | sep5<-0 sep5<-3 | avg3<-0 sep5<-1",
        "skip<-0 avg3<-1 | sep3<-0 dil3<-2 | max3<-0 skip<-3 | sep5<-0 skip<-4",
    ),
    "ednas.imagenet": (
        "sep5<-0 dil5<-1 | skip<-0 sep3<-1 | max3<-1 dil3<-3 | sep5<-1 max3<-3",
        "sep5<-0 sep3<-1 | dil3<-0 sep3<-2 | sep3<-0 avg3<-2 | avg3<-0 dil5<-1",
    ),
    "darts_v1": (
        "sep3<-1 sep3<-0 | skip<-0 sep3<-1 | skip<-0 sep3<-1 | sep3<-0 skip<-2",
        "max3<-0 max3<-1 | skip<-2 max3<-0 | max3<-0 skip<-2 | skip<-2 avg3<-0",
    ),
    "darts_v2": (
        "sep3<-0 sep3<-1 | sep3<-0 sep3<-1 | sep3<-1 skip<-0 | skip<-0 dil3<-2",
        "max3<-0 max3<-1 | skip<-2 max3<-1 | max3<-0 skip<-2 | skip<-2 max3<-1",
    ),
    "pdarts": (
        "skip<-0 dil3<-1 | skip<-0 sep3<-1 | sep3<-1 sep3<-3 | sep3<-0 dil5<-4",
        "avg3<-0 sep5<-1 | sep3<-0 dil5<-2 | max3<-0 dil3<-1 | dil3<-1 dil5<-3",
    ),
    "pcdarts.cifar10": (
        "sep3<-1 skip<-0 | sep3<-0 dil3<-1 | sep5<-0 sep3<-1 | avg3<-0 dil3<-1",
        "sep5<-1 max3<-0 | sep5<-1 sep5<-2 | sep3<-0 sep3<-3 | sep3<-1 sep3<-2",
    ),
    "fairdarts.a": (
        "2: sep3<-0 sep5<-1 4: max3<-0 5: sep3<-0",
        "2: max3<-0 avg3<-1 3: avg3<-0 dil5<-1 4: avg3<-0 sep5<-1 5: skip<-0 skip<-1",
    ),
    "fairdarts.b": (
        "2: sep3<-0 sep3<-1 3: sep3<-1 4: dil3<-0 sep5<-1 5: dil5<-1",
        "2: skip<-0 dil3<-1 3: skip<-0 dil3<-1 4: max3<-0 sep3<-1 5: skip<-2 max3<-0",
    ),
    "fairdarts.c": (
        "2: max3<-0 sep5<-1 4: dil3<-0 dil5<-2 5: skip<-3 sep3<-0",
        "2: dil3<-1 dil5<-0 3: dil3<-0 sep3<-1 4: sep5<-0 sep5<-3 5: sep5<-0 skip<-1",
    ),
    "fairdarts.d": (
        "2: sep3<-0 sep5<-1 3: dil3<-1 max3<-0 4: dil3<-0 dil3<-1 5: sep3<-0 dil5<-1",
        "2: max3<-0 sep5<-1 3: avg3<-0 dil5<-2 4: dil3<-3 avg3<-0 5: avg3<-0 skip<-3",
    ),
    "fairdarts.e": (
        "2: sep3<-0 sep3<-1 4: dil3<-1 dil3<-2 5: dil3<-0 dil5<-1",
        "2: max3<-1 max3<-0 3: max3<-1 max3<-0 4: sep5<-1 max3<-0 5: avg3<-0 dil5<-1",
    ),
    "fairdarts.f": (
        "2: max3<-0 sep3<-1 3: dil3<-1 4: sep5<-1 5: sep3<-0 sep3<-1",
        "2: max3<-0 max3<-1 3: max3<-0 dil3<-1 4: dil3<-2 max3<-0 5: max3<-0 sep3<-1",
    ),
    "fairdarts.g": (
        "2: sep3<-0 sep3<-1 4: skip<-3 sep5<-1 5: dil3<-0 sep3<-1",
        "2: avg3<-1 skip<-0 3: skip<-2 max3<-1 4: sep5<-3 max3<-0 5: dil3<-1 dil3<-4",
    ),
}

# Every node has every node before it as a source: the densest cell that there is.
DENSE = Cell(
    tuple(tuple(Input("sep_conv_3x3", source) for source in range(number)) for number in range(2, 6)), (2, 3, 4, 5)
)

PUBLISHED = {name: CellGenotype(read_cell(normal), read_cell(reduce)) for name, (normal, reduce) in _TEXTS.items()}
PUBLISHED["nasnet"] = CellGenotype(
    read_cell("sep5<-1 sep3<-0 | sep5<-0 sep3<-0 | avg3<-1 skip<-0 | avg3<-0 avg3<-0 | sep3<-1 skip<-1"),
    read_cell("sep5<-1 sep7<-0 | max3<-1 sep7<-0 | avg3<-1 sep5<-0 | skip<-3 avg3<-2 | sep3<-2 max3<-1", (4, 5, 6)),
)
PUBLISHED["amoebanet"] = CellGenotype(
    read_cell("avg3<-0 max3<-1 | sep3<-0 sep5<-2 | sep3<-0 avg3<-3 | sep3<-1 skip<-1 | skip<-0 avg3<-1", (4, 5, 6)),
    read_cell("avg3<-0 sep3<-1 | max3<-0 sep7<-2 | sep7<-0 avg3<-1 | max3<-0 max3<-1 | conv7<-0 sep3<-5", (3, 4, 6)),
)


def random_cell(draw: random.Random) -> Cell:
    """Up to seven nodes with up to three inputs each, some nodes missing, any sources."""
    nodes = tuple(
        tuple(Input(draw.choice(sorted(_OPERATIONS.values())), draw.randrange(n)) for _ in range(draw.randint(0, 3)))
        for n in range(2, 3 + draw.randint(1, 6))
    )
    existing = [number for number, node in enumerate(nodes, start=2) if node]
    if not existing:
        return random_cell(draw)
    return Cell(nodes, tuple(draw.sample(existing, draw.randint(1, len(existing)))))


CELLS = {
    **{f"{name}.normal": genotype.normal for name, genotype in PUBLISHED.items()},
    **{f"{name}.reduce": genotype.reduce for name, genotype in PUBLISHED.items()},
    "dense": DENSE,
    **{f"random.{seed}": random_cell(random.Random(seed)) for seed in range(20)},
}


Waypoints = tuple[tuple[float, float], ...]


def sample(path: Waypoints) -> list[tuple[float, float]]:
    """Points on the drawn curve: cubic pieces with horizontal tangents and the middle x for both controls."""
    points = []
    for (x0, y0), (x1, y1) in pairwise(path):
        for step in range(21):
            t = step / 20
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            middle = (x0 + x1) / 2
            points.append((a * x0 + (b + c) * middle + d * x1, (a + b) * y0 + (c + d) * y1))
    return points


def edges(cell: Cell) -> Counter[tuple[str, int, int]]:
    """Operation, source and target of every edge."""
    return Counter(
        (operation, source, number) for number, node in enumerate(cell.nodes, start=2) for operation, source in node
    )


@pytest.mark.parametrize("name", CELLS)
def test_no_box_or_label_overlaps_another(name: str) -> None:
    layout = lay_out(CELLS[name])
    boxes = [*layout.nodes.values(), *(edge.box for edge in layout.operations)]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for edge in layout.operations:
        assert text_width(operation_label(edge.operation), 12.0) < edge.box.width


@pytest.mark.parametrize("name", CELLS)
def test_no_connection_runs_through_a_box(name: str) -> None:
    layout = lay_out(CELLS[name])
    obstacles = [*layout.nodes.values(), *(edge.box for edge in layout.operations)]
    paths = [edge.path for edge in layout.operations] + list(layout.concat.values())
    for path in paths:
        for x, y in sample(path):
            for box in obstacles:
                assert not (box.x + 0.1 < x < box.right - 0.1 and box.y < y < box.y + box.height)


@pytest.mark.parametrize("name", CELLS)
def test_connections_join_their_source_and_their_target(name: str) -> None:
    layout = lay_out(CELLS[name])
    for edge in layout.operations:
        source = layout.nodes[edge.source]
        assert edge.path[0] == pytest.approx((source.right, source.middle))
        assert edge.path[-1] == pytest.approx((edge.box.x, edge.box.middle))
        assert edge.box.right < layout.nodes[edge.target].x
    output = layout.nodes[OUTPUT]
    for number, path in layout.concat.items():
        node = layout.nodes[number]
        assert path[0] == pytest.approx((node.right, node.middle))
        assert path[-1] == pytest.approx((output.x, output.middle))


@pytest.mark.parametrize("name", CELLS)
def test_everything_lies_inside_the_drawing(name: str) -> None:
    layout = lay_out(CELLS[name])
    for box in [*layout.nodes.values(), *(edge.box for edge in layout.operations)]:
        assert box.x >= 0 and box.y >= -0.01
        assert box.right <= layout.width and box.y + box.height <= layout.height + 0.01


@pytest.mark.parametrize("name", CELLS)
def test_every_edge_appears_once(name: str) -> None:
    cell = CELLS[name]
    root = ET.fromstring(draw_cell(cell, name))
    drawn = Counter(
        (group.attrib["data-operation"], int(group.attrib["data-source"]), int(group.attrib["data-target"]))
        for group in root.iter("{http://www.w3.org/2000/svg}g")
        if "data-operation" in group.attrib
    )
    assert drawn == edges(cell)
    assert set(lay_out(cell).concat) == set(cell.concat)


@pytest.mark.parametrize("theme", ["auto", "light", "dark", "inherit"])
def test_both_cells_stand_on_one_well_formed_sheet(theme: Any) -> None:
    for genotype in PUBLISHED.values():
        text = draw_genotype(genotype, theme=theme)
        ET.fromstring(text)
        assert "Normal cell" in text and "Reduction cell" in text
        assert ("<style>" in text) == (theme != "inherit")


def test_an_absent_source_is_drawn_as_absent() -> None:
    cell = PUBLISHED["fairdarts.c"].normal
    assert lay_out(cell).absent == {3}
    text = draw_cell(cell, "normal")
    assert "node 3 does not exist" in text
    assert 3 not in lay_out(PUBLISHED["fairdarts.a"].normal).nodes


def test_parallel_edges_from_one_source_have_boxes_of_their_own() -> None:
    layout = lay_out(PUBLISHED["nasnet"].normal)
    twins = [edge.box for edge in layout.operations if edge.target == 5]
    assert len(twins) == 2 and twins[0] != twins[1]


def test_the_legend_names_only_families_that_occur() -> None:
    text = draw_cell(PUBLISHED["darts_v2"].reduce, "reduce")
    assert ">pooling<" in text and ">skip connection<" in text
    assert "dilated" not in text.split("</style>")[1]


def test_an_unknown_theme_is_refused() -> None:
    theme: Any = "sepia"
    with pytest.raises(SettingsError, match=r"sepia.*allowed: auto, light, dark, inherit"):
        draw_cell(DENSE, "dense", theme=theme)


def test_foreign_text_is_escaped() -> None:
    cell = Cell(((Input('<script>"&', 0),),), (2,))
    text = draw_cell(cell, "<script>\x00\x1b\udc80")
    ET.fromstring(text.encode())
    assert "<script" not in text


def test_boxes_that_only_touch_do_not_overlap() -> None:
    assert not Box(0, 0, 10, 10).overlaps(Box(10, 0, 10, 10))
    assert Box(0, 0, 10, 10).overlaps(Box(9, 9, 10, 10))


def test_the_same_cell_is_always_drawn_the_same() -> None:
    first = draw_cell(DENSE, "dense")
    lay_out.cache_clear()
    assert draw_cell(DENSE, "dense") == first
