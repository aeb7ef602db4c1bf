"""Sizes and fits: nothing is enlarged or cropped away unless the user says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archscout.errors import DataError
from archscout.tasks.options import options_with
from archscout.tasks.readers.decoding import EVALUATION_MARGIN, Decoding, decode, decode_image
from archscout.tasks.readers.image_choice import choose_size
from archscout.tasks.readers.image_index import FACTS, ImageIndex, index_images
from archscout.tasks.readers.rendering import Rendering


def of_sizes(sizes: Sequence[tuple[int, int]]) -> ImageIndex:
    """Of images `(height, width)` in colour."""
    facts = np.zeros(len(sizes), FACTS)
    facts["height"], facts["width"] = np.array(sizes).T
    return ImageIndex(Path(), tuple(map(str, range(len(sizes)))), facts, ("",) * len(sizes))


def chosen(sizes: Sequence[tuple[int, int]], **options: Any) -> tuple[int, int, str]:
    decoding, _ = choose_size(of_sizes(sizes), options_with(None, options))
    return decoding.height, decoding.width, decoding.fit


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(32, 32)], (32, 32, "squeeze")),
        ([(96, 96)], (96, 96, "squeeze")),
        ([(120, 160)], (120, 160, "squeeze")),
        ([(256, 256)], (256, 256, "squeeze")),
        ([(480, 640)], (192, 256, "squeeze")),  # reduced
        ([(16, 56), (16, 57), (16, 58)], (16, 58, "pad")),  # differ little: as large as the largest
        ([(20, 20), (30, 40), (25, 100)], (25, 40, "pad")),  # differ much: the median
        ([(375, 500), (500, 375), (333, 500)], (192, 256, "pad")),
        ([(50, 50), (100, 100), (200, 200)], (100, 100, "squeeze")),  # the same, more or less finely scanned
        ([(375, 500), (750, 1000), (1501, 2000)], (192, 256, "squeeze")),
        ([(10, 12), (10, 13)], (10, 13, "pad")),
        ([(3, 5)], (4, 5, "pad")),  # what networks need
        ([(1, 1)], (4, 4, "pad")),
        ([(16, 2000)], (16, 2000, "squeeze")),  # a long strip keeps what is on it
        ([(40, 5000)], (23, 2862, "squeeze")),  # as much as a square of 256 pixels a side
    ],
)
def test_size_and_fit_follow_from_the_images(sizes: list[tuple[int, int]], expected: tuple[int, int, str]) -> None:
    assert chosen(sizes) == expected


@pytest.mark.parametrize(
    ("sizes", "options", "expected"),
    [
        ([(120, 160)], {"image_size": 64}, (64, 64, "pad")),
        ([(120, 160)], {"image_size": (60, 80)}, (60, 80, "squeeze")),
        ([(120, 160)], {"image_size": 64, "fit": "squeeze"}, (64, 64, "squeeze")),
        ([(300, 400), (400, 300)], {"fit": "crop"}, (224, 224, "crop")),
        ([(480, 640)], {"fit": "crop"}, (224, 224, "crop")),
        ([(96, 96)], {"fit": "crop"}, (96, 96, "crop")),
        ([(90, 70), (70, 90)], {"fit": "crop"}, (70, 70, "crop")),  # not enlarged
        ([(16, 56), (16, 58)], {"fit": "squeeze"}, (16, 57, "squeeze")),
        ([(3, 5)], {"image_size": 3}, (3, 3, "pad")),
    ],
)
def test_size_and_fit_may_be_named(
    sizes: list[tuple[int, int]], options: dict[str, Any], expected: tuple[int, int, str]
) -> None:
    assert chosen(sizes, **options) == expected


def test_only_large_crops_are_random_parts_of_the_image() -> None:
    def random_crop(sizes: list[tuple[int, int]], **options: Any) -> tuple[bool, float]:
        decoding, _ = choose_size(of_sizes(sizes), options_with(None, options))
        return decoding.random_crop, decoding.margin

    assert random_crop([(300, 400), (400, 300)], fit="crop") == (True, EVALUATION_MARGIN)
    assert random_crop([(300, 400), (400, 300)], fit="crop", augment="none") == (False, EVALUATION_MARGIN)
    assert random_crop([(30, 40), (40, 30)], fit="crop") == (False, 1.0)
    assert random_crop([(300, 400), (400, 300)]) == (False, 1.0)
    assert random_crop([(300, 400), (400, 300)], fit="squeeze") == (False, 1.0)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=8))
def test_any_sizes_give_one_that_networks_take_and_that_is_not_larger_than_all(
    sizes: list[tuple[int, int]],
) -> None:
    height, width, fit = chosen(sizes)
    assert min(height, width) >= 4
    assert height * width <= 256**2 * 1.1
    assert fit in ("pad", "squeeze")
    assert height <= max(4, *(each[0] for each in sizes))
    assert width <= max(4, *(each[1] for each in sizes))


def write(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_padding_keeps_the_pixels_of_small_images_and_takes_the_colour_of_their_border(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    padded = decode(write(tmp_path / "a.png", pixels), Decoding(8, 11, random_crop=False, fit="pad")).transpose(1, 2, 0)
    assert np.array_equal(padded[2:6, 2:8], pixels)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean(0)
    assert np.abs(padded[0, 0] - border).max() <= 0.5
    assert (padded[[0, 7]] == padded[0, 0]).all()
    assert (padded[:, [0, 1, 8, 10]] == padded[0, 0]).all()


def test_padding_reduces_large_images_as_a_whole(tmp_path: Path) -> None:
    pixels = np.zeros((40, 200), np.uint8)
    pixels[:, :10] = pixels[:, -10:] = 255  # at both ends
    path = write(tmp_path / "a.png", pixels)
    padded = decode(path, Decoding(30, 50, grey=True, random_crop=False, fit="pad"))[0]
    resized = Image.fromarray(pixels).resize((50, 10), Image.Resampling.BILINEAR)
    assert np.array_equal(padded[10:20], np.asarray(resized))
    enlarged = decode(path, Decoding(80, 400, grey=True, random_crop=False, fit="pad", enlarge=True))[0]
    assert np.array_equal(enlarged, np.asarray(Image.fromarray(pixels).resize((400, 80), Image.Resampling.BILINEAR)))


def test_squeezing_resizes_each_side_by_itself(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 20)).astype(np.uint8)
    squeezed = decode(write(tmp_path / "a.png", pixels), Decoding(8, 11, grey=True, random_crop=False, fit="squeeze"))
    assert np.array_equal(squeezed[0], np.asarray(Image.fromarray(pixels).resize((11, 8), Image.Resampling.BILINEAR)))


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["crop", "pad", "squeeze"]),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 9),
)
def test_every_image_gets_the_size_of_the_result(
    height: int, width: int, fit: Any, enlarge: bool, grey: bool, seed: int | None
) -> None:
    decoding = Decoding(9, 14, grey=grey, fit=fit, enlarge=enlarge, random_crop=fit == "crop", rendering=Rendering())
    assert decode_image(Image.new("RGB", (width, height)), decoding, seed).shape == decoding.shape


def test_an_object_at_the_ends_of_wide_images_is_seen(tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.full((16, 56 + number), 30, np.uint8)
        pixels[4:12, 2:10] = 255
        write(tmp_path / f"{number}.png", pixels)
    index = index_images(tmp_path, [f"{number}.png" for number in range(3)])
    decoding, findings = choose_size(index, options_with(None, {}))
    assert [int((decode(tmp_path / name, decoding) == 255).sum()) for name in index.names] == [64] * 3
    assert [str(finding) for finding in findings] == [
        "note: images of 3 sizes, 16 x 56 to 16 x 58 (height x width) are padded with the colour of their border to "
        "16 x 58; --image-size and --fit change that."
    ]


def test_decodings_are_kept_as_json() -> None:
    for decoding in (
        Decoding(3, 4),
        Decoding(5, 6, grey=True, fit="pad", rendering=Rendering(integers=(0.0, 4095.0), background=0)),
    ):
        assert Decoding.from_json(json.loads(json.dumps(decoding.to_json()))) == decoding


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "height: field required"),
        ({"height": 3, "width": "wide"}, "width: "),
        ({"height": 3, "width": 3, "fit": "stretch"}, "fit: "),
        ({"height": 3, "width": 3, "colour": 1}, "colour: "),
        ({"height": 0, "width": 3}, "sizes must be above 0"),
        ({"height": 3, "width": 3, "rendering": {"integers": [1]}}, "rendering.integers"),
        ([], "it: "),
    ],
)
def test_what_is_no_decoding_is_refused(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Decoding.from_json(values)
