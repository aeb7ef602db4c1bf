from __future__ import annotations

import sys
from typing import get_args

import pytest
import torch

from archscout.errors import DataError, MissingExtraError
from archscout.tasks.color import AUTO_AUGMENT_POLICIES, AutoAugmentPolicy
from archscout.tasks.task import Transform
from archscout.tasks.transforms import auto_augment, color_jitter

pytest.importorskip("kornia", reason="the extra `augment` is not installed")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[*AUTO_AUGMENT_POLICIES, "jitter"])
def transform(request: pytest.FixtureRequest) -> Transform:
    return color_jitter(0.4, 0.4, 0.4, 0.2) if request.param == "jitter" else auto_augment(request.param)


def test_shape_range_and_type_stay_and_the_seed_decides(transform: Transform) -> None:
    inputs = torch.rand(24, 3, 16, 16, generator=generator(0))
    before = inputs.clone()
    augmented = transform(inputs, generator(1))
    assert augmented.shape == inputs.shape
    assert augmented.dtype == torch.float32
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    assert torch.equal(inputs, before)
    assert not torch.equal(augmented, inputs)
    assert torch.equal(augmented, transform(inputs, generator(1)))
    assert not torch.equal(augmented, transform(inputs, generator(2)))


def test_the_global_generator_is_not_disturbed(transform: Transform) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    transform(torch.rand(4, 3, 8, 8, generator=generator(0)), generator(0))
    assert torch.equal(torch.rand(3), expected)


def test_the_global_generator_does_not_decide(transform: Transform) -> None:
    inputs = torch.rand(8, 3, 8, 8, generator=generator(0))
    torch.manual_seed(1)
    first = transform(inputs, generator(5))
    torch.manual_seed(2)
    assert torch.equal(first, transform(inputs, generator(5)))


def test_samples_of_a_batch_are_augmented_differently() -> None:
    same = torch.rand(1, 3, 16, 16, generator=generator(0)).expand(32, -1, -1, -1)
    augmented = auto_augment("cifar10")(same, generator(0))
    assert len({sample.numpy().tobytes() for sample in augmented}) > 16


def test_grey_images_and_unknown_policies_are_refused() -> None:
    with pytest.raises(DataError, match=r"needs colour images .* \(2, 1, 8, 8\)"):
        auto_augment("cifar10")(torch.rand(2, 1, 8, 8), generator(0))
    with pytest.raises(DataError, match="unknown AutoAugment policy 'cifar'; closest: cifar10"):
        auto_augment("cifar")  # type: ignore[arg-type]


def test_policies_are_the_ones_of_the_type() -> None:
    assert get_args(AutoAugmentPolicy) == AUTO_AUGMENT_POLICIES


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia.augmentation.auto", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'archscout\[augment\]'"):
        auto_augment("cifar10")
