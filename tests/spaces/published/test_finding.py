"""Architectures in longer texts: Python files with several, logs, dictionaries, what other tools print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archscout
from archscout.errors import ArchitectureError, ArchscoutError
from archscout.spaces import Cell, CellGenotype, Input, NasBench201Cell
from archscout.spaces.published.darts import format_published, parse_published
from archscout.spaces.published.nested import format_nested
from archscout.zoo import load_zoo, resolve_architecture

V1: Any = load_zoo("darts_v1").architecture
V2: Any = load_zoo("darts_v2").architecture
PTB: Any = load_zoo("darts_v2.ptb").architecture
NESTED: Any = load_zoo("dd.cifar10.sparse").architecture


def text_of(architecture: Any) -> str:
    return format_nested(architecture) if architecture is NESTED else format_published(architecture)


FILE = f"""
from collections import namedtuple
import os
os.system("touch ran")

Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')
PRIMITIVES = ['none', 'max_pool_3x3']

FIRST = {text_of(V1)}
SECOND: Genotype = genotypes.{text_of(V2)}
DARTS = SECOND
#OLD = Genotype(normal=[
if True:
    RNN = {text_of(PTB)}
MORE = {{"nested": {text_of(NESTED)}, "other": 3}}


def made(gene):
    return Genotype(normal=gene, normal_concat=range(2, 6), reduce=gene, reduce_concat=range(2, 6))
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genotypes.py").write_text(FILE, encoding="utf-8")
    return tmp_path / "genotypes.py"


@pytest.mark.parametrize(
    ("name", "expected"), [("FIRST", V1), ("SECOND", V2), ("DARTS", V2), ("RNN", PTB), ("nested", NESTED), ("9", V1)]
)
def test_one_of_several_in_a_file_is_named(name: str, expected: Any, file: Path) -> None:
    for source in (f"{file}:{name}", f"genotypes.py:{name}", f"./genotypes.py: {name} "):
        assert resolve_architecture(source) == expected
        assert archscout.load_architecture(source) == expected
        assert archscout.load_architecture(Path(source)) == expected
    assert not (file.parent / "ran").exists()


def test_without_a_name_the_names_are_listed(file: Path) -> None:
    with pytest.raises(
        ArchitectureError, match="5 different genotypes here: FIRST, SECOND, DARTS, RNN, nested, line 19"
    ):
        resolve_architecture(str(file))
    with pytest.raises(ArchitectureError, match=f"after a colon: {file}:FIRST"):
        resolve_architecture(str(file))
    with pytest.raises(ArchitectureError, match=r"no genotype of the name 'SECND' here. Did you mean SECOND"):
        resolve_architecture(f"{file}:SECND")
    with pytest.raises(ArchitectureError, match="line 19, column 28: a variable gene is not allowed"):
        resolve_architecture(f"{file}:19")


def test_a_file_that_is_missing_is_told_without_the_name() -> None:
    with pytest.raises(ArchitectureError, match=r"the file missing\.py does not exist"):
        resolve_architecture("missing.py:NAME")


def test_a_file_with_one_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        f"import x\nGenotype = f()\nONE = Genotype(1)\nONE = {text_of(V1)}\n".replace("Genotype(1)", "None")
    )
    assert resolve_architecture(str(path)) == V1
    assert resolve_architecture(f"{path}:ONE") == V1
    path.write_text(f"A = {text_of(V1)}\nB = genotypes.{text_of(V1)}\n")  # the same, twice
    assert resolve_architecture(str(path)) == V1


def test_of_a_name_that_is_given_twice_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(f"A = {text_of(V1)}\nA = {text_of(V2)}\n")
    assert resolve_architecture(f"{path}:A") == V2


def test_files_of_python_2_are_searched(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_text(f"print 'x'\nFIRST = {text_of(V1)}\n  SECOND = \\\n {text_of(V2)}\nTHIRD = {text_of(V2)}\n")
    assert resolve_architecture(f"{path}:FIRST") == V1
    assert resolve_architecture(f"{path}:THIRD") == V2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_logs_are_searched_in_the_encodings_that_programs_write(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    lines = [f"03/01 epoch {epoch} für (lr 1.0e-02)\n03/01 genotype = {text_of(V1)}\r\n" for epoch in range(3)]
    path.write_bytes("".join(lines).encode(encoding))
    assert resolve_architecture(str(path)) == V1
    path.write_bytes("".join([*lines, f"03/01 genotype = {text_of(V2)}\n"]).encode(encoding))
    with pytest.raises(ArchitectureError, match=rf"2 different genotypes here: line 2, .* {path}:7 \(the last"):
        resolve_architecture(str(path))
    assert resolve_architecture(f"{path}:7") == V2


def test_a_genotype_that_is_cut_off_is_told() -> None:
    with pytest.raises(ArchitectureError, match="begins in line 2 has no end"):
        parse_published(f"03/01 log\n03/01 genotype = {text_of(V1)[:-30]}\n03/01 more")


def test_places_are_those_of_the_whole_text() -> None:
    with pytest.raises(ArchitectureError, match="line 2, column 41: this constant True"):
        parse_published(
            "03/01 x\n03/01 Genotype(normal=[('skip_connect', True)], normal_concat=[2], reduce=[], reduce_concat=[2])"
        )


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="Genotyp(normal=[]'_3, 0)2rduc\n:.{}*=#\"|~+", max_size=80))
def test_random_texts_never_end_in_a_traceback(text: str) -> None:
    for what in (text, f"Genotype({text}", f"{{{text}", f"x {text_of(V1)[:200]}{text}"):
        with pytest.raises(ArchscoutError):
            resolve_architecture(what)


# -- dictionaries --------------------------------------------------------------------------------------------------

FIELDS = {
    "normal": [item for node in V1.normal.nodes for item in node],
    "normal_concat": list(V1.normal.concat),
    "reduce": [item for node in V1.reduce.nodes for item in node],
    "reduce_concat": list(V1.reduce.concat),
}
PLAIN = {key: [tuple(item) if isinstance(item, tuple) else item for item in value] for key, value in FIELDS.items()}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FIELDS),
        json.dumps({"epoch": 3, "genotype": FIELDS}),
        json.dumps({"epoch": 3, "best": {"genotype": text_of(V1)}}),
        repr(PLAIN),
        repr(PLAIN).replace("[2, 3, 4, 5]", "range(2, 6)"),
        f"{{'acc': 97, 'genotype': {text_of(V1)}}}",
        json.dumps({"a": text_of(V1), "b": FIELDS}),  # the same, twice
    ],
)
def test_dictionaries_of_genotypes_are_read(text: str, tmp_path: Path) -> None:
    assert resolve_architecture(text) == V1
    (tmp_path / "cell.json").write_text(text)
    assert resolve_architecture(tmp_path / "cell.json") == V1


def test_of_several_in_a_dictionary_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps({"first": text_of(V1), "more": {"second": text_of(V2)}}))
    assert resolve_architecture(f"{tmp_path}/all.json:more.second") == V2
    with pytest.raises(ArchitectureError, match=r"2 different architectures here: first, more\.second"):
        resolve_architecture(tmp_path / "all.json")


def test_wrong_dictionaries_are_told() -> None:
    for content, message in (
        ({**FIELDS, "normal_concat": [9]}, "read as Genotype.*normal, concat: node 9"),
        ({"normal": 3, "reduce": 4}, "lacks the field normal_concat"),
        ({"accuracy": 3}, "has no field 'format'"),
        ({"normal": {}, "reduce": {}}, "normal and reduce are dictionaries"),
    ):
        with pytest.raises(ArchitectureError, match=message):
            resolve_architecture(json.dumps(content))


# -- NNI -----------------------------------------------------------------------------------------------------------

NNI = ("maxpool", "avgpool", "skipconnect", "sepconv3x3", "sepconv5x5", "dilconv3x3", "dilconv5x5")
OURS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


def nni(style: str) -> dict[str, Any]:
    """DARTS_V1 as versions of NNI export it."""
    content: dict[str, Any] = {}
    for name, cell in (("normal", V1.normal), ("reduce", V1.reduce)):
        for number, node in enumerate(cell.nodes, start=2):
            chosen = {item.source: item.operation for item in node}
            for source in range(number):
                position = OURS.index(chosen[source]) if source in chosen else None
                names: Any = [] if position is None else NNI[position]
                numbers: Any = [] if position is None else position
                hot = [index == position for index in range(len(NNI))]
                key = f"{name}_n{number}_p{source}"
                content[key] = {"names": names, "numbers": numbers, "hot": hot, "all": NNI[position or 0]}[style]
            names = [f"{name}_n{number}_p{source}" for source in sorted(chosen)]
            mask = [source in chosen for source in range(number)]
            switch = {"names": names, "numbers": sorted(chosen), "hot": mask, "all": sorted(chosen)}[style]
            content[f"{name}_n{number}_switch"] = switch
    return content


def hub(wrapped: bool, cells: Any = None) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, cell in (("normal", (cells or V1).normal), ("reduce", (cells or V1).reduce)):
        for number, node in enumerate(cell.nodes, start=2):
            for slot, item in enumerate(node):
                content[f"{name}/op_{number}_{slot}"] = item.operation
                content[f"{name}/input_{number}_{slot}"] = [item.source] if wrapped else item.source
    return content


def by_source(genotype: CellGenotype) -> CellGenotype:
    """With the inputs of a node in the order of their sources: a node is their sum."""
    cells = [
        Cell(tuple(tuple(sorted(node, key=lambda item: item.source)) for node in cell.nodes), cell.concat)
        for cell in (genotype.normal, genotype.reduce)
    ]
    return CellGenotype(*cells)


def all_nodes(genotype: CellGenotype) -> CellGenotype:
    return CellGenotype(*(Cell(cell.nodes, (2, 3, 4, 5)) for cell in (genotype.normal, genotype.reduce)))


@pytest.mark.parametrize("style", ["names", "numbers", "hot", "all"])
def test_exports_of_nni_are_read(style: str) -> None:
    assert resolve_architecture(json.dumps(nni(style))) == by_source(all_nodes(V1))


@pytest.mark.parametrize("wrapped", [False, True])
def test_exports_of_nnis_hub_are_read(wrapped: bool) -> None:
    assert resolve_architecture(json.dumps(hub(wrapped))) == all_nodes(V1)
    assert resolve_architecture(repr(hub(wrapped))) == all_nodes(V1)


def test_exports_of_nni_that_do_not_tell_all_are_refused() -> None:
    five = Cell((*V1.normal.nodes, (Input("skip_connect", 0), Input("skip_connect", 1))), (6,))
    for content, message in (
        (hub(False, CellGenotype(five, five)), "normal: nodes 2, 3, 4, 5, 6.* does not tell which"),
        ({**hub(False), "normal/input_2_0": None}, "normal/input_2_0: None is no number of a node"),
        ({**hub(False), "normal/op_2_0": "conv"}, "unknown operation 'conv'"),
        ({key: each for key, each in hub(False).items() if "reduce" not in key}, "reduce: there is no node"),
        ({**nni("names"), "normal_n2_p0": []}, "normal_n2_p0: the switch chooses this input"),
        ({**nni("names"), "normal_n2_p0": 9}, "normal_n2_p0: 9 is no number of an operation"),
        ({**nni("names"), "normal_n2_switch": ["x"]}, "normal_n2_switch: 'x' names no input"),
    ):
        with pytest.raises(ArchitectureError, match=message):
            resolve_architecture(json.dumps(content))


# -- NAS-Bench-201 -------------------------------------------------------------------------------------------------

ARCH = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
OTHER = ARCH.replace("avg_pool_3x3", "none")
CELL = NasBench201Cell.from_text(ARCH)


@pytest.mark.parametrize(
    "text",
    [
        ARCH,
        f"Structure(4 nodes with {ARCH})",
        f"Genotype : Structure(4 nodes with {ARCH})",
        f"[2020-03-01 12:00:00] the 3-th arch : {ARCH}, valid-top1=91.2 (best)",
        f"[0-th] arch : {ARCH}\n FLOP=15.6 M, Params=0.129 MB\n cifar10 loss~0.1",
        json.dumps({"name": "infer.tiny", "C": 16, "N": 5, "arch_str": ARCH, "num_classes": 10}),
        repr({"name": "infer.tiny", "arch_str": ARCH}),
        ARCH.replace("+", " + "),
        ARCH.replace("|+|", "|\n+|"),
        "[(('avg_pool_3x3', 0),), (('nor_conv_1x1', 0), ('skip_connect', 1)), "
        "(('nor_conv_1x1', 0), ('skip_connect', 1), ('skip_connect', 2))]",
        "[[('avg_pool_3x3', 0)], [('skip_connect', 1), ('nor_conv_1x1', 0)], "
        "[['nor_conv_1x1', 0], ['skip_connect', 1], ['skip_connect', 2]]]",
    ],
)
def test_cells_of_nasbench201_in_the_forms_that_its_tools_print(text: str, tmp_path: Path) -> None:
    assert resolve_architecture(text) == CELL
    (tmp_path / "log.txt").write_text(text)
    assert resolve_architecture(tmp_path / "log.txt") == CELL


def test_of_several_cells_one_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(f"arch {ARCH}\narch {ARCH}\narch {OTHER}\n")
    with pytest.raises(ArchitectureError, match=r"2 different arch strings here: line 1, line 2, line 3"):
        resolve_architecture(tmp_path / "log.txt")
    assert resolve_architecture(f"{tmp_path}/log.txt:3") == NasBench201Cell.from_text(OTHER)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"arch {ARCH.replace('avg_pool_3x3', 'avg_pool')}", "unknown operation 'avg_pool'"),
        ("[('avg_pool_3x3', 0)]", "must be a list of 3 nodes"),
        ("[[('none', 0)], [('none', 0)], [('none', 0)]]", "node 2: .* for each of the 2 nodes"),
        ("[[('none', 1)], [('none', 0)], [('none', 0)]]", "node 1: .* for each of the 1 nodes"),
        ("[1, [2], 3]", "node 1: 1 must be a pair|must be a list"),
    ],
)
def test_wrong_cells_of_nasbench201_are_told(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        resolve_architecture(text)
