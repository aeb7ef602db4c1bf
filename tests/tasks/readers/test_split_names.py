from __future__ import annotations

import pytest

from archscout.tasks.readers.split_names import is_container, read_name


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (
            "train",
            "train Train TRAIN training Training trainset TrainSet train_set train-set train_images TrainImages tr trn "
            "train2017 01_train train_01 training_data Training-Set trainval train_val trainingset traindata",
        ),
        (
            "validation",
            "val valid validation Validation VALIDATION val2017 dev devset valset val_images validation_set",
        ),
        ("evaluation", "eval evaluation eval_set PublicTest"),
        (
            "test",
            "test Test testing TESTING tst testset test_images hold-out holdout held_out PrivateTest unseen",
        ),
        ("unlabelled", "pred prediction unlabeled unlabelled_images"),
    ],
)
def test_splits_are_known_by_the_names_that_people_give_them(part: str, names: str) -> None:
    for name in names.split():
        assert (name, read_name(name).part, read_name(name).is_part) == (name, part, True)


@pytest.mark.parametrize("name", ["cat", "train station", "test_tube", "training_shoes", "latest", "trainer"])
def test_other_names_are_no_splits(name: str) -> None:
    assert not read_name(name).is_part


def test_images_and_masks_are_known_by_their_names() -> None:
    for name in ("images", "imgs", "img", "JPEGImages", "train_images", "pictures", "Photos"):
        assert read_name(name).role == "image", name
    for name in ("masks", "mask", "labels", "annotations", "gt", "ground_truth", "GroundTruth", "trainannot", "seg"):
        assert read_name(name).role == "mask", name
    assert read_name("SegmentationClass").role == "mask"
    assert read_name("with_mask").rest == ("with",)


def test_a_container_says_only_that_there_is_data() -> None:
    assert all(is_container(name) for name in ("images", "data", "dataset", "Raw_Images", ["class", "folders"][0]))
    assert not any(is_container(name) for name in ("pets", "train", "masks", "images_of_cats", "12"))
