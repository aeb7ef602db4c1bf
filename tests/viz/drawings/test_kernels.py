"""Drawings of kernel patterns."""

from __future__ import annotations

import re
from random import Random
from xml.etree import ElementTree

from archscout.spaces import get_space
from archscout.spaces.kernels.pattern import with_kernels
from archscout.viz import draw


def test_every_convolution_has_its_taps_within_its_field() -> None:
    kernels = [(3, 1), (9, 15), (5, 7)]
    svg = draw(with_kernels(get_space("cells").random(Random(0)), kernels))
    assert svg.count("<circle") == sum(size for size, _ in kernels)
    assert "size 9, dilation 15, field 121" in svg
    widths = [float(width) for width in re.findall(r'<rect x="[^"]+" y="[^"]+" width="([^"]+)" height="12"', svg)]
    assert [round(width / widths[0], 1) for width in widths] == [1.0, round(121 / 3, 1), round(29 / 3, 1)]
    ElementTree.fromstring(svg)
