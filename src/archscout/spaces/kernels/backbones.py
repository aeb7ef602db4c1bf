"""The space of DASH's backbones: one handcrafted network for images and one for sequences, with chosen kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any, ClassVar, Literal, Self, cast, get_args

from pydantic import Field
from torch import nn

from archscout.errors import ArchitectureError, SpaceError, closest
from archscout.nn.kernels.layers import Kernel, kernel_layers
from archscout.settings import Settings
from archscout.spaces.architecture import ARCHITECTURES
from archscout.spaces.base import SPACES
from archscout.spaces.kernels.backbone_networks import (
    ResidualSequenceNetwork,
    WideResNet,
    initialise,
    sequence_channels,
)
from archscout.spaces.kernels.pattern import KernelPattern, build_with_kernels, with_kernels
from archscout.tasks.spec import TaskSpec

__all__ = ["Backbone", "BackboneOptions", "BackboneSize", "BackboneSpace"]

BackboneName = Literal["wide_resnet", "sequence_resnet"]
NAMES: tuple[BackboneName, ...] = get_args(BackboneName)
DESCRIPTIONS = {
    "wide_resnet": "wide residual network for images, kernels 3 x 3",
    "sequence_resnet": "residual network for sequences, kernels 8, 5 and 3",
}
DIMENSIONS = {"wide_resnet": 2, "sequence_resnet": 1}
PUBLISHED_BLOCKS = {"wide_resnet": 2, "sequence_resnet": 3}


@ARCHITECTURES.register("archscout.backbone")
@dataclass(frozen=True)
class Backbone:
    """A handcrafted network with its own kernels (docs/methods/dash.md#backbones).

    Attributes:
        name: which one.
        blocks: in each of the three stages of wide_resnet; of sequence_resnet in all, always 3. None: as published.
    """

    format: ClassVar[str] = "archscout.backbone"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "backbones"

    name: BackboneName
    blocks: int | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            near = closest(str(self.name), NAMES) or NAMES
            raise ArchitectureError(f"name: unknown backbone {self.name!r}. Closest: {', '.join(near)}.")
        published = PUBLISHED_BLOCKS[self.name]
        if self.blocks is None:
            object.__setattr__(self, "blocks", published)
        fixed = self.name == "sequence_resnet" and self.blocks != published
        if not isinstance(self.blocks, int) or isinstance(self.blocks, bool) or self.blocks < 1 or fixed:
            allowed = "3" if self.name == "sequence_resnet" else "a number from 1 on"
            raise ArchitectureError(f"blocks: {self.blocks!r} is not allowed for {self.name}; it must be {allowed}.")

    @property
    def convolutions(self) -> int:
        """How many convolutions take a kernel."""
        blocks = cast(int, self.blocks)
        return 3 * blocks if self.name == "sequence_resnet" else 1 + 6 * blocks

    def to_fields(self) -> dict[str, Any]:
        """Name and blocks."""
        return {"name": self.name, "blocks": self.blocks}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types. Raises ArchitectureError."""
        if not {"name"} <= set(fields) <= {"name", "blocks"}:
            raise ArchitectureError(f"a backbone has the fields 'name' and 'blocks'; got {sorted(fields)}.")
        return cls(fields["name"], fields.get("blocks"))

    def describe(self) -> str:
        """One line."""
        blocks = f"{self.blocks} blocks a stage" if self.name == "wide_resnet" else f"{self.blocks} blocks"
        return f"{self.name}: {DESCRIPTIONS[self.name]}, {blocks}"


class BackboneOptions(Settings):
    """Settings of the space. Its architectures have kernels of these sizes and dilations."""

    backbone: Literal["auto", BackboneName] = Field(
        default="auto", description="auto: by the task's inputs; architectures drawn at random are for images"
    )
    blocks: int = Field(default=2, ge=1, description="of a search, in each of the stages of wide_resnet; 2: WRN-16")
    kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)
    dilations: tuple[int, ...] = (1, 3, 7, 15)


class BackboneSize(Settings):
    """Size of a network."""

    width: int = Field(default=4, ge=1, description="w of wide_resnet; DASH searches with 1 and trains with 4")
    channels: int | None = Field(
        default=None, ge=1, description="m of sequence_resnet; null: 4, 16 or 64 by the number of outputs, as published"
    )


@SPACES.register("backbones")
class BackboneSpace:
    """DASH's backbones, WRN-16 for images and a residual network for sequences, with any kernels."""

    name: ClassVar[str] = "backbones"
    options_model: ClassVar[type[Settings]] = BackboneOptions
    size_model: ClassVar[type[Settings]] = BackboneSize
    searched_depthwise: ClassVar[bool] = True

    def __init__(self, options: BackboneOptions | None = None) -> None:
        self.options = options or BackboneOptions()

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the task has images or sequences that the backbone serves."""
        dimensions = len(spec.input_shape) - 1
        wanted = self.options.backbone
        if spec.vocabulary is not None or dimensions not in (1, 2):
            raise SpaceError(
                f"the space 'backbones' serves images (C, H, W) and sequences (C, L); {spec.name} is "
                f"{spec.describe()}. Choose another space: archscout list spaces"
            )
        if wanted != "auto" and DIMENSIONS[wanted] != dimensions:
            raise SpaceError(
                f"the backbone '{wanted}' does not serve {spec.describe()}; set space_options.backbone=auto."
            )

    def kernel_base(self, spec: TaskSpec) -> Backbone:
        """The backbone for the task's inputs."""
        self.check(spec)
        return self._backbone("wide_resnet" if len(spec.input_shape) == 3 else "sequence_resnet")

    def _backbone(self, name: BackboneName) -> Backbone:
        return Backbone(name, self.options.blocks if name == "wide_resnet" else None)

    def kernel_layers(self, network: nn.Module) -> Sequence[str]:
        """All convolutions but the pointwise ones."""
        return kernel_layers(network)

    def build(self, architecture: Backbone | KernelPattern, spec: TaskSpec, size: BackboneSize) -> nn.Module:
        """The network, in training mode, as DASH initialises it."""
        self.check(spec)
        if isinstance(architecture, KernelPattern):
            network = build_with_kernels(self, architecture, spec, size)
        else:
            if DIMENSIONS[architecture.name] != len(spec.input_shape) - 1:
                raise SpaceError(
                    f"{architecture.name} is a {DESCRIPTIONS[architecture.name]}; {spec.name} is {spec.describe()}. "
                    "For architectures drawn at random for sequences set space_options.backbone=sequence_resnet."
                )
            network = self._plain(architecture, spec, size)
        initialise(network)
        return network

    def _plain(self, architecture: Backbone, spec: TaskSpec, size: BackboneSize) -> nn.Module:
        if architecture.name == "wide_resnet":
            return WideResNet(spec, size.width, cast(int, architecture.blocks))
        return ResidualSequenceNetwork(spec, size.channels or sequence_channels(spec.outputs))

    def random(self, draw: Random) -> KernelPattern:
        """A backbone with kernels drawn uniformly."""
        kernels = list(product(self.options.kernel_sizes, self.options.dilations))
        base = self._backbone("wide_resnet" if self.options.backbone == "auto" else self.options.backbone)
        return with_kernels(base, [draw.choice(kernels) for _ in range(base.convolutions)])

    def mutate(self, architecture: KernelPattern, draw: Random) -> KernelPattern:
        """The pattern with another kernel in one convolution."""
        position = draw.randrange(len(architecture.kernels))
        others = [
            kernel
            for kernel in product(self.options.kernel_sizes, self.options.dilations)
            if kernel != architecture.kernels[position]
        ]
        kernels: list[Kernel] = list(architecture.kernels)
        kernels[position] = draw.choice(others)
        return with_kernels(architecture, kernels)

    def extremes(self, spec: TaskSpec, size: BackboneSize) -> tuple[KernelPattern, KernelPattern]:
        """The smallest and the largest kernel everywhere."""
        base = self.kernel_base(spec)
        count, dilation = base.convolutions, self.options.dilations[0]
        smallest, largest = min(self.options.kernel_sizes), max(self.options.kernel_sizes)
        return with_kernels(base, [(smallest, dilation)] * count), with_kernels(base, [(largest, dilation)] * count)
