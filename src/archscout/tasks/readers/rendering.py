"""What a person sees in an image file, whatever its mode and depth: upright, 8 bits, grey or red, green and blue.

One rule for a whole data set says which stored values are black and white; no image is stretched by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from pydantic import ConfigDict

from archscout.tasks.readers.image_formats import UnreadableError

__all__ = [
    "EXIF_ORIENTATION",
    "Range",
    "Rendering",
    "deep_kind",
    "deep_values",
    "flat",
    "is_grey",
    "is_inverted",
    "is_transparent",
    "orientation",
    "seen",
    "upright",
    "visible_grey",
]

Range = tuple[float, float]
"""Stored values of black and white."""
Values = np.ndarray[Any, np.dtype[np.float64]]

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
WHITE_16 = 65535.0
EXIF_ORIENTATION = 0x0112
TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
# The turn that shows an image upright, for each value of the EXIF tag.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Rendering:
    """Which stored values are black and white, and what is behind transparent pixels.

    Attributes:
        integers: of images of 16 or 32 bits a pixel; None: 0 to 65535.
        reals: of images of floating numbers; None: 0 to 1.
        bytes: of images of 8 bits a channel; None: 0 to 255.
        background: grey value behind transparent pixels, 0 to 255.
    """

    integers: Range | None = None
    reals: Range | None = None
    bytes: Range | None = None
    background: int = 255
    __pydantic_config__ = ConfigDict(extra="forbid")


def deep_kind(mode: str) -> str:
    """ "integers" or "reals" for modes of more than 8 bits a pixel and channel; "" for others."""
    return "integers" if mode.startswith("I") else "reals" if mode == "F" else ""


def is_inverted(image: Image.Image) -> bool:
    """Whether a deep image says that its lowest value is white; Pillow inverts only those of 8 bits by itself."""
    tags = getattr(image, "tag_v2", None)
    return bool(deep_kind(image.mode) and tags is not None and tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO)


def is_transparent(image: Image.Image) -> bool:
    """Whether pixels may be transparent."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def is_grey(image: Image.Image) -> bool:
    """Whether all its pixels must be grey, by its mode or its palette."""
    if image.mode in ("P", "PA"):
        palette = image.getpalette("RGB")
        colours = np.asarray(palette or [0, 0, 0], np.uint8).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in GREY_MODES


def deep_values(image: Image.Image) -> Values:
    """The stored values of a deep image, `(height, width)`."""
    return np.asarray(image).astype(np.float64)


def orientation(image: Image.Image) -> int:
    """The EXIF tag of a decoded image; 1, upright, where it has none or one that means nothing."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # EXIF data may be damaged in any way; the image is then shown as stored
        return 1
    return value if value in UPRIGHT else 1


def upright(image: Image.Image, tag: int) -> Image.Image:
    """An image turned as its EXIF tag says, 1 to 8."""
    return image.transpose(UPRIGHT[tag]) if tag in UPRIGHT else image


def visible_grey(image: Image.Image) -> float:
    """Mean grey value of an image that has transparent pixels, each counted by its opacity; 0 if nothing is seen."""
    both = np.asarray(_with_alpha(image).convert("LA"), np.float64)
    opacity = both[..., 1].sum()
    return float((both[..., 0] * both[..., 1]).sum() / opacity) if opacity else 0.0


def seen(image: Image.Image, rendering: Rendering, *, grey: bool) -> Image.Image:
    """The decoded image as a viewer shows it, mode L or RGB.

    Raises:
        UnreadableError: floating numbers of a range that is not known.
    """
    shown = _deep(image, rendering) if deep_kind(image.mode) else flat(image, rendering)
    return upright(shown, orientation(image)).convert("L" if grey else "RGB")


def _deep(image: Image.Image, rendering: Rendering) -> Image.Image:
    values = deep_values(image)
    low, high = _range(image.mode, values, rendering)
    scaled = np.nan_to_num((values - low) * (255 / (high - low)), nan=0.0, posinf=255.0, neginf=0.0)
    pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return Image.fromarray(255 - pixels if is_inverted(image) else pixels)


def _range(mode: str, values: Values, rendering: Rendering) -> Range:
    """Black and white of one deep image; those of formats where the data set has had no such image."""
    kind = deep_kind(mode)
    known = rendering.integers if kind == "integers" else rendering.reals
    if known is not None:
        return known
    white = WHITE_16 if kind == "integers" else 1.0
    finite = values[np.isfinite(values)]
    if len(finite) and (finite.min() < 0 or finite.max() > white):
        raise UnreadableError(
            f"its values are {finite.min():g} to {finite.max():g}, and nothing tells which of them are black and white"
        )
    return 0.0, white


def flat(image: Image.Image, rendering: Rendering) -> Image.Image:
    """An image of 8 bits a channel, over the background, mode L or RGB."""
    if image.mode == "LAB":
        image = ImageCms.applyTransform(image, _from_lab()) or image
    if is_transparent(image):
        both = _with_alpha(image)
        behind = Image.new("RGBA", both.size, (rendering.background,) * 3 + (255,))
        image = Image.alpha_composite(behind, both)
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if is_grey(image) else "RGB")
    if rendering.bytes is not None:
        low, high = rendering.bytes
        table = np.clip(np.rint((np.arange(256) - low) * (255 / (high - low))), 0, 255).astype(int).tolist()
        image = image.point(table * len(image.getbands()))
    return image


def _with_alpha(image: Image.Image) -> Image.Image:
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


@cache
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
