"""Generated folders and tables: a task is made of them, or a sentence says why not; nothing is lost in silence."""

from __future__ import annotations

import csv
import io
import operator
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from archscout.errors import ArchscoutError
from archscout.tasks import load_task
from archscout.tasks.readers.file_tree import alike
from archscout.tasks.readers.layout_of_folder import FolderLayout
from archscout.tasks.readers.name_patterns import read_pattern
from tests.tasks.readers.trees import layout_of, plant

PARTS = ("train", "Training", "val", "dev", "test", "TEST", "eval", "seg_train", "seg_test", "pred", "train2")
# fmt: off
FOLDERS = (
    *PARTS, "images", "masks", "labels", "data", "A", "B", "cat", "dog", "Cat", "caf\u00e9", "cafe\u0301", " cat", "p1",
    "@eaDir",
)
STEMS = (
    "0", "1", "01", "a", "cat_1", "cat.2", "0_mask", "img_0", "x y", "it's", "new\nline", "\U0001f431", ".hidden", "-",
    "%s",
)
CELLS = (
    "", "a", "b", "a|b", "a b", "0", "1", "1.5", "nan", "inf", "1e400", "1_0", "train", "test", "\u00e4", '"', ",", ";",
)
TEXTS = (
    "", "0 0.1 0.2 0.3 0.4", "a dog runs", '{"bbox": 1}', "file,label\n0.png,1\n1.png,2\n", "a;b\n1;2\n", "\0",
)
# fmt: on
SUFFIXES = (".png", ".jpg", ".PNG", ".txt", ".json", ".csv", ".xml", "", ".mp4", ".DS_Store")
paths = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem + suffix]),
    st.lists(st.sampled_from(FOLDERS), max_size=4),
    st.sampled_from(STEMS),
    st.sampled_from((*SUFFIXES[:2] * 4, *SUFFIXES)),
)
grids = st.builds(
    lambda outer, inner, stems: [f"{o}/{i}/{s}.png".replace("//", "/") for o in outer for i in inner for s in stems],
    st.lists(st.sampled_from(FOLDERS), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(("", *FOLDERS)), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(STEMS), min_size=1, max_size=5, unique=True),
)
trees = st.one_of(st.lists(paths, max_size=12), grids, st.builds(operator.add, grids, st.lists(paths, max_size=4)))
options = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(("auto", "classification", "multilabel", "regression", "dense")),
        "classes": st.sampled_from(("folder:1", "folder:2", "folder:9", "^[a-z]+", "(x", "[0-9]")),
        "groups": st.sampled_from(("folder:1", "folder:2", "column:a", "column:", "^.", "([", "folder:")),
        "order": st.just("time"),
        "labels": st.sampled_from(("labels.csv", "none.csv", ".")),
        "target": st.sampled_from(("label", "b", "")),
        "skip_damaged": st.booleans(),
    },
)


def write_tree(root: Path, names: list[str], text: str) -> None:
    for name in names:
        try:
            plant(root, [name], text)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # a file and a folder of one name


def check(root: Path, layout: FolderLayout) -> None:
    """Every sample exists, is in one place only, and is counted somewhere."""
    used = [name for part in layout.parts.values() for name in (*part.names, *part.masks)]
    assert len(used) == len(set(used))
    assert not set(used) & set(layout.unlabelled)
    assert all((root / name).is_file() for name in (*used, *layout.unlabelled))
    assert "train" in layout.parts
    for part in layout.parts.values():
        assert len(part.targets) == len(part.names) > 0
        assert part.groups is None or len(part.groups) == len(part.names)
        if layout.kind == "classification":
            assert int(part.targets.max()) < len(layout.class_names)
    if layout.kind == "classification":
        assert len(layout.class_names) >= 1
    told = {name for finding in layout.findings for name in finding.names}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        known = name in used or name in layout.unlabelled or name in told
        if path.is_file() and path.suffix in (".png", ".jpg") and not known:
            parents = {parent.as_posix() for parent in Path(name).parents}
            assert "@eaDir" in name or parents & told, f"{name} was dropped without a word: {layout}"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees, st.sampled_from(TEXTS), options)
def test_every_folder_has_a_layout_or_an_explanation(names: list[str], text: str, said: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        root.mkdir()
        write_tree(root, names, text)
        try:
            layout = layout_of(root, **said)
        except ArchscoutError as error:
            assert len(str(error)) > 20
            return
        check(root, layout)


cells = st.one_of(
    st.sampled_from(CELLS),
    st.sampled_from([f"{number}.png" for number in range(4)]),
    st.text(max_size=6),
    st.floats().map(str),
    st.integers(-5, 10**40).map(str),
)
headers = st.sampled_from(("file", "label", "split", "fold", "timestamp", "xmin", "id", "a", "a", "", "0.png", "Ä"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(headers, max_size=4),
    st.lists(st.lists(cells, min_size=4, max_size=4), max_size=8),
    st.sampled_from(",;\t|"),
    st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "cp1252")),
    st.booleans(),
    options,
)
def test_every_table_is_read_or_explained(
    header: list[str], rows: list[list[str]], delimiter: str, encoding: str, matching: bool, said: dict[str, object]
) -> None:
    rows = [row[: len(header)] for row in rows]
    if matching and header:
        rows = [[f"{place % 5}.png", *row[1:]] for place, row in enumerate(rows)]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    with tempfile.TemporaryDirectory() as place:
        root = plant(Path(place), [f"{number}.png" for number in range(5)])
        (root / "labels.csv").write_bytes(text.getvalue().encode(encoding, "replace"))
        try:
            layout = layout_of(root, **{"labels": "labels.csv", **said})
        except ArchscoutError as error:
            assert len(str(error)) > 20
            return
        check(root, layout)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_table_are_explained(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = plant(Path(place), [f"{number}.png" for number in range(5)])
        (root / "labels.csv").write_bytes(content)
        try:
            layout_of(root, labels="labels.csv")
        except ArchscoutError:
            return


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab(|)*+?[]{},\\^$.:0<>=!#", max_size=12))
def test_every_pattern_is_taken_or_explained(text: str) -> None:
    try:
        pattern = read_pattern(text, "--classes")
    except ArchscoutError:
        return
    pattern.search("a" * 60 + "b" * 60)  # ends


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(("L", "RGB", "P", "1", "I;16", "RGBA", "LA", "I", "F", "CMYK")),
    st.sampled_from((".png", ".tif", ".bmp", ".jpg", ".gif")),
    st.lists(st.integers(0, 70000), min_size=1, max_size=5),
    st.sampled_from(((6, 4), (12, 8), (5, 5), (1, 1))),
    st.sampled_from((None, 0, 255, -1)),
)
def test_every_mask_is_read_or_explained(
    mode: str, suffix: str, values: list[int], size: tuple[int, int], ignore: int | None
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for number in range(4):
            draw = np.random.default_rng(number)
            for kind in ("images", "masks"):
                (root / kind).mkdir(exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (4, 6), dtype=np.uint8)).save(root / "images" / f"{number}.png")
            pixels = np.array(values)[draw.integers(0, len(values), size[::-1])]
            mask = Image.fromarray(
                pixels.astype(np.uint16 if mode == "I;16" else np.int32 if mode == "I" else np.uint8)
            )
            try:
                (mask if mode in ("I;16", "I") else mask.convert(mode)).save(root / "masks" / f"{number}{suffix}")
            except (OSError, ValueError):
                return  # no such file
        try:
            task = load_task(str(root), ignore=ignore)
        except ArchscoutError as error:
            assert len(str(error)) > 20
            return
        assert task.spec.kind == "dense"
        assert task.spec.outputs == len(task.class_names) >= 2


@pytest.mark.parametrize("name", ["café", " cat", "new\nline", "a  b"])
def test_a_name_that_reads_alike_stays_as_it_is(name: str) -> None:
    assert alike(alike(name)) == alike(name)
