"""Drawings of MobileNets: a strip of blocks, from the image to the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from archscout.tasks.spec import TaskSpec
from archscout.viz.drawings.registry import DRAWINGS, SIZED_DRAWINGS
from archscout.viz.svg import Theme, document, element, escape, text, text_width

if TYPE_CHECKING:
    from archscout.spaces.mobilenet.config import Block, MobileNetConfig
    from archscout.spaces.mobilenet.layout import BlockPlan, MobileNetPlan

__all__ = ["draw_mobilenet"]

BLOCK_WIDTH, BLOCK_GAP, GROUP_GAP = 44.0, 7.0, 17.0
MARGIN, TOP = 16.0, 46.0
HEIGHTS = {1: 52.0, 3: 74.0, 4: 92.0, 6: 128.0}  # of an expansion, in pixels
END_HEIGHT = 52.0
AXIS = TOP + HEIGHTS[6] / 2  # the blocks' common middle
LINES = (18.0, 34.0, 49.0, 64.0)  # of the texts below a group
FAMILY_OF_KERNEL = {3: "separable", 5: "skip", 7: "dilated"}
PUBLISHED_TASK = TaskSpec("imagenet", "classification", (3, 224, 224), 1000)

_Box = Callable[[float], str]
"""A box as a function of its left edge."""


def _box(x: float, height: float, lines: tuple[str, str], class_: str, tip: str) -> str:
    middle = x + BLOCK_WIDTH / 2
    shape = {"x": x, "y": AXIS - height / 2, "width": BLOCK_WIDTH, "height": height, "rx": 7.0}
    plain = class_ == "as-node"
    rectangle = element("rect", **shape, **({"class_": "as-node"} if plain else {}))
    upper, lower = (text(line, middle, AXIS + y, "as-label", "middle") for line, y in zip(lines, (-3, 13), strict=True))
    content = element("title", escape(tip)) + rectangle + upper + lower
    return element("g", content, class_="block" if plain else f"block {class_}")


def _block(x: float, block: Block, tip: str) -> str:
    lines = (f"MB{block.expansion}", f"{block.kernel}\u00d7{block.kernel}")
    return _box(x, HEIGHTS[block.expansion], lines, f"as-{FAMILY_OF_KERNEL[block.kernel]}", tip)


class _Strip:
    """Groups of boxes from left to right, each with lines of text below it."""

    def __init__(self) -> None:
        self.x = MARGIN
        self.parts: list[str] = []

    def group(self, boxes: Sequence[_Box], title: str, notes: list[str]) -> None:
        """Add a group; each box is a function of its left edge."""
        start = self.x
        width = len(boxes) * BLOCK_WIDTH + (len(boxes) - 1) * BLOCK_GAP
        needed = max(text_width(text, 11.0) for text in (title, *notes))
        span = max(width, needed)
        x = start + (span - width) / 2
        for make in boxes:
            self.parts.append(make(x))
            x += BLOCK_WIDTH + BLOCK_GAP
        bottom = TOP + HEIGHTS[6] + 12.0
        line = f"M{start:g} {bottom:g}H{start + span:g}"
        self.parts.append(element("path", class_="as-axis", d=line))
        middle = start + span / 2
        self.parts.append(text(title, middle, bottom + LINES[0], "as-label", "middle"))
        for note, below in zip(notes, LINES[1:], strict=False):
            self.parts.append(text(note, middle, bottom + below, anchor="middle"))
        self.x = start + span + GROUP_GAP


def _legend(y: float) -> str:
    x, parts = MARGIN, []
    for kernel, family in FAMILY_OF_KERNEL.items():
        swatch = element("rect", x=x, y=y - 10.0, width=16.0, height=12.0, rx=3.0)
        name = f"kernel {kernel}\u00d7{kernel}"
        parts.append(element("g", swatch, class_=f"as-{family}") + text(name, x + 22.0, y))
        x += 36.0 + text_width(name, 11.0)
    note = "height: expansion (MB3, MB4, MB6)"
    return "".join(parts) + text(note, x, y)


def draw_mobilenet(
    config: MobileNetConfig, plan: MobileNetPlan, size: tuple[int, int], *, theme: Theme = "auto"
) -> str:
    """A network as SVG text: a box for each block, as tall as its expansion and coloured by its kernel.

    Args:
        plan: channels and strides.
        size: height and width of the images that reach the stem, in pixels.
        theme: as in `archscout.viz.draw`.
    """
    sizes = plan.sizes(size)
    shapes = [f"{height}\u00d7{width}" for height, width in [size, *sizes]]
    strip = _Strip()
    stem = "convolution 3x3, hard swish"
    first = f"block without expansion, kernel 3x3, ReLU: {plan.stem} channels"
    strip.group(
        [
            partial(_box, height=END_HEIGHT, lines=("conv", "3\u00d73"), class_="as-node", tip=stem),
            partial(_box, height=HEIGHTS[1], lines=("MB1", "3\u00d73"), class_="as-separable", tip=first),
        ],
        "stem",
        [f"{plan.stem} channels", shapes[1], "h-swish, ReLU"],
    )
    for number, blocks in enumerate(config.stages):
        details = [plan.block(number, slot, block) for slot, block in enumerate(blocks)]
        boxes = [
            partial(_block, block=block, tip=_tip(number, slot, block, details[slot]))
            for slot, block in enumerate(blocks)
        ]
        kind = "h-swish" if details[0].hard_swish else "ReLU"
        notes = [f"{plan.stages[number]} channels", shapes[number + 2], kind + (", SE" if details[0].squeeze else "")]
        strip.group(boxes, f"stage {number + 1}", notes)
    strip.group(_head(plan), "head", [f"{plan.final}, {plan.features} channels", "pooled to 1\u00d71", "h-swish"])
    width, bottom = strip.x - GROUP_GAP + MARGIN, TOP + HEIGHTS[6] + 12.0 + LINES[-1]
    title = text(_title(plan, shapes[0]), MARGIN, 26.0, "as-title")
    wire = element("path", class_="as-wire", d=f"M{MARGIN:g} {AXIS:g}H{width - MARGIN:g}")
    body = title + wire + "".join(strip.parts) + _legend(bottom + 26.0)
    label = f"network of {sum(map(len, config.stages))} blocks in five stages"
    return document(max(width, 560.0), bottom + 40.0, body, label=label, theme=theme)


def _title(plan: MobileNetPlan, shape: str) -> str:
    return f"{plan.channels}\u00d7{shape} to {plan.outputs:,} classes, width {plan.width:g}"


def _tip(stage: int, slot: int, block: Block, plan: BlockPlan) -> str:
    strides = ", stride 2" if plan.stride == 2 else ""
    return (
        f"stage {stage + 1}, block {slot + 1}: kernel {block.kernel}x{block.kernel}, expansion {block.expansion} to "
        f"{plan.middle} channels{strides}"
    )


def _head(plan: MobileNetPlan) -> Sequence[_Box]:
    rows = (
        (("conv", "1\u00d71"), f"convolution 1x1 to {plan.final} channels, then the mean over all pixels"),
        (("conv", "1\u00d71"), f"convolution 1x1 to {plan.features} channels"),
        (("linear", f"{plan.outputs}"), f"linear layer to {plan.outputs} classes"),
    )
    return [partial(_box, height=END_HEIGHT, lines=lines, class_="as-node", tip=tip) for lines, tip in rows]


@SIZED_DRAWINGS.register("archscout.mobilenet")
def _draw_sized(architecture: Any, theme: Theme, spec: TaskSpec, size: Any) -> str:
    from archscout.spaces.mobilenet import MobileNetOptions, MobileNetSpace

    space = MobileNetSpace(MobileNetOptions(search_resolution=architecture.resolution is not None))
    pixels = space.image_size(architecture, spec, size)
    return draw_mobilenet(architecture, space.plan(spec, size), pixels, theme=theme)


@DRAWINGS.register("archscout.mobilenet")
def _draw_published(architecture: Any, theme: Theme) -> str:
    """At the published size: width 1.2, ImageNet."""
    from archscout.spaces.mobilenet import MobileNetSize

    return _draw_sized(architecture, theme, PUBLISHED_TASK, MobileNetSize())
