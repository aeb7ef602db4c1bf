"""SVG as text: elements, whole documents, and their light and dark themes.

A drawing that stands alone carries its colours, which every SVG reader understands. A drawing inside a page takes them
from the page's CSS variables, so that the page decides between light and dark.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from importlib.resources import files
from typing import Literal, get_args

from archscout.errors import SettingsError

__all__ = [
    "FAMILIES",
    "SERIES",
    "Theme",
    "clean",
    "curve",
    "document",
    "element",
    "escape",
    "mono_width",
    "number",
    "page_style",
    "text",
    "text_width",
]

Theme = Literal["auto", "light", "dark", "inherit"]

# Operation families, in legend order, and how many colours charts have: both have rules in `drawing.css`.
FAMILIES = ("separable", "dilated", "pooling", "skip", "full", "bottleneck", "other", "none")
SERIES = 6

# Characters that XML 1.0 forbids, and lone surrogates, which no file can hold as UTF-8.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(foreign: str) -> str:
    """The string with U+FFFD for every character that XML or UTF-8 forbids."""
    return _FORBIDDEN.sub("\ufffd", foreign)


def escape(foreign: object) -> str:
    """A foreign string as text or attribute value of XML."""
    return html.escape(clean(str(foreign)), quote=True)


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown in ("-0", "") else shown


def element(tag: str, content: str = "", /, **attributes: object) -> str:
    """An element. Values are escaped, `content` is not; `class_` is `class`, other underscores are hyphens."""
    parts = [tag]
    for name, value in attributes.items():
        shown = number(value) if isinstance(value, float) else escape(value)
        parts.append(f'{name.rstrip("_").replace("_", "-")}="{shown}"')
    opening = " ".join(parts)
    return f"<{opening}>{content}</{tag}>" if content else f"<{opening}/>"


def text(content: object, x: float, y: float, class_: str = "as-small", anchor: str = "start") -> str:
    """A line of foreign text; `anchor` is the point of it that stands at `x`: `start`, `middle` or `end`."""
    side = {} if anchor == "start" else {"text_anchor": anchor}
    return element("text", escape(content), class_=class_, x=x, y=y, **side)


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


def text_width(line: str, size: float) -> float:
    """An upper estimate of a text's width in pixels, for the widest of the common sans-serif fonts."""
    return size * sum(_advance(character) for character in line)


def mono_width(line: str, size: float) -> float:
    """An upper estimate of a text's width in pixels in a monospaced font."""
    return 0.62 * size * sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def _sheet(name: str) -> str:
    """A style sheet of this package without its comments."""
    css = files("archscout.viz").joinpath(name).read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/\s*", "", css, flags=re.DOTALL)


def _rules(theme: Theme) -> str:
    """The rules for drawings of one theme, since a page may show drawings of several."""
    return re.sub(r"^(?=\S)", f".as-{theme} ", _sheet("drawing.css"), flags=re.MULTILINE)


@functools.cache
def _style(theme: Theme) -> str:
    """The style of a drawing that stands alone: the rules with colours in place of variables."""
    if theme not in get_args(Theme):
        raise SettingsError(f"unknown theme {theme!r}; allowed: {', '.join(get_args(Theme))}.")
    light, dark = (dict(re.findall(r"--([\w-]+): ([^;]+);", part)) for part in _sheet("theme.css").split("@media"))
    rules = _rules(theme)

    def colored(colors: dict[str, str]) -> str:
        return re.sub(r"var\(--([\w-]+)\)", lambda found: colors[found[1]], rules)

    if theme == "auto":
        return f"{colored(light)}@media screen and (prefers-color-scheme: dark){{{colored(light | dark)}}}"
    return colored(light | dark if theme == "dark" else light)


def page_style() -> str:
    """What a page with drawings of the theme `inherit` has in its style: the variables, and the rules that use them."""
    return _sheet("theme.css") + _rules("inherit")


def document(width: float, height: float, body: str, *, label: str, theme: Theme) -> str:
    """A whole SVG. With the theme `inherit` it has neither style nor background: the page has them."""
    shown = body
    if theme != "inherit":
        background = element("rect", class_="as-background", width="100%", height="100%")
        shown = element("style", _style(theme)) + background + body
    return element(
        "svg",
        shown,
        xmlns="http://www.w3.org/2000/svg",
        class_=f"as-drawing as-{theme}",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=float(width),
        height=float(height),
        role="img",
        aria_label=label,
    )
