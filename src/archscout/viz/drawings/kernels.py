"""Drawings of kernel patterns: for each convolution a bar as wide as its kernel's field, with a dot at every tap.

The colour of a bar tells the dilation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archscout.viz.drawings.registry import DRAWINGS
from archscout.viz.svg import Theme, document, element, escape, text, text_width

if TYPE_CHECKING:
    from archscout.spaces.kernels.pattern import KernelPattern

__all__ = ["draw_kernels"]

MARGIN, TITLE, ROW = 16.0, 44.0, 20.0
BAR, TAP = 12.0, 5.0
WIDEST = 420.0  # of the bars, for the largest field
LARGEST_STEP = 12.0  # of a tap, where all fields are small
NUMBER = 34.0
# Colours of bars and taps, by rank of the dilation.
COLOURS = (("skip", 2), ("separable", 0), ("dilated", 3), ("pooling", 1), ("bottleneck", 4))


def draw_kernels(pattern: KernelPattern, *, theme: Theme = "auto") -> str:
    """The kernels of a pattern as SVG text, the first convolution (the stem's) on top."""
    fields = [dilation * (size - 1) + 1 for size, dilation in pattern.kernels]
    dilations = sorted({dilation for _, dilation in pattern.kernels})
    step = min(LARGEST_STEP, WIDEST / max(fields))
    width = max(fields) * step
    middle = MARGIN + NUMBER + width / 2
    body = text("Kernels", MARGIN, MARGIN + 14.0, "as-title")
    for row, ((size, dilation), field) in enumerate(zip(pattern.kernels, fields, strict=True)):
        y = TITLE + ROW * (row + 0.5)
        colour = COLOURS[min(dilations.index(dilation), len(COLOURS) - 1)]
        body += _row(row, (size, dilation), field, (middle, y), step, colour)
        note = f"{size}, dilation {dilation}: {field}" if dilation > 1 else f"{size}"
        body += text(note, middle + width / 2 + 12.0, y + 4.0)
    legend = "taps of each convolution in a cut; number: size, dilation, field"
    bottom = TITLE + ROW * len(fields) + 18.0
    body += text(legend, MARGIN, bottom)
    total = max(middle + width / 2 + 12.0 + text_width("19, dilation 15: 271", 11.0), text_width(legend, 11.0) + MARGIN)
    return document(total + MARGIN, bottom + MARGIN, body, label="kernels", theme=theme)


def _row(
    row: int, kernel: tuple[int, int], field: int, place: tuple[float, float], step: float, colour: tuple[str, int]
) -> str:
    (size, dilation), (middle, y) = kernel, place
    left = middle - field * step / 2
    tip = f"convolution {row}: size {size}, dilation {dilation}, field {field}"
    content = element("title", escape(tip)) + element(
        "rect", x=left, y=y - BAR / 2, width=field * step, height=BAR, rx=3.0
    )
    radius = max(1.1, min(TAP, 0.8 * step) / 2)
    for tap in range(size):
        centre = left + (tap * dilation + 0.5) * step
        content += element("circle", class_=f"as-dot{colour[1]}", cx=centre, cy=y, r=radius)
    number = text(row, MARGIN + NUMBER - 12.0, y + 4.0, anchor="end")
    return number + element("g", content, class_=f"operation as-{colour[0]}")


@DRAWINGS.register("archscout.kernel_pattern")
def _draw_registered(architecture: Any, theme: Theme) -> str:
    return draw_kernels(architecture, theme=theme)
