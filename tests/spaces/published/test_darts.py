from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.errors import ArchitectureError
from archscout.spaces import Cell, CellGenotype, Input
from archscout.spaces.cells.genotype import KNOWN_OPERATIONS
from archscout.spaces.published.darts import format_published, parse_published_genotype

TEXT = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('avg_pool_3x3', 2), ('dil_conv_5x5', 0)], "
    "normal_concat=[2, 3], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])"
)
GENOTYPE = CellGenotype(
    Cell(
        (
            (Input("sep_conv_3x3", 0), Input("skip_connect", 1)),
            (Input("avg_pool_3x3", 2), Input("dil_conv_5x5", 0)),
        ),
        (2, 3),
    ),
    Cell(((Input("max_pool_3x3", 0), Input("max_pool_3x3", 1)),), (2,)),
)


@st.composite
def published_cells(draw: st.DrawFn) -> Cell:
    count = draw(st.integers(1, 7))
    nodes = []
    for number in range(2, count + 2):
        item = st.builds(Input, st.sampled_from(KNOWN_OPERATIONS), st.integers(0, number - 1))
        nodes.append((draw(item), draw(item)))
    concat = draw(st.lists(st.integers(2, count + 1), min_size=1, unique=True))
    return Cell(tuple(nodes), tuple(concat))


@settings(max_examples=60, deadline=None)
@given(st.builds(CellGenotype, published_cells(), published_cells()))
def test_what_is_written_reads_back_the_same(genotype: CellGenotype) -> None:
    assert parse_published_genotype(format_published(genotype)) == genotype


def test_the_written_form_is_the_published_one() -> None:
    assert format_published(GENOTYPE) == TEXT
    assert parse_published_genotype(TEXT) == GENOTYPE


@pytest.mark.parametrize(
    "text",
    [
        f"DARTS_V2 = {TEXT}",
        f"\n\n   {TEXT}  # as published\n",
        f"# a comment first\nX = \\\n  {TEXT}\n",
        TEXT.replace("'", '"'),
        TEXT.replace("[2, 3]", "range(2, 4)").replace("[2]", "(2,)"),
        TEXT.replace(", reduce=", ",\n    reduce=\r\n").replace("('max", "['max").replace("0), ['", "0], ['"),
        f"genotypes.{TEXT}",
        f"lib.models.genotypes.{TEXT}",
        f"A = B = {TEXT}",
        f"self.genotype = {TEXT}",
        f"print({TEXT})",
        f"03/01 12:00:00 AM genotype = {TEXT}",
        f"2020-03-01 12:00:00,123 - INFO - epoch 007: it's {TEXT} (valid_acc 97.2)",
        f"\x1b[32m[03/01]\x1b[0m genotype = genotypes.{TEXT}\x1b[0m\n03/01 epoch 8 lr 1.0e-2\n",
        TEXT.replace("normal=", "").replace("normal_concat=", "").replace("reduce=", "").replace("reduce_concat=", ""),
        TEXT.replace("normal=", "").replace("normal_concat=", ""),
        TEXT.replace("[2, 3]", "list(range(2, 4))").replace("[2])", "tuple(range(2, 3)))"),
        TEXT.replace("[2, 3]", "[*range(2, 4)]").replace("[2])", "[np.int64(2)])"),
        TEXT.replace("[2, 3]", "range(2, 4, 1)").replace("[2])", "xrange(2, 3))"),
        TEXT.replace("[2, 3]", "np.array([2, 3])").replace(
            "('sep_conv_3x3', 0)", "(np.str_('sep_conv_3x3'), np.int64(0))"
        ),
        TEXT.replace("')", "')").replace("'", "\u2019").replace(", ", ",\u00a0"),
        "Genotype(normal=[[('sep_conv_3x3', 0), ('skip_connect', 1)], [('avg_pool_3x3', 2), ('dil_conv_5x5', 0)]], "
        "normal_concat=[2, 3], reduce=[(('max_pool_3x3', 0), ('max_pool_3x3', 1))], reduce_concat=[2])",
        "Genotype(normal=[(('sep_conv_3x3', 0, 0.13), ('skip_connect', 1, 1e-05)), (('avg_pool_3x3', 2, 0.2), "
        "('dil_conv_5x5', 0, 0.1))], normal_concat=[2, 3], reduce=[(('max_pool_3x3', 0, 0.2), "
        "('max_pool_3x3', 1, 0.2))], reduce_concat=[2], connectN=None, connects=None)",
        "Genotype(reduce_concat=[2], reduce=(('max_pool_3x3', 0), ('max_pool_3x3', 1),), normal_concat=range(2, 4), "
        "normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('avg_pool_3x3', 2), ('dil_conv_5x5', 0)])",
    ],
)
def test_spellings_of_the_published_form_read_the_same(text: str) -> None:
    if "['max" in text:
        text = text.replace("1)], reduce_concat", "1]], reduce_concat")
    assert parse_published_genotype(text) == GENOTYPE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("('sep_conv_3x3', 0)", "__import__('os').system('true')", "column 18: a call is not allowed here"),
        ("'sep_conv_3x3'", "__import__('os')", "column 19: a call of __import__ is not allowed"),
        ("'sep_conv_3x3'", "os.name", "column 19: attribute access is not allowed"),
        ("'sep_conv_3x3'", "f'sep_conv_{3}x3'", "column 19: a format string is not allowed"),
        ("'sep_conv_3x3'", "SEP", "column 19: a variable SEP is not allowed"),
        ("'sep_conv_3x3'", "b'sep'", "column 19: this constant b'sep' is not allowed"),
        ("'sep_conv_3x3'", "(lambda: 1)", "column 20: a lambda is not allowed"),
        ("'sep_conv_3x3'", "(x := 1)", "column 20: an assignment expression is not allowed"),
        ("'sep_conv_3x3'", "'a' if 1 else 'b'", "a conditional expression is not allowed"),
        ("'sep_conv_3x3'", "OPS[3]", "indexing is not allowed"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', 1 - 1", "column 35: arithmetic is not allowed here .* node number"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', -1", "column 35: a sign or 'not' is not allowed"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', True", "column 35: this constant True is not allowed"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', 0.0", "column 35: this constant 0.0 is not allowed"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', 0, 1", "column 18: an item of normal .* got 3 parts"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', 10**9", "arithmetic is not allowed"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', 1000000000", "column 35: a number in normal is too large"),
        ("'sep_conv_3x3', 0", "*x", "column 19: cannot use starred expression"),
        ("('sep_conv_3x3', 0), ", "", "normal: has 3 items, 2 belong to each node"),
        ("normal=[('sep_conv_3x3', 0)", "normal=[x for x in ()", "invalid syntax"),
        ("reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)]", "reduce=[x for x in y]", "a comprehension is not"),
        ("reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)]", "reduce={'a': 1}", "a dictionary is not allowed"),
        ("reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)]", "reduce=[]", "reduce: the cell has no node"),
        ("[2, 3]", "range(2, 10**9)", "arithmetic is not allowed"),
        ("[2, 3]", "range(2, 1000000000)", "a number in normal_concat is too large; allowed: 0 to 99"),
        ("[2, 3]", "range(2, 9)", "normal, concat: node 4 does not exist"),
        ("[2, 3]", "range(2, 4, 0)", "this constant 0 is not allowed here .* a step above 0"),
        ("[2, 3]", "range(2, 4, 1, 1)", r"a call of range is not allowed .* range\(first, last \+ 1\)"),
        ("[2, 3]", "list(map(int, '23'))", "a call of map is not allowed"),
        ("[2, 3]", "range(*[2, 4])", "unpacking with .* is not allowed"),
        ("[2, 3]", "list(range(2, 9))", "normal, concat: node 4 does not exist"),
        ("[2, 3]", "2", "this constant 2 is not allowed"),
        ("normal_concat", "normal_conct", "unknown field 'normal_conct' of Genotype. Allowed: normal_concat"),
        ("normal_concat=[2, 3], ", "", "lacks the field normal_concat"),
        ("reduce_concat=[2]", "**x", "unknown field '.*' of Genotype"),
        ("reduce_concat=[2]", "reduce_concat=[2], reduce_concat=[2]", "keyword argument repeated|given twice"),
        ("reduce_concat=[2]", "3", "positional argument follows|not allowed"),
        ("Genotype(", "Genotype([], ", "column 14: the field normal is given twice"),
        ("Genotype(", "Genotype([], [], [], [], [], ", "column 26: a list is not allowed here .* only normal, normal_"),
        ("reduce_concat=[2]", "reduce_concat=[2], connectN=3", "unknown field 'connectN' of Genotype"),
        ("'sep_conv_3x3', 0", "'sep_conv_3x3', np.int64(-1)", "a call is not allowed here .* a node number"),
        ("Genotype(", "Genotypes(", "column 1: a call of Genotypes is not allowed"),
        ("Genotype(", "f().Genotype(", "column 1: a call is not allowed"),
        ("reduce_concat=[2])", "reduce_concat=[2])._replace(reduce=[])", "line 1 is changed by what follows it"),
        ("reduce_concat=[2])", "reduce_concat=[2])[0]", "line 1 is changed by what follows it"),
        ("sep_conv_3x3", "sep_conv_3x", "normal, node 2, input 0: unknown operation 'sep_conv_3x'.*sep_conv_3x3"),
        ("'avg_pool_3x3', 2", "'avg_pool_3x3', 3", "normal, node 3, input 0: source 3 does not come before"),
    ],
)
def test_anything_else_is_refused_by_name_and_place(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ArchitectureError, match=message):
        parse_published_genotype(TEXT.replace(old, new, 1))


def test_the_place_counts_lines_and_characters_and_not_bytes() -> None:
    text = "Ü = Genotype(\n  normal=[('ü', 0), ('skip_connect', x)])"
    with pytest.raises(ArchitectureError, match="line 2, column 38: a variable x"):
        parse_published_genotype(text.replace("])", "], normal_concat=[2], reduce=[], reduce_concat=[2])"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "import os",
        "Genotype",
        "Genotype()",
        "Genotype(normal=",
        "'\\d'",
        "\0",
        "\ud800",
        "((" * 4000,
        "[" * 9000 + "]",
        "-" * 9000 + "1",
        "not " * 2000 + "x",
        "lambda:" * 1000 + "1",
        "a" + ".a" * 4000,
        "f" + "()" * 4000,
        "9" * 9000,
        "Genotype(" * 1000,
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_hostile_and_broken_texts_end_in_a_sentence(text: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        parse_published_genotype(text)
    assert len(str(caught.value)) < 500


def test_nothing_in_the_text_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    attack = f"open({str(trace)!r}, 'w')"
    for text in (attack, TEXT.replace("'sep_conv_3x3'", attack), TEXT.replace("[2, 3]", attack)):
        with pytest.raises(ArchitectureError, match="a call of open is not allowed"):
            parse_published_genotype(text)
    assert not trace.exists()


def test_long_texts_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(ArchitectureError, match="at most 10000 characters; this text has 10001"):
        parse_published_genotype("x" * 10_001)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="Genotyp(normal=[]'_3, 0)2rduc\n:.{}*", max_size=60))
def test_random_texts_never_end_in_a_traceback(text: str) -> None:
    with pytest.raises(ArchitectureError):
        parse_published_genotype(text)


@pytest.mark.parametrize("nodes", [((Input("skip_connect", 0),),), ((Input("skip_connect", 0),) * 2, ())])
def test_nodes_without_two_inputs_cannot_be_written(nodes: tuple[tuple[Input, ...], ...]) -> None:
    cell = Cell(nodes, (2,))
    with pytest.raises(ArchitectureError, match=r"normal, node [23]: has [01] inputs; .* exactly 2"):
        format_published(CellGenotype(cell, cell))
