"""An image to draw on: smooth fills, strokes of any width, text in the font that Pillow brings along."""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from archscout.viz.outlines import Outline, Point

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

__all__ = ["Anchor", "Canvas", "Font"]

Anchor = Literal["start", "middle", "end"]
Pixels = npt.NDArray[np.uint8]

SUPER = 4  # fills and text are drawn so many times larger, and scaled down
MONO_ADVANCE = 0.6  # of the size: how wide a character of the usual monospaced fonts is
# Characters that Pillow's font lacks and drawings use.
_INSTEAD = {"\u00d7": "x", "\u2212": "-", "\u2013": "-", "\u00a0": " "}


class Font(NamedTuple):
    """How text looks. The built-in font has one weight and no fixed pitch: both are imitated."""

    size: float
    bold: bool = False
    mono: bool = False


class Canvas:
    """An image of one colour to begin with. All coordinates are of the drawing, y downwards.

    Args:
        width, height: of the drawing.
        scale: pixels for each unit of the drawing.
        color: `#rrggbb`, as everywhere here.
    """

    def __init__(self, width: float, height: float, scale: float, color: str) -> None:
        from PIL import Image

        size = max(1, math.ceil(width * scale - 1e-6)), max(1, math.ceil(height * scale - 1e-6))
        self._image = Image.new("RGB", size, color)
        self._scale = scale

    def pixels(self) -> Pixels:
        """`(H, W, 3)`."""
        return np.array(self._image)

    def fill(self, outlines: Sequence[Outline], color: str, opacity: float = 1.0) -> None:
        """Fill closed or open outlines."""
        from PIL import Image, ImageDraw

        for outline in outlines:
            points = self._scaled(outline.points)
            left, top, right, bottom = self._region([points], 1.0)
            if right <= left or bottom <= top or len(points) < 3:
                continue
            mask = Image.new("L", ((right - left) * SUPER, (bottom - top) * SUPER))
            # Pillow counts pixels by their centres.
            corners = [(round((x - left) * SUPER - 0.5), round((y - top) * SUPER - 0.5)) for x, y in points]
            ImageDraw.Draw(mask).polygon(corners, fill=255)
            self._blend(mask.reduce(SUPER), (left, top), color, opacity)

    def stroke(
        self, outlines: Sequence[Outline], width: float, color: str, opacity: float = 1.0, *, round_caps: bool = False
    ) -> None:
        """Draw along outlines, with round joins. The outlines of one call are one shape: crossings are not darker."""
        from PIL import Image

        half = width * self._scale / 2
        lines = []
        for outline in outlines:
            points = self._scaled(outline.ring())
            # A round cap beyond this point has the area of what it replaces.
            lines.append(points if outline.closed or round_caps else _shortened(points, half * math.pi / 4))
        left, top, right, bottom = self._region(lines, half + 1.0)
        if right <= left or bottom <= top:
            return
        coverage = np.zeros((bottom - top, right - left), np.float32)
        for line in lines:
            for (x0, y0), (x1, y1) in pairwise(line):
                _cover(coverage, (x0 - left, y0 - top), (x1 - left, y1 - top), half)
        # A line thinner than a pixel is paler, not wider.
        np.minimum(coverage, min(1.0, 2 * half), out=coverage)
        mask = Image.fromarray(np.rint(coverage * 255).astype(np.uint8))
        self._blend(mask, (left, top), color, opacity)

    def text(
        self,
        text: str,
        place: Point,
        font: Font,
        anchor: Anchor,
        color: str,
        opacity: float = 1.0,
        *,
        halo: tuple[str, float] | None = None,
    ) -> tuple[float, float]:
        """A line of text on a baseline, in front of a halo (colour, width of its stroke). Returns where it begins
        and ends."""
        shown, size = _drawable(text), font.size * self._scale
        face = _face(round(size * SUPER))
        width = len(shown) * MONO_ADVANCE * size if font.mono else face.getlength(shown) / SUPER
        x, y = place[0] * self._scale, place[1] * self._scale
        x -= {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        # Pillow can only thicken: by this much on every side, regular looks like the weight 600.
        weight = max(1, round(0.02 * size * SUPER)) if font.bold else 0
        glyphs = [(shown, 0.0)]
        if font.mono:
            free = [(MONO_ADVANCE * size - face.getlength(letter) / SUPER) / 2 for letter in shown]
            glyphs = [(letter, number * MONO_ADVANCE * size + free[number]) for number, letter in enumerate(shown)]
        if halo is not None:
            self._write(glyphs, (x, y), face, width, halo[0], opacity, round(halo[1] / 2 * self._scale * SUPER))
        self._write(glyphs, (x, y), face, width, color, opacity, weight)
        return x / self._scale, (x + width) / self._scale

    def _write(
        self,
        glyphs: Sequence[tuple[str, float]],
        place: Point,
        face: FreeTypeFont,
        width: float,
        color: str,
        opacity: float,
        weight: int,
    ) -> None:
        from PIL import Image, ImageDraw

        (x, y), size, pad = place, face.size / SUPER, 2.0 + weight / SUPER
        box = [(x, y - size), (x + width, y + 0.4 * size)]
        left, top, right, bottom = self._region([box], pad)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", ((right - left) * SUPER, (bottom - top) * SUPER))
        draw = ImageDraw.Draw(mask)
        for letters, offset in glyphs:
            corner = (x + offset - left) * SUPER, (y - top) * SUPER
            draw.text(corner, letters, fill=255, font=face, anchor="ls", stroke_width=weight)
        self._blend(mask.reduce(SUPER), (left, top), color, opacity)

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def _region(self, lines: Sequence[Sequence[Point]], pad: float) -> tuple[int, int, int, int]:
        """The part of the image that holds all points: left, top, right, bottom. Empty where nothing is inside."""
        xs = [x for line in lines for x, _ in line] or [0.0]
        ys = [y for line in lines for _, y in line] or [0.0]
        width, height = self._image.size
        return (
            max(0, math.floor(min(xs) - pad)),
            max(0, math.floor(min(ys) - pad)),
            min(width, math.ceil(max(xs) + pad)),
            min(height, math.ceil(max(ys) + pad)),
        )

    def _blend(self, mask: Image, corner: tuple[int, int], color: str, opacity: float) -> None:
        if opacity < 1:
            mask = mask.point([round(value * opacity) for value in range(256)])
        self._image.paste(color, (*corner, corner[0] + mask.width, corner[1] + mask.height), mask)


def _shortened(points: list[Point], length: float) -> list[Point]:
    """A line with both ends drawn in, so that with the round caps of `_cover` it ends where it should."""
    for end, inner in ((0, 1), (-1, -2)):
        (x, y), (towards_x, towards_y) = points[end], points[inner]
        distance = math.hypot(towards_x - x, towards_y - y)
        share = min(length / distance, 0.5) if distance else 0.0
        points[end] = (x + share * (towards_x - x), y + share * (towards_y - y))
    return points


def _cover(coverage: npt.NDArray[np.float32], start: Point, end: Point, half: float) -> None:
    """Raise the coverage of the pixels near a segment, by the distance of their centres; it may exceed 1."""
    (x0, y0), (x1, y1) = start, end
    height, width = coverage.shape
    pad = half + 1.0
    left, right = max(0, math.floor(min(x0, x1) - pad)), min(width, math.ceil(max(x0, x1) + pad))
    top, bottom = max(0, math.floor(min(y0, y1) - pad)), min(height, math.ceil(max(y0, y1) + pad))
    if right <= left or bottom <= top:
        return
    dx, dy = x1 - x0, y1 - y0
    square = max(dx * dx + dy * dy, 1e-12)
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x0)
    y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - y0))[:, None]
    along = x * np.float32(dx / square) + y * np.float32(dy / square)
    np.maximum(along, 0.0, out=along)
    np.minimum(along, 1.0, out=along)
    distance = np.hypot(x - along * np.float32(dx), y - along * np.float32(dy))
    window = coverage[top:bottom, left:right]
    np.maximum(window, np.float32(half + 0.5) - distance, out=window)


@lru_cache(maxsize=32)
def _face(size: int) -> FreeTypeFont:
    """Pillow's built-in font. Raises ImportError where Pillow was built without FreeType."""
    from PIL import ImageFont

    face = ImageFont.load_default(max(1, size))
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise ImportError("Pillow was built without FreeType, which drawings in pixels need.")
    return face


@lru_cache(maxsize=4096)
def _known(letter: str) -> bool:
    """Whether the built-in font has a glyph for it."""
    face = _face(32)
    return letter == " " or _glyph(face, letter) != _glyph(face, "\uffff")


def _glyph(face: FreeTypeFont, letter: str) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).text((8, 48), letter, fill=255, font=face, anchor="ls")
    buffer = io.BytesIO()
    image.save(buffer, "bmp")
    return buffer.getvalue()


def _drawable(text: str) -> str:
    """The text in characters that the font has: without accents, with a question mark for what is left."""
    shown = []
    for letter in text:
        letters = _INSTEAD.get(letter, letter)
        if not all(map(_known, letters)):
            letters = "".join(part for part in unicodedata.normalize("NFKD", letter) if _known(part)) or "?"
        shown.append(letters)
    return "".join(shown)
