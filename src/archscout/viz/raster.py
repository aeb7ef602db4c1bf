"""Our own drawings as pixels, for places that show no SVG.

This is no SVG reader: it knows what the drawings of `archscout.viz` are made of, and refuses anything else, so that a
new kind of element is noticed and not left out.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from archscout.errors import DrawingError
from archscout.viz import cascade as css
from archscout.viz import outlines as shapes
from archscout.viz.canvas import Anchor, Canvas, Font
from archscout.viz.style import DARK, LIGHT, Theme

__all__ = ["rasterise"]

_LARGEST = 64e6  # pixels: a sheet of twenty cells at double size has ten million
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_ANYWHERE = {"class", "role", "aria-label", *css.ATTRIBUTES}
_KNOWN = {
    "svg": {"viewBox", "width", "height"},
    "g": {"transform"},
    "rect": {"x", "y", "width", "height", "rx"},
    "circle": {"cx", "cy", "r"},
    "polygon": {"points"},
    "path": {"d"},
    "text": {"x", "y", "text-anchor"},
    "title": set[str](),
    "style": set[str](),
}


def rasterise(svg: str, scale: float = 1.0) -> npt.NDArray[np.uint8]:
    """A drawing of `archscout.viz` as pixels, `(H, W, 3)` of 8 bits.

    A dark drawing stays dark; all other themes are drawn light.

    Args:
        svg: as `archscout.viz.draw` and its neighbours return it.
        scale: pixels for each unit of the drawing.

    Raises:
        DrawingError: the text is none of our drawings, holds an element, attribute, path command or style that this
            function does not know, or has more than 64 million pixels.
    """
    root = _parse(svg)
    try:
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
    except (KeyError, ValueError):
        raise DrawingError("the drawing has no width and height in pixels; give one of archscout.viz.") from None
    if not (scale > 0 and 0 < width * height * scale * scale <= _LARGEST):
        raise DrawingError(
            f"a drawing of {width:g} x {height:g} at scale {scale:g} has no sensible size in pixels; choose a scale "
            f"above 0 with at most {_LARGEST / 1e6:.0f} million pixels."
        )
    theme = _theme(root)
    canvas = Canvas(width, height, scale, (DARK if theme == "dark" else LIGHT)["surface"])
    _Painter(canvas, theme, width, height).paint(root, _Place((), {}, 0.0, 0.0, 1.0))
    return canvas.pixels()


def _parse(svg: str) -> ET.Element:
    # A declaration could define entities that grow without bound; our drawings have none.
    if "<!" in svg:
        raise DrawingError("the drawing has a document type or a comment; give one of archscout.viz.")
    try:
        root = ET.fromstring(svg)  # noqa: S314 (nothing is expanded: see above)
    except ET.ParseError as error:
        raise DrawingError(f"the drawing is no XML ({error}); give one of archscout.viz.") from None
    if root.tag != f"{_NAMESPACE}svg":
        raise DrawingError(f"the drawing begins with <{root.tag}>, not with <svg>; give one of archscout.viz.")
    return root


def _theme(root: ET.Element) -> Theme:
    classes = root.get("class", "").split()
    found = [theme for theme in get_args(Theme) if f"as-{theme}" in classes]
    if not found:
        raise DrawingError("the drawing has no theme of archscout.viz; give one of its drawings.")
    return cast(Theme, found[0])


@dataclass(frozen=True)
class _Place:
    """What an element inherits: its ancestors, their style, shift and opacity."""

    ancestors: tuple[css.Element, ...]
    style: css.Style
    x: float
    y: float
    opacity: float


class _Painter:
    """Walks through a drawing and paints it."""

    def __init__(self, canvas: Canvas, theme: Theme, width: float, height: float) -> None:
        self._canvas, self._rules = canvas, css.rules_of(theme)
        self._extent = {"x": width, "y": height, "width": width, "height": height}

    def paint(self, node: ET.Element, place: _Place) -> None:
        """Paint an element and its children."""
        tag = node.tag.removeprefix(_NAMESPACE)
        if tag not in _KNOWN:
            raise DrawingError(f"<{tag}> cannot be drawn in pixels; known: {', '.join(_KNOWN)}.")
        if tag in ("title", "style"):
            return
        unknown = [name for name in node.attrib if name not in _KNOWN[tag] | _ANYWHERE and not name.startswith("data-")]
        if unknown:
            raise DrawingError(f"the attribute {unknown[0]} of <{tag}> cannot be drawn in pixels.")
        own = css.Element(tag, frozenset(node.get("class", "").split()))
        attributes = {name: node.attrib[name] for name in css.ATTRIBUTES if name in node.attrib}
        style = css.cascade(self._rules, place.ancestors, own, place.style, attributes)
        x, y = _translation(node.get("transform", ""))
        opacity = place.opacity * float(style.get("opacity", 1))
        here = _Place((*place.ancestors, own), style, place.x + x, place.y + y, opacity)
        if tag in self._shapes:
            self._shape([_moved(outline, here) for outline in self._shapes[tag](self, node)], here)
        elif tag == "text":
            self._text(node, here)
        for child in node:
            self.paint(child, here)

    def _length(self, node: ET.Element, name: str) -> float:
        """A coordinate in pixels; a percentage is of the whole drawing."""
        text = node.get(name, "0")
        try:
            return float(text[:-1]) / 100 * self._extent[name] if text.endswith("%") else float(text)
        except (ValueError, KeyError):
            raise DrawingError(f"{name} = '{text}' is no length in pixels.") from None

    def _rectangle(self, node: ET.Element) -> list[shapes.Outline]:
        x, y, width, height, radius = (self._length(node, name) for name in ("x", "y", "width", "height", "rx"))
        return [shapes.rectangle(x, y, width, height, radius)]

    def _circle(self, node: ET.Element) -> list[shapes.Outline]:
        return [shapes.circle(self._length(node, "cx"), self._length(node, "cy"), self._length(node, "r"))]

    def _polygon(self, node: ET.Element) -> list[shapes.Outline]:
        return [shapes.polygon(node.get("points", ""))]

    def _path(self, node: ET.Element) -> list[shapes.Outline]:
        return shapes.path(node.get("d", ""))

    _shapes: dict[str, Callable[[_Painter, ET.Element], list[shapes.Outline]]] = {  # noqa: RUF012 (never changed)
        "rect": _rectangle,
        "circle": _circle,
        "polygon": _polygon,
        "path": _path,
    }

    def _shape(self, outlines: list[shapes.Outline], place: _Place) -> None:
        style, opacity = place.style, place.opacity
        fill, stroke = style.get("fill", "#000000"), style.get("stroke", "none")
        if fill != "none":
            self._canvas.fill(outlines, fill, opacity * float(style.get("fill-opacity", 1)))
        if stroke != "none":
            pattern = style.get("stroke-dasharray", "none")
            if pattern != "none":
                lengths = [float(part) for part in re.split(r"[ ,]+", pattern)]
                outlines = [dash for outline in outlines for dash in shapes.dashes(outline, lengths)]
            round_caps = style.get("stroke-linecap") == "round"
            self._canvas.stroke(outlines, _pixels(style, "stroke-width", 1), stroke, opacity, round_caps=round_caps)

    def _text(self, node: ET.Element, place: _Place) -> None:
        style, anchor = place.style, node.get("text-anchor", "start")
        text, color, size = node.text or "", style.get("fill", "#000000"), _pixels(style, "font-size", 16)
        if anchor not in get_args(Anchor):
            raise DrawingError(f"text-anchor = '{anchor}' is not known; known: {', '.join(get_args(Anchor))}.")
        font = Font(size, float(style.get("font-weight", 400)) >= 600, "monospace" in style.get("font-family", ""))
        x, y = place.x + self._length(node, "x"), place.y + self._length(node, "y")
        halo = None
        if style.get("stroke", "none") != "none":
            halo = (style["stroke"], _pixels(style, "stroke-width", 1))
        start, end = self._canvas.text(text, (x, y), font, cast(Anchor, anchor), color, place.opacity, halo=halo)
        if style.get("text-decoration") == "line-through":
            line = shapes.Outline(((start, y - 0.3 * size), (end, y - 0.3 * size)), False)
            self._canvas.stroke([line], size / 14, color, place.opacity)


def _pixels(style: css.Style, name: str, default: float) -> float:
    return float(style[name].removesuffix("px")) if name in style else default


def _translation(transform: str) -> tuple[float, float]:
    if not transform:
        return 0.0, 0.0
    found = re.fullmatch(r"translate\(\s*([-\d.e]+)[ ,]+([-\d.e]+)\s*\)", transform)
    if found is None:
        raise DrawingError(f"transform = '{transform}' cannot be drawn in pixels; only translate(x y) can.")
    return float(found[1]), float(found[2])


def _moved(outline: shapes.Outline, place: _Place) -> shapes.Outline:
    return shapes.Outline(tuple((x + place.x, y + place.y) for x, y in outline.points), outline.closed)
