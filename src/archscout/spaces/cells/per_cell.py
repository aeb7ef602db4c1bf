"""The space of networks whose cells may all differ (docs/methods/ddarts.md#what-the-code-rests-on)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from random import Random
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from archscout.errors import ArchitectureError, SpaceError
from archscout.nn.operations import make_operation
from archscout.nn.stems import IMAGENET_STEM_FROM
from archscout.settings import Settings
from archscout.spaces.base import SPACES
from archscout.spaces.cells.derivation import derive
from archscout.spaces.cells.distance import distance
from archscout.spaces.cells.genotype import HANDCRAFTED_OPERATIONS, OPERATIONS, Cell, Input
from archscout.spaces.cells.layout import reduction_indices
from archscout.spaces.cells.mixture import MixturePlan
from archscout.spaces.cells.network import CellNetwork
from archscout.spaces.cells.per_cell_genotype import PerCellGenotype
from archscout.spaces.cells.relaxation import CellRelaxation
from archscout.spaces.resolve import resolve_architecture
from archscout.tasks.spec import TaskSpec

__all__ = ["PerCellOptions", "PerCellSize", "PerCellSpace"]

INPUTS_PER_NODE = 2
SMALLEST_IMAGE = 4
SUPERNET_WIDTH = 4


class PerCellOptions(Settings):
    """Settings of the space."""

    baseline: str | None = Field(
        default=None,
        description="handcrafted network to start from: zoo name (resnet18, ...) or file; it sets cells and nodes",
    )
    cells: int = Field(default=8, ge=1, le=40, description="cells, each with a wiring of its own; without a baseline")
    nodes: int = Field(
        default=4, ge=1, le=8, description="computed nodes in a cell; a baseline with larger cells sets more"
    )
    operations: Literal["auto", "darts", "handcrafted"] = Field(
        default="auto", description="darts: the 7 of D-DARTS; handcrafted: the 12 of DARTOpti; auto: 12 with a baseline"
    )


class PerCellSize(Settings):
    """Size of a network or a supernet."""

    init_channels: int = Field(default=16, ge=2, description="channels of a node before the first reduction")
    layers: int | None = Field(
        default=None, ge=1, description="cells; none: as many as the architecture has; another number is derived"
    )
    stem: Literal["auto", "small", "imagenet", "imagenet_quarter"] = Field(
        default="auto", description="auto: imagenet_quarter (the published one) from 96 pixels on"
    )
    auxiliary: bool = Field(default=False, description="auxiliary head for training (evaluation networks only)")
    recompute: bool = Field(
        default=False,
        description="compute convolutions again in the backward pass, to save memory (mixed supernets only)",
    )


@SPACES.register("per-cell", formerly=("distributed",))
class PerCellSpace:
    """A row of cells with a wiring of their own each, from nothing or from a handcrafted network; for images."""

    name: ClassVar[str] = "per-cell"
    options_model: ClassVar[type[Settings]] = PerCellOptions
    size_model: ClassVar[type[Settings]] = PerCellSize

    def __init__(self, options: PerCellOptions | None = None) -> None:
        self.options = options or PerCellOptions()

    @cached_property
    def baseline(self) -> PerCellGenotype | None:
        """The network to start from. Raises ArchitectureError if the option names something else."""
        if self.options.baseline is None:
            return None
        found = resolve_architecture(self.options.baseline)
        if not isinstance(found, PerCellGenotype):
            raise ArchitectureError(
                f"space_options.baseline: '{self.options.baseline}' is an architecture of the space '{found.space}'. "
                "Give one of the space 'per-cell', for example resnet18."
            )
        for number, cell in enumerate(found.genes):
            for item in (item for inputs in cell.nodes for item in inputs):
                if item.operation not in self.operations:
                    raise ArchitectureError(
                        f"space_options.baseline: genes[{number}] of '{self.options.baseline}' has the operation "
                        f"'{item.operation}', which is not searched; searched: {', '.join(self.operations)}. Choose "
                        "another baseline, or space_options.operations."
                    )
        return found

    @property
    def operations(self) -> tuple[str, ...]:
        """The searched operations in index order."""
        chosen = self.options.operations
        if chosen == "auto":
            chosen = "darts" if self.options.baseline is None else "handcrafted"
        return OPERATIONS if chosen == "darts" else HANDCRAFTED_OPERATIONS

    @property
    def nodes(self) -> int:
        """Computed nodes in a cell; at least as many as the baseline's largest cell has."""
        genes = () if self.baseline is None else self.baseline.genes
        return max([self.options.nodes, *(len(cell.nodes) for cell in genes)])

    @property
    def sequence(self) -> tuple[int, ...]:
        """The gene of each cell."""
        return tuple(range(self.options.cells)) if self.baseline is None else self.baseline.sequence

    @property
    def reductions(self) -> tuple[int, ...]:
        """The cells that halve height and width."""
        if self.baseline is None:
            return tuple(sorted(set(reduction_indices(self.options.cells))))
        return self.baseline.reductions

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the task asks for classes, labels or numbers of images of at least 4 x 4 pixels."""
        if not spec.answers_once or len(spec.input_shape) != 3:
            raise SpaceError(
                f"the space 'per-cell' serves classification, multilabel and regression of images (C, H, W); "
                f"{spec.name} is {spec.describe()}. Choose another space: archscout list spaces"
            )
        if min(spec.input_shape[1:]) < SMALLEST_IMAGE:
            raise SpaceError(
                f"{spec.name}: images of {spec.describe()} are too small; the reductions need 4 x 4 or more."
            )
        _ = self.baseline  # raises if it is none

    # -- architectures -------------------------------------------------------------------------------------------

    def assemble(self, genes: Sequence[Cell]) -> PerCellGenotype:
        """The network of this space's row of cells with the given wirings."""
        return PerCellGenotype(tuple(genes), self.sequence, self.reductions)

    def random(self, draw: Random) -> PerCellGenotype:
        """A network in which every node adds up two operations, drawn uniformly, on two different sources."""
        return self.assemble([self._random_cell(draw) for _ in range(max(self.sequence) + 1)])

    def _random_cell(self, draw: Random) -> Cell:
        nodes = tuple(
            tuple(
                Input(draw.choice(self.operations), source)
                for source in sorted(draw.sample(range(number), INPUTS_PER_NODE))
            )
            for number in range(2, self.nodes + 2)
        )
        return self._cell(nodes)

    def _cell(self, nodes: Sequence[tuple[Input, ...]]) -> Cell:
        return Cell(tuple(nodes), tuple(number for number, inputs in enumerate(nodes, start=2) if inputs))

    def mutate(self, architecture: PerCellGenotype, draw: Random) -> PerCellGenotype:
        """The network with one input of one node changed: its operation, or its source.

        No node gets the same operation on the same source twice.
        """
        places = [
            (gene, node, slot)
            for gene, cell in enumerate(architecture.genes)
            for node, inputs in enumerate(cell.nodes)
            for slot in range(len(inputs))
        ]
        gene, node, slot = draw.choice(places)
        cell = architecture.genes[gene]
        inputs = list(cell.nodes[node])
        operation, source = inputs[slot]
        sources = [0, 1, *(number for number in range(2, node + 2) if cell.nodes[number - 2])]
        options = [Input(name, source) for name in self.operations if name != operation]
        options += [Input(operation, other) for other in sources if other != source]
        inputs[slot] = draw.choice([item for item in options if item not in inputs])
        nodes = list(cell.nodes)
        nodes[node] = tuple(inputs)
        genes = list(architecture.genes)
        genes[gene] = Cell(tuple(nodes), cell.concat)
        return PerCellGenotype(tuple(genes), architecture.sequence, architecture.reductions)

    def distance(self, first: PerCellGenotype, second: PerCellGenotype) -> float:
        """The architecture distance of two networks; see `archscout.spaces.cells.distance`."""
        return distance(first, second)

    # -- networks ------------------------------------------------------------------------------------------------

    def stem(self, spec: TaskSpec, size: PerCellSize) -> str:
        """The name of the stem."""
        if size.stem != "auto":
            return size.stem
        return "imagenet_quarter" if min(spec.input_shape[1:]) >= IMAGENET_STEM_FROM else "small"

    def build(self, architecture: PerCellGenotype, spec: TaskSpec, size: PerCellSize) -> CellNetwork:
        """The evaluation network; with another number of layers than cells, of the network derived for it."""
        self.check(spec)
        if size.layers is not None and size.layers != len(architecture.sequence):
            architecture = derive(architecture, size.layers)
        return CellNetwork(
            architecture.cells,
            architecture.reductions,
            spec,
            init_channels=size.init_channels,
            stem=self.stem(spec, size),
            auxiliary=size.auxiliary,
            drop_nodes=True,
        )

    def relaxation(self, spec: TaskSpec, size: PerCellSize) -> CellRelaxation:
        """An architecture tensor for each gene; cells that share a gene share it.

        A supernet cell hands over its last four nodes, however many it has (docs/methods/ddarts.md#supernet).

        Raises:
            SpaceError: the size asks for another number of cells than the space has.
        """
        self.check(spec)
        if size.layers not in (None, len(self.sequence)):
            raise SpaceError(
                f"supernet.layers = {size.layers}, but the space has {len(self.sequence)} cells, each with an "
                "architecture of its own. Set space_options.cells instead (a baseline has its own number)."
            )
        plan = MixturePlan(
            init_channels=size.init_channels,
            stem=self.stem(spec, size),
            owners=self.sequence,
            reductions=self.reductions,
            nodes=self.nodes,
            width=min(SUPERNET_WIDTH, self.nodes),
            operations=self.operations,
            recompute=size.recompute,
        )
        return CellRelaxation(
            spec, plan, assemble=self.assemble, start=None if self.baseline is None else self.baseline.genes
        )

    def extremes(self, spec: TaskSpec, size: PerCellSize) -> tuple[PerCellGenotype, PerCellGenotype]:
        """The networks with the fewest and with the most parameters of those that `random` draws."""
        channels = [
            size.init_channels * 2 ** sum(reduction <= position for reduction in self.reductions)
            for position in range(len(self.sequence))
        ]
        largest = []
        for gene in range(max(self.sequence) + 1):
            widths = [channels[position] for position, number in enumerate(self.sequence) if number == gene]
            largest.append(max(self.operations, key=lambda name, widths=widths: _parameters(name, widths)))  # type: ignore[misc]
        smallest = ["max_pool_3x3"] * len(largest)
        return self._uniform(smallest), self._uniform(largest)

    def _uniform(self, operations: Sequence[str]) -> PerCellGenotype:
        """The same operation everywhere in a gene."""
        return self.assemble(
            [self._cell([(Input(name, 0), Input(name, 1))] * self.nodes) for name in operations],
        )


def _parameters(operation: str, channels: Sequence[int]) -> int:
    """Of an operation of stride 1 in cells of these widths."""
    with torch.device("meta"):
        modules: list[nn.Module] = [make_operation(operation, width, 1, search=False) for width in channels]
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
