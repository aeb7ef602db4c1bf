"""Pillow images in memory as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from archscout.tasks.containers import Array
from archscout.tasks.readers.rendering import Rendering, deep_kind, is_grey, is_inverted, orientation, seen, upright

__all__ = ["as_pixels", "of_images"]

RENDERING = Rendering()


def as_pixels(image: Image.Image, *, grey: bool) -> Array:
    """The pixels of an image as a viewer shows it, `(H, W)` or `(H, W, 3)` uint8; of deeper images the stored values.

    Deeper ones, of 16 or 32 bits a pixel, are `(H, W)`: which of their values are black and white is for the whole
    array to tell.
    """
    if not deep_kind(image.mode):
        return np.asarray(seen(image, RENDERING, grey=grey))
    values = np.asarray(upright(image, orientation(image)))
    return np.iinfo(np.uint16).max - values if is_inverted(image) and values.dtype == np.uint16 else values


def of_images(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts, with lists of Pillow images as lists of arrays: grey where all images of all parts are."""
    found = {where: values for where, values in parts.items() if _is_list_of_images(values)}
    grey = all(is_grey(image) for images in found.values() for image in images)
    pixels = {where: [as_pixels(image, grey=grey) for image in images] for where, images in found.items()}
    return parts | pixels


def _is_list_of_images(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) > 0 and all(isinstance(one, Image.Image) for one in values)
