"""Draws an architecture of any space.

A space registers the function that draws its architectures under the name of their format; architectures without one
are shown as their description.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from archscout.registry import Registry
from archscout.viz.svg import Theme, document, mono_width, text

if TYPE_CHECKING:
    from archscout.spaces.architecture import Architecture
    from archscout.tasks.spec import TaskSpec

__all__ = ["DRAWINGS", "SIZED_DRAWINGS", "Drawing", "draw"]

DRAWINGS: Registry[Callable[[Any, Theme], str]] = Registry("drawing", "archscout.viz")
SIZED_DRAWINGS: Registry[Callable[[Any, Theme, Any, Any], str]] = Registry("sized drawing", "archscout.viz")
"""Drawings that also show channels and pixels: from architecture, theme, task's spec and size of the network."""

LINE_HEIGHT = 20.0
MARGIN = 16.0


class Drawing(str):
    """SVG text that notebooks show as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def draw(
    architecture: Architecture, *, theme: Theme = "auto", spec: TaskSpec | None = None, size: Any = None
) -> Drawing:
    """The drawing of an architecture as SVG text, by the function registered for its format.

    Args:
        architecture: of any space.
        theme: `light`, `dark`, `auto` (as the reader's system prefers), or `inherit` (inside a page that has
            `archscout.viz.svg.page_style` in its style).
        spec, size: of the task and of the network (its space's `size_model`), for drawings that show them.
    """
    if spec is not None and size is not None and architecture.format in SIZED_DRAWINGS:
        return Drawing(SIZED_DRAWINGS.get(architecture.format)(architecture, theme, spec, size))
    if architecture.format in DRAWINGS:
        return Drawing(DRAWINGS.get(architecture.format)(architecture, theme))
    return Drawing(_draw_description(architecture, theme))


def _draw_description(architecture: Architecture, theme: Theme) -> str:
    """The architecture's description, line by line."""
    lines = architecture.describe().splitlines() or [""]
    body = "".join(
        text(line or " ", MARGIN, MARGIN + LINE_HEIGHT * (row + 0.7), "as-mono") for row, line in enumerate(lines)
    )
    width = max(mono_width(line, 13.0) for line in lines) + 2 * MARGIN
    label = f"architecture of the space {architecture.space}"
    return document(width, LINE_HEIGHT * len(lines) + 2 * MARGIN, body, label=label, theme=theme)
