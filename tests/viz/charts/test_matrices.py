"""Matrices and curves as drawings: what is in them, and foreign names."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from archscout.viz.charts.matrices import confusion_map, position_map, sparkline
from archscout.viz.report.insight import MOST_CLASSES, InsightView, insight_charts

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def test_a_confusion_map_holds_its_counts_and_names() -> None:
    names = ["<cat>", "a dog of a very long name & more"]
    drawing = confusion_map([[9, 1], [0, 1234]], names, [10, 1234], theme="light")
    root = ElementTree.fromstring(drawing)
    assert {"9", "1", "1,234", "<cat>"} <= set(texts(drawing))
    assert "0" not in texts(drawing)
    titles = [each.text for each in root.iter(f"{SVG}title")]
    assert f"<cat>, predicted {names[1]}: 1 of 10" in titles, "names in full"
    strength = {each.get("class"): float(each.get("fill-opacity", 0)) for each in root.iter(f"{SVG}rect")}
    assert strength["as-heat"] > 0.9 > strength["as-heat-wrong"]


def test_of_many_classes_those_that_are_confused_most_are_shown() -> None:
    size = 60
    matrix = [[5 if row == column else 0 for column in range(size)] for row in range(size)]
    matrix[57][58] = 9
    view = InsightView([], class_names=[f"class {number}" for number in range(size)], matrix=matrix)
    assert len(view.shown_classes) == MOST_CLASSES
    assert {57, 58} <= set(view.shown_classes)
    assert view.shown_classes == sorted(view.shown_classes)
    (drawing,) = insight_charts(view)
    assert "class 57" in texts(drawing)


def test_positions_without_a_value_are_left_empty() -> None:
    root = ElementTree.fromstring(position_map([[0.0, None], [0.5, 1.0]], title="errors", theme="light"))
    squares = [each for each in root.iter(f"{SVG}rect") if each.get("class") == "as-heat-wrong"]
    assert len(squares) == 3
    assert [float(each.get("fill-opacity", 0)) for each in squares] == pytest.approx([0.04, 0.48, 0.92])


def test_curves_with_gaps_and_without_values() -> None:
    drawing = sparkline([[0.0, float("nan"), 1.0, 2.0], [1.0, 1.0, 1.0, 1.0]], label="a & b", theme="light")
    path = next(ElementTree.fromstring(drawing).iter(f"{SVG}path")).get("d", "")
    assert path.count("M") == 2, "a gap begins anew"
    ElementTree.fromstring(sparkline([[]], label="nothing", theme="light"))
