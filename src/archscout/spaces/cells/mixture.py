"""The supernet of mixed edges: every operation on every edge of every cell at once, weighted by mixing weights.

Which mixing weights a cell takes is given by its owner: the DARTS family has one architecture tensor for all normal and
one for all reduction cells, D-DARTS one for each cell, DARTOpti one for each distinct cell of its baseline.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from archscout.nn.fast.layout import concatenate
from archscout.nn.heads import make_head
from archscout.nn.mixture import MixedSource
from archscout.nn.operations import FactorizedReduce, ReluConvNorm
from archscout.nn.stems import make_stem
from archscout.spaces.cells.layout import CellLayout, plan_row
from archscout.spaces.cells.supernet import edge_index
from archscout.tasks.spec import TaskSpec

__all__ = ["MixturePlan", "MixtureSupernet"]


def _chosen(row: Sequence[bool], names: Sequence[str]) -> list[str]:
    return [name for name, chosen in zip(names, row, strict=True) if chosen]


def edge_count(nodes: int) -> int:
    """Edges of a cell with a number of computed nodes, each fed by all nodes before it."""
    return edge_index(nodes + 2, 0)


@dataclass(frozen=True)
class MixturePlan:
    """What a mixed supernet is made of.

    Attributes:
        init_channels: channels of the nodes before the first reduction.
        stem: one of `archscout.nn.stems.STEMS`.
        owners: which of the K architecture tensors each cell takes; one entry for each cell.
        reductions: the cells that halve height and width and double the channels.
        nodes: computed nodes in a cell.
        width: how many of them, from the last one back, make up a cell's output.
        operations: on each edge, in the order of the mixing weights' columns.
        recompute: see `archscout.nn.mixture`.
    """

    init_channels: int
    stem: str
    owners: Sequence[int]
    reductions: Collection[int]
    nodes: int
    width: int
    operations: Sequence[str]
    recompute: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the architecture tensors together, `(K, E, O)`."""
        return max(self.owners) + 1, edge_count(self.nodes), len(self.operations)


class MixtureCell(nn.Module):
    """One cell with mixed edges from every node to every later one; `live` names the operations of each edge."""

    def __init__(
        self, layout: CellLayout, plan: MixturePlan, live: Sequence[Collection[str]] | None, dims: int
    ) -> None:
        super().__init__()
        first, second = layout.inputs
        make_first = FactorizedReduce if layout.previous_reduces else ReluConvNorm
        self.preprocess0 = make_first(first, layout.channels, affine=False, dims=dims)
        self.preprocess1 = ReluConvNorm(second, layout.channels, affine=False, dims=dims)
        self._reduces, self._nodes, self._width = layout.reduces, plan.nodes, plan.width
        self.sources = nn.ModuleList()
        self._rows: list[list[int]] = []
        for source in range(plan.nodes + 1):
            targets = range(max(2, source + 1), plan.nodes + 2)
            stride = 2 if layout.reduces and source < 2 else 1
            rows = [edge_index(target, source) for target in targets]
            alive = None if live is None else [live[row] for row in rows]
            self.sources.append(
                MixedSource(
                    *(layout.channels, stride, len(rows), plan.operations),
                    dims=dims,
                    live=alive,
                    recompute=plan.recompute,
                )
            )
            self._rows.append(rows)

    def forward(self, before: Tensor, last: Tensor, mixing: Tensor) -> Tensor:
        """Outputs of the two cells before to this cell's output, with mixing weights `(E, O)`."""
        states = [self.preprocess0(before), self.preprocess1(last)]
        sums: dict[int, Tensor] = {}
        for number, (source, rows) in enumerate(zip(self.sources, self._rows, strict=True)):
            if number >= 2:
                states.append(sums[number])
            for node, edge in enumerate(source(states[number], mixing[rows]), start=max(2, number + 1)):
                sums[node] = sums[node] + edge if node in sums else edge
        states.append(sums[self._nodes + 1])
        return concatenate(states[-self._width :])


class MixtureSupernet(nn.Module):
    """Stem, cells of mixed edges, and a head: a linear classifier on the mean, or a linear map of every pixel.

    Args:
        spec: of the task; images `(C, H, W)` or sequences `(C, L)`.
        plan: see `MixturePlan`.
        live: boolean `(K, E, O)`: the operations that are left on the edges of each owner's cells; None: all.
    """

    def __init__(self, spec: TaskSpec, plan: MixturePlan, live: Tensor | None = None) -> None:
        super().__init__()
        self._owners = tuple(plan.owners)
        dims = len(spec.input_shape) - 1
        names = None if live is None else [[_chosen(row, plan.operations) for row in rows] for rows in live.tolist()]
        self.stem = make_stem(plan.stem, spec.input_shape[0], plan.init_channels, affine=True, dims=dims)
        widths = [plan.width] * len(plan.owners)
        row = plan_row(widths, plan.reductions, plan.init_channels, self.stem.channels, self.stem.reduced)
        self.cells = nn.ModuleList(
            MixtureCell(layout, plan, None if names is None else names[owner], dims)
            for layout, owner in zip(row.cells, plan.owners, strict=True)
        )
        channels = row.output_channels(len(plan.owners) - 1)
        self.pool, self.classifier = make_head(channels, spec.outputs, dims=dims, dense=spec.kind == "dense")

    @property
    def skip_dropout(self) -> float:
        """Share of the values of skip connections of stride 1 that training drops; 0 at first."""
        return next(source.skip_dropout for source in self._sources())

    @skip_dropout.setter
    def skip_dropout(self, rate: float) -> None:
        for source in self._sources():
            source.skip_dropout = rate

    def _sources(self) -> Iterator[MixedSource]:
        return (module for module in self.modules() if isinstance(module, MixedSource))

    def forward(self, inputs: Tensor, mixing: Tensor) -> Tensor:
        """`(N, *input_shape)` and mixing weights `(K, E, O)` to `(N, outputs)`, dense: `(N, outputs, *size)`."""
        return self.head(self.states(inputs, mixing)[-1][1])

    def states(self, inputs: Tensor, mixing: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The two inputs of every cell, and at the end the outputs of the last two cells."""
        found: list[tuple[Tensor, Tensor]] = [self.stem(inputs)]
        for cell, owner in zip(self.cells, self._owners, strict=True):
            before, last = found[-1]
            found.append((last, cell(before, last, mixing[owner])))
        return found

    def head(self, last: Tensor) -> Tensor:
        """The last cell's output to logits."""
        logits: Tensor = self.classifier(self.pool(last))
        return logits

    def without(self, owner: int, mixing: Tensor, states: Sequence[tuple[Tensor, Tensor]], instead: Tensor) -> Tensor:
        """Logits of the network in which the first cell of an owner takes other mixing weights `instead`, `(E, O)`.

        The cells before it do not depend on that: `states` of a pass with the same inputs and mixing weights serve.
        Other cells of the same owner keep theirs (docs/methods/ddarts.md#losses).
        """
        changed = self._owners.index(owner)
        before, last = states[changed]
        for index in range(changed, len(self.cells)):
            weights = instead if index == changed else mixing[self._owners[index]]
            before, last = last, cast(MixtureCell, self.cells[index])(before, last, weights)
        return self.head(last)
