"""Image files to arrays, with Pillow: opened, seen as a person sees them, and brought to the size of the network."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError

from archscout.errors import DataError
from archscout.seeds import derive_seed
from archscout.tasks.options import Fit
from archscout.tasks.readers.image_formats import check_regular, load, open_checked, open_file, patient, unreadable
from archscout.tasks.readers.rendering import Rendering, seen

__all__ = ["Decoding", "decode", "decode_image", "open_image", "placed", "sample_seed"]

Array = np.ndarray[Any, np.dtype[np.uint8]]

# Published for ImageNet: area and aspect ratio of the crop, 256 : 224 in evaluation; docs/methods/darts.md#images
CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
EVALUATION_MARGIN = 256 / 224
ATTEMPTS = 10


@dataclass(frozen=True)
class Decoding:
    """How an image becomes an array `(C, height, width)`, uint8: one rule for all images of a data set, and new ones.

    Attributes:
        height, width: of the result, in pixels.
        grey: one channel instead of three.
        random_crop: in training, a random resized crop; else training decodes as evaluation does.
        mirror: in training with random crops, also mirror half of the images left to right.
        margin: with `fit="crop"`, evaluation resizes until the image covers the result times this, then crops its
            centre.
        fit: how an image of another size gets the size of the result. "crop": resized until it covers the result, and
            cropped. "pad": reduced until it lies within the result, and set in its middle; the rest has the mean
            colour of the image's border. "squeeze": height and width are resized each by itself.
        enlarge: with `fit="pad"`, smaller images are enlarged until they touch two sides; else they keep their pixels.
        rendering: which stored values are black and white; images are turned upright. None: as version 0.1 did for
            registered tasks and its runs, which turned no image and took the upper 8 of 16 bits.
    """

    height: int
    width: int
    grey: bool = False
    random_crop: bool = True
    mirror: bool = True
    margin: float = EVALUATION_MARGIN
    fit: Fit = "crop"
    enlarge: bool = False
    rendering: Rendering | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the result."""
        return (1 if self.grey else 3, self.height, self.width)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON files, which `from_json` reads."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Decoding:
        """The decoding of `to_json`. Raises DataError for anything else."""
        try:
            made = TypeAdapter(Decoding).validate_python(values)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise DataError(
                f"{values!r} does not say how images are decoded: {where or 'it'}: {fault['msg'].lower()}."
            ) from None
        if min(made.height, made.width) < 1 or made.margin <= 0:
            raise DataError(f"{values!r} does not say how images are decoded: sizes must be above 0.")
        return made


def open_image(path: Path, *, grey: bool, rendering: Rendering | None = None) -> Image.Image:
    """The decoded image, mode L or RGB. Raises DataError that names the file where it cannot be read."""
    try:
        size = check_regular(path).st_size
        with open_file(path, size) as file, open_checked(file, path.suffix) as image:
            return _shown(image, grey, rendering)
    except Exception as error:
        reason = unreadable(error)
    raise DataError(f"{path}: unreadable image ({reason}). Repair or remove the file.")


def decode(path: Path, decoding: Decoding, seed: int | None = None) -> Array:
    """The image file as `(C, height, width)` uint8; with a seed, randomly cropped and mirrored if the decoding says so.

    Pillow may warn of odd files; `image_formats.patient` silences it.

    Raises:
        DataError: the file cannot be read; the message names it.
    """
    return _fitted(open_image(path, grey=decoding.grey, rendering=decoding.rendering), decoding, seed)


def decode_image(image: Image.Image, decoding: Decoding, seed: int | None = None) -> Array:
    """A Pillow image of any size and mode, decoded or just opened, as `decode` reads it from its file.

    Raises:
        DataError: it cannot be decoded, or nothing tells which of its values are black and white.
    """
    try:
        with patient():
            shown = _shown(image, decoding.grey, decoding.rendering)
    except Exception as error:
        raise DataError(f"the image cannot be read: {unreadable(error)}.") from None
    return _fitted(shown, decoding, seed)


def sample_seed(seed: int | None, index: int) -> int | None:
    """The seed of one sample's decoding: of the pass's seed and its index, nothing else."""
    return None if seed is None else derive_seed(seed, index)


def _shown(image: Image.Image, grey: bool, rendering: Rendering | None) -> Image.Image:
    load(image)
    return seen(image, rendering, grey=grey) if rendering is not None else _as_in_version_0_1(image, grey)


def _as_in_version_0_1(image: Image.Image, grey: bool) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip to 255
        image = Image.fromarray((np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # a palette may hold transparency
    return image.convert("L" if grey else "RGB")


def _fitted(image: Image.Image, decoding: Decoding, seed: int | None) -> Array:
    """An image of mode L or RGB at the size of the result."""
    size = (decoding.width, decoding.height)
    if seed is not None and decoding.random_crop:
        draw = random.Random(seed)
        left, top, width, height = _random_box(image.width, image.height, draw)
        image = image.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BILINEAR)
        if decoding.mirror and draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    else:
        image = placed(image, decoding)
    pixels: Array = np.asarray(image)
    return pixels[np.newaxis] if decoding.grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def placed(image: Image.Image, decoding: Decoding) -> Image.Image:
    """An image of mode L or RGB at the size of the result, as for evaluation."""
    if image.size == (decoding.width, decoding.height):
        return image
    fit = {"crop": _centre, "pad": _padded, "squeeze": _squeezed}[decoding.fit]
    return fit(image, decoding)


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


def _padded(image: Image.Image, decoding: Decoding) -> Image.Image:
    """Within the result, in its middle."""
    scale = min(decoding.width / image.width, decoding.height / image.height)
    if scale < 1 or decoding.enlarge:
        width = min(decoding.width, max(1, round(image.width * scale)))
        height = min(decoding.height, max(1, round(image.height * scale)))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    frame = Image.new(image.mode, (decoding.width, decoding.height), _border(image))
    frame.paste(image, ((decoding.width - image.width) // 2, (decoding.height - image.height) // 2))
    return frame


def _border(image: Image.Image) -> tuple[int, ...]:
    """The mean colour of an image's outermost pixels."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1).astype(np.int64)
    sides = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(((2 * sides.sum(0) + len(sides)) // (2 * len(sides))).tolist())


def _squeezed(image: Image.Image, decoding: Decoding) -> Image.Image:
    return image.resize((decoding.width, decoding.height), Image.Resampling.BILINEAR)
