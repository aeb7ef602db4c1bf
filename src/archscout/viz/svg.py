"""The few bricks of our SVG: escaped text, numbers, elements, and a document with its style."""

from __future__ import annotations

import html
import re
import unicodedata

from archscout.viz.style import Theme, svg_style

__all__ = ["curve", "document", "element", "escape", "mono_width", "number", "text_width"]

# Characters that XML 1.0 forbids, and lone surrogates, which no file can hold as UTF-8.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def escape(text: object) -> str:
    """A foreign string as text or attribute value of XML and HTML; forbidden characters become U+FFFD."""
    return html.escape(_FORBIDDEN.sub("\ufffd", str(text)), quote=True)


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def element(tag: str, content: str = "", /, **attributes: object) -> str:
    """An element. Values are escaped, `content` is not; `class_` is `class`, other underscores are hyphens."""
    parts = [tag]
    for name, value in attributes.items():
        shown = number(value) if isinstance(value, float) else escape(value)
        parts.append(f'{name.rstrip("_").replace("_", "-")}="{shown}"')
    opening = " ".join(parts)
    return f"<{opening}>{content}</{tag}>" if content else f"<{opening}/>"


def curve(points: list[tuple[float, float]]) -> str:
    """Path data through waypoints from left to right, horizontal at each of them.

    Between two waypoints the curve stays inside the rectangle that they span.
    """
    (x, y), *rest = points
    parts = [f"M{number(x)} {number(y)}"]
    for next_x, next_y in rest:
        if abs(next_y - y) < 0.01:
            parts.append(f"H{number(next_x)}")
        else:
            middle = number((x + next_x) / 2)
            parts.append(f"C{middle} {number(y)} {middle} {number(next_y)} {number(next_x)} {number(next_y)}")
        x, y = next_x, next_y
    return "".join(parts)


def _advance(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in "iljtfr.,:;|!'()[]/ -":
        return 0.4
    if character in "mwMW@%+=<>":
        return 0.95
    return 0.75 if character.isupper() else 0.6


def text_width(text: str, size: float) -> float:
    """An upper estimate of a text's width in pixels, for the widest of the common sans-serif fonts."""
    return size * sum(_advance(character) for character in text)


def mono_width(text: str, size: float) -> float:
    """An upper estimate of a text's width in pixels in a monospaced font."""
    return 0.62 * size * sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def document(width: float, height: float, body: str, *, label: str, theme: Theme) -> str:
    """A whole SVG. With the theme `inherit` it has neither style nor background: the page has them."""
    style = svg_style(theme)
    background = "" if theme == "inherit" else element("rect", class_="as-background", width="100%", height="100%")
    return element(
        "svg",
        f"{style}{background}{body}",
        xmlns="http://www.w3.org/2000/svg",
        class_=f"as-drawing as-{theme}",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=float(width),
        height=float(height),
        role="img",
        aria_label=label,
    )
