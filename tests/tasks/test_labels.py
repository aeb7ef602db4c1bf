from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks.targets import check_classes, read_labels


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 2, 1], np.uint8),
        np.array([0.0, 2.0, 1.0]),
        np.array([[0], [2], [1]], np.int16),
        torch.tensor([0, 2, 1]),
        torch.tensor([[0.0], [2.0], [1.0]]),
        [0, 2, 1],
    ],
)
def test_whole_numbers_of_any_type_become_int64(values: Any) -> None:
    labels = read_labels(values, 3, "y_train")
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0, 1.5, 2]), r"y_train\[1\] is 1.5, and 1 labels in all are no whole numbers"),
        (np.array([0, np.nan, 2]), r"y_train\[1\] is nan"),
        (np.array([0, 1, -1]), r"y_train\[2\] is -1"),
        (np.array([0, 1]), "2 labels for 3 samples"),
        (np.eye(3), r"shape \(3, 3\).*argmax"),
        (np.zeros((3, 1, 1)), r"shape \(3, 1, 1\)"),
        (np.array(["a", "b", "c"]), "values of type <U1"),
        (np.array([0, 1, 2**40]), r"y_train\[2\] is 1099511627776"),
    ],
)
def test_wrong_labels_are_named(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(values, 3, "y_train")


def labels(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_the_number_of_classes_is_inferred_or_named() -> None:
    assert check_classes(("y_train", labels(0, 1, 2, 1)), {"y_test": labels(1)}) == 3
    assert check_classes(("y_train", labels(0, 1, 2)), {}, ["a", "b", "c"]) == 3


@pytest.mark.parametrize(
    ("train", "others", "names", "message"),
    [
        (labels(0, 1), {"y_test": labels(0, 1, 2)}, (), r"y_test\[2\] is 2, .* y_train has the classes 0 to 1"),
        (labels(0, 1, 2), {}, ("a", "b"), r"y_train\[2\] is 2, .* 2 class names are given"),
        (labels(0, 2), {}, ("a", "b", "c"), r"class 1 \(b\) has no sample in y_train"),
        (labels(0, 1), {}, ("a", "b", "c"), r"class 2 \(c\) has no sample in y_train"),
        (labels(1, 2, 3), {}, (), "class 0 has no sample in y_train.*subtract 1"),
        (labels(0, 2_000_000_000), {}, (), r"class 1 has no sample .*1999999999 of 2000000001"),
        (labels(0, 0), {}, (), "only one class"),
    ],
)
def test_wrong_sets_of_classes_are_named(
    train: torch.Tensor, others: dict[str, torch.Tensor], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_classes(("y_train", train), others, names)
