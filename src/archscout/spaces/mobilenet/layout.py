"""The macro structure of MobileNets: channels, strides and sizes of all layers, and what they cost.

Source: docs/methods/once-for-all.md#networks.


The cost of a network is a sum over its blocks, and what stands before and after a block does not depend on the choices
made there: a table of 20 slots times 9 codes holds the exact multiply-adds and parameters of every network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from archscout.measure import Measurements
from archscout.spaces.mobilenet.config import CODES, SLOTS, STAGES, Block, MobileNetConfig

__all__ = ["IMAGENET_STRIDES", "SMALL_STRIDES", "BlockPlan", "MobileNetPlan", "round_channels"]

STEM, FINAL, FEATURES = 16, 960, 1280  # base widths of the stem and of the two last layers
STAGE_WIDTHS = (24, 40, 80, 112, 160)  # base widths
HARD_SWISH = (False, False, True, True, True)  # else ReLU
SQUEEZE = (False, True, False, True, True)  # squeeze-and-excitation
IMAGENET_STRIDES = (2, 2, 2, 2, 1, 2)  # of the stem and of the five stages
SMALL_STRIDES = (1, 1, 2, 2, 1, 2)  # for small images: divided by 8 instead of 32

Array = np.ndarray[Any, np.dtype[np.int64]]


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and never below 90 % of the number."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class BlockPlan:
    """One block: 1 x 1 convolution (not in the first block), depthwise convolution, 1 x 1 convolution.

    Attributes:
        inputs, middle, outputs: channels; `middle` of the depthwise convolution.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        hard_swish: the activation, else ReLU.
        squeeze: hidden channels of squeeze-and-excitation; 0 for none.
        expands: whether there is a first convolution.
    """

    inputs: int
    middle: int
    outputs: int
    kernel: int
    stride: int
    hard_swish: bool
    squeeze: int
    expands: bool = True

    @property
    def residual(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.inputs == self.outputs

    def cost(self, pixels: int, pixels_after: int) -> tuple[int, int]:
        """Parameters and multiply-adds, for feature maps of so many pixels before and after."""
        first = self.inputs * self.middle if self.expands else 0
        depthwise = self.middle * self.kernel**2
        last = self.middle * self.outputs
        squeeze = 2 * self.middle * self.squeeze
        norms = 2 * (self.middle * (2 if self.expands else 1) + self.outputs)
        biases = self.middle + self.squeeze if self.squeeze else 0
        madds = pixels * first + pixels_after * (depthwise + last) + squeeze
        return first + depthwise + last + squeeze + norms + biases, madds


@dataclass(frozen=True)
class MobileNetPlan:
    """The layers of all networks of one size.

    Attributes:
        channels: of the images.
        outputs: number of classes.
        width: multiplier of all channels.
        strides: of the stem and of the five stages.
    """

    channels: int
    outputs: int
    width: float
    strides: tuple[int, ...]

    @cached_property
    def stem(self) -> int:
        """Channels of the stem and of the first block."""
        return round_channels(STEM * self.width)

    @cached_property
    def stages(self) -> tuple[int, ...]:
        """Output channels of the stages."""
        return tuple(round_channels(width * self.width) for width in STAGE_WIDTHS)

    @cached_property
    def final(self) -> int:
        """Channels of the last convolution before pooling."""
        return round_channels(FINAL * self.width)

    @cached_property
    def features(self) -> int:
        """Channels that the classifier gets."""
        return round_channels(FEATURES * self.width)

    @property
    def first_block(self) -> BlockPlan:
        """The fixed first block."""
        return BlockPlan(self.stem, self.stem, self.stem, 3, 1, hard_swish=False, squeeze=0, expands=False)

    def block(self, stage: int, slot: int, block: Block) -> BlockPlan:
        """The layers of a block at its place; stage and slot count from 0."""
        outputs = self.stages[stage]
        inputs = outputs if slot else (self.stages[stage - 1] if stage else self.stem)
        middle = round_channels(round(inputs * block.expansion))
        return BlockPlan(
            inputs=inputs,
            middle=middle,
            outputs=outputs,
            kernel=block.kernel,
            stride=1 if slot else self.strides[stage + 1],
            hard_swish=HARD_SWISH[stage],
            squeeze=round_channels(middle // 4) if SQUEEZE[stage] else 0,
        )

    def blocks(self, config: MobileNetConfig) -> list[BlockPlan]:
        """All blocks of a network, the fixed first one included."""
        return [
            self.first_block,
            *(
                self.block(stage, slot, block)
                for stage, blocks in enumerate(config.stages)
                for slot, block in enumerate(blocks)
            ),
        ]

    # -- costs ---------------------------------------------------------------------------------------------------

    def sizes(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """Height and width after the stem and after each stage, for images of a size."""
        height, width = size
        sizes = []
        for stride in self.strides:
            height, width = -(-height // stride), -(-width // stride)
            sizes.append((height, width))
        return sizes

    def costs(self, size: Sequence[int]) -> MobileNetCosts:
        """Parameters and multiply-adds of all networks, for images of a size (height, width)."""
        areas = [height * width for height, width in self.sizes(size)]
        fixed = np.array(self.first_block.cost(areas[0], areas[0]), dtype=np.int64)
        stem = 9 * self.channels * self.stem
        final, mix, classifier = self.stages[-1] * self.final, self.final * self.features, self.features * self.outputs
        fixed += (
            stem + 2 * self.stem + final + 2 * self.final + mix + classifier + self.outputs,
            areas[0] * stem + areas[-1] * final + mix + classifier,
        )
        table = np.zeros((2, STAGES * SLOTS, CODES), dtype=np.int64)
        for stage in range(STAGES):
            for slot in range(SLOTS):
                before = areas[stage + 1] if slot else areas[stage]
                for code in range(1, CODES):
                    plan = self.block(stage, slot, Block.from_code(code))
                    table[:, stage * SLOTS + slot, code] = plan.cost(before, areas[stage + 1])
        return MobileNetCosts(fixed, table)


@dataclass(frozen=True)
class MobileNetCosts:
    """Parameters and multiply-adds in closed form.

    Attributes:
        fixed: `(2,)`, parameters and multiply-adds of what all networks have.
        table: `(2, 20, 10)`, of each slot with each code.
    """

    fixed: Array
    table: Array

    def of_codes(self, codes: Sequence[Sequence[int]]) -> Array:
        """`(N, 2)` parameters and multiply-adds of N canonical codes of 20 numbers."""
        indices = np.asarray(codes, dtype=np.int64).reshape(-1, STAGES * SLOTS)
        picked = self.table[:, np.arange(STAGES * SLOTS), indices]  # (2, N, 20)
        total: Array = picked.sum(axis=2).T + self.fixed
        return total

    def of(self, config: MobileNetConfig) -> Measurements:
        """Of one network."""
        ((parameters, madds),) = self.of_codes([config.code]).tolist()
        return Measurements(parameters, madds)
