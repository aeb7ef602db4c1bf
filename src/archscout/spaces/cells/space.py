"""The cell space of the DARTS family with EDNAS's seven operations (docs/methods/darts.md#operations-of-cells)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from random import Random
from typing import ClassVar, Literal, cast

from pydantic import Field
from torch import nn

from archscout.errors import SpaceError
from archscout.nn.kernels.layers import kernel_layers
from archscout.nn.stems import IMAGENET_STEM_FROM
from archscout.settings import Settings
from archscout.spaces.base import SPACES
from archscout.spaces.cells.choices import CellChoices
from archscout.spaces.cells.genotype import OPERATIONS, Cell, CellGenotype, Input
from archscout.spaces.cells.layout import reduction_indices
from archscout.spaces.cells.mixture import MixturePlan
from archscout.spaces.cells.network import CellNetwork
from archscout.spaces.cells.relaxation import CellRelaxation
from archscout.spaces.cells.supernet import CellSupernet
from archscout.spaces.kernels.pattern import KernelPattern, build_with_kernels
from archscout.tasks.spec import TaskSpec

__all__ = ["CellOptions", "CellSize", "CellSpace"]


class CellOptions(Settings):
    """Settings of the space."""

    nodes: int = Field(default=4, ge=1, le=8, description="computed nodes in a cell; published ImageNet code: 5")
    legacy_swapped_cells: bool = Field(
        default=False,
        description="run the normal cell's sample in reduction cells and the reverse, as the published CIFAR code does",
    )


class CellSize(Settings):
    """Size of a network or a supernet."""

    init_channels: int = Field(default=16, ge=2, description="channels of a node before the first reduction")
    layers: int = Field(default=8, ge=1, description="cells; those at layers // 3 and 2 * layers // 3 reduce")
    stem: Literal["auto", "small", "imagenet"] = Field(default="auto", description="auto: imagenet from 96 pixels on")
    auxiliary: bool = Field(default=False, description="auxiliary head for training (evaluation networks only)")
    recompute: bool = Field(
        default=False,
        description="compute convolutions again in the backward pass, to save memory (mixed supernets only)",
    )


@SPACES.register("cells")
class CellSpace:
    """Normal and reduction cell, each a small graph of operations, stacked to a network; for images."""

    name: ClassVar[str] = "cells"
    options_model: ClassVar[type[Settings]] = CellOptions
    size_model: ClassVar[type[Settings]] = CellSize
    searched_depthwise: ClassVar[bool] = True
    operations: ClassVar[tuple[str, ...]] = OPERATIONS

    def __init__(self, options: CellOptions | None = None) -> None:
        self.options = options or CellOptions()

    @cached_property
    def factorization(self) -> CellChoices:
        """Structure and operation choices; with 4 nodes 2 x (3 + 6 + 10) and 2 x 14 x 7 options."""
        return CellChoices(self.options.nodes, self.operations)

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the task asks for classes, labels or numbers of images of at least 4 x 4 pixels."""
        if not spec.answers_once or len(spec.input_shape) != 3:
            raise SpaceError(
                f"the space 'cells' serves classification, multilabel and regression of images (C, H, W); "
                f"{spec.name} is {spec.describe()}. "
                "Choose another space: archscout list spaces"
            )
        if min(spec.input_shape[1:]) < 4:
            raise SpaceError(f"{spec.name}: images of {spec.describe()} are too small; two reductions need 4 x 4.")

    def random(self, draw: Random) -> CellGenotype:
        """A genotype with pairs and operations drawn uniformly."""
        return self.factorization.random(draw)

    def mutate(self, architecture: CellGenotype, draw: Random) -> CellGenotype:
        """The genotype with one choice changed: the pair of one node, or the operation on one edge."""
        return self.factorization.mutate(architecture, draw)

    def _stem(self, spec: TaskSpec, size: CellSize) -> str:
        if size.stem != "auto":
            return size.stem
        return "imagenet" if min(spec.input_shape[1:]) >= IMAGENET_STEM_FROM else "small"

    def kernel_base(self, spec: TaskSpec) -> CellGenotype:
        """There is none: kernels are searched in cells that were found or given."""
        raise SpaceError(
            "the space 'cells' has no network to start from; give cells that were found with --architecture, or "
            "choose another space for dash: backbones."
        )

    def kernel_layers(self, network: nn.Module) -> Sequence[str]:
        """The stem's and all depthwise convolutions; none of the auxiliary head takes another kernel."""
        return kernel_layers(network)

    def build(self, architecture: CellGenotype | KernelPattern, spec: TaskSpec, size: CellSize) -> CellNetwork:
        """The evaluation network of a genotype, or of a pattern with a kernel for each of its convolutions."""
        self.check(spec)
        if isinstance(architecture, KernelPattern):
            return cast(CellNetwork, build_with_kernels(self, architecture, spec, size))
        reductions = sorted(set(reduction_indices(size.layers)))
        both = (architecture.normal, architecture.reduce)
        return CellNetwork(
            [both[index in reductions] for index in range(size.layers)],
            reductions,
            spec,
            init_channels=size.init_channels,
            stem=self._stem(spec, size),
            auxiliary=size.auxiliary,
        )

    def supernet(self, spec: TaskSpec, size: CellSize) -> nn.Module:
        """The shared weights of all genotypes, a `CellSupernet`."""
        self.check(spec)
        return CellSupernet(
            spec,
            init_channels=size.init_channels,
            layers=size.layers,
            stem=self._stem(spec, size),
            nodes=self.options.nodes,
            operations=self.operations,
            swapped=self.options.legacy_swapped_cells,
        )

    def relaxation(self, spec: TaskSpec, size: CellSize) -> CellRelaxation:
        """Two architecture tensors: one for all normal and one for all reduction cells."""
        self.check(spec)
        reductions = reduction_indices(size.layers)
        owners = [int(index in reductions) for index in range(size.layers)]
        if set(owners) != {0, 1}:
            raise SpaceError(
                f"a supernet of {size.layers} cells has no normal cell, or no reduction cell; set supernet.layers=3 "
                "or more."
            )
        plan = MixturePlan(
            init_channels=size.init_channels,
            stem=self._stem(spec, size),
            owners=owners,
            reductions=reductions,
            nodes=self.options.nodes,
            width=self.options.nodes,
            operations=self.operations,
            recompute=size.recompute,
        )
        return CellRelaxation(spec, plan, assemble=lambda cells: CellGenotype(*cells))

    def extremes(self, spec: TaskSpec, size: CellSize) -> tuple[CellGenotype, CellGenotype]:
        """The genotypes with the fewest and with the most parameters."""
        return self._uniform("max_pool_3x3"), self._uniform("sep_conv_5x5")

    def _uniform(self, operation: str) -> CellGenotype:
        nodes = tuple((Input(operation, 0), Input(operation, 1)) for _ in range(self.options.nodes))
        cell = Cell(nodes, tuple(range(2, self.options.nodes + 2)))
        return CellGenotype(cell, cell)
