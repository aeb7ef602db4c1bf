"""Small images on disk for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def can_write(suffix: str) -> bool:
    """Whether this Pillow writes the format of a suffix; older ones lack some."""
    Image.init()
    return Image.EXTENSION.get(suffix) in Image.SAVE


def write_image(path: Path, *, size: tuple[int, int] = (12, 10), grey: bool = False, seed: int = 0) -> Path:
    """A random image of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if grey else (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_classes(
    root: Path, classes: tuple[str, ...], count: int, *, size: tuple[int, int] = (12, 10), grey: bool = False
) -> None:
    """`count` images of each class, all different."""
    for label, name in enumerate(classes):
        for number in range(count):
            write_image(
                root / name / f"{number:03d}.png",
                size=size,
                grey=grey,
                seed=len(root.name) * 10_000 + label * 1_000 + number,
            )
