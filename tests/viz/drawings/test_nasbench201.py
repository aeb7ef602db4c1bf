"""Drawings of NAS-Bench-201 cells, and of searches by subspaces."""

from __future__ import annotations

from random import Random
from xml.etree import ElementTree

import pytest

from archscout.spaces import NasBench201Cell, NasBench201Space
from archscout.spaces.nasbench201 import EDGES, cell_at
from archscout.viz import ReportContent, SubspaceView, draw, draw_subspace_graph, render_report

SVG = "{http://www.w3.org/2000/svg}"
VIEW = SubspaceView(
    scores=[84.5, 83.25, 84.0],
    texts=["<first>", "second", "third"],
    distances=[[0, 3, 2], [3, 0, 4], [2, 4, 0]],
    first_scores=[70.0, 71.0, 72.0],
    steps=[[0, 1, 60.0, 0], [1, 0, 84.5, 1], [2, 1, 83.25, 1], [3, 2, 84.0, 1]],
)


@pytest.mark.parametrize("seed", range(3))
def test_every_edge_is_drawn_with_its_operation(seed: int) -> None:
    cell = NasBench201Space().random(Random(seed))
    root = ElementTree.fromstring(draw(cell))
    drawn = {
        (int(group.attrib["data-source"]), int(group.attrib["data-target"])): group.attrib["data-operation"]
        for group in root.iter(f"{SVG}g")
        if "data-operation" in group.attrib
    }
    assert drawn == dict(zip(EDGES, cell.operations, strict=True))
    assert len([group for group in root.iter(f"{SVG}g") if group.attrib.get("class") == "node"]) == 4


def test_boxes_lie_inside_and_apart() -> None:
    root = ElementTree.fromstring(draw(cell_at(11)))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [
        tuple(float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        for group in root.iter(f"{SVG}g")
        if "data-operation" in group.attrib
        for box in group.iter(f"{SVG}rect")
    ]
    assert len(boxes) == 6
    for index, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h
        for ox, oy, ow, oh in boxes[:index]:
            assert x + w <= ox or ox + ow <= x or y + h <= oy or oy + oh <= y


def test_the_drawing_says_which_cell_and_whether_it_is_dead() -> None:
    assert "#11" in draw(cell_at(11))
    assert "no path" not in draw(cell_at(11))
    assert "no path" in draw(NasBench201Cell((0,) * 6))


def test_the_graph_points_from_worse_to_better() -> None:
    root = ElementTree.fromstring(draw_subspace_graph(VIEW))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"84.50", "83.25", "84.00", "3", "2", "4"} <= set(texts)
    assert texts.count("1 moves") == 3
    assert len([path for path in root.iter(f"{SVG}path") if path.attrib.get("class") == "as-wire"]) == 3


def test_the_report_shows_the_course_of_the_search() -> None:
    html = render_report(ReportContent(title="search", subspaces=VIEW))
    for text in ("Subspaces over the search", "Scores of the centres", "took its centre", "&lt;first&gt;"):
        assert text in html
    assert "Subspaces" not in render_report(ReportContent(title="search"))
