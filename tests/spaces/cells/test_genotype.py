from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.errors import ArchitectureError
from archscout.spaces import Cell, CellGenotype, Input, architecture_from_json, architecture_to_json
from archscout.spaces.cells.genotype import KNOWN_OPERATIONS


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Any valid cell, with nodes of any number of inputs, also none."""
    inputs: list[tuple[Input, ...]] = []
    for number in range(2, 2 + draw(st.integers(1, 6))):
        item = st.builds(Input, st.sampled_from(KNOWN_OPERATIONS), st.integers(0, number - 1))
        inputs.append(tuple(draw(st.lists(item, max_size=3))))
    if not any(inputs):
        inputs[0] = (Input("skip_connect", 1),)
    existing = [number for number, node in enumerate(inputs, start=2) if node]
    concat = draw(st.lists(st.sampled_from(existing), min_size=1, unique=True))
    return Cell(tuple(inputs), tuple(concat))


genotypes = st.builds(CellGenotype, cells(), cells())

VALID: dict[str, Any] = {
    "format": "archscout.cell_genotype",
    "version": 1,
    "normal": {"nodes": [[["sep_conv_3x3", 0], ["skip_connect", 1]]], "concat": [2]},
    "reduce": {"nodes": [[["max_pool_3x3", 0]], [["dil_conv_5x5", 2], ["none", 1]]], "concat": [3, 2]},
}


def edited(path: str, value: object) -> str:
    """The valid JSON with the value at a path like `normal.nodes.0.0.1` replaced."""
    content = json.loads(json.dumps(VALID))
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    target = content
    for key in parents:
        target = target[key]
    target[last] = value
    return json.dumps(content)


@settings(max_examples=60, deadline=None)
@given(genotypes)
def test_every_genotype_comes_back_from_its_json_equal_and_with_equal_hash(genotype: CellGenotype) -> None:
    text = architecture_to_json(genotype)
    again = architecture_from_json(text)
    assert again == genotype
    assert hash(again) == hash(genotype)
    assert architecture_to_json(again) == text


def test_the_valid_example_reads_as_expected() -> None:
    genotype = architecture_from_json(json.dumps(VALID))
    assert genotype == CellGenotype(
        Cell(((Input("sep_conv_3x3", 0), Input("skip_connect", 1)),), (2,)),
        Cell(((Input("max_pool_3x3", 0),), (Input("dil_conv_5x5", 2), Input("none", 1))), (3, 2)),
    )
    assert genotype.describe().splitlines() == [
        "normal cell (output: nodes 2)",
        "  node 2 = sep_conv_3x3(0) + skip_connect(1)",
        "reduce cell (output: nodes 3, 2)",
        "  node 2 = max_pool_3x3(0)",
        "  node 3 = dil_conv_5x5(2) + none(1)",
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "archscout.graph", "field 'format' is 'archscout.graph'; known formats: .*archscout.cell_genotype"),
        ("format", ["archscout.cell_genotype"], r"field 'format' is \['archscout"),
        ("format", None, "field 'format' is None"),
        ("version", 2, "field 'version' is 2; .* versions 1 to 1"),
        ("version", 0, "field 'version' is 0"),
        ("version", True, "field 'version' is True"),
        ("version", "1", "field 'version' is '1'"),
        ("extra", 1, "fields 'normal' and 'reduce'; got .*'extra'"),
        ("normal", 3, "normal: a cell has the two fields 'nodes' and 'concat'; got 3"),
        ("normal.extra", 1, r"normal: a cell has .* got \['concat', 'extra', 'nodes'\]"),
        ("normal.nodes", "abc", "normal, nodes: must be a list"),
        ("normal.nodes", [], "normal: the cell has no node with an input"),
        ("normal.nodes", [[], []], "normal: the cell has no node with an input"),
        ("reduce.nodes.1", 7, "reduce, node 3: must be a list"),
        ("reduce.nodes.1.0", "dil_conv_5x5", "reduce, node 3: an input is"),
        ("reduce.nodes.1.0", ["dil_conv_5x5"], "reduce, node 3: an input is"),
        ("reduce.nodes.1.0", ["dil_conv_5x5", 1, 2], "reduce, node 3: an input is"),
        ("reduce.nodes.1.0.0", 5, "reduce, node 3: an input is"),
        ("reduce.nodes.1.0.1", 1.0, "reduce, node 3: an input is"),
        ("reduce.nodes.1.0.1", True, "reduce, node 3: an input is"),
        ("reduce.nodes.1.0.0", "dil_conv_5", "reduce, node 3, input 0: unknown operation 'dil_conv_5'.*dil_conv_5x5"),
        ("reduce.nodes.1.1.1", 3, "reduce, node 3, input 1: source 3 does not come before the node; allowed: 0 to 2"),
        ("reduce.nodes.1.1.1", -1, "source -1 does not come before the node"),
        ("normal.concat", [], r"normal, concat: \[\] must name at least one node"),
        ("normal.concat", [2, 2], r"normal, concat: \[2, 2\] must name at least one node, each once"),
        ("normal.concat", [3], r"normal, concat: node 3 does not exist or has no input; allowed: \[2\]"),
        ("normal.concat", [1], "normal, concat: node 1 does not exist"),
        ("normal.concat", ["2"], "normal, concat: '2' is not a node number"),
        ("normal.concat", 2, "normal, concat: must be a list of node numbers"),
    ],
)
def test_wrong_json_names_the_field_and_the_value(path: str, value: object, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        architecture_from_json(edited(path, value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "{}",
        '{"format": "x"',
        '"' + "a" * 100,
        "[" * 100_000,
        "[" + "9" * 5000 + "]",
        "\0",
    ],
    ids=lambda text: text[:8].replace("\0", "null"),
)
def test_texts_that_are_no_architecture_are_refused(text: str) -> None:
    with pytest.raises(ArchitectureError, match=r"this is not JSON|no field 'format'"):
        architecture_from_json(text)


def test_messages_stay_short_whatever_the_text_holds() -> None:
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]
    for path, value in (("normal", deep), ("format", "a" * 10_000), ("reduce.nodes.0.0.0", "b" * 10_000)):
        with pytest.raises(ArchitectureError) as caught:
            architecture_from_json(edited(path, value))
        assert len(str(caught.value)) < 400


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("nodes", "concat")), inner),
        max_leaves=8,
    )
)
def test_any_json_in_place_of_a_cell_is_refused_without_a_traceback(value: Any) -> None:
    with pytest.raises(ArchitectureError):
        architecture_from_json(edited("normal", value))


def test_a_genotype_made_in_python_checks_itself() -> None:
    good = Cell(((Input("skip_connect", 0),),), (2,))
    with pytest.raises(ArchitectureError, match="reduce, node 2, input 0: source 2"):
        CellGenotype(good, Cell(((Input("skip_connect", 2),),), (2,)))
    with pytest.raises(ArchitectureError, match="normal, node 2, input 0: an input is"):
        CellGenotype(Cell((("skip_connect",),), (2,)), good)  # type: ignore[arg-type]
