from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from archscout.errors import ArchitectureError, ArchscoutError, SettingsError, UnknownNameError
from archscout.measure import measure
from archscout.spaces import (
    CellGenotype,
    DiverseGenotype,
    PerCellGenotype,
    RecurrentGenotype,
    architecture_from_json,
    architecture_to_json,
    get_space,
)
from archscout.spaces.published.darts import format_published, parse_published, parse_published_genotype
from archscout.spaces.published.nested import format_nested
from archscout.tasks import task_spec
from archscout.zoo import ZOO, load_zoo, read_zoo_entry, register_zoo_entry, resolve_architecture, zoo_names

CELLS = [
    "amoebanet",
    "darts_v1",
    "darts_v2",
    "ednas.cifar10",
    "ednas.imagenet",
    *(f"fairdarts.{letter}" for letter in "abcdefg"),
    "nasnet",
    "pcdarts.cifar10",
    "pdarts",
]
NESTED = [
    f"{family}.{data}.{rule}"
    for family in ("dd", "do.resnet18", "do.resnet50", "do.xception")
    for data in ("cifar10", "cifar100")
    for rule in ("edge", "sparse")
]
BASELINES = [f"{name}{form}" for name in ("resnet18", "resnet50", "xception") for form in ("", ".published")]
RECURRENT = ["darts_v1.ptb", "darts_v2.ptb", "ednas.ptb", "enas.ptb"]
RELEASED = ["dsm_nas.imagenet", "dsm_nas_plus.imagenet"]
D2NAS = [
    *(f"d2nas.{task}.common" for task in ("cifar100", "spherical", "ninapro", "fsd50k", "darcy", "psicov", "cosmic")),
    *(f"d2nas.{task}.common" for task in ("ecg", "satellite", "deepsea")),
    *(f"d2nas.{task}.custom" for task in ("cifar100", "spherical", "ninapro", "fsd50k", "cosmic", "ecg")),
]
BACKBONES = ["wide_resnet", "wide_resnet_10", "sequence_resnet"]
ALL = sorted([*CELLS, *NESTED, *BASELINES, *RECURRENT, *RELEASED, *D2NAS, *BACKBONES])
TWO_INPUTS = [name for name in CELLS if not name.startswith("fairdarts")]
UNBUILDABLE = "do.xception.cifar100.edge"
CIFAR_SIZES = {"dd": (36, 8), "dd.cifar100.edge": (36, 14), "xception": (64, 13), "resnet": (64, 4), "": (36, 20)}
SHORT = {
    "max_pool_3x3": "max3",
    "avg_pool_3x3": "avg3",
    "skip_connect": "skip",
    "sep_conv_3x3": "sep3",
    "sep_conv_5x5": "sep5",
    "sep_conv_7x7": "sep7",
    "dil_conv_3x3": "dil3",
    "dil_conv_5x5": "dil5",
}


def cifar_size(name: str) -> tuple[int, int]:
    return next(size for part, size in sorted(CIFAR_SIZES.items(), key=lambda entry: -len(entry[0])) if part in name)


def genotype_of(name: str) -> CellGenotype:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, CellGenotype)
    return architecture


def per_cell(name: str) -> PerCellGenotype:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, PerCellGenotype)
    return architecture


def test_the_published_cells_are_there() -> None:
    assert zoo_names() == ALL
    assert zoo_names("darts_v?") == ["darts_v1", "darts_v2"]
    assert zoo_names("*.ptb") == RECURRENT
    assert zoo_names("*.imagenet") == ["dsm_nas.imagenet", "dsm_nas_plus.imagenet", "ednas.imagenet"]


@pytest.mark.parametrize("name", ALL)
def test_every_entry_is_complete_and_its_architecture_round_trips(name: str) -> None:
    entry = load_zoo(name)
    assert entry.name == name
    assert entry.title and len(entry.source) > 20
    assert architecture_from_json(architecture_to_json(entry.architecture)) == entry.architecture
    assert hash(entry) == hash(load_zoo(name))
    assert bool(entry.recounted) == (name != UNBUILDABLE)
    if name in (*RELEASED, *D2NAS, *BACKBONES):
        return
    if name in RECURRENT:
        assert {task: count.size for task, count in entry.recounted.items()} == {"ptb": {"width": 850}}
        return
    for task, count in entry.recounted.items():
        imagenet = (48, 14) if name in CELLS else cifar_size(name)
        assert (count.init_channels, count.layers) == {"cifar10": cifar_size(name), "imagenet": imagenet}[task]


@pytest.mark.parametrize("name", TWO_INPUTS)
def test_published_text_of_two_cells_round_trips(name: str) -> None:
    assert parse_published_genotype(format_published(genotype_of(name))) == genotype_of(name)


@pytest.mark.parametrize("name", RECURRENT)
def test_published_text_of_recurrent_cells_round_trips(name: str) -> None:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, RecurrentGenotype)
    text = format_published(architecture)
    assert parse_published(text) == resolve_architecture(text) == architecture


@pytest.mark.parametrize("name", NESTED)
def test_published_text_of_per_cell_genotypes_round_trips(name: str) -> None:
    architecture = per_cell(name)
    text = format_nested(architecture)
    assert text.startswith("Genotype_nested(genes=[[('") and "\n" not in text
    assert resolve_architecture(text) == architecture


def test_per_cell_genotypes_are_the_published_ones() -> None:
    """Numbers of operations over all cells: docs/methods/ddarts.md#published-sizes."""
    counts = {name: sum(len(node) for cell in per_cell(name).cells for node in cell.nodes) for name in NESTED}
    assert [counts[f"dd.{data}.{rule}"] for data in ("cifar10", "cifar100") for rule in ("edge", "sparse")] == [
        202,
        63,
        201,
        63,
    ]
    for network, edge, sparse in (
        ("resnet18", (72, 112), (32, 32)),
        ("resnet50", (149, 168), (48, 47)),
        ("xception", (338, 341), (98, 101)),
    ):
        for rule, expected in (("edge", edge), ("sparse", sparse)):
            assert tuple(counts[f"do.{network}.{data}.{rule}"] for data in ("cifar10", "cifar100")) == expected
    operations = Counter(
        item.operation for cell in per_cell("dd.cifar100.sparse").cells for node in cell.nodes for item in node
    )
    short = {SHORT[name]: count for name, count in operations.items()}
    assert short == {"sep5": 34, "max3": 12, "sep3": 9, "dil5": 3, "dil3": 2, "avg3": 2, "skip": 1}


def test_handcrafted_networks_repeat_their_wirings() -> None:
    for name, sequence, reductions in (
        ("resnet18", "0000", (1, 2, 3)),
        ("resnet50", "0120", (1, 2, 3)),
        ("xception", "0001111111102", (1, 2, 11, 12)),
    ):
        for found in [name, f"{name}.published", *(each for each in NESTED if name in each)]:
            assert "".join(map(str, per_cell(found).sequence)) == sequence
            assert per_cell(found).reductions == reductions
    for each in NESTED:
        if each.startswith("dd"):
            assert (per_cell(each).sequence, per_cell(each).reductions) == (tuple(range(8)), (2, 6))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "xception"])
def test_baselines_follow_each_other_where_the_published_ones_skip_a_cell(name: str) -> None:
    for genotype, start in ((per_cell(name), 1), (per_cell(f"{name}.published"), 0)):
        for cell in genotype.genes:
            assert {item.source for node in cell.nodes for item in node if item.source < 2} == {start}
            assert cell.pruned() == cell


@pytest.mark.parametrize(
    ("name", "top1", "top5", "millions"), [("dsm_nas", 79.9, 94.8, 597), ("dsm_nas_plus", 80.2, 94.9, 582)]
)
def test_released_networks_have_their_published_figures(name: str, top1: float, top5: float, millions: float) -> None:
    entry = load_zoo(f"{name}.imagenet")
    published, recounted = entry.published["imagenet"], entry.recounted["imagenet"]
    assert published.error_percent == pytest.approx(100 - top1)
    assert published.top5_error_percent == pytest.approx(100 - top5)
    assert published.madds_millions == millions
    space, spec = get_space("mobilenet"), task_spec("imagenet")
    with torch.device("meta"):
        network = space.build(entry.architecture, spec, space.size_model.read(recounted.size))
    cost = measure(network, spec.input_shape)
    assert (cost.parameters, round(cost.madds / 1e6, 1)) == (recounted.parameters, recounted.madds_millions)


@pytest.mark.parametrize("name", D2NAS)
def test_cells_for_diverse_tasks_have_their_recounted_sizes(name: str) -> None:
    """With the kernels of the operations' names; the published ranges are in the tests of the space."""
    entry = load_zoo(name)
    assert isinstance(entry.architecture, DiverseGenotype)
    task = name.split(".")[1]
    spec = task_spec(task)
    assert entry.architecture.reduces == (spec.kind != "dense")
    assert len(entry.architecture.normal.nodes) == len(spec.input_shape) + 1
    space, recounted = get_space("diverse-cells"), entry.recounted[task]
    with torch.device("meta"):
        network = space.build(entry.architecture, spec, space.size_model.read(recounted.size))
    cost = measure(network, spec.input_shape)
    assert (cost.parameters, round(cost.madds / 1e6, 1)) == (recounted.parameters, recounted.madds_millions)


def test_the_limit_of_two_skip_connections_was_kept() -> None:
    architecture = load_zoo("d2nas.cifar100.custom").architecture
    assert isinstance(architecture, DiverseGenotype)
    assert [item.operation for node in architecture.normal.nodes for item in node].count("skip_connect") == 2


@pytest.mark.parametrize(
    ("name", "normal", "reduce"),
    [
        (
            "d2nas.ecg.common",
            "sep3<-0 sep3<-1 | skip<-1 skip<-2 | dil5<-1 dil5<-2",
            "skip<-0 dil5<-1 | sep3<-0 dil5<-2 | dil5<-0 skip<-2",
        ),
        (
            "ednas.cifar10",
            "sep3<-0 dil3<-1 | sep5<-0 avg3<-1 | sep5<-0 sep5<-3 | avg3<-0 sep5<-1",
            "skip<-0 avg3<-1 | sep3<-0 dil3<-2 | max3<-0 skip<-3 | sep5<-0 skip<-4",
        ),
        (
            "darts_v1",
            "sep3<-1 sep3<-0 | skip<-0 sep3<-1 | skip<-0 sep3<-1 | sep3<-0 skip<-2",
            "max3<-0 max3<-1 | skip<-2 max3<-0 | max3<-0 skip<-2 | skip<-2 avg3<-0",
        ),
        (
            "nasnet",
            "sep5<-1 sep3<-0 | sep5<-0 sep3<-0 | avg3<-1 skip<-0 | avg3<-0 avg3<-0 | sep3<-1 skip<-1",
            "sep5<-1 sep7<-0 | max3<-1 sep7<-0 | avg3<-1 sep5<-0 | skip<-3 avg3<-2 | sep3<-2 max3<-1",
        ),
    ],
)
def test_cells_are_the_published_ones_in_order_and_orientation(name: str, normal: str, reduce: str) -> None:
    genotype = genotype_of(name)
    for cell, expected in ((genotype.normal, normal), (genotype.reduce, reduce)):
        shown = " | ".join(" ".join(f"{SHORT[item.operation]}<-{item.source}" for item in node) for node in cell.nodes)
        assert shown == expected


def test_cell_outputs_follow_each_paper() -> None:
    for name in TWO_INPUTS:
        genotype = genotype_of(name)
        outputs = {"nasnet": ((2, 3, 4, 5, 6), (4, 5, 6)), "amoebanet": ((4, 5, 6), (3, 4, 6))}
        expected = outputs.get(name, ((2, 3, 4, 5), (2, 3, 4, 5)))
        assert (genotype.normal.concat, genotype.reduce.concat) == expected


def test_figures_are_typed() -> None:
    entry = load_zoo("ednas.imagenet")
    published, recounted = entry.published["imagenet"], entry.recounted["imagenet"]
    assert (published.error_percent, published.top5_error_percent, published.parameters_millions) == (26.9, 8.9, 4.7)
    assert (recounted.parameters, recounted.parameters_with_auxiliary) == (4_707_616, 5_968_392)
    assert recounted.madds_millions == 518.9
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.name = "other"  # type: ignore[misc]


def test_a_typo_gets_suggestions() -> None:
    with pytest.raises(UnknownNameError, match=r"'darts_v3'. Did you mean darts_v\d or darts_v\d.* archscout list zoo"):
        load_zoo("darts_v3")


def test_a_plugin_adds_an_entry_and_a_clash_raises() -> None:
    entry = dataclasses.replace(load_zoo("darts_v2"), name="toy.cell")
    register_zoo_entry(entry)
    try:
        assert load_zoo("toy.cell") is entry
        assert "toy.cell" in zoo_names("toy.*")
        assert resolve_architecture("toy.cell") == entry.architecture
        with pytest.raises(ArchscoutError, match=r"'toy.cell' is registered already"):
            register_zoo_entry(entry)
    finally:
        ZOO.unregister("toy.cell")


def entry_text(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(files("archscout.zoo").joinpath("darts_v2.json").read_text(encoding="utf-8"))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry.pop("title"), "x.json: needs exactly the fields .*title; got"),
        (lambda entry: entry.update(title=""), "x.json: the field 'title' must be a text"),
        (lambda entry: entry.update(more=1), "x.json: needs exactly the fields"),
        (lambda entry: entry.update(published=[]), "x.json: the field 'published' must hold figures by task"),
        (lambda entry: entry["architecture"].update(version=9), "x.json: field 'version' is 9"),
        (lambda entry: entry["architecture"]["normal"].update(concat=[9]), "x.json: normal, concat: node 9"),
    ],
)
def test_a_wrong_entry_names_its_file_and_field(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        read_zoo_entry(entry_text(change), "x.json")


def test_wrong_figures_name_their_field() -> None:
    with pytest.raises(
        SettingsError, match=r"published\.cifar10\.error_percnt: unknown setting; did you mean error_per"
    ):
        read_zoo_entry(entry_text(lambda entry: entry["published"]["cifar10"].update(error_percnt=3.0)))
    with pytest.raises(SettingsError, match=r"recounted\.imagenet\.layers = 0"):
        read_zoo_entry(entry_text(lambda entry: entry["recounted"]["imagenet"].update(layers=0)))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "3", "[]"], ids=["empty", "deep", "number", "list"])
def test_no_entry_at_all_is_refused(text: str) -> None:
    with pytest.raises(ArchitectureError, match=r"y.json: (this is not JSON|needs exactly)"):
        read_zoo_entry(text, "y.json")


@pytest.mark.parametrize("how", ["name", "json file", "text file", "bom file", "run folder", "json", "text", "path"])
def test_an_architecture_is_found_in_every_form(how: str, tmp_path: Path) -> None:
    genotype = genotype_of("pdarts")
    named = "pdarts"
    if how in ("json file", "path", "run folder"):
        (tmp_path / "architecture.json").write_text(architecture_to_json(genotype), encoding="utf-8")
        named = str(tmp_path if how == "run folder" else tmp_path / "architecture.json")
    elif how == "text file":
        (tmp_path / "cell (1).txt").write_text(f"P = {format_published(genotype)}\n", encoding="utf-8")
        named = str(tmp_path / "cell (1).txt")
    elif how == "bom file":
        (tmp_path / "cell").write_text(architecture_to_json(genotype), encoding="utf-8-sig")
        named = str(tmp_path / "cell")
    elif how == "json":
        named = architecture_to_json(genotype)
    elif how == "text":
        named = f" \n{format_published(genotype)}"
    assert resolve_architecture(Path(named) if how == "path" else named) == genotype


def test_a_zoo_name_wins_over_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("darts_v1").write_text(architecture_to_json(genotype_of("pdarts")), encoding="utf-8")
    assert resolve_architecture("darts_v1") == genotype_of("darts_v1")
    assert resolve_architecture("./darts_v1") == genotype_of("pdarts")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "no architecture was named"),
        (
            "dart_v2",
            "unknown zoo architecture 'dart_v2'. Did you mean darts_v2.* no existing file and no published text",
        ),
        ("./dart_v2", "the file ./dart_v2 does not exist. Give an existing file, a name from the zoo"),
        ("cell.json", "the file cell.json does not exist"),
        ("Genotype(normal=[", r"this is no published genotype: a closing bracket"),
        ("{]", "this is not JSON"),
        ("a\0b", "unknown zoo architecture"),
        ("x" * 5000, "unknown zoo architecture 'x{200}'"),
        ("~no_such_user_here/x", "does not exist"),
    ],
)
def test_what_is_no_architecture_is_refused_with_what_was_tried(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArchscoutError, match=message):
        resolve_architecture(text)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    binary, large, wrong, pipe = (tmp_path / name for name in ("binary", "large", "wrong.json", "pipe"))
    binary.write_bytes(b"\x80\x04\xff")
    with large.open("wb") as opened:
        opened.truncate(100_000_001)  # no block of it is on the disk
    wrong.write_text("{}", encoding="utf-8")
    os.mkfifo(pipe)
    for path, message in (
        (tmp_path, "has no architecture.json; it is no run directory"),
        (binary, "binary: it holds bytes that are no text in UTF-8"),
        (large, "large is larger than 100000000 bytes. Give a file with the part"),
        (wrong, r"wrong.json: this JSON has no field 'format'"),
        (pipe, "pipe is no regular file"),
    ):
        with pytest.raises(ArchitectureError, match=message):
            resolve_architecture(str(path))


def test_the_zoo_works_from_a_zipped_package(tmp_path: Path) -> None:
    package = Path(str(files("archscout")))
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for file in (*package.rglob("*.py"), *package.rglob("*.json")):
            bundle.write(file, Path("archscout") / file.relative_to(package))
    code = "import archscout.zoo as zoo; print(zoo.__file__); print(*zoo.zoo_names())"
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(archive)}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    place, names = result.stdout.splitlines()
    assert place.startswith(str(archive))
    assert names.split() == ALL
