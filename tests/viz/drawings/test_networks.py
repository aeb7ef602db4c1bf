"""Drawings of networks whose cells may all differ, of what changed, and of distances."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from archscout.errors import SpaceError
from archscout.spaces import Cell, Input, PerCellGenotype
from archscout.viz import ReportContent, draw, draw_changes, draw_network, heat_map, render_report
from archscout.viz.drawings.networks import positions_text
from archscout.zoo import load_zoo, zoo_names

SVG = "{http://www.w3.org/2000/svg}"


def zoo(name: str) -> PerCellGenotype:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, PerCellGenotype)
    return architecture


def groups(svg: str, class_: str) -> list[ET.Element]:
    return [group for group in ET.fromstring(svg).iter(f"{SVG}g") if class_ in (group.get("class") or "").split()]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ["dd.cifar10.sparse", "do.xception.cifar100.edge", "resnet50"])
def test_every_cell_and_every_operation_is_drawn_once(name: str) -> None:
    genotype = zoo(name)
    svg = draw(genotype, theme="light")
    assert len(groups(svg, "cell")) == len(genotype.sequence)
    assert len(groups(svg, "operation")) == sum(len(node) for cell in genotype.genes for node in cell.nodes)
    marked = [cell.get("data-cell") for cell in groups(svg, "cell") if "as-reduction" in ET.tostring(cell).decode()]
    assert marked == [str(position) for position in genotype.reductions]


def test_no_published_name_is_drawn_as_other() -> None:
    for name in zoo_names("do.*"):
        assert not groups(draw(zoo(name)), "as-other")


def test_titles_say_where_a_wiring_is_used() -> None:
    shown = texts(draw_network(zoo("do.xception.cifar10.sparse")))
    assert {"13 cells of 3 wirings", "Cells 0 to 2 and 11", "Cells 3 to 10", "Cell 12", "gene 1", "16C"} <= set(shown)
    assert any(text.startswith("gene 0; halves height and width in cells 1, 2 and 11") for text in shown)
    assert "Cell 7" in texts(draw_network(zoo("dd.cifar10.edge")))


def test_runs_of_cells_are_joined() -> None:
    assert positions_text((3,)) == "cell 3"
    assert positions_text((0, 1)) == "cells 0, 1"
    assert positions_text((0, 1, 2, 5, 7, 8, 9)) == "cells 0 to 2, 5 and 7 to 9"


def test_long_networks_wrap() -> None:
    cell = Cell(((Input("skip_connect", 1),),), (2,))
    svg = draw_network(PerCellGenotype((cell,), (0,) * 40, (13, 26)))
    assert float(ET.fromstring(svg).get("width") or 0) < 1100
    assert len(groups(svg, "cell")) == 40


def test_changes_are_marked_on_both_sides() -> None:
    before = Cell(((Input("simple_conv_3x3", 1), Input("skip_connect", 1)),), (2,))
    after = Cell(((Input("simple_conv_3x3", 1), Input("max_pool_3x3", 0), Input("skip_connect", 0)),), (2,))
    baseline, found = (PerCellGenotype((cell,), (0, 0), (1,)) for cell in (before, after))
    svg = draw_changes(found, baseline)
    marks = {
        mark: [
            group.get("data-operation")
            for group in groups(svg, "operation")
            if f"as-{mark}" in (group.get("class") or "").split()
        ]
        for mark in ("kept", "removed", "added")
    }
    assert marks == {
        "kept": ["simple_conv_3x3", "simple_conv_3x3"],
        "removed": ["skip_connect"],
        "added": ["max_pool_3x3", "skip_connect"],
    }
    assert {"1 operation removed", "2 operations added, 1 operation kept"} <= set(texts(svg))


def test_every_place_is_compared_with_the_wiring_that_stood_there() -> None:
    svg = draw_changes(zoo("do.resnet50.cifar10.sparse"), zoo("resnet50"))
    titles = [text for text in texts(svg) if ": " in text]
    assert titles == [
        f"{where}: {which}" for where in ("Cells 0 and 3", "Cell 1", "Cell 2") for which in ("baseline", "this network")
    ]
    assert draw_changes(load_zoo("darts_v2").architecture, load_zoo("darts_v1").architecture).startswith("<svg")


@pytest.mark.parametrize("other", ["darts_v1", "xception"])
def test_networks_that_do_not_belong_together_are_refused(other: str) -> None:
    with pytest.raises(SpaceError, match="cannot be drawn beside"):
        draw_changes(zoo("resnet18"), load_zoo(other).architecture)


def test_the_report_shows_what_changed_from_the_baseline() -> None:
    found, baseline = zoo("do.resnet18.cifar10.sparse"), zoo("resnet18")
    page = render_report(ReportContent(title="t", architecture=found, baseline=baseline))
    assert "What changed from the baseline" in page and "as-removed" in page
    assert "What changed" not in render_report(ReportContent(title="t", architecture=found))


def test_a_heat_map_shows_every_number_with_its_names() -> None:
    svg = heat_map([[0.0, 0.25], [0.25, 0.0]], ["a<b", "c"], title="Distance")
    assert texts(svg).count("0.250") == 2 and texts(svg).count("a<b") == 2
    tips = [element.text for element in ET.fromstring(svg).iter(f"{SVG}title")]
    assert tips == ["a<b, a<b: 0.000000", "a<b, c: 0.250000", "c, a<b: 0.250000", "c, c: 0.000000"]
    assert heat_map([[0.0]], ["x"], title="t").startswith("<svg")
