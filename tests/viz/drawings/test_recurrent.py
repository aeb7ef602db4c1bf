from __future__ import annotations

from itertools import pairwise
from random import Random
from xml.etree import ElementTree

from archscout.spaces import Node, RecurrentGenotype, RecurrentSpace
from archscout.viz import draw
from archscout.viz.drawings.recurrent import tree_places
from archscout.zoo import load_zoo


def test_every_node_lies_after_its_source_and_no_two_share_a_place() -> None:
    space = RecurrentSpace()
    for seed in range(30):
        cell = space.random(Random(seed))
        places = tree_places(cell)
        for number, (_, source) in enumerate(cell.nodes, start=1):
            assert places[number][0] == places[source][0] + 1
        by_column: dict[int, list[float]] = {}
        for column, row in places:
            by_column.setdefault(column, []).append(row)
        for rows in by_column.values():
            rows.sort()
            assert all(later - earlier >= 1 for earlier, later in pairwise(rows))


def test_a_drawing_names_every_node_and_activation() -> None:
    cell = load_zoo("ednas.ptb").architecture
    assert isinstance(cell, RecurrentGenotype)
    svg = draw(cell)
    ElementTree.fromstring(svg)
    assert svg.count('class="node"') == 9
    for activation in ("tanh", "relu", "sigmoid", "identity"):
        wanted = sum(name == activation for name, _ in cell.nodes) + (activation == "tanh")
        assert svg.count(f'data-operation="{activation}"') == wanted
    assert "x(t)" in svg and "averaged into the output" in svg
    assert svg.count("as-ring") >= 9


def test_nodes_outside_the_output_have_no_strong_border() -> None:
    cell = RecurrentGenotype((Node("tanh", 0), Node("relu", 1)), (2,))
    svg = draw(cell, theme="inherit")
    assert svg.count('class="as-ring"') == 2  # node 2 and the legend
