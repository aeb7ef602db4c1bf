from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks.kinds import as_targets
from archscout.tasks.labels import Encoded, encode_classes
from archscout.tasks.targets import check_classes


def encoded(values: Any, *others: Any, class_names: Sequence[str] = ()) -> Encoded:
    parts = {"y_train": values} | {f"y_{place}": other for place, other in enumerate(others)}
    return encode_classes({where: as_targets(each, where) for where, each in parts.items()}, class_names)


@pytest.mark.parametrize(
    ("values", "classes", "names"),
    [
        (np.array([0, 2, 1], np.uint8), [0, 2, 1], ()),
        (np.array([0.0, 2.0, 1.0], ">f8"), [0, 2, 1], ()),
        (torch.tensor([0, 2, 1], dtype=torch.bfloat16), [0, 2, 1], ()),
        ([0, 2, 1], [0, 2, 1], ()),
        ([1, 3, 2], [0, 2, 1], ("1", "2", "3")),
        (np.array([1, -1, 1], np.int8), [1, 0, 1], ("-1", "1")),
        ([10, 9, 2], [2, 1, 0], ("2", "9", "10")),
        ([2**40, 0, 2**63], [1, 0, 2], ("0", "1099511627776", "9223372036854775808")),
        ([True, False, True], [1, 0, 1], ("False", "True")),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        ([b"dog", b"cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (np.array(["10", "9", "2"], object), [0, 2, 1], ("10", "2", "9")),
        (np.array([b"b", b"a", b"b"]), [1, 0, 1], ("a", "b")),
        ([Decimal(3), Fraction(4), 3], [0, 1, 0], ("3", "4")),
    ],
)
def test_labels_of_any_kind_are_numbered_in_their_order(
    values: Any, classes: list[int], names: tuple[str, ...]
) -> None:
    found = encoded(values)
    assert found.targets["y_train"].dtype == torch.int64
    assert found.targets["y_train"].tolist() == classes
    assert found.class_names == names
    assert [finding.level for finding in found.findings] == ["note"] * bool(names)


def test_all_splits_are_numbered_alike() -> None:
    found = encoded(["b", "c", "a"], ["c", "c"])
    assert found.targets["y_0"].tolist() == [2, 2]
    assert encoded([5, 7, 9], np.array([9.0, 5.0])).targets["y_0"].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("values", "names", "classes"),
    [
        (["b", "a"], ["b", "c", "a"], [0, 2]),
        ([0, 2], ["a", "b", "c"], [0, 2]),  # places, though b does not occur
        ([1, 3], ["a", "b", "c"], [0, 2]),  # counted from 1
        ([-1, 1], ["no", "yes"], [0, 1]),
        ([3, 7], ["7", "3", "9"], [1, 0]),
        ([False, True], ["no", "yes"], [0, 1]),
    ],
)
def test_given_class_names_win(values: Any, names: list[str], classes: list[int]) -> None:
    found = encoded(values, class_names=names)
    assert found.targets["y_train"].tolist() == classes
    assert found.class_names == tuple(names)
    assert not [finding for finding in found.findings if finding.level == "wrong"]


@pytest.mark.parametrize(
    ("values", "message", "names"),
    [
        ([0, 1.5, 2], r"y_train\[1\] is 1.5, and 1 labels in all are no whole numbers", ()),
        ([0, np.inf, 2], r"y_train\[1\] is inf", ()),
        ([0, np.nan, 2, np.nan], "2 labels of y_train are missing", ("y_train[1]", "y_train[3]")),
        (["a", None, " "], "2 labels of y_train are missing", ("y_train[1]", "y_train[2]")),
        (np.ma.array([1, 2, 3], mask=[False, True, False]), "1 labels of y_train are missing", ("y_train[1]",)),
    ],
)
def test_wrong_labels_are_named(values: Any, message: str, names: tuple[str, ...]) -> None:
    (wrong,) = (finding for finding in encoded(values).findings if finding.level == "wrong")
    assert re.search(message, wrong.message)
    assert wrong.names == names


def test_labels_that_training_lacks_are_named_with_all_their_samples() -> None:
    (wrong,) = (finding for finding in encoded(["a", "b"], ["b", "c", "d", "c"]).findings if finding.level == "wrong")
    assert "y_0[1] is 'c', which is out of range: y_train has the classes 'a', 'b'" in wrong.message
    assert "3 samples of y_0 have such labels: 'c', 'd'" in wrong.message
    (wrong,) = (finding for finding in encoded([0, 1], [1, 2]).findings if finding.level == "wrong")
    assert "y_0[1] is 2" in wrong.message
    (wrong,) = encoded(["a", "x"], class_names=["a", "b"]).findings
    assert "y_train[1] is 'x', which is out of range: 2 class names are given (a, b)" in wrong.message


def test_texts_beside_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"y_train\[0\] is 'a', y_train\[1\] 1"):
        encoded(["a", 1])
    with pytest.raises(DataError, match="y_0 holds texts, but y_train numbers"):
        encoded([0, 1], ["0", "1"])


def test_labels_that_look_alike_or_mark_nothing_are_doubtful() -> None:
    assert "look-alikes" in [finding.code for finding in encoded(["Cat", "cat ", "dog"]).findings]
    assert any("-1 stands beside 0 to 2" in finding.message for finding in encoded([-1, 0, 1, 2]).findings)
    assert any("255 stands beside 0 to 2" in finding.message for finding in encoded([255, 0, 1, 2]).findings)


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
