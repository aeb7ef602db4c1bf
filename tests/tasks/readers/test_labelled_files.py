"""Files whose targets stand in a table, as people and programs write tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from archscout.errors import DataError, SettingsError
from archscout.tasks import load_task
from archscout.tasks.readers.tables import read_table
from tests.tasks.images_on_disk import write_image
from tests.tasks.readers.trees import codes, files, layout_of, message, plant, sizes

NAMES = [f"{number:03d}.png" for number in range(12)]
KINDS = ("rust", "scab", "\u00e4hre")


def write_table(path: Path, rows: Sequence[Sequence[Any]], encoding: str = "utf-8", **form: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, **form).writerows(rows)
    return path


def flat(root: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]], **form: Any) -> Path:
    """Twelve files and a table beside them."""
    plant(root, NAMES)
    write_table(root / "labels.csv", [columns, *rows], **form)
    return root


def targets(root: Path, part: str = "train", **options: Any) -> Any:
    return layout_of(root, **options).parts[part].targets.tolist()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_every_usual_form_are_read(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = [[name, KINDS[place % 3]] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path, ["file", "label"], rows, delimiter=delimiter, encoding=encoding))
    assert (layout.kind, layout.class_names) == ("classification", KINDS)
    assert layout.parts["train"].names == tuple(NAMES)
    assert layout.parts["train"].targets.tolist() == [0, 1, 2] * 4
    assert ("encoding" in codes(layout, "doubtful")) == (encoding == "cp1252")
    assert codes(layout_of(tmp_path, labels=str(tmp_path / "labels.csv")), "note") == ["targets"]


@pytest.mark.parametrize(
    "written",
    [
        "{}",
        "/home/me/data/{}",
        "C:\\data\\{}",
        "./{}",
        "images/{}",
        "{stem}",
        "{stem}.JPG",
        "{upper}",
        "{number}",
        "{number}.0",
    ],
)
def test_files_are_found_by_what_people_write_of_them(tmp_path: Path, written: str) -> None:
    rows = []
    for place, name in enumerate(NAMES):
        stem = name.removesuffix(".png")
        rows.append([place % 2, written.format(name, stem=stem, upper=name.upper(), number=place)])
    layout = layout_of(flat(tmp_path, ["label", "id"], rows[::-1]))
    assert layout.parts["train"].names == tuple(NAMES[::-1])
    assert layout.parts["train"].targets.tolist() == [1, 0] * 6


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0.5, 1.5, "2"] * 4, "regression", [[0.5], [1.5], [2.0]] * 4),
        (["0,5", "1,5", "2"] * 4, "regression", [[0.5], [1.5], [2.0]] * 4),
        ([1, -1, 1] * 4, "classification", [1, 0, 1] * 4),
        ([3, "3.0", "03", 5] * 3, "classification", [0, 0, 0, 1] * 3),
        (["10", "9", "9"] * 4, "classification", [1, 0, 0] * 4),
        (["b|a", "a", "c|b"] * 4, "multilabel", [[1, 1, 0], [1, 0, 0], [0, 1, 1]] * 4),
        (["b; a", "a", ""] * 4, "multilabel", [[1, 1], [1, 0], [0, 0]] * 4),
        (["b,a", "a", "b"] * 4, "multilabel", [[1, 1], [1, 0], [0, 1]] * 4),
        (["Paris, France", "Lyon, France", "Rome"] * 4, "classification", [1, 0, 2] * 4),
        (["none", "NA", "ok"] * 4, "classification", [1, 0, 2] * 4),
    ],
)
def test_values_tell_what_is_to_be_learnt(tmp_path: Path, values: list[Any], kind: str, expected: list[Any]) -> None:
    layout = layout_of(flat(tmp_path, ["file", "v"], list(zip(NAMES, values, strict=True)), delimiter=";"))
    assert layout.kind == kind
    assert layout.parts["train"].targets.tolist() == expected


def test_several_columns_are_numbers_labels_or_classes(tmp_path: Path) -> None:
    rows = [[name, place / 4, place * 1.5 - 3] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path / "numbers", ["file", "angle", "throttle"], rows))
    assert (layout.kind, layout.parts["train"].targets[1].tolist()) == ("regression", [0.25, -1.5])
    assert targets(tmp_path / "numbers", target="throttle")[2] == [0.0]
    assert targets(tmp_path / "numbers", target="throttle,Angle")[1] == [-1.5, 0.25]
    rows = [[name, place % 2, int(place % 3 == 0)] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path / "labels", ["file", "wet", "dark"], rows))
    assert (layout.kind, layout.class_names) == ("multilabel", ("wet", "dark"))
    assert layout.parts["train"].targets[:4].tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    rows = [[name, place % 2, 1 - place % 2] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path / "one hot", ["file", "wet", "dry"], rows))
    assert (layout.kind, layout.parts["train"].targets[:2].tolist()) == ("classification", [1, 0])
    assert layout_of(tmp_path / "one hot", kind="multilabel").kind == "multilabel"


def test_what_may_be_meant_in_two_ways_is_asked(tmp_path: Path) -> None:
    rows = [[name, place % 3, KINDS[place % 3]] for place, name in enumerate(NAMES)]
    with pytest.raises(DataError) as error:
        layout_of(flat(tmp_path / "a", ["file", "wind", "my kind"], rows))
    command = f"archscout run {tmp_path}/a --labels {tmp_path}/a/labels.csv --target wind"
    assert str(error.value).endswith(f"There are wind, my kind. Say for example: {command}")
    assert layout_of(tmp_path / "a", target="my kind").class_names == KINDS
    plant(tmp_path / "b", names := [f"{number}.png" for number in range(60)])
    write_table(tmp_path / "b" / "l.csv", [["file", "v"], *([name, place % 25] for place, name in enumerate(names))])
    with pytest.raises(DataError, match=r"25 different whole numbers.*--kind classification or --kind regression"):
        layout_of(tmp_path / "b")
    assert layout_of(tmp_path / "b", kind="regression").parts["train"].targets.shape == (60, 1)
    assert len(layout_of(tmp_path / "b", kind="classification").class_names) == 25
    words = ["a b", "a", "b", "a c", "c", "b c", "a b c"]
    rows = [[name, words[place % 7]] for place, name in enumerate(NAMES)]
    with pytest.raises(DataError, match="--kind multilabel if each word is a label"):
        layout_of(flat(tmp_path / "c", ["file", "tags"], rows))
    assert layout_of(tmp_path / "c", kind="multilabel").class_names == ("a", "b", "c")
    assert len(layout_of(tmp_path / "c", kind="classification").class_names) == 7


def test_boxes_and_captions_are_refused_truly(tmp_path: Path) -> None:
    rows = [[name, place, 1, 2, 3, 4] for place, name in enumerate(NAMES)]
    with pytest.raises(DataError, match=r"columns of boxes .*object detection is not served"):
        layout_of(flat(tmp_path / "a", ["file", "what", "xmin", "ymin", "xmax", "ymax"], rows))
    with pytest.raises(DataError, match=r"Texts to images \(captions\) are not served"):
        layout_of(flat(tmp_path / "b", ["file", "text"], [[name, f"a view of {name}"] for name in NAMES]))


def test_a_column_of_splits_is_used(tmp_path: Path) -> None:
    said = ["Training", "train", "valid", "test"]
    rows = [[name, said[place % 4], KINDS[place % 3]] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path, ["file", "Split", "label"], rows))
    assert sizes(layout) == {"train": 6, "validation": 3, "test": 3}
    assert "train 6, validation 3, test 3" in message(layout, "splits")
    rows[0][1] = "perhaps"
    with pytest.raises(DataError, match=r"the column Split .* has the values Training, perhaps, test and 2 more"):
        layout_of(flat(tmp_path, ["file", "Split", "label"], rows))


def test_numbered_folds_and_named_columns_are_groups(tmp_path: Path) -> None:
    rows = [[name, place // 4, f"p{place % 3}", place % 2] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path, ["file", "fold", "patient", "label"], rows), target="label")
    assert layout.parts["train"].groups == tuple("000011112222")
    layout = layout_of(tmp_path, target="label", groups="column:Patient")
    assert layout.parts["train"].groups == ("p0", "p1", "p2") * 4
    assert layout_of(tmp_path, target="label", groups="^(.)").parts["train"].groups == ("0",) * 12
    with pytest.raises(DataError, match="has no column 'nurse'; it has file, fold, patient, label"):
        layout_of(tmp_path, target="label", groups="column:nurse")
    rows[3][2] = ""
    with pytest.raises(DataError, match=r"1 rows .* have no value in the column patient of the groups: 003\.png"):
        layout_of(flat(tmp_path, ["file", "fold", "patient", "label"], rows), target="label", groups="column:patient")


def test_rows_and_files_without_partners_are_counted_and_named(tmp_path: Path) -> None:
    rows = [[name, place % 2] for place, name in enumerate([*NAMES[2:], "gone.png", "lost.png", "x.png"])]
    layout = layout_of(flat(tmp_path, ["file", "label"], rows))
    assert len(layout.parts["train"]) == 10
    found = {finding.code: finding.names for finding in layout.findings if finding.level == "doubtful"}
    assert found == {"rows without files": ("gone.png", "lost.png", "x.png"), "files without rows": tuple(NAMES[:2])}


def test_contradicting_rows_are_wrong_and_equal_ones_are_one(tmp_path: Path) -> None:
    rows = [[name, place % 2] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path, ["file", "label"], [*rows, rows[3], rows[4]]))
    assert (len(layout.parts["train"]), codes(layout, "wrong")) == (12, [])
    assert message(layout, "rows").startswith("2 files have several rows, for example 003.png")
    layout = layout_of(flat(tmp_path, ["file", "label"], [*rows, [NAMES[3], 0]]))
    (finding,) = [finding for finding in layout.findings if finding.level == "wrong"]
    assert (finding.names, "003.png in lines 5, 14" in finding.message) == (("003.png",), True)
    layout = layout_of(flat(tmp_path, ["file", "label"], [*rows, [NAMES[3], 0]]), kind="multilabel")
    assert layout.parts["train"].targets[3].tolist() == [1, 1]


def test_rows_without_targets_are_only_predicted(tmp_path: Path) -> None:
    rows = [[name, "" if place < 2 else place % 2] for place, name in enumerate(NAMES)]
    layout = layout_of(flat(tmp_path, ["file", "label"], rows))
    assert (layout.unlabelled, len(layout.parts["train"])) == (tuple(NAMES[:2]), 10)
    assert "rows without targets" in codes(layout, "doubtful")


def test_a_contest_with_two_folders_and_a_table_to_fill_in(tmp_path: Path) -> None:
    plant(tmp_path, [*files("train", 12), *files("test", 5)])
    write_table(tmp_path / "train.csv", [["id", "label"], *([str(number), KINDS[number % 3]] for number in range(12))])
    write_table(tmp_path / "sample_submission.csv", [["id", "label"], *([str(number), "scab"] for number in range(5))])
    layout = layout_of(tmp_path)
    assert layout.parts["train"].names == tuple(files("train", 12))
    assert layout.unlabelled == tuple(files("test", 5))


def test_a_table_for_each_split(tmp_path: Path) -> None:
    plant(tmp_path, NAMES)
    for part, names in (("train", NAMES[:6]), ("valid", NAMES[6:9]), ("test", NAMES[9:])):
        write_table(tmp_path / f"{part}.csv", [["file", "label"], *([name, int(name[2]) % 2] for name in names)])
    layout = layout_of(tmp_path)
    assert {part: found.names for part, found in layout.parts.items()} == {
        "train": tuple(NAMES[:6]),
        "validation": tuple(NAMES[6:9]),
        "test": tuple(NAMES[9:]),
    }
    write_table(tmp_path / "more.csv", [["file", "kind"], *([name, "x"] for name in NAMES)])
    with pytest.raises(DataError, match="has 4 tables that name its images; say which one"):
        layout_of(tmp_path)


def test_splits_are_folders_where_no_column_says_them(tmp_path: Path) -> None:
    plant(tmp_path, [*files("images/train", 4), *files("images/val", 2), *files("images/test", 2)])
    rows = [[f"{part}/{n}", n / 2] for part, count in (("train", 4), ("val", 2)) for n in range(count)]
    write_table(tmp_path / "labels.csv", [["file", "v"], *rows])
    layout = layout_of(tmp_path)
    assert sizes(layout) == {"train": 4, "validation": 2}
    assert layout.unlabelled == tuple(files("images/test", 2))


def test_one_name_in_several_folders_is_wrong(tmp_path: Path) -> None:
    plant(tmp_path, [*files("left", 4), *files("right", 4)])
    rows = [["0.png", 1], *([f"left/{n}.png", n % 2] for n in range(1, 4)), ["right/2.png", 0], ["right/3.png", 1]]
    write_table(tmp_path / "t.csv", [["file", "label"], *rows])
    layout = layout_of(tmp_path, labels=str(tmp_path / "t.csv"))
    (finding,) = [finding for finding in layout.findings if finding.level == "wrong"]
    assert "for example 0.png: left/0.png, right/0.png" in finding.message


def test_the_order_of_time_is_that_of_the_rows(tmp_path: Path) -> None:
    rows = [[name, place / 3, 1000 + place] for place, name in enumerate(NAMES[::-1])]
    flat(tmp_path, ["file", "angle", "timestamp_ms"], rows)
    assert layout_of(tmp_path, order="time").parts["train"].names == tuple(NAMES[::-1])
    assert "say --order time" in message(layout_of(tmp_path), "time")
    assert codes(layout_of(tmp_path, order="time"), "doubtful") == []
    layout = layout_of(flat(tmp_path, ["file", "angle", "timestamp_ms"], rows[::-1]), order="time")
    assert "not in the order of the column timestamp_ms" in message(layout, "time")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\1\2", "is no text"),
        (b"PK\3\4", "is no text but a spreadsheet"),
        (b"", "has no line"),
        (b"file,label\n", "has only one line"),
        (b"file,label\n000.png,1\n001.png\n", "line 3: 1 fields, but the first line has 2"),
        (b"file,label\n000.png,1,2\n", "line 2: 3 fields, but the first line has 2"),
        (b'file,label\n000.png,"1\n001.png,2\n', "quotation marks come in pairs"),
        (b"file,label\na.gif,1\nb.gif,2\n", "no column of .* names images in"),
        (b"file,label\n000.png,inf\n001.png,0.5\n", "is inf in row 1; give finite numbers"),
        (b"file\n000.png\n001.png\n", "no column is left for a target"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    plant(tmp_path, NAMES)
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        layout_of(tmp_path, labels=str(tmp_path / "labels.csv"))


def test_wrong_options_are_told(tmp_path: Path) -> None:
    flat(tmp_path, ["file", "label"], [[name, KINDS[place % 3]] for place, name in enumerate(NAMES)])
    for options, words in (
        ({"labels": "gone.csv"}, "--labels gone.csv: there is no such file"),
        ({"target": "weight"}, "has no column 'weight'; it has file, label"),
        ({"target": "file"}, "the column file .* names the files"),
        ({"kind": "regression"}, "values that are no numbers, for example 'rust'"),
    ):
        with pytest.raises(DataError, match=words):
            layout_of(tmp_path, **options)
    with pytest.raises(SettingsError, match="--labels and --classes were given"):
        layout_of(tmp_path, labels="labels.csv", classes="x")
    assert layout_of(tmp_path, labels="labels.csv").class_names == KINDS  # below the data's root


def test_a_table_that_cannot_be_read_is_named_where_it_would_have_helped(tmp_path: Path) -> None:
    plant(tmp_path, NAMES)
    (tmp_path / "labels.csv").write_text("file,label\n000.png,1\n001.png\n")
    with pytest.raises(DataError, match=r"12 images without class.*labels\.csv, line 3: 1 fields"):
        layout_of(tmp_path)


def test_names_of_columns_are_made_where_there_are_none_and_repeats_are_kept_apart(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [["f", "", "f"], ["x", "1", "2"], ["", "", ""], ["y", "3", "4", ""]])
    table = read_table(tmp_path / "a.csv")
    assert dict(table.columns) == {"f": ["x", "y"], "column 2": ["1", "3"], "f again": ["2", "4"]}
    assert list(table.lines) == [2, 4]
    plant(tmp_path, NAMES)
    write_table(tmp_path / "b.csv", [[name, place % 2] for place, name in enumerate(NAMES)])
    layout = layout_of(tmp_path, labels=str(tmp_path / "b.csv"))
    assert len(layout.parts["train"]) == 12
    assert "called column 1, column 2" in message(layout, "header")


def test_images_with_numbers_are_a_regression_without_augmentation(tmp_path: Path) -> None:
    for place, name in enumerate(NAMES):
        write_image(tmp_path / "images" / name, seed=place)
    rows = [[name, place / 2, 5.5 - place] for place, name in enumerate(NAMES)]
    write_table(tmp_path / "labels.csv", [["file", "angle", "throttle"], *rows])
    task = load_task(str(tmp_path), order="time")
    assert (task.spec.kind, task.spec.outputs, task.augmentations) == ("regression", 2, ())
    assert task.sample_names("test") == ["images/010.png", "images/011.png"]
    assert task.sample_names("validation") == ["images/008.png", "images/009.png"]
    (_, values), *_ = task.test.source.batches([task.test.indices], torch.device("cpu"))
    assert values.tolist() == [[5.0, -4.5], [5.5, -5.5]]


def test_the_camera_frames_start_with_one_option(tmp_path: Path, shared_data: Path) -> None:
    import tarfile

    with tarfile.open(shared_data / "steering" / "steering.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    layout = layout_of(tmp_path / "steering", order="time")
    assert (layout.kind, layout.provenance["targets"], len(layout.parts["train"])) == (
        "regression",
        "angle, throttle",
        1000,
    )
    assert layout.parts["train"].names[:2] == ("images/0_cam_image_array_.jpg", "images/1_cam_image_array_.jpg")
    assert codes(layout, "doubtful") == []
