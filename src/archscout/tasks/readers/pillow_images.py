"""Pillow images in memory as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from archscout.tasks.containers import Array
from archscout.tasks.readers.decoding import GREY_MODES, _convert

__all__ = ["are_grey", "as_pixels", "of_images"]


def as_pixels(image: Image.Image, *, grey: bool) -> Array:
    """The pixels of an image as a viewer shows it, `(H, W)` or `(H, W, 3)` uint8."""
    return np.asarray(_convert(ImageOps.exif_transpose(image), grey=grey))


def are_grey(images: Sequence[Image.Image]) -> bool:
    """Whether no image has colours."""
    return all(image.mode in GREY_MODES for image in images)


def of_images(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts, with lists of Pillow images as lists of arrays: grey where all images of all parts are."""
    found = {where: values for where, values in parts.items() if _is_list_of_images(values)}
    grey = all(are_grey(images) for images in found.values())
    pixels = {where: [as_pixels(image, grey=grey) for image in images] for where, images in found.items()}
    return parts | pixels


def _is_list_of_images(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) > 0 and all(isinstance(one, Image.Image) for one in values)
