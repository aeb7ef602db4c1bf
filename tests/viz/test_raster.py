"""Drawings as pixels: every drawing there is, colours and places as the SVG says, and a clear refusal of the rest."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import numpy.typing as npt
import pytest

from archscout.errors import DrawingError
from archscout.spaces import SPACES, get_space
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.viz import DRAWINGS, Point, Series, draw, draw_genotype, line_chart, scatter_chart
from archscout.viz.cascade import Element, cascade, rules_of
from archscout.viz.drawings.layout import lay_out
from archscout.viz.outlines import circle, dashes, path, rectangle
from archscout.viz.raster import rasterise
from archscout.viz.style import DARK, FAMILIES, LIGHT, Theme
from archscout.viz.svg import document, element
from archscout.zoo import load_zoo, zoo_names

Pixels = npt.NDArray[np.uint8]


def rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def sheet(body: str, width: float = 60.0, height: float = 40.0, theme: Theme = "light") -> str:
    return document(width, height, body, label="test", theme=theme)


def ink(image: Pixels) -> npt.NDArray[np.float64]:
    """How far each pixel is from the white background, from 0 to 1."""
    darkness: npt.NDArray[np.float64] = 1 - image.astype(float).mean(2) / 255
    return darkness


def has(image: Pixels, color: str) -> bool:
    return bool((image == rgb(color)).all(2).any())


# -- everything that is drawn ------------------------------------------------------------------------------------


# A network of the user's own has no architectures without the network.
DRAWN_SPACES = [name for name in SPACES if name != "module"]


@pytest.mark.parametrize("name", DRAWN_SPACES)
def test_random_architectures_of_every_space_become_pixels(name: str) -> None:
    for seed in range(2):
        assert ink(rasterise(draw(get_space(name).random(Random(seed)), theme="light"))).max() > 0.5


def test_every_registered_drawing_becomes_pixels() -> None:
    drawn = set()
    for name in zoo_names():
        architecture = load_zoo(name).architecture
        if architecture.format in drawn:
            continue
        drawn.add(architecture.format)
        assert ink(rasterise(draw(architecture, theme="light"))).max() > 0.5
    drawn |= {get_space(name).random(Random(0)).format for name in DRAWN_SPACES}  # see the test above
    assert set(DRAWINGS) <= drawn


def test_charts_become_pixels() -> None:
    lines = [Series(f"line {i}", [0, 1, 2], [i, i + 1.0, i]) for i in range(8)] + [Series("dot", [1], [5.0])]
    image = rasterise(line_chart(lines, title="Lines", x_label="step", theme="light"))
    assert all(has(image, LIGHT[f"series{i}"]) for i in range(6))
    points = [Point(i, i % 7, group=f"group {i % 4}", chosen=i == 9) for i in range(20)]
    image = rasterise(scatter_chart(points, title="Points", theme="light"))
    assert all(has(image, LIGHT[f"series{i}"]) for i in range(4))


def test_a_cell_stands_where_its_layout_says() -> None:
    cell = Cell(((Input("sep_conv_3x3", 0), Input("max_pool_3x3", 1)),), (2,))
    image = rasterise(draw_genotype(CellGenotype(cell, cell), theme="light"), 2.0)
    top = 6.0 + 40.0  # of the first cell, below its title
    for edge, family in zip(lay_out(cell).operations, ("separable", "pooling"), strict=True):
        box = edge.box
        row, left, right = (round(2 * value) for value in (top + box.y + 4, box.x + 4, box.right - 4))
        assert (image[row, left:right] == rgb(LIGHT[f"{family}-fill"])).all()
        assert tuple(image[int(2 * (top + box.middle)), int(2 * box.right)]) == rgb(LIGHT[f"{family}-line"])


@pytest.mark.parametrize(("theme", "palette"), [("light", LIGHT), ("auto", LIGHT), ("inherit", LIGHT), ("dark", DARK)])
def test_themes_have_their_colours(theme: Theme, palette: dict[str, str]) -> None:
    image = rasterise(sheet(element("rect", class_="as-node", x=10.0, y=10.0, width=30.0, height=20.0), theme=theme))
    assert tuple(image[0, 0]) == rgb(palette["surface"])
    assert tuple(image[20, 25]) == rgb(palette["raised"])


def test_the_size_follows_the_scale() -> None:
    assert rasterise(sheet("", 60.0, 40.4)).shape == (41, 60, 3)
    assert rasterise(sheet("", 60.0, 40.0), 2.5).shape == (100, 150, 3)


# -- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.6, 1.0, 1.5, 2.0, 3.7])
def test_strokes_cover_as_much_as_they_are_wide(width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIGHT, "grid", "#000000")
    rules_of.cache_clear()
    line = element("path", class_="as-grid", d="M5 20.3H55")
    scale = width  # the rule's width is 1
    darkness = ink(rasterise(sheet(line), scale))
    rules_of.cache_clear()
    assert darkness.sum(0)[darkness.shape[1] // 2] == pytest.approx(width, abs=0.03)
    assert darkness.sum(1).max() / darkness.max() == pytest.approx(50 * scale, abs=0.6 + width / 2)


def test_a_circle_covers_its_area_smoothly() -> None:
    dot = element("circle", class_="as-node", cx=30.0, cy=20.0, r=12.0)
    image = rasterise(sheet(dot), 2.0)
    inside = (image == rgb(LIGHT["raised"])).all(2).sum()
    assert inside == pytest.approx(3.1416 * (2 * (12 - 0.7) - 0.5) ** 2, rel=0.03)  # half a pixel shades off
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20  # the edge has shades


def test_round_corners_and_percentages() -> None:
    box = rectangle(0.0, 0.0, 10.0, 8.0, 99.0)  # the radius is at most half of the shorter side
    assert max(abs(y - 4.0) for _, y in box.points) == pytest.approx(4.0)
    assert (0.0, 0.0) not in box.points
    assert len(rectangle(0.0, 0.0, 10.0, 8.0, 0.0).points) == 4
    whole = rasterise(sheet(element("g", '<rect width="100%" height="100%"/>', class_="as-skip")))
    assert tuple(whole[20, 30]) == rgb(LIGHT["skip-fill"])


def test_paths_are_followed_to_their_end() -> None:
    (line,) = path("M1 2L4 6H10v-3")
    assert line.points == ((1, 2), (4, 6), (10, 6), (10, 3))
    first, second = path("M0 0C10 0 10 20 20 20M5 5H9")
    assert first.points[-1] == pytest.approx((20, 20))
    assert (10.0, 10.0) in [pytest.approx(point) for point in first.points]  # the middle of the curve
    assert second.points == ((5, 5), (9, 5))


def test_dashes_go_on_around_corners() -> None:
    (line,) = path("M0 0H10v10")
    lengths = [list(dash.points) for dash in dashes(line, (6.0, 2.0))]
    assert lengths == [[(0, 0), (6, 0)], [(8, 0), (10, 0), (10, 4)], [(10, 6), (10, 10)]]
    ring = dashes(circle(0.0, 0.0, 10.0), (3.0, 3.0))
    assert len(ring) == 11  # 62.7 around: ten pairs of dash and gap, and the begin of an eleventh


def test_a_dashed_line_is_half_as_dark() -> None:
    solid, dashed = (
        ink(rasterise(sheet(element("path", class_="as-line0", d="M6 20H54", stroke_dasharray=pattern)))).sum()
        for pattern in ("none", "3 3")
    )
    assert dashed == pytest.approx(solid / 2, rel=0.08)


def test_shifts_and_opacity_go_down_to_children() -> None:
    box = element("rect", class_="as-node", x=0.0, y=0.0, width=10.0, height=10.0)
    inner = element("g", box, transform="translate(5 0)", class_="as-ignored")
    image = rasterise(sheet(element("g", inner, transform="translate(20 15)")))
    expected = 255 + 0.55 * (np.array(rgb(LIGHT["raised"])) - 255.0)
    assert image[20, 30] == pytest.approx(expected, abs=1)
    assert tuple(image[20, 10]) == (255, 255, 255)


# -- text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("anchor", "low", "high"), [("start", 29, 59), ("middle", 14, 46), ("end", 1, 31)])
def test_text_stands_at_its_anchor_and_on_its_baseline(anchor: str, low: int, high: int) -> None:
    text = element("text", "HHH", class_="as-label", x=30.0, y=25.0, text_anchor=anchor)
    rows, columns = np.nonzero(ink(rasterise(sheet(text))) > 0.1)
    assert low <= columns.min() and columns.max() <= high
    assert rows.max() == 24
    assert 14 <= rows.min() <= 17  # a capital is about 0.7 of 12 units high


def test_titles_are_bolder_and_code_has_a_fixed_pitch() -> None:
    def darkness(class_: str) -> float:
        text = element("text", "Illinois", class_=class_, x=5.0, y=25.0)
        return float(ink(rasterise(sheet(text, 120.0))).sum())

    assert darkness("as-title") > 1.3 * 15 / 12 * darkness("as-label")
    narrow, wide = (
        np.nonzero(ink(rasterise(sheet(element("text", text, class_="as-mono", x=5.0, y=25.0), 120.0))))[1].max()
        for text in ("iiiiiiiiiH", "MMMMMMMMMH")
    )
    assert narrow == pytest.approx(wide, abs=1)


@pytest.mark.parametrize(
    ("text", "like"),
    [("3\u00d73", "3x3"), ("c(k\u22122)", "c(k-2)"), ("4\u00a0%", "4 %"), ("\u00e9t\u00e9", "ete"), ("\u6f22", "?")],
)
def test_characters_that_the_font_lacks_are_replaced(text: str, like: str) -> None:
    shown, expected = (
        rasterise(sheet(element("text", each, class_="as-label", x=5.0, y=25.0))) for each in (text, like)
    )
    assert np.array_equal(shown, expected)


# -- style -------------------------------------------------------------------------------------------------------


def test_rules_are_matched_as_browsers_do() -> None:
    rules = rules_of("light")
    root = Element("svg", frozenset(("as-drawing", "as-light")))
    for family in FAMILIES:
        group = Element("g", frozenset(("operation", f"as-{family}")))
        inside = cascade(rules, (root, group), Element("rect", frozenset()), {}, {})
        assert inside["fill"] == LIGHT[f"{family}-fill"]
        assert "fill" not in cascade(rules, (root,), Element("rect", frozenset()), {}, {})
    wire = cascade(rules, (root,), Element("path", frozenset(("as-wire", "as-wire0"))), {}, {})
    assert (wire["stroke"], wire["stroke-width"]) == (LIGHT["muted"], "1.5")  # the later of two equals
    small = cascade(rules, (root,), Element("text", frozenset(("as-small",))), {}, {})
    assert small["fill"] == LIGHT["muted"]  # a class beats a tag
    dashed = cascade(rules, (root,), Element("path", frozenset(("as-concat",))), {}, {"stroke-dasharray": "9 9"})
    assert dashed["stroke-dasharray"] == "2 4"  # a rule beats an attribute


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('<ellipse cx="1" cy="1" rx="2" ry="3"/>', "<ellipse> cannot be drawn in pixels; known: svg, g, rect"),
        ('<rect width="5" height="5" ry="2"/>', "attribute ry of <rect>"),
        ('<path class="as-wire" d="M0 0S1 1 2 2"/>', "path command 'S1 1 2 2'"),
        ('<path class="as-wire" d="H4"/>', "M first"),
        ('<path class="as-wire" d="M0 0L1 1 2 2"/>', "numbers of one step"),
        ('<g transform="rotate(30)"/>', r"transform = 'rotate\(30\)'.*only translate"),
        ('<text text-anchor="left">a</text>', "text-anchor = 'left'"),
        ('<rect width="5em" height="5"/>', "width = '5em' is no length"),
    ],
)
def test_what_is_not_known_is_refused(body: str, says: str) -> None:
    with pytest.raises(DrawingError, match=says):
        rasterise(sheet(body))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no XML"),
        ("<svg", "no XML"),
        ("<html/>", "begins with <html>"),
        ("<!DOCTYPE svg><svg/>", "document type"),
        ('<svg xmlns="http://www.w3.org/2000/svg"/>', "no width and height"),
        ('<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"/>', "no theme"),
        (sheet("", 1e6, 1e6), "no sensible size"),
    ],
)
def test_foreign_text_is_refused(text: str, says: str) -> None:
    with pytest.raises(DrawingError, match=says):
        rasterise(text)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), 1e9])
def test_senseless_scales_are_refused(scale: float) -> None:
    with pytest.raises(DrawingError, match=re.escape(f"scale {scale:g}")):
        rasterise(sheet(""), scale)


def test_a_new_style_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.viz.cascade.svg_rules", lambda colors, theme: ".as-light .as-node{filter:blur(3px)}")
    rules_of.cache_clear()
    with pytest.raises(DrawingError, match="<rect> has filter"):
        rasterise(sheet(element("rect", class_="as-node", width=5.0, height=5.0)))
    rules_of.cache_clear()
