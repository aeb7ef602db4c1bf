from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.errors import DataError
from archscout.tasks.readers.decoding import Decoding, _random_box, decode, open_image
from tests.tasks.images_on_disk import write_image


def test_a_image_of_the_right_size_is_unchanged(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", size=(12, 10))
    decoded = decode(path, Decoding(10, 12))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded.transpose(1, 2, 0), np.asarray(Image.open(path)))
    grey = write_image(tmp_path / "b.png", size=(12, 10), grey=True)
    assert np.array_equal(decode(grey, Decoding(10, 12, grey=True))[0], np.asarray(Image.open(grey)))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (100, 80), (1000, 20)])
def test_evaluation_resizes_the_shorter_side_to_256_and_crops_the_centre_to_224(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "a.png", size=size)
    short = min(size)
    resized = tuple(256 if side == short else 256 * side // short for side in size)
    image = Image.open(path).resize((resized[0], resized[1]), Image.Resampling.BILINEAR)
    left, top = round((resized[0] - 224) / 2), round((resized[1] - 224) / 2)
    expected = np.asarray(image.crop((left, top, left + 224, top + 224)))
    assert np.array_equal(decode(path, Decoding(224, 224)).transpose(1, 2, 0), expected)


def test_without_a_margin_the_whole_shorter_side_is_kept(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", size=(40, 20))
    expected = np.asarray(Image.open(path).resize((20, 10), Image.Resampling.BILINEAR).crop((5, 0, 15, 10)))
    assert np.array_equal(decode(path, Decoding(10, 10, margin=1.0)).transpose(1, 2, 0), expected)


@pytest.mark.parametrize("size", [(500, 375), (30, 40), (1, 1), (2000, 3), (3, 2000)])
def test_random_boxes_lie_inside_with_published_area_and_ratio(size: tuple[int, int]) -> None:
    width, height = size
    areas = []
    for seed in range(300):
        left, top, w, h = _random_box(width, height, random.Random(seed))
        assert 0 <= left <= left + w <= width
        assert 0 <= top <= top + h <= height
        assert w > 0
        assert h > 0
        if size == (500, 375):
            assert 0.74 < w / h < 1.35
        areas.append(w * h / (width * height))
    if size == (500, 375):
        assert 0.075 < min(areas) < 0.15
        assert 0.85 < max(areas) <= 1


def test_a_seed_crops_and_mirrors_the_same_way_each_time(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", size=(40, 30))
    decoding = Decoding(16, 16)
    assert np.array_equal(decode(path, decoding, 1), decode(path, decoding, 1))
    assert len({decode(path, decoding, seed).tobytes() for seed in range(20)}) == 20
    still = Decoding(16, 16, random_crop=False)
    assert np.array_equal(decode(path, still, 1), decode(path, still))


def test_mirroring_flips_half_of_the_same_crops(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", size=(40, 30))
    flipped = 0
    for seed in range(40):
        plain = decode(path, Decoding(16, 16, mirror=False), seed)
        mirrored = decode(path, Decoding(16, 16), seed)
        flipped += bool(np.array_equal(mirrored, plain[:, :, ::-1]))
        assert np.array_equal(mirrored, plain) or np.array_equal(mirrored, plain[:, :, ::-1])
    assert 10 < flipped < 30


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_grey_or_colour(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(np.array([[0, 65535], [32768, 256]], np.uint16)).save(path)
    else:
        Image.new("RGB", (2, 2), (255, 0, 0)).convert(mode).save(path)
    assert open_image(path, grey=True).mode == "L"
    assert open_image(path, grey=False).mode == "RGB"
    if mode == "I;16":
        assert np.asarray(open_image(path, grey=True)).tolist() == [[0, 255], [128, 1]]


def test_palette_with_transparency_gives_no_warning(tmp_path: Path) -> None:
    Image.new("P", (4, 4)).save(tmp_path / "a.png", transparency=b"\x00\x80")
    assert open_image(tmp_path / "a.png", grey=False).size == (4, 4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tif"])
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.9])
def test_truncated_images_are_named(tmp_path: Path, suffix: str, fraction: float) -> None:
    path = write_image(tmp_path / f"cat.{suffix}", size=(64, 64))
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(DataError, match=rf"cat\.{suffix}: unreadable image \(.*\)\. Repair or remove the file\.$"):
        open_image(path, grey=False)


def test_text_called_a_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"a\.jpg: unreadable image \(no image that can be read\)"):
        open_image(tmp_path / "a.jpg", grey=False)
    with pytest.raises(DataError, match=r"none\.jpg: unreadable image"):
        open_image(tmp_path / "none.jpg", grey=False)
