from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from archscout.errors import ArchitectureError, ArchscoutError, SettingsError, UnknownNameError
from archscout.spaces import CellGenotype, RecurrentGenotype, architecture_from_json, architecture_to_json
from archscout.spaces.published import format_published, parse_published
from archscout.zoo import ZOO, load_zoo, read_zoo_entry, register_zoo_entry, resolve_architecture, zoo_names

ALL = [
    "amoebanet",
    "darts_v1",
    "darts_v1.ptb",
    "darts_v2",
    "darts_v2.ptb",
    "ednas.cifar10",
    "ednas.imagenet",
    "ednas.ptb",
    "enas.ptb",
    "nasnet",
    "pcdarts.cifar10",
    "pdarts",
]
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


def genotype_of(name: str) -> CellGenotype:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, CellGenotype)
    return architecture


def test_the_published_cells_are_there() -> None:
    assert zoo_names() == ALL
    assert zoo_names("darts_v?") == ["darts_v1", "darts_v2"]
    assert zoo_names("*.ptb") == ["darts_v1.ptb", "darts_v2.ptb", "ednas.ptb", "enas.ptb"]
    assert zoo_names("*.imagenet") == ["ednas.imagenet"]


@pytest.mark.parametrize("name", ALL)
def test_every_entry_is_complete_and_its_architecture_round_trips(name: str) -> None:
    entry = load_zoo(name)
    assert entry.name == name
    assert entry.title and len(entry.source) > 20
    assert architecture_from_json(architecture_to_json(entry.architecture)) == entry.architecture
    assert isinstance(entry.architecture, CellGenotype | RecurrentGenotype)
    assert parse_published(format_published(entry.architecture)) == entry.architecture
    assert hash(entry) == hash(load_zoo(name))
    assert entry.recounted
    for task, count in entry.recounted.items():
        sizes = {"cifar10": (36, 20, None), "imagenet": (48, 14, None), "ptb": (None, None, 850)}
        assert (count.init_channels, count.layers, count.width) == sizes[task]


@pytest.mark.parametrize(
    ("name", "normal", "reduce"),
    [
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
    for name in ALL:
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
        ("Genotype(normal=[", "this is no published genotype"),
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
    large.write_bytes("ü".encode() * 500_001)
    wrong.write_text("{}", encoding="utf-8")
    os.mkfifo(pipe)
    for path, message in (
        (tmp_path, "has no architecture.json; it is no run directory"),
        (binary, "binary is not text"),
        (large, "large is larger than 1000000 bytes"),
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
