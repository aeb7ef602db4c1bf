"""Drawings of MobileNets: every block is there, nothing overlaps, sizes are those of the network."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from random import Random

import pytest

from archscout.spaces import MobileNetConfig, MobileNetSpace
from archscout.spaces.mobilenet import MobileNetOptions, MobileNetSize
from archscout.tasks import TaskSpec
from archscout.viz import ReportContent, draw, render_report
from archscout.viz.svg import text_width
from archscout.zoo import load_zoo

SVG = "{http://www.w3.org/2000/svg}"
CIFAR = TaskSpec("cifar10", "classification", (3, 32, 32), 10)
SMALL = MobileNetSize(width=0.25)
CONFIGS = [MobileNetSpace().random(Random(seed)) for seed in range(4)]


def boxes(svg: str) -> list[tuple[str, list[str], dict[str, float]]]:
    """Class, texts and rectangle of every block."""
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if "block" in group.get("class", "").split():
            rectangle = group.find(f"{SVG}rect")
            assert rectangle is not None
            place = {key: float(rectangle.get(key, "nan")) for key in ("x", "y", "width", "height")}
            found.append((group.get("class", ""), [text.text or "" for text in group.iter(f"{SVG}text")], place))
    return found


@pytest.mark.parametrize("config", CONFIGS)
def test_every_block_is_drawn_in_order_with_kernel_and_expansion(config: MobileNetConfig) -> None:
    found = boxes(draw(config, spec=CIFAR, size=SMALL))
    expected = [
        [f"MB{block.expansion}", f"{block.kernel}\u00d7{block.kernel}"] for stage in config.stages for block in stage
    ]
    assert [texts for _, texts, _ in found] == [
        ["conv", "3\u00d73"],
        ["MB1", "3\u00d73"],
        *expected,
        ["conv", "1\u00d71"],
        ["conv", "1\u00d71"],
        ["linear", "10"],
    ]
    families = {"3\u00d73": "as-separable", "5\u00d75": "as-skip", "7\u00d77": "as-dilated"}
    assert all(families[texts[1]] in class_ for class_, texts, _ in found[1:-3])


@pytest.mark.parametrize("config", CONFIGS)
def test_boxes_stand_apart_inside_the_drawing_and_grow_with_the_expansion(config: MobileNetConfig) -> None:
    svg = draw(config)
    found = boxes(svg)
    width = float(ET.fromstring(svg).get("width", "nan"))
    for (_, _, left), (_, _, right) in pairwise(found):
        assert left["x"] + left["width"] < right["x"]
    assert found[-1][2]["x"] + found[-1][2]["width"] <= width
    heights = {texts[0]: place["height"] for _, texts, place in found[1:-3]}
    assert [heights[name] for name in sorted(heights)] == sorted(heights.values())
    assert all(text_width(text, 12.0) <= place["width"] for _, texts, place in found for text in texts)


def test_channels_and_pixels_are_those_of_the_network() -> None:
    texts = re.findall(r">([^<>]+)</text>", draw(load_zoo("dsm_nas.imagenet").architecture))
    for shown in ("3\u00d7224\u00d7224 to 1,000 classes, width 1.2", "24 channels", "192 channels", "7\u00d77"):
        assert shown in texts
    assert "112\u00d7112" in texts and "1152, 1536 channels" in texts
    small = draw(load_zoo("dsm_nas.imagenet").architecture, spec=CIFAR, size=SMALL)
    assert "3\u00d732\u00d732 to 10 classes, width 0.25" in small
    assert "4\u00d74" in small
    searched = MobileNetSpace(MobileNetOptions(search_resolution=True)).random(Random(1))
    assert f"3\u00d7{searched.resolution}\u00d7{searched.resolution}" in draw(searched, spec=CIFAR, size=SMALL)


def test_the_report_draws_the_network_of_the_run() -> None:
    page = render_report(ReportContent("t", architecture=CONFIGS[0], spec=CIFAR, network_size=SMALL))
    assert "width 0.25" in page
    assert "as-inherit" in page
