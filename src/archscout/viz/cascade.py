"""Which style an element of our own drawings has: the rules of `archscout.viz.style`, matched as a browser does.

Only what these rules use is understood: selectors of a tag, a class, or one of them inside an element of a class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from archscout.errors import DrawingError
from archscout.viz.style import DARK, LIGHT, Theme, svg_rules

__all__ = ["ATTRIBUTES", "Element", "Style", "cascade", "rules_of"]

Style = Mapping[str, str]
"""CSS properties of an element."""

ATTRIBUTES = frozenset(("stroke-dasharray", "fill-opacity"))
"""Properties that drawings also write as attributes; any rule beats them."""

_PROPERTIES = ATTRIBUTES | {
    "fill",
    "stroke",
    "stroke-width",
    "stroke-linecap",
    "stroke-linejoin",
    "opacity",
    "paint-order",
    "font-family",
    "font-size",
    "font-weight",
    "text-decoration",
    "white-space",
}
_OWN = frozenset(("opacity", "text-decoration"))  # not handed down to children


class Element(NamedTuple):
    """What selectors look at."""

    tag: str
    classes: frozenset[str]


class Rule(NamedTuple):
    """A rule; `path` are the simple selectors from the outermost inwards."""

    path: tuple[str, ...]
    specificity: tuple[int, int]  # classes, tags
    properties: dict[str, str]

    def matches(self, ancestors: Sequence[Element], element: Element) -> bool:
        """Whether the rule holds for an element with these ancestors, outermost first."""
        *outer, last = self.path
        if not _fits(last, element):
            return False
        rest = iter(ancestors)
        return all(any(_fits(simple, ancestor) for ancestor in rest) for simple in outer)


def _fits(simple: str, element: Element) -> bool:
    return simple[1:] in element.classes if simple.startswith(".") else simple == element.tag


@lru_cache(maxsize=4)
def rules_of(theme: Theme) -> tuple[Rule, ...]:
    """The rules of a theme, weakest first. `auto` and `inherit` are light, as in print."""
    text = svg_rules(DARK if theme == "dark" else LIGHT, theme)
    rules = []
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
        path = tuple(selector.split())
        if not all(re.fullmatch(r"\.?[a-z][a-z0-9-]*", simple) for simple in path):
            raise DrawingError(f"the style rule '{selector}' is not understood; only tags, classes and nesting are.")
        classes = sum(simple.startswith(".") for simple in path)
        properties = dict(part.split(":", 1) for part in body.split(";") if part)
        rules.append(Rule(path, (classes, len(path) - classes), properties))
    return tuple(sorted(rules, key=lambda rule: rule.specificity))


def cascade(
    rules: Sequence[Rule], ancestors: Sequence[Element], element: Element, parent: Style, attributes: Style
) -> dict[str, str]:
    """The style of an element: what it inherits, its own attributes, then the rules from weak to strong.

    Raises:
        DrawingError: a property that pixels do not show yet.
    """
    style = {name: value for name, value in parent.items() if name not in _OWN} | dict(attributes)
    for rule in rules:
        if rule.matches(ancestors, element):
            style |= rule.properties
    unknown = sorted(style.keys() - _PROPERTIES)
    if unknown:
        raise DrawingError(f"the style of <{element.tag}> has {unknown[0]}, which a drawing in pixels cannot show.")
    return style
