"""Which mask is of which image, by folders and names. Files are empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from archscout.errors import DataError
from tests.tasks.readers.trees import codes, files, layout_of, message, plant, sizes

BOX = "0 0.5 0.5 .2 1\n1 0.1 0.1 0.2 0.2\n"


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/{}.png", "masks/{}.png"),
        ("images/{}.jpg", "masks/{}.png"),
        ("imgs/{}.png", "labels/{}_mask.png"),
        ("Image/img_{}.png", "GroundTruth/gt_{}.png"),
        ("images/{}_training.png", "1st_manual/{}_manual1.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("images/{}.png", "annotations/{}_L.png"),
        ("train/{}.jpg", "train_masks/{}_mask.png"),
        ("train/{}.png", "trainannot/{}.png"),
        ("train/images/{}.png", "train/masks/{}.png"),
        ("images/training/{}.png", "annotations/training/{}.png"),
        ("data/images/{}.png", "data/masks/{}.png"),
        ("images/north/{}.png", "masks/north/{}.png"),
        ("images/{}.jpg", "annotations/trimaps/{}.png"),
        ("scan {}.png", "scan {}_mask.png"),
        ("scan ({}).png", "scan ({})_seg.png"),
        ("{}.png", "masks/{}.png"),
    ],
)
def test_images_are_paired_with_masks_by_name(tmp_path: Path, images: str, masks: str) -> None:
    plant(tmp_path, [pattern.format(number) for number in range(12) for pattern in (images, masks)])
    layout = layout_of(tmp_path)
    assert (layout.kind, sizes(layout)) == ("dense", {"train": 12})
    assert layout.parts["train"].names == tuple(images.format(number) for number in range(12))
    assert layout.parts["train"].masks == tuple(masks.format(number) for number in range(12))
    assert codes(layout, "doubtful") == []


def test_splits_of_images_and_masks(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        plant(tmp_path / "a", [f"{part}/{kind}/{n}.png" for kind in ("images", "masks") for n in range(count)])
        plant(tmp_path / "b", [f"{kind}/{part}/{n}.png" for kind in ("images", "labels") for n in range(count)])
        plant(tmp_path / "c", [f"{part}{kind}/{n}.png" for kind in ("", "annot") for n in range(count)])
    for name in "abc":
        layout = layout_of(tmp_path / name)
        assert sizes(layout) == {"train": 5, "validation": 2, "test": 3}
    assert layout.parts["test"].masks == tuple(files("testannot", 3))


def test_partners_that_are_missing_are_named_and_left_out(tmp_path: Path) -> None:
    plant(tmp_path, [*files("images", 9), *[f"masks/{n}.png" for n in range(2, 12)], *files("test/images", 2)])
    layout = layout_of(tmp_path)
    assert layout.parts["train"].names == tuple(f"images/{n}.png" for n in range(2, 9))
    found = {finding.code: finding.names for finding in layout.findings}
    assert found["images without masks"] == ("images/0.png", "images/1.png")
    assert found["masks without images"] == ("masks/9.png", "masks/10.png", "masks/11.png")
    assert layout.unlabelled == tuple(files("test/images", 2))


def test_pairs_outside_of_the_splits_are_told(tmp_path: Path) -> None:
    pairs = [
        f"{place}{kind}/{n}.png" for place in ("train/", "pred/", "") for kind in ("images", "masks") for n in (1, 2)
    ]
    layout = layout_of(plant(tmp_path, pairs))
    assert (sizes(layout), layout.unlabelled) == ({"train": 2}, ("pred/images/1.png", "pred/images/2.png"))
    found = {finding.code: finding.names for finding in layout.findings if finding.code != "unlabelled"}
    assert found["beside the splits"] == ("images/1.png", "masks/1.png", "images/2.png", "masks/2.png")
    assert found["passed over"] == ("pred/masks/1.png", "pred/masks/2.png")


def test_folders_that_are_neither_are_left_out_with_a_note(tmp_path: Path) -> None:
    layout = layout_of(
        plant(tmp_path, [f"{kind}/{n}.png" for kind in ("images", "masks", "overlays") for n in range(5)])
    )
    assert sizes(layout) == {"train": 5}
    assert "5 files in overlays are neither images nor masks" in message(layout, "passed over")


def test_what_only_looks_like_masks_is_classes(tmp_path: Path) -> None:
    for classes in (
        ("mask", "no_mask"),
        ("with_mask", "without_mask"),
        ("helmet", "mask", "glove"),
        ("labels", "stamps"),
    ):
        root = tmp_path / classes[0]
        assert layout_of(plant(root, [name for each in classes for name in files(each, 4)])).kind == "classification"
    root = plant(tmp_path / "x", [f"{kind}/{n}.png" for kind in ("images", "masks") for n in range(4)])
    assert layout_of(root, kind="classification").class_names == ("images", "masks")


ONE_EACH = ("images/{}.png", "masks/x.png", "masks/y.png", "masks/z.png")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([*(f"images/a{n}.png" for n in range(6)), *(f"masks/b{n}.png" for n in range(6))], "only 0 of 6 names agree"),
        (["images/1.png", "images/1.jpg", "masks/1.png"], "differ in their suffixes only"),
        (
            [f"{kind}/{n}.png" for kind in ("images", "masks", "labels") for n in range(4)],
            "labels and masks, each of which",
        ),
        (
            [
                f"id{n}/{name}"
                for n in range(4)
                for name in (f"images/{n}.png", "masks/x.png", "masks/y.png", "masks/z.png")
            ],
            "images have several masks each",
        ),
        (
            [f"{c}/{n}{end}.png" for c in "xy" for n in range(4) for end in ("", "_mask")],
            "say --kind dense; to learn the",
        ),
        ([f"val/{kind}/{n}.png" for kind in ("images", "masks") for n in range(4)], "no training images with masks"),
        (["1.png", "1_mask.png", "1_mask_1.png", "2.png", "2_mask.png"], "1.png has 2 masks: 1_mask.png, 1_mask_1.png"),
    ],
)
def test_masks_that_are_not_clear_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        layout_of(plant(tmp_path, names))


def test_masks_beside_images_in_class_folders_by_kind(tmp_path: Path) -> None:
    plant(tmp_path, [f"{c}/{n}{end}.png" for c in ("ill", "well") for n in range(4) for end in ("", "_mask")])
    layout = layout_of(tmp_path, kind="dense")
    assert layout.parts["train"].masks[-1] == "well/3_mask.png"
    with pytest.raises(DataError, match="has no masks: --kind dense needs"):
        layout_of(plant(tmp_path / "other", [*files("a", 3), *files("b", 3)]), kind="dense")


@pytest.mark.parametrize(
    ("names", "annotation", "content", "words"),
    [
        (files("images", 5), "labels/0.txt", BOX, "boxes of objects (object detection)"),
        (files("train/images", 5), "train/labels/0.txt", BOX, "boxes of objects (object detection)"),
        (files("pictures", 5), "pictures/0.txt", "a dog on a lawn", "texts to images (captions, transcripts)"),
        (files("JPEGImages", 5), "Annotations/0.xml", "<object><bndbox>", "boxes of objects (object detection)"),
        (
            [*files("train2017", 5), *files("val2017", 5)],
            "annotations/instances.json",
            '{"images": [], "annotations": [{"bbox": [1, 2]}], "categories": []}',
            "boxes or outlines of objects",
        ),
        (files("x", 5), "x/0.json", '{"shapes": [{"points": []}]}', "boxes or outlines of objects"),
        (files("x", 5), "people.json", '{"annotations": [{"keypoints": []}]}', "key points (pose estimation)"),
        (files("Images", 5), "captions.txt", "image,caption\n0.png,a dog\n", "captions (image captioning)"),
        (files("images", 5), "labels/0.txt", "0 .1 .2 .3 .4 .5 .6 .7 .8\n", "outlines or key points of objects"),
        (
            [f"{side}/{n}.png" for side in "AB" for n in range(5)],
            "x.md",
            "",
            "pairs of images (translation of one into the other)",
        ),
        ([f"{side}/{n}.png" for side in ("LR", "HR") for n in range(5)], "x.md", "", "(super-resolution)"),
        (
            [f"{part}{side}/{n}.png" for part in ("train", "test") for side in "AB" for n in range(5)],
            "x",
            "",
            "two domains",
        ),
    ],
)
def test_data_sets_for_other_tasks_are_recognised(
    tmp_path: Path, names: list[str], annotation: str, content: str, words: str
) -> None:
    plant(tmp_path, names)
    plant(tmp_path, [annotation], content)
    with pytest.raises(DataError) as error:
        layout_of(tmp_path)
    assert words in str(error.value)
    assert "not served" in str(error.value)


def test_annotations_do_not_stand_in_the_way_of_class_folders(tmp_path: Path) -> None:
    plant(tmp_path, [*files("Images/setter", 3), *files("Images/pug", 3)])
    plant(tmp_path, ["Annotation/setter/0", "Annotation/pug/0.xml"], "<object><bndbox>")
    layout = layout_of(tmp_path)
    assert layout.class_names == ("pug", "setter")
    assert "2 files were passed over" in message(layout, "passed over")
