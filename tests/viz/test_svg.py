"""Style sheets of drawings: complete, and without variables where a drawing stands alone."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest

from archscout.viz import Series, line_chart
from archscout.viz.svg import FAMILIES, SERIES, page_style

SHEETS = files("archscout.viz")


@pytest.mark.parametrize("name", ["drawing.css", "report/report.css"])
def test_every_variable_of_a_style_sheet_has_a_value(name: str) -> None:
    used = re.findall(r"var\(--([\w-]+)\)", SHEETS.joinpath(name).read_text())
    assert used and set(used) <= set(re.findall(r"--([\w-]+):", SHEETS.joinpath("theme.css").read_text()))


def test_every_color_has_a_dark_value() -> None:
    light, dark = (
        re.findall(r"--([\w-]+): #", part) for part in SHEETS.joinpath("theme.css").read_text().split("@media")
    )
    assert light == dark


def test_families_and_series_have_rules() -> None:
    wanted = [f".as-{family} rect" for family in FAMILIES] + [f".as-line{index}" for index in range(SERIES)]
    assert all(f"\n.as-inherit {selector} {{" in page_style() for selector in wanted)


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_a_drawing_that_stands_alone_has_colors_instead_of_variables(theme: Any) -> None:
    (style,) = re.findall("<style>(.*?)</style>", line_chart([Series("a", [0, 1], [0, 1])], theme=theme), re.DOTALL)
    assert "var(" not in style
    assert all(rule.startswith((f".as-{theme} ", "@media", "}")) for rule in style.splitlines() if rule)
