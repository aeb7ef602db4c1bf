"""Image files to arrays, with Pillow: decode, random resized crop for training, resize and centre crop else."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from archscout.errors import DataError
from archscout.seeds import derive_seed

__all__ = ["GREY_MODES", "Decoding", "decode", "open_image"]

Array = np.ndarray[Any, np.dtype[np.uint8]]

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
# Published for ImageNet: area and aspect ratio of the crop, 256 : 224 in evaluation; docs/methods/darts.md#images
CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
EVALUATION_MARGIN = 256 / 224
ATTEMPTS = 10
# What Pillow's decoders raise on damaged files.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError, MemoryError)


@dataclass(frozen=True)
class Decoding:
    """How an image file becomes an array `(C, height, width)`, uint8.

    Attributes:
        height, width: of the result, in pixels.
        grey: one channel instead of three.
        random_crop: in training, a random resized crop; else training decodes as evaluation does.
        mirror: in training with random crops, also mirror half of the images left to right.
        margin: evaluation resizes until the image covers the result times this, then crops its centre.
    """

    height: int
    width: int
    grey: bool = False
    random_crop: bool = True
    mirror: bool = True
    margin: float = EVALUATION_MARGIN

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the result."""
        return (1 if self.grey else 3, self.height, self.width)


def open_image(path: Path, *, grey: bool) -> Image.Image:
    """The decoded image, mode L or RGB. Raises DataError that names the file where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
            return _convert(image, grey=grey)
    except DECODE_ERRORS as error:
        # Pillow says "cannot identify image file" with the path in it, which would be told twice.
        detail = "no image that can be read" if "cannot identify" in str(error) else " ".join(str(error).split())
        raise DataError(f"{path}: unreadable image ({detail}). Repair or remove the file.") from None


def _convert(image: Image.Image, *, grey: bool) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip to 255
        image = Image.fromarray((np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # a palette may hold transparency
    return image.convert("L" if grey else "RGB")


def decode(path: Path, decoding: Decoding, seed: int | None = None) -> Array:
    """The image as `(C, height, width)` uint8; with a seed, randomly cropped and mirrored if the decoding says so.

    Raises:
        DataError: the file cannot be read; the message names it.
    """
    image = open_image(path, grey=decoding.grey)
    size = (decoding.width, decoding.height)
    if seed is not None and decoding.random_crop:
        draw = random.Random(seed)
        left, top, width, height = _random_box(image.width, image.height, draw)
        image = image.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BILINEAR)
        if decoding.mirror and draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif image.size != size:
        image = _centre(image, decoding)
    pixels: Array = np.asarray(image)
    return pixels[np.newaxis] if decoding.grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _random_box(width: int, height: int, draw: random.Random) -> tuple[int, int, int, int]:
    """Left, top, width, height of a random crop: its area and aspect ratio drawn from the published ranges."""
    for _ in range(ATTEMPTS):
        area = width * height * draw.uniform(*CROP_AREA)
        ratio = math.exp(draw.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return draw.randint(0, width - w), draw.randint(0, height - h), w, h
    # A very long image: its centre, at the nearest allowed ratio.
    w = min(width, max(1, round(height * CROP_RATIO[1])))
    h = min(height, max(1, round(width / CROP_RATIO[0])))
    return (width - w) // 2, (height - h) // 2, w, h


def _centre(image: Image.Image, decoding: Decoding) -> Image.Image:
    """Resized so that it covers the result with its margin, then cropped at the centre."""
    target_w, target_h = round(decoding.width * decoding.margin), round(decoding.height * decoding.margin)
    if target_w * image.height >= target_h * image.width:  # the width is the tight side
        resized = (target_w, max(target_h, int(target_w * image.height / image.width)))
    else:
        resized = (max(target_w, int(target_h * image.width / image.height)), target_h)
    image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = round((resized[0] - decoding.width) / 2), round((resized[1] - decoding.height) / 2)
    return image.crop((left, top, left + decoding.width, top + decoding.height))


def sample_seed(seed: int | None, index: int) -> int | None:
    """The seed of one sample's decoding: of the pass's seed and its index, nothing else."""
    return None if seed is None else derive_seed(seed, index)
