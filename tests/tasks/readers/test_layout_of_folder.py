"""Splits and classes as people lay them out. Files are empty: no layout depends on what is in a sample."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from archscout.errors import DataError, SettingsError
from tests.tasks.readers.trees import codes, files, layout_of, message, plant, sizes

PETS = ("cat", "dog")
CAFE = "caf\u00e9"


def classes_in(folder: str, count: int, names: tuple[str, ...] = PETS) -> list[str]:
    return [name for each in names for name in files(f"{folder}/{each}" if folder else each, count)]


@pytest.mark.parametrize(
    ("train", "test"), [("Training", "Testing"), ("TRAIN", "TEST"), ("train_set", "test_set"), ("01_train", "02_test")]
)
def test_splits_are_recognised_under_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    layout = layout_of(plant(tmp_path, classes_in(train, 5) + classes_in(test, 2) + classes_in("dev", 1)))
    assert layout.class_names == PETS
    assert sizes(layout) == {"train": 10, "validation": 2, "test": 4}
    assert layout.parts["test"].targets.tolist() == [0, 0, 1, 1]
    assert layout.findings == ()


def test_splits_with_a_common_prefix_and_one_more_level_are_recognised(tmp_path: Path) -> None:
    names = classes_in("seg_train/seg_train", 4) + classes_in("seg_test/seg_test", 2)
    layout = layout_of(plant(tmp_path, [*names, *files("seg_pred/seg_pred", 3)]))
    assert sizes(layout) == {"train": 8, "test": 4}
    assert layout.unlabelled == tuple(files("seg_pred/seg_pred", 3))
    assert codes(layout, "note") == ["level", "unlabelled"]


def test_a_split_with_a_further_word_is_recognised_by_its_classes(tmp_path: Path) -> None:
    plant(tmp_path, classes_in("train", 4) + classes_in("validation-horse", 2))
    assert sizes(layout_of(tmp_path)) == {"train": 8, "validation": 4}


def test_folders_of_numbers_are_targets_of_a_regression_that_is_asked_for(tmp_path: Path) -> None:
    plant(tmp_path, classes_in("train", 2, ("31", "7", "0.5")) + classes_in("test", 1, ("7",)))
    layout = layout_of(tmp_path, kind="regression")
    assert (layout.kind, layout.class_names) == ("regression", ())
    assert layout.parts["train"].targets.tolist() == [[0.5], [0.5], [7.0], [7.0], [31.0], [31.0]]
    assert layout.parts["test"].targets.tolist() == [[7.0]]
    with pytest.raises(DataError, match="has no table of targets: --kind regression needs one"):
        layout_of(plant(tmp_path, files("train/old", 1)), kind="regression")


def test_public_and_private_tests_of_contests(tmp_path: Path) -> None:
    names = classes_in("Training", 4) + classes_in("PublicTest", 2) + classes_in("PrivateTest", 3)
    layout = layout_of(plant(tmp_path, names))
    assert sizes(layout) == {"train": 8, "validation": 4, "test": 6}
    assert message(layout, "splits") == "PublicTest was taken for the validation split."


def test_an_evaluation_split_beside_a_validation_split_is_the_test_split(tmp_path: Path) -> None:
    names = classes_in("train", 4) + classes_in("dev", 2) + classes_in("eval", 3)
    layout = layout_of(plant(tmp_path, names))
    assert sizes(layout) == {"train": 8, "validation": 4, "test": 6}


def test_splits_may_lie_in_the_classes(tmp_path: Path) -> None:
    names = [*files("cat/train", 4), *files("dog/Train", 3), *files("cat/test", 2), *files("dog/test", 1)]
    layout = layout_of(plant(tmp_path, names))
    assert layout.class_names == PETS
    assert sizes(layout) == {"train": 7, "test": 3}
    assert layout.parts["train"].names[4] == "dog/Train/0.png"
    layout = layout_of(plant(tmp_path, ["cover.png"]))
    assert message(layout, "left out") == "1 of 11 images left out, as in no split or class: cover.png."


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    layout = layout_of(plant(tmp_path, files("bus", 3) + files("train", 3) + files("test", 3)))
    assert layout.class_names == ("bus", "test", "train")
    assert sizes(layout_of(plant(tmp_path, files("train/steam", 2)))) == {"train": 11}
    with pytest.raises(DataError, match=r"beside it there is bus, which is no split.*--classes folder:1"):
        layout_of(plant(tmp_path, files("train/electric", 5)))
    assert layout_of(tmp_path, classes="folder:1").class_names == ("bus", "test", "train")


def test_one_level_too_many_is_asked_about(tmp_path: Path) -> None:
    plant(tmp_path, classes_in("download/pets/train", 4) + classes_in("download/pets/test", 1) + ["download/README.md"])
    with pytest.raises(DataError) as error:
        layout_of(tmp_path / "download")
    assert f"did you mean {tmp_path}/download/pets? It has the folders test, train" in str(error.value)
    with pytest.raises(DataError, match=r"did you mean .*/download/pets"):
        layout_of(tmp_path)
    assert sizes(layout_of(tmp_path / "download" / "pets")) == {"train": 8, "test": 2}


@pytest.mark.parametrize("folder", ["images", "data", "Images/Dataset"])
def test_a_folder_that_says_only_that_there_is_data_is_entered(tmp_path: Path, folder: str) -> None:
    layout = layout_of(plant(tmp_path, [*classes_in(f"{folder}/train", 4), "annotations/boxes.txt", "README"]))
    assert sizes(layout) == {"train": 8}
    assert "level" in codes(layout, "note")
    assert "2 files were passed over" in message(layout, "passed over")


@pytest.mark.parametrize("folder", ["test", "test/unknown", "Testing/images", "test/test"])
def test_a_test_folder_without_classes_is_left_for_the_end(tmp_path: Path, folder: str) -> None:
    layout = layout_of(plant(tmp_path, classes_in("train", 4) + files(folder, 3)))
    assert sizes(layout) == {"train": 8}
    assert layout.unlabelled == tuple(files(folder, 3))
    assert "holds 3 images without classes: they are predicted at the end" in message(layout, "unlabelled")


def test_a_test_folder_with_one_of_the_classes_has_labels(tmp_path: Path) -> None:
    layout = layout_of(plant(tmp_path, classes_in("train", 4) + files("test/dog", 3)))
    assert layout.parts["test"].targets.tolist() == [1, 1, 1]
    assert message(layout, "missing classes").startswith("the test split lacks cat, which train has")


def test_a_validation_folder_without_classes_is_doubtful(tmp_path: Path) -> None:
    layout = layout_of(plant(tmp_path, classes_in("train", 4) + files("val", 3)))
    assert (sizes(layout), layout.unlabelled, codes(layout, "doubtful")) == ({"train": 8}, (), ["unlabelled"])


def test_a_class_that_a_split_lacks_is_doubtful_and_one_that_train_lacks_is_wrong(tmp_path: Path) -> None:
    plant(tmp_path, classes_in("train", 4, ("ant", "bee", "cat")) + classes_in("test", 2, ("ant", "cat")))
    layout = layout_of(tmp_path)
    assert codes(layout) == ["missing classes"]
    assert layout.parts["test"].targets.tolist() == [0, 0, 2, 2]
    layout = layout_of(plant(tmp_path, files("test/dog", 2)))
    assert codes(layout, "wrong") == ["foreign classes", "missing classes"]
    assert layout.findings[0].names == ("dog",)


def test_an_empty_class_folder_is_wrong_in_train_and_a_missing_class_in_test(tmp_path: Path) -> None:
    plant(tmp_path, classes_in("train", 4) + classes_in("test", 2) + ["train/eel/notes.txt"])
    (tmp_path / "train" / "yak").mkdir()
    layout = layout_of(tmp_path)
    (finding,) = [finding for finding in layout.findings if finding.level == "wrong"]
    assert finding.names == ("train/eel", "train/yak")
    assert "but 1 .txt; every class needs some" in finding.message
    plant(tmp_path, [*files("train/eel", 2), *files("train/yak", 2)])
    (tmp_path / "test" / "yak").mkdir()
    assert "lacks eel, yak" in message(layout_of(tmp_path), "missing classes")


def test_names_are_compared_as_people_read_them(tmp_path: Path) -> None:
    plant(tmp_path, [*files(f"train/{CAFE}", 3), *files("train/Bar ", 2)])
    plant(tmp_path, [*files(f"train/{unicodedata.normalize('NFD', CAFE)}", 2, ".jpg"), *files("test/bar", 2)])
    plant(tmp_path, files(f"test/{unicodedata.normalize('NFD', CAFE)}", 1))
    layout = layout_of(tmp_path)
    assert layout.class_names == ("Bar", CAFE)
    assert layout.parts["train"].targets.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert layout.parts["test"].targets.tolist() == [0, 0, 1]
    assert codes(layout) == ["names", "names"]
    assert all((tmp_path / name).is_file() for part in layout.parts.values() for name in part.names)


def test_classes_that_differ_in_capitals_stay_apart_where_train_has_both(tmp_path: Path) -> None:
    layout = layout_of(plant(tmp_path, [*files("train/a", 2), *files("train/A", 2), *files("test/A", 1)]))
    assert layout.class_names == ("A", "a")
    assert layout.parts["test"].targets.tolist() == [0]


def test_odd_names_survive_and_classes_are_in_natural_order(tmp_path: Path) -> None:
    odd = ("it's", 'say "x"', "new\nline", "\U0001f431", "10", "9", "a, b", "%s {x}", "-rf", "back\\slash")
    layout = layout_of(plant(tmp_path, classes_in("", 2, odd)))
    assert set(layout.class_names) == {name.replace("\n", " ") for name in odd}
    assert layout.class_names[:2] != ("10", "9")
    assert layout.class_names.index("9") < layout.class_names.index("10")
    assert all((tmp_path / name).is_file() for name in layout.parts["train"].names)


def test_loose_files_are_named_and_left_out_or_wrong_where_they_are_most(tmp_path: Path) -> None:
    layout = layout_of(plant(tmp_path, [*classes_in("train", 3), "train/loose.png", "cover.png"]))
    assert [finding.names for finding in layout.findings] == [("cover.png",), ("train/loose.png",)]
    assert (sizes(layout), codes(layout, "doubtful")) == ({"train": 6}, ["loose files", "loose files"])
    layout = layout_of(plant(tmp_path, [f"train/{number}.png" for number in range(20)]))
    assert "loose files" in codes(layout, "wrong")


def test_folders_beside_the_splits_are_named(tmp_path: Path) -> None:
    layout = layout_of(plant(tmp_path, classes_in("train", 3) + classes_in("test", 1) + files("extra", 2)))
    assert "extra beside the splits train, test left out: 2 files" in message(layout, "beside the splits")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (files("val/cat", 2) + files("test/cat", 2), "has val and test, but no train"),
        (classes_in("test", 2), "has test, but no train.*give .*test itself"),
        (classes_in("train", 2) + classes_in("val", 1) + classes_in("valid", 1), "has val and valid; keep one"),
        (classes_in("train1", 2) + classes_in("train2", 2), "has train1 and train2; keep one"),
        (files("train", 2) + files("test", 2), "train has no class folders, but 2 images without class"),
        (files("train/cat", 2), "only one class, cat"),
        (files("cat", 2), "only one class, cat"),
        ([*files("cat", 2), "dog/a.heic"], r"only one class, cat \(dog hold no images\)"),
        (["a.png", "b.png"], "has no class folders, but 2 images without class.*--labels"),
        (classes_in("north", 2) + classes_in("south", 2), "all have the same folders.*folder:1.*folder:2"),
        (["data_batch_1"], "use the task cifar10, with --data"),
        (["a.txt", "b/c.csv"], "holds no images.*1 table and nothing else"),
        (["clips/a.mp4", "clips/b.mp4"], "2 videos, which are not served"),
        (["a.dcm"], "DICOM files, which are not served. Write each as"),
    ],
)
def test_what_is_not_clear_is_asked(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=f"(?s){words}"):
        layout_of(plant(tmp_path, names))


def test_the_order_of_time_is_that_of_names_over_all_classes(tmp_path: Path) -> None:
    plant(tmp_path, ["cat/f1.png", "cat/f10.png", "dog/f2.png", "dog/f9.png"])
    layout = layout_of(tmp_path, order="time")
    assert layout.parts["train"].names == ("cat/f1.png", "dog/f2.png", "dog/f9.png", "cat/f10.png")
    assert layout.parts["train"].targets.tolist() == [0, 1, 1, 0]


def test_folders_that_look_like_patients_are_doubtful_until_they_are_groups(tmp_path: Path) -> None:
    plant(tmp_path, [name for label in ("ill", "well") for p in range(3) for name in files(f"{label}/{label}{p}", 4)])
    assert "--groups folder:2" in message(layout_of(tmp_path), "groups")
    layout = layout_of(tmp_path, groups="folder:2")
    assert layout.parts["train"].groups == tuple(f"{label}{p}" for label in ("ill", "well") for p in "000011112222")
    assert codes(layout, "doubtful") == []
    with pytest.raises(DataError, match=r"24 of 24 files are not so deep, for example ill/ill0/0.png"):
        layout_of(tmp_path, groups="folder:3")


def test_groups_by_a_pattern_are_those_of_every_split(tmp_path: Path) -> None:
    plant(
        tmp_path,
        [f"{part}/{label}/p{p}_{n}.png" for part in ("train", "test") for label in PETS for p in "12" for n in "ab"],
    )
    layout = layout_of(tmp_path, groups="^p([0-9]+)")
    assert layout.parts["test"].groups == ("1", "1", "2", "2") * 2
    with pytest.raises(DataError, match="8 of 8 files do not match"):
        layout_of(tmp_path, groups="^q")
    with pytest.raises(SettingsError, match="a column needs a table"):
        layout_of(tmp_path, groups="column:patient")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(a+)+", "repeats what itself repeats"),
        ("(a|aa)*b", "repeats what itself repeats"),
        ("((ab)*c)*", "repeats what itself repeats"),
        ("a*b*c*d*e*", "has 5 open repetitions"),
        ("[", "is no regular expression"),
        ("(?P<x", "is no regular expression"),
        ("a" * 201, "has 201 characters"),
        ("folder:x", "the level is a number from 1"),
        ("folder:0", "the level is a number from 1"),
    ],
)
def test_patterns_that_are_none_or_may_take_for_ever_are_refused(tmp_path: Path, pattern: str, words: str) -> None:
    plant(tmp_path, classes_in("", 3))
    for option in ("classes", "groups"):
        with pytest.raises(SettingsError, match=words):
            layout_of(tmp_path, **{option: pattern})


@pytest.mark.parametrize("pattern", [r"([^_]*)_(.*)_([0-9]+)", "(?:ab)+_[+*]", r"\(x\)+a*", "^(cat|dog)"])
def test_harmless_patterns_are_taken(pattern: str) -> None:
    from archscout.tasks.readers.name_patterns import read_pattern

    assert read_pattern(pattern, "--classes").pattern == pattern


def test_classes_from_names_of_flat_files_with_a_hint_at_the_command(tmp_path: Path) -> None:
    plant(tmp_path, [f"train/{label}.{n}.jpg" for label in PETS for n in range(12)] + files("test", 4))
    with pytest.raises(
        DataError, match=r"letters that a name begins with \(cat \(12\), dog \(12\)\).*--classes '\^\[A-Za-z\]\+'"
    ):
        layout_of(tmp_path)
    layout = layout_of(tmp_path, classes="^[A-Za-z]+")
    assert (layout.class_names, sizes(layout), len(layout.unlabelled)) == (PETS, {"train": 24}, 4)
    assert layout.parts["train"].targets.tolist() == [0] * 12 + [1] * 12
    with pytest.raises(DataError, match=r"4 of 5 files do not match, for example test/0.png"):
        layout_of(plant(tmp_path, ["test/cat.1.jpg"]), classes="^[A-Za-z]+")


def test_speakers_and_digits_from_the_names_of_recordings(tmp_path: Path) -> None:
    plant(tmp_path, [f"{digit}_{who}_{n}.png" for digit in (0, 1, 10) for who in ("ann", "bob") for n in range(5)])
    layout = layout_of(tmp_path, classes="^[0-9]+", groups="_([a-z]+)_")
    assert layout.class_names == ("0", "1", "10")
    assert set(layout.parts["train"].groups or ()) == {"ann", "bob"}
    both = layout_of(tmp_path, classes="^(?P<class>[0-9]+)_(?P<group>[a-z]+)_")
    assert (both.class_names, both.parts["train"].groups) == (layout.class_names, layout.parts["train"].groups)
    assert message(both, "groups").startswith("2 groups by --classes")
    other = layout_of(tmp_path, classes="^(?P<group>[0-9]+)_(?P<class>[a-z]+)_", groups="^(.)")
    assert other.class_names == ("ann", "bob")
