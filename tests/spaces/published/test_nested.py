"""The published text of networks whose cells all differ."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.errors import ArchitectureError
from archscout.spaces import Cell, Input, PerCellGenotype
from archscout.spaces.cells.genotype import HANDCRAFTED_OPERATIONS
from archscout.spaces.published.darts import parse_published
from archscout.spaces.published.nested import format_nested, parse_nested_genotype

FIRST = "[('sep_conv_3x3', 2, 0), ('skip_connect', 2, 1), ('sep_conv_3x3', 2, 0), ('max_pool_3x3', 4, 2)]"
SECOND = "[('bottleneck_1x3x1', 2, 1)]"
TEXT = f"Genotype_nested(genes=[{FIRST}, {SECOND}, {FIRST}], concat=range(2, 5), reductions=[1])"
GENOTYPE = PerCellGenotype(
    (
        Cell(
            (
                (Input("sep_conv_3x3", 0), Input("skip_connect", 1), Input("sep_conv_3x3", 0)),
                (),
                (Input("max_pool_3x3", 2),),
            ),
            (2, 4),
        ),
        Cell(((Input("bottleneck_1x3x1", 1),),), (2,)),
    ),
    (0, 1, 0),
    (1,),
)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    count = draw(st.integers(1, 6))
    nodes = [
        tuple(
            draw(
                st.lists(
                    st.builds(Input, st.sampled_from(HANDCRAFTED_OPERATIONS), st.integers(0, number - 1)), max_size=4
                )
            )
        )
        for number in range(2, count + 2)
    ]
    last = (Input("skip_connect", 0),)
    return Cell((*nodes, last), tuple(n for n, inputs in enumerate((*nodes, last), start=2) if inputs))


@settings(max_examples=50, deadline=None)
@given(st.lists(cells(), min_size=1, max_size=6), st.data())
def test_what_is_written_reads_back_the_same(row: list[Cell], data: st.DataObject) -> None:
    reductions = sorted(data.draw(st.sets(st.integers(0, len(row) - 1))))
    genotype = PerCellGenotype.of_cells(row, reductions)
    assert parse_nested_genotype(format_nested(genotype)) == genotype


def test_the_written_form_is_the_published_one() -> None:
    assert format_nested(GENOTYPE) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"DD = {TEXT}\n",
        TEXT.replace("range(2, 5)", "[4]"),
        f"Genotype_nested(reductions=range(1, 2), concat=(2, 3, 4), genes=[{FIRST}, {SECOND}, {FIRST}])",
    ],
)
def test_spellings_of_the_published_form_read_the_same(text: str) -> None:
    assert parse_published(text) == GENOTYPE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("'bottleneck_1x3x1'", "__import__('os').system('x')", "a call is not allowed here"),
        ("'bottleneck_1x3x1'", "1", "this constant 1 is not allowed"),
        ("('bottleneck_1x3x1', 2, 1)", "('bottleneck_1x3x1', 2)", r"item of genes\[1\] is .* got 2 parts"),
        ("('bottleneck_1x3x1', 2, 1)", "('bottleneck_1x3x1', 1, 0)", "added into node 1; the first is node 2"),
        ("('bottleneck_1x3x1', 2, 1)", "('bottleneck_1x3x1', 2, 2)", "source 2 does not come before the node"),
        ("('bottleneck_1x3x1', 2, 1)", "('bottleneck_1x3x1', 999, 1)", "too large; allowed: 0 to 99"),
        ("('bottleneck_1x3x1', 2, 1)", "", r"genes\[1\]: the cell has no node"),
        ("bottleneck_1x3x1", "bottleneck_1x9x1", r"genes\[1\], node 2, input 0: unknown operation"),
        ("reductions=[1]", "reductions=[7]", "reductions: there is no cell 7"),
        ("reductions=[1]", "reductions=[-1]", "a sign or 'not' is not allowed .* cell number"),
        ("range(2, 5)", "range(2, 9)", "concat: no cell has a node 5; allowed: 2 to 4"),
        (", reductions=[1]", "", "lacks the field reductions"),
        ("reductions=", "reduction=", "unknown field 'reduction' of Genotype_nested. Allowed: reductions"),
        ("Genotype_nested", "Genotype_nested.x", "a call is not allowed|Genotype_nested"),
    ],
)
def test_anything_else_is_refused_by_name_and_place(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ArchitectureError, match=message):
        parse_published(TEXT.replace(old, new))


def test_what_the_form_cannot_express_is_not_written() -> None:
    cell = Cell(((Input("skip_connect", 0),), (Input("skip_connect", 2),)), (3,))
    with pytest.raises(ArchitectureError, match=r"genes\[0\], concat: \[3\].* \[2, 3\]. Write the genotype as JSON"):
        format_nested(PerCellGenotype((cell,), (0,), ()))


def test_long_texts_are_refused_unread() -> None:
    with pytest.raises(ArchitectureError, match="at most 100000 characters"):
        parse_nested_genotype(" " * 100_001)
