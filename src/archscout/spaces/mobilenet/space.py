"""The MobileNet space as methods see it (docs/methods/once-for-all.md#the-space)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from random import Random
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from archscout.errors import ArchitectureError, SpaceError
from archscout.measure import Measurements
from archscout.settings import Settings
from archscout.spaces.base import SPACES, LayerCode
from archscout.spaces.mobilenet.config import (
    CODES,
    DEPTHS,
    EXPANSIONS,
    KERNELS,
    RESOLUTIONS,
    SLOTS,
    STAGES,
    Block,
    MobileNetConfig,
)
from archscout.spaces.mobilenet.layout import IMAGENET_STRIDES, SMALL_STRIDES, MobileNetCosts, MobileNetPlan
from archscout.spaces.mobilenet.network import MobileNet
from archscout.spaces.mobilenet.supernet import MobileNetSupernet
from archscout.tasks.spec import TaskSpec

__all__ = ["MobileNetChoices", "MobileNetOptions", "MobileNetSize", "MobileNetSpace"]

# Images from this size on get the strides of ImageNet, which divide height and width by 32.
IMAGENET_STRIDES_FROM = 96
SMALLEST = 4  # pixels
Stride = Literal[1, 2]


class MobileNetOptions(Settings):
    """Settings of the space."""

    search_resolution: bool = Field(
        default=False, description="also choose the images' side: 192, 208, 224, 240 or 256 pixels"
    )


class MobileNetSize(Settings):
    """Size of a network or a supernet."""

    width: float = Field(default=1.2, gt=0, le=16, description="multiplies all channels; published: 1.2")
    strides: Literal["auto", "imagenet", "small"] | tuple[Stride, Stride, Stride, Stride, Stride, Stride] = Field(
        default="auto",
        description="of the stem and the five stages; imagenet: 2,2,2,2,1,2; small: 1,1,2,2,1,2; auto: imagenet from "
        "96 pixels on",
    )
    resolution: int | None = Field(
        default=None, ge=SMALLEST, le=1024, description="pixels a side that images are brought to; null: as they are"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="before the classifier")


@lru_cache(maxsize=64)
def _costs(plan: MobileNetPlan, height: int, width: int) -> MobileNetCosts:
    return plan.costs((height, width))


_BLOCKS = tuple(f"mb{expansion}_{kernel}x{kernel}" for kernel in KERNELS for expansion in EXPANSIONS)


class MobileNetChoices:
    """Structure: the depth of each stage. Operations: the block at each of the 20 places, and the resolution if
    searched."""

    def __init__(self, resolution: bool) -> None:
        self._resolution = resolution

    @property
    def structure(self) -> Sequence[int]:
        """Three depths for each stage."""
        return (len(DEPTHS),) * STAGES

    @property
    def operations(self) -> Sequence[Sequence[str]]:
        """Nine blocks for each place; five resolutions in the last row where they are searched."""
        rows = (_BLOCKS,) * (STAGES * SLOTS)
        return (*rows, tuple(map(str, RESOLUTIONS))) if self._resolution else rows

    def active(self, structure: Sequence[int]) -> Sequence[int]:
        """The places that the depths leave, and the row of the resolution."""
        places = [stage * SLOTS + slot for stage, option in enumerate(structure) for slot in range(DEPTHS[option])]
        return [*places, STAGES * SLOTS] if self._resolution else places

    def assemble(self, structure: Sequence[int], operations: Sequence[int]) -> MobileNetConfig:
        """The architecture of the choices."""
        remaining = iter(operations)
        stages = tuple(
            tuple(Block.from_code(1 + next(remaining)) for _ in range(DEPTHS[option])) for option in structure
        )
        return MobileNetConfig(stages, RESOLUTIONS[next(remaining)] if self._resolution else None)

    def disassemble(self, architecture: MobileNetConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inverse of `assemble`. Raises ArchitectureError where a searched resolution is missing."""
        operations = [block.code - 1 for stage in architecture.stages for block in stage]
        if self._resolution:
            if architecture.resolution is None:
                raise ArchitectureError("resolution: none, but the resolution is searched.")
            operations.append(RESOLUTIONS.index(architecture.resolution))
        return tuple(DEPTHS.index(len(stage)) for stage in architecture.stages), tuple(operations)


@SPACES.register("mobilenet")
class MobileNetSpace:
    """Five stages of inverted bottleneck blocks with searched kernel, expansion and depth; for images."""

    name: ClassVar[str] = "mobilenet"
    options_model: ClassVar[type[Settings]] = MobileNetOptions
    size_model: ClassVar[type[Settings]] = MobileNetSize

    def __init__(self, options: MobileNetOptions | None = None) -> None:
        self.options = options or MobileNetOptions()

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the task asks for classes, labels or numbers of images of at least 4 x 4 pixels."""
        if not spec.answers_once or len(spec.input_shape) != 3:
            raise SpaceError(
                f"the space 'mobilenet' serves classification, multilabel and regression of images (C, H, W); "
                f"{spec.name} is {spec.describe()}. "
                "Choose another space: archscout list spaces"
            )
        if min(spec.input_shape[1:]) < SMALLEST:
            raise SpaceError(
                f"{spec.name}: images of {spec.describe()} are too small; at least {SMALLEST} x {SMALLEST} pixels."
            )

    # -- drawing and changing ------------------------------------------------------------------------------------

    def random(self, draw: Random) -> MobileNetConfig:
        """An architecture whose depths, kernels and expansions are drawn uniformly, each by itself."""
        stages = tuple(
            tuple(Block(draw.choice(KERNELS), draw.choice(EXPANSIONS)) for _ in range(draw.choice(DEPTHS)))
            for _ in range(STAGES)
        )
        return MobileNetConfig(stages, draw.choice(RESOLUTIONS) if self.options.search_resolution else None)

    def mutate(self, architecture: MobileNetConfig, draw: Random) -> MobileNetConfig:
        """The architecture with the operation of one layer changed."""
        code = list(self.encode(architecture))
        layer = draw.randrange(len(code))
        allowed = self.layer_code.allowed[layer]
        code[layer] = draw.choice([op for op in range(CODES) if allowed[op] and op != code[layer]])
        return self.decode(code)

    def extremes(self, spec: TaskSpec, size: MobileNetSize) -> tuple[MobileNetConfig, MobileNetConfig]:
        """The architectures with the fewest and with the most parameters, and multiply-adds."""
        searched = self.options.search_resolution
        smallest = ((Block(KERNELS[0], EXPANSIONS[0]),) * DEPTHS[0],) * STAGES
        largest = ((Block(KERNELS[-1], EXPANSIONS[-1]),) * DEPTHS[-1],) * STAGES
        return (
            MobileNetConfig(smallest, RESOLUTIONS[0] if searched else None),
            MobileNetConfig(largest, RESOLUTIONS[-1] if searched else None),
        )

    # -- codes ---------------------------------------------------------------------------------------------------

    @cached_property
    def layer_code(self) -> LayerCode:
        """20 layers with 10 operations; 0, no block, is not allowed in the first two layers of a stage.

        Where the resolution is searched it is a last layer, whose first five operations are the resolutions.
        """
        allowed = tuple((place % SLOTS >= DEPTHS[0], *(True,) * (CODES - 1)) for place in range(STAGES * SLOTS))
        if self.options.search_resolution:
            allowed = (*allowed, tuple(number < len(RESOLUTIONS) for number in range(CODES)))
        return LayerCode(allowed)

    def encode(self, architecture: MobileNetConfig) -> tuple[int, ...]:
        """The operation number of each layer. Raises ArchitectureError where a searched resolution is missing."""
        if not self.options.search_resolution:
            return architecture.code
        if architecture.resolution is None:
            raise ArchitectureError(
                "resolution: none, but the resolution is searched (space_options.search_resolution); give one of "
                f"{', '.join(map(str, RESOLUTIONS))}."
            )
        return (*architecture.code, RESOLUTIONS.index(architecture.resolution))

    def decode(self, code: Sequence[int]) -> MobileNetConfig:
        """The architecture of a code that keeps the mask. Raises ArchitectureError for others."""
        if not self.options.search_resolution:
            return MobileNetConfig.from_code(code)
        if len(code) != STAGES * SLOTS + 1 or not 0 <= code[-1] < len(RESOLUTIONS):
            raise ArchitectureError(
                f"the code has {len(code)} numbers; {STAGES * SLOTS + 1} are needed, of which the last, the "
                f"resolution's index, is 0 to {len(RESOLUTIONS) - 1}."
            )
        return MobileNetConfig.from_code(code[:-1], RESOLUTIONS[code[-1]])

    def canonical(self, codes: Tensor) -> Tensor:
        """Codes `(N, layers)` with the last block of a stage moved up where the third is absent."""
        blocks = codes[:, : STAGES * SLOTS].view(-1, STAGES, SLOTS)
        third, last = blocks[..., 2], blocks[..., 3]
        moves = (third == 0) & (last != 0)
        tail = torch.stack([torch.where(moves, last, third), torch.where(moves, third, last)], dim=-1)
        moved = torch.cat([blocks[..., :2], tail], dim=-1).flatten(1)
        return torch.cat([moved, codes[:, STAGES * SLOTS :]], dim=1)

    @cached_property
    def factorization(self) -> MobileNetChoices:
        """Depths as structure, blocks as operations."""
        return MobileNetChoices(self.options.search_resolution)

    # -- networks ------------------------------------------------------------------------------------------------

    def plan(self, spec: TaskSpec, size: MobileNetSize) -> MobileNetPlan:
        """Channels, strides and costs of the networks of a size."""
        self.check(spec)
        strides = size.strides
        if strides == "auto":
            pixels = size.resolution or (
                RESOLUTIONS[0] if self.options.search_resolution else min(spec.input_shape[1:])
            )
            strides = "imagenet" if pixels >= IMAGENET_STRIDES_FROM else "small"
        named = {"imagenet": IMAGENET_STRIDES, "small": SMALL_STRIDES}
        values = named[strides] if isinstance(strides, str) else strides
        return MobileNetPlan(spec.input_shape[0], spec.outputs, size.width, values)

    def image_size(self, architecture: MobileNetConfig, spec: TaskSpec, size: MobileNetSize) -> tuple[int, int]:
        """Height and width of the images that reach the stem."""
        side = architecture.resolution or size.resolution
        return (side, side) if side else (spec.input_shape[1], spec.input_shape[2])

    def build(self, architecture: MobileNetConfig, spec: TaskSpec, size: MobileNetSize) -> MobileNet:
        """The network."""
        return MobileNet(architecture, self.plan(spec, size), dropout=size.dropout, resolution=size.resolution)

    def supernet(self, spec: TaskSpec, size: MobileNetSize) -> MobileNetSupernet:
        """The shared weights of all networks."""
        return MobileNetSupernet(self.plan(spec, size), dropout=size.dropout, resolution=size.resolution)

    def extract(
        self, supernet: nn.Module, architecture: MobileNetConfig, spec: TaskSpec, size: MobileNetSize
    ) -> MobileNet:
        """The network of an architecture with its part of the shared weights; on the supernet's device."""
        with torch.device("meta"):
            network = self.build(architecture, spec, size)
        network.load_state_dict(cast(MobileNetSupernet, supernet).subnet_state(architecture), assign=True)
        return network

    def cost(self, architecture: MobileNetConfig, spec: TaskSpec, size: MobileNetSize) -> Measurements:
        """Parameters and multiply-adds in closed form; equal to what is counted on the network."""
        return _costs(self.plan(spec, size), *self.image_size(architecture, spec, size)).of(architecture)
