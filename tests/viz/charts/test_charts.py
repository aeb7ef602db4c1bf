"""Charts: well-formed and robust whatever the numbers."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from archscout.viz import Point, Series, line_chart, scatter_chart
from archscout.viz.charts.axes import compact, fit, usable

SVG = "{http://www.w3.org/2000/svg}"
NAN, INF = math.nan, math.inf


def lines(text: str) -> list[str]:
    """Path data of the series (not of legend marks, grid or axes)."""
    paths = [e.attrib for e in ET.fromstring(text).iter(f"{SVG}path") if e.attrib["class"].startswith("as-line")]
    return [path["d"] for path in paths if path["d"] != "M0 0H18"]


def coordinates(path: str) -> list[tuple[float, float]]:
    """Points of path data made of M and L."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_a_line_passes_through_its_points_from_left_to_right_and_upwards() -> None:
    (path,) = lines(line_chart([Series("a", [0, 1, 2], [0.0, 1.0, 4.0])]))
    (x0, y0), (x1, y1), (x2, y2) = coordinates(path)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.02)
    assert y0 - y2 == pytest.approx(4 * (y0 - y1), abs=0.1)


@pytest.mark.parametrize("broken", [NAN, INF, -INF, 1e300])
def test_a_value_that_cannot_be_shown_is_a_gap(broken: float) -> None:
    (path,) = lines(line_chart([Series("a", range(5), [1.0, 2.0, broken, 3.0, 4.0])]))
    assert path.count("M") == 2 and len(coordinates(path)) == 4


def test_a_stretch_of_one_point_is_a_dot() -> None:
    text = line_chart([Series("a", range(4), [1.0, 2.0, NAN, 3.0])])
    assert len(coordinates(lines(text)[0])) == 2
    assert text.count("<circle") == 1


@pytest.mark.parametrize(
    "series",
    [
        [],
        [Series("a", [], [])],
        [Series("a", [1, 2], [NAN, INF])],
    ],
)
def test_a_chart_without_values_says_so(series: list[Series]) -> None:
    text = line_chart(series, title="Loss")
    ET.fromstring(text)
    assert "to show" in text and "nan" not in text.replace("dominant", "")


@pytest.mark.parametrize(
    "values", [[0.0], [0.7], [0.7] * 5, [0.0] * 5, [1e9, 1e9 + 1e-7], [-3e-8] * 2, [1e149, -1e149]]
)
@pytest.mark.parametrize("log", [False, True])
def test_degenerate_values_keep_all_coordinates_finite(values: list[float], log: bool) -> None:
    text = line_chart([Series("a", range(len(values)), values)], log=log, title="t", x_label="x", y_label="y")
    ET.fromstring(text)
    assert not re.search(r'="[^"]*(nan|inf)\b', text)


def test_negative_values_are_gaps_on_a_logarithmic_axis() -> None:
    (path,) = lines(line_chart([Series("a", range(5), [1.0, 10.0, -1.0, 100.0, 1000.0])], log=True))
    (_, y0), (_, y1), (_, y2), (_, y3) = coordinates(path)
    assert y0 - y1 == pytest.approx(y2 - y3, abs=0.02)


def test_thousands_of_points_are_thinned_and_extremes_kept() -> None:
    values = [math.sin(i / 40) for i in range(20_000)]
    values[12_345] = 7.0
    text = line_chart([Series("a", range(20_000), values)])
    points = coordinates(lines(text)[0])
    assert len(points) < 4_000
    highest = [point for point in points if point[1] == min(y for _, y in points)]
    assert len(highest) == 1
    left, right = points[0][0], points[-1][0]
    assert (highest[0][0] - left) / (right - left) == pytest.approx(12_345 / 19_999, abs=0.01)


def test_alternating_gaps_do_not_draw_thousands_of_dots() -> None:
    text = line_chart([Series("a", range(20_000), [0.5 if i % 2 else NAN for i in range(20_000)])])
    assert text.count("<circle") < 1_000


def test_the_legend_names_each_series_with_its_last_finite_value() -> None:
    text = line_chart([Series("loss", [1, 2, 3], [2.0, 0.123456, NAN]), Series("other", [1], [NAN])])
    assert "loss  0.123<" in text and "other  \u2013<" in text


def test_many_series_make_the_chart_higher_and_stay_distinguishable() -> None:
    text = line_chart([Series(f"a series with number {i}", [0, 1], [i, i + 1]) for i in range(14)])
    root = ET.fromstring(text)
    assert float(root.attrib["height"]) > 300
    looks = {
        (e.attrib["class"], e.attrib["stroke-dasharray"])
        for e in root.iter(f"{SVG}path")
        if "as-line" in e.attrib["class"]
    }
    assert len(looks) == 14


def test_foreign_text_in_charts_is_escaped() -> None:
    evil = "<script>alert('1')</script>\x00"
    line = line_chart([Series(evil, [1, 2], [1, 2])], title=evil, x_label=evil, y_label=evil)
    points = scatter_chart([Point(1, 2, evil, evil, True)], title=evil, x_label=evil, y_label=evil, chosen_label=evil)
    for text in (line, points):
        ET.fromstring(text)
        assert "<script" not in text and "\x00" not in text


def test_a_scatter_chart_shows_groups_titles_and_the_chosen_point() -> None:
    points = [Point(1, 1, "policy", "one"), Point(2, 2, "random", "two"), Point(3, 3, "policy", "three", chosen=True)]
    text = scatter_chart(points, title="Score", x_label="parameters", y_label="score")
    titles = [element.text for element in ET.fromstring(text).iter(f"{SVG}title")]
    assert titles == ["one", "two", "three"]
    assert text.count('class="as-ring"') == 1 and ">chosen<" in text
    assert ">policy<" in text and ">random<" in text


def test_a_scatter_chart_leaves_out_what_has_no_position_and_what_is_covered() -> None:
    covered = [Point(1 + i * 1e-9, 1, "a", f"point {i}") for i in range(5_000)]
    others = [Point(NAN, 1, "a", "lost"), Point(2, INF, "a", "lost too"), Point(3, 3, "a", "far")]
    chosen = Point(1, 1, "a", "the one", chosen=True)
    titles = [e.text for e in ET.fromstring(scatter_chart([*covered, *others, chosen])).iter(f"{SVG}title")]
    assert titles == ["point 0", "far", "the one"]


@pytest.mark.parametrize("points", [[], [Point(NAN, NAN)], [Point(0, 0)], [Point(5, 5, chosen=True)] * 3])
def test_a_scatter_chart_of_few_points_is_well_formed(points: list[Point]) -> None:
    ET.fromstring(scatter_chart(points, title="few"))


def test_a_chosen_point_at_the_right_border_is_labelled_on_its_left() -> None:
    points = [Point(0, 0), Point(121, 1, chosen=True)]
    label = next(e for e in ET.fromstring(scatter_chart(points)).iter(f"{SVG}text") if e.text == "chosen")
    assert label.attrib["text-anchor"] == "end"


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0, 123_456], ["0", "25k", "50k", "75k", "100k", "125k"]),
        ([2.3, 9.7], ["2", "4", "6", "8", "10"]),
        ([-1, 1], ["\u22121.0", "\u22120.5", "0.0", "0.5", "1.0"]),
        ([0, 1e-5], ["0", "2e\u22126", "4e\u22126", "6e\u22126", "8e\u22126", "1e\u22125"]),
    ],
)
def test_ticks_stand_at_round_numbers(values: list[float], labels: list[str]) -> None:
    assert [label for _, label in fit(values).ticks] == labels


def test_percent_and_whole_and_logarithmic_ticks() -> None:
    assert [label for _, label in fit([0.9, 1.0], style="percent").ticks][:2] == ["90\u00a0%", "92\u00a0%"]
    assert [value for value, _ in fit([0, 3], whole=True).ticks] == [0, 1, 2, 3]
    assert [label for _, label in fit([0.002, 700], log=True, count=6).ticks] == [
        "0.001",
        "0.01",
        "0.1",
        "1",
        "10",
        "100",
        "1k",
    ]
    assert [label for _, label in fit([1, 9], log=True).ticks] == ["1", "2", "5", "10"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123, "0.0123"),
        (4.56, "4.56"),
        (213_450, "213k"),
        (3_717_622, "3.72M"),
        (1e-6, "1e\u22126"),
        (-2.5, "\u22122.5"),
    ],
)
def test_compact_numbers(value: float, text: str) -> None:
    assert compact(value) == text


def test_what_can_be_shown() -> None:
    assert usable(1) and usable(-2.5) and usable(0)
    assert not any(usable(value) for value in (NAN, INF, True, None, "1"))
    assert not usable(0, log=True) and not usable(-1.0, log=True)


def test_the_axes_of_a_scatter_chart_do_not_go_below_zero_without_need() -> None:
    def labels(*values: float) -> set[str]:
        chart = scatter_chart([Point(value, value, "a", "") for value in values])
        return {element.text or "" for element in ET.fromstring(chart).iter(f"{SVG}text")}

    assert not any(label.startswith("\u2212") for label in labels(0.0, 10.0))
    assert any(label.startswith("\u2212") for label in labels(-10.0, 10.0))
