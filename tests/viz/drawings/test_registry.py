"""Which function draws an architecture, and how operations are named."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any, ClassVar

import pytest

from archscout.errors import ArchitectureError
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.viz import DRAWINGS, draw, draw_genotype
from archscout.viz.drawings.operations import operation_family, operation_label


class Toy:
    """An architecture of another space."""

    format: ClassVar[str] = "test.toy"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "toy"

    def to_fields(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @classmethod
    def from_fields(cls, fields: Any, version: int) -> Toy:
        """Never read."""
        raise ArchitectureError("not needed")

    def describe(self) -> str:
        """Two lines."""
        return "width <8>\n  depth 2"


def test_an_architecture_without_a_drawing_is_shown_as_its_description() -> None:
    lines = [element.text for element in ET.fromstring(draw(Toy())).iter("{http://www.w3.org/2000/svg}text")]
    assert lines == ["width <8>", "  depth 2"]


def test_a_registered_drawing_is_used() -> None:
    def draw_toy(architecture: Any, theme: Any) -> str:
        return f"{architecture.space} {theme}"

    DRAWINGS.register("test.toy")(draw_toy)
    try:
        assert draw(Toy(), theme="dark") == "toy dark"
    finally:
        DRAWINGS.unregister("test.toy")


def test_genotypes_are_dispatched_to_their_drawing() -> None:
    cell = Cell(((Input("sep_conv_3x3", 0), Input("skip_connect", 1)),), (2,))
    genotype = CellGenotype(cell, cell)
    assert draw(genotype, theme="light") == draw_genotype(genotype, theme="light")


@pytest.mark.parametrize(
    ("operation", "label", "family"),
    [
        ("sep_conv_3x3", "sep 3\u00d73", "separable"),
        ("dil_conv_5x5", "dil 5\u00d75", "dilated"),
        ("max_pool_3x3", "max 3\u00d73", "pooling"),
        ("avg_pool_3x3", "avg 3\u00d73", "pooling"),
        ("skip_connect", "skip", "skip"),
        ("conv_7x1_1x7", "7\u00d71 1\u00d77", "full"),
        ("simple_conv_3x3", "conv 3\u00d73", "full"),
        ("bottleneck_1x3x1", "bottleneck", "bottleneck"),
        ("none", "none", "none"),
        ("a_very_long_operation_name", "a very long ope…", "other"),
    ],
)
def test_operations_have_short_labels_and_a_family(operation: str, label: str, family: str) -> None:
    assert operation_label(operation) == label
    assert operation_family(operation) == family
