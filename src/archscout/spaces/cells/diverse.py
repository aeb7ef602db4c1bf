"""The cells of D2NAS: for images and sequences, for one answer or one for each pixel.

Source: docs/methods/pdarts.md#operations-and-networks-of-d2nas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from archscout.errors import SpaceError
from archscout.nn.kernels.layers import kernel_layers
from archscout.nn.operations import make_operation
from archscout.settings import Settings
from archscout.spaces.architecture import ARCHITECTURES
from archscout.spaces.base import SPACES
from archscout.spaces.cells.choices import CellChoices
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.spaces.cells.layout import plan_row
from archscout.spaces.cells.mixture import MixturePlan
from archscout.spaces.cells.network import CellNetwork
from archscout.spaces.cells.relaxation import CellRelaxation
from archscout.spaces.kernels.pattern import KernelPattern, build_with_kernels
from archscout.tasks.spec import TaskSpec

__all__ = ["DiverseGenotype", "DiverseOptions", "DiverseSize", "DiverseSpace", "diverse_reductions", "unused_cell"]

KINDS = ("classification", "multilabel", "regression", "dense")
SMALLEST_SIDE = 4


class DiverseOptions(Settings):
    """Settings of the space."""

    nodes: int = Field(default=4, ge=1, le=8, description="computed nodes in a cell; published: 4, for sequences 3")
    pooling: bool = Field(default=True, description="search avg_pool_3x3 too; where: docs/methods/pdarts.md")


class DiverseSize(Settings):
    """Size of a network or a supernet."""

    init_channels: int = Field(default=16, ge=2, description="channels of a node before the first reduction")
    layers: int = Field(
        default=2, ge=1, description="cells; those at layers // 3 and max(3, 2 * layers // 3) reduce, dense: none"
    )
    recompute: bool = Field(
        default=False,
        description="compute convolutions again in the backward pass, to save memory (mixed supernets only)",
    )


def unused_cell(nodes: int) -> Cell:
    """What stands for the reduction cell where there is none: skip connections from the two nodes before.

    Source: docs/methods/pdarts.md#operations-and-networks-of-d2nas.
    """
    inputs = tuple((Input("skip_connect", node - 2), Input("skip_connect", node - 1)) for node in range(2, nodes + 2))
    return Cell(inputs, tuple(range(2, nodes + 2)))


@ARCHITECTURES.register("archscout.diverse_genotype")
@dataclass(frozen=True)
class DiverseGenotype(CellGenotype):
    """A normal and a reduction cell for images or sequences; dense networks have no reduction cells.

    Source: D2NAS, Lee et al. 2024; docs/methods/pdarts.md#operations-and-networks-of-d2nas.
    """

    format: ClassVar[str] = "archscout.diverse_genotype"
    space: ClassVar[str] = "diverse-cells"

    @property
    def reduces(self) -> bool:
        """Whether there is a reduction cell, and not `unused_cell` in its place."""
        return self.reduce != unused_cell(len(self.reduce.nodes))

    def describe(self) -> str:
        """Both cells, a line for each node; without the reduction cell where there is none."""
        return super().describe() if self.reduces else "\n".join(self.normal.lines("cell"))


def diverse_reductions(layers: int, spec: TaskSpec) -> tuple[int, ...]:
    """The cells that halve the sides: at a third and at two thirds, but not before cell 3; none in dense networks."""
    if spec.kind == "dense":
        return ()
    return tuple(index for index in (layers // 3, max(3, 2 * layers // 3)) if index < layers)


@SPACES.register("diverse-cells")
class DiverseSpace:
    """Cells for diverse tasks: images or sequences, with one answer or one for each pixel (D2NAS)."""

    name: ClassVar[str] = "diverse-cells"
    options_model: ClassVar[type[Settings]] = DiverseOptions
    size_model: ClassVar[type[Settings]] = DiverseSize
    searched_depthwise: ClassVar[bool] = True

    def __init__(self, options: DiverseOptions | None = None) -> None:
        self.options = options or DiverseOptions()

    @property
    def operations(self) -> tuple[str, ...]:
        """The searched operations, in the published order; `none` comes before them in a search."""
        pool = ("avg_pool_3x3",) if self.options.pooling else ()
        return ("skip_connect", *pool, "sep_conv_3x3", "dil_conv_5x5")

    @cached_property
    def _choices(self) -> CellChoices:
        return CellChoices(self.options.nodes, self.operations, DiverseGenotype)

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the task is one of images (C, H, W) or sequences (C, L) of at least 4 a side."""
        if spec.kind not in KINDS or len(spec.input_shape) not in (2, 3):
            raise SpaceError(
                f"the space '{self.name}' serves {', '.join(KINDS)} of images (C, H, W) and sequences (C, L); "
                f"{spec.name} is {spec.describe()}. Choose another space: archscout list spaces"
            )
        if min(spec.input_shape[1:]) < SMALLEST_SIDE:
            raise SpaceError(
                f"{spec.name}: samples of {spec.describe()} are too small; two reductions need {SMALLEST_SIDE} a side."
            )

    # -- architectures -------------------------------------------------------------------------------------------

    def random(self, draw: Random) -> CellGenotype:
        """A genotype with pairs and operations drawn uniformly."""
        return self._choices.random(draw)

    def mutate(self, architecture: CellGenotype, draw: Random) -> CellGenotype:
        """The genotype with one choice changed: the pair of one node, or the operation on one edge."""
        return self._choices.mutate(architecture, draw)

    def extremes(self, spec: TaskSpec, size: DiverseSize) -> tuple[CellGenotype, CellGenotype]:
        """The genotypes with the fewest and with the most parameters."""
        dims, reductions = len(spec.input_shape) - 1, diverse_reductions(size.layers, spec)
        row = plan_row([1] * size.layers, reductions, size.init_channels, (1, 1), False)
        cells = []
        for reduces in (False, True):
            widths = [cell.channels for cell in row.cells if cell.reduces == reduces]
            largest = max(self.operations, key=lambda name, widths=widths: _parameters(name, widths, dims))  # type: ignore[misc]
            cells.append(self._cell([(Input(largest, 0), Input(largest, 1))] * self.options.nodes))
        return DiverseGenotype(self._smallest(), self._smallest()), DiverseGenotype(*cells)

    def _smallest(self) -> Cell:
        """Free operations; where there is no pooling, as few skip connections of stride 2 as possible."""
        if self.options.pooling:
            return self._cell([(Input("avg_pool_3x3", 0), Input("avg_pool_3x3", 1))] * self.options.nodes)
        sources = [(max(node - 2, 0), node - 1) for node in range(2, self.options.nodes + 2)]
        if len(sources) > 1:
            sources[1] = (0, 2)
        return self._cell([(Input("skip_connect", low), Input("skip_connect", high)) for low, high in sources])

    def _cell(self, nodes: Sequence[tuple[Input, ...]]) -> Cell:
        return Cell(tuple(nodes), tuple(range(2, len(nodes) + 2)))

    # -- networks ------------------------------------------------------------------------------------------------

    def build(self, architecture: CellGenotype | KernelPattern, spec: TaskSpec, size: DiverseSize) -> nn.Module:
        """The evaluation network of a genotype, or of a pattern with a kernel for each of its convolutions."""
        self.check(spec)
        if isinstance(architecture, KernelPattern):
            return build_with_kernels(self, architecture, spec, size)
        reductions = diverse_reductions(size.layers, spec)
        both = (architecture.normal, architecture.reduce)
        return CellNetwork(
            [both[index in reductions] for index in range(size.layers)],
            reductions,
            spec,
            init_channels=size.init_channels,
            stem="single",
            auxiliary=False,
        )

    def kernel_base(self, spec: TaskSpec) -> CellGenotype:
        """There is none: raises SpaceError."""
        raise SpaceError(
            f"the space '{self.name}' has no genotype to start from: its cells have to be found first. Search them "
            "(--method d2nas, or pdarts), or give one (--architecture NAME|FILE)."
        )

    def kernel_layers(self, network: nn.Module) -> Sequence[str]:
        """The stem's convolution and all depthwise ones."""
        return kernel_layers(network)

    def relaxation(self, spec: TaskSpec, size: DiverseSize) -> CellRelaxation:
        """Two architecture tensors, for all normal and for all reduction cells; dense networks have the first only."""
        self.check(spec)
        reductions = diverse_reductions(size.layers, spec)
        owners = [int(index in reductions) for index in range(size.layers)]
        if 0 not in owners:
            raise SpaceError("a supernet of one cell has no normal cell; set supernet.layers=2 or more.")
        plan = MixturePlan(
            init_channels=size.init_channels,
            stem="single",
            owners=owners,
            reductions=reductions,
            nodes=self.options.nodes,
            width=self.options.nodes,
            operations=self.operations,
            recompute=size.recompute,
        )
        return CellRelaxation(spec, plan, assemble=self._assemble)

    def _assemble(self, cells: Sequence[Cell]) -> DiverseGenotype:
        return DiverseGenotype(cells[0], cells[1] if len(cells) > 1 else unused_cell(self.options.nodes))


def _parameters(operation: str, channels: Sequence[int], dims: int) -> int:
    """Of an operation of stride 1 in cells of these widths."""
    with torch.device("meta"):
        modules = [make_operation(operation, width, 1, search=False, dims=dims) for width in channels]
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
