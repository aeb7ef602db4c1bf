from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.transforms import (
    cutout,
    horizontal_flip,
    normalizer,
    random_crop,
    standard_augmentation,
    uint8_to_float,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.rand(count, channels, height, width, generator=generator(99)) + 0.1  # zero only where padded or cut


@given(
    padding=st.integers(0, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_random_crop_equals_a_plain_crop_of_each_sample(
    padding: int, height: int, width: int, channels: int, seed: int
) -> None:
    inputs = images(7, channels, height, width)
    top, left = torch.randint(2 * padding + 1, (2, 7), generator=generator(seed)).tolist()
    expected = torch.zeros_like(inputs)
    for sample in range(7):
        for y in range(height):
            for x in range(width):
                source_y, source_x = y + top[sample] - padding, x + left[sample] - padding
                if 0 <= source_y < height and 0 <= source_x < width:
                    expected[sample, :, y, x] = inputs[sample, :, source_y, source_x]
    before = inputs.clone()
    assert torch.equal(random_crop(padding)(inputs, generator(seed)), expected)
    assert torch.equal(inputs, before)


def test_random_crop_keeps_channels_last_inputs_right() -> None:
    inputs = images(5, 3, 8, 6)
    plain = random_crop(2)(inputs, generator())
    assert torch.equal(random_crop(2)(inputs.to(memory_format=torch.channels_last), generator()), plain)


def test_random_crop_reaches_every_offset_up_to_both_ends() -> None:
    inputs = torch.zeros(400, 1, 5, 5)
    inputs[:, :, 2, 2] = 1  # the offset shows as the place of this pixel
    moved = random_crop(2)(inputs, generator())
    places = {tuple(sample.nonzero()[0].tolist()) for sample in moved[:, 0] if sample.any()}
    assert places == {(y, x) for y in range(5) for x in range(5)}


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flip_equals_a_plain_mirror_of_the_drawn_samples(probability: float) -> None:
    inputs = images(40, 3, 4, 5)
    drawn = torch.rand(40, generator=generator(3)) < probability
    flipped = horizontal_flip(probability)(inputs, generator(3))
    for sample in range(40):
        expected = inputs[sample].flip(-1) if drawn[sample] else inputs[sample]
        assert torch.equal(flipped[sample], expected)


@given(size=st.integers(1, 12), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_cutout_equals_a_plain_square_clipped_at_the_borders(size: int, height: int, width: int, seed: int) -> None:
    inputs = images(6, 2, height, width)
    draw = generator(seed)
    rows = torch.randint(height, (6, 1), generator=draw).view(-1).tolist()
    columns = torch.randint(width, (6, 1), generator=draw).view(-1).tolist()
    expected = inputs.clone()
    for sample in range(6):
        top, left = rows[sample] - size // 2, columns[sample] - size // 2
        bottom, right = top + size, left + size
        expected[sample, :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 0
    assert torch.equal(cutout(size)(inputs, generator(seed)), expected)


def test_cutout_of_16_removes_256_pixels_away_from_the_borders_and_64_in_a_corner() -> None:
    cut = (cutout(16)(torch.ones(4000, 1, 32, 32), generator()) == 0).flatten(1).sum(1)
    assert int(cut.max()) == 256
    assert int(cut.min()) == 64


def test_normalizer_subtracts_and_divides_each_channel() -> None:
    inputs = images(3, 2, 4, 4)
    normalized = normalizer([0.5, 0.25], [2.0, 4.0])(inputs)
    assert torch.equal(normalized[:, 0], (inputs[:, 0] - 0.5) / 2)
    assert torch.equal(normalized[:, 1], (inputs[:, 1] - 0.25) / 4)
    series = torch.rand(3, 2, 7, dtype=torch.float64)
    normalize = normalizer([0.5, 0.25], [2.0, 4.0])
    assert normalize(inputs).dtype == torch.float32
    assert torch.equal(normalize(series)[:, 1], (series[:, 1] - 0.25) / 4)


def test_uint8_becomes_zero_to_one_and_floats_stay() -> None:
    assert uint8_to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert uint8_to_float(torch.tensor([3.5], dtype=torch.float64)).dtype == torch.float32
    assert uint8_to_float(torch.tensor([3.5])).tolist() == [3.5]


@pytest.mark.parametrize(
    ("choice", "shape", "steps"),
    [
        ("auto", (3, 32, 32), 2),
        ("auto", (1, 28, 28), 1),
        ("auto", (4, 100), 0),
        ("crop+flip", (1, 28, 28), 2),
        ("crop", (3, 32, 32), 1),
        ("none", (3, 32, 32), 0),
        ("crop", (3, 7, 7), 0),  # a padding of 7 // 8 pixels is none
    ],
)
def test_standard_augmentation_steps(choice: str, shape: tuple[int, ...], steps: int) -> None:
    assert len(standard_augmentation(choice, shape)) == steps


def test_standard_augmentation_refuses_what_it_cannot_do() -> None:
    with pytest.raises(DataError, match=r"unknown augmentation 'rotate'; allowed: auto, crop"):
        standard_augmentation("rotate", (3, 8, 8))
    with pytest.raises(DataError, match="is for images"):
        standard_augmentation("crop", (4, 100))


def test_standard_crop_pads_by_an_eighth() -> None:
    (crop,) = standard_augmentation("crop", (1, 32, 32))
    inputs = images(9, 1, 32, 32)
    assert torch.equal(crop(inputs, generator(1)), random_crop(4)(inputs, generator(1)))
