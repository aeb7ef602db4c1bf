"""The supernet of the cell space: the weights of all cells, of which each forward pass runs one path.

Each cell owns one module for every edge and operation (docs/methods/ednas.md#shared-weights). A pass calls only the
modules that the architecture names: no mask, no multiplication by one, nothing read back from the device.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar, cast

from torch import Tensor, cat, nn, stack

from archscout.nn.fast.layout import concatenate
from archscout.nn.operations import FactorizedReduce, ReluConvNorm, make_operation
from archscout.nn.stems import make_stem
from archscout.spaces.cells.genotype import Cell, CellGenotype
from archscout.spaces.cells.layout import CellLayout, plan_cells
from archscout.tasks.spec import TaskSpec

__all__ = ["CellSupernet", "edge_index"]

K = TypeVar("K", bound=Hashable)


def edge_index(node: int, source: int) -> int:
    """Row of the edge source → node: nodes in order, sources in order (docs/methods/ednas.md#policy)."""
    return sum(range(2, node)) + source


class SearchCell(nn.Module):
    """One cell with every operation on every edge.

    Attributes:
        edges: `edges[edge_index(node, source)][operation]`, operations in the space's order.
    """

    def __init__(self, layout: CellLayout, nodes: int, operations: Sequence[str]) -> None:
        super().__init__()
        first, second = layout.inputs
        make_first = FactorizedReduce if layout.previous_reduces else ReluConvNorm
        self.preprocess0 = make_first(first, layout.channels, affine=False)
        self.preprocess1 = ReluConvNorm(second, layout.channels, affine=False)
        self.reduces = layout.reduces
        self._rows = {name: row for row, name in enumerate(operations)}
        self.edges = nn.ModuleList(
            nn.ModuleList(
                make_operation(name, layout.channels, 2 if layout.reduces and source < 2 else 1, search=True)
                for name in operations
            )
            for node in range(2, nodes + 2)
            for source in range(node)
        )

    def operation(self, node: int, source: int, name: str) -> nn.Module:
        """The module of an edge and an operation."""
        edge: nn.ModuleList = self.edges[edge_index(node, source)]  # type: ignore[assignment]
        return edge[self._rows[name]]

    def forward(self, before: Tensor, last: Tensor, cell: Cell) -> Tensor:
        """Outputs of the two cells before to this cell's output, along one path."""
        states: list[Tensor] = [self.preprocess0(before), self.preprocess1(last)]
        for node, inputs in enumerate(cell.nodes, start=2):
            outputs = [self.operation(node, source, name)(states[source]) for name, source in inputs]
            states.append(sum(outputs[1:], outputs[0]))
        return concatenate([states[number] for number in cell.concat])

    def path_modules(self, cell: Cell) -> list[nn.Module]:
        """The modules that a path runs."""
        chosen = [
            self.operation(node, source, name)
            for node, inputs in enumerate(cell.nodes, start=2)
            for name, source in inputs
        ]
        return [self.preprocess0, self.preprocess1, *chosen]

    def grouped(self, before: _Shared, last: _Shared, cells: Sequence[Cell]) -> _Shared:
        """`forward` for several paths at once; see `CellSupernet.grouped`."""
        states = [before.apply(self.preprocess0), last.apply(self.preprocess1)]
        for number in range(len(cells[0].nodes)):
            states.append(self._grouped_node(number + 2, [cell.nodes[number] for cell in cells], states))
        keys = [tuple((node, states[node].owner[path]) for node in cell.concat) for path, cell in enumerate(cells)]
        return _Shared.of(keys, lambda key: cat([states[node].values[owner] for node, owner in key], dim=1))

    def _grouped_node(self, node: int, choices: Sequence[Sequence[tuple[str, int]]], states: list[_Shared]) -> _Shared:
        # What each path adds up: (operation, source, which of the source's distinct values).
        terms = [
            tuple((name, source, states[source].owner[path]) for name, source in inputs)
            for path, inputs in enumerate(choices)
        ]
        wanted: dict[tuple[str, int], list[int]] = {}
        for name, source, owner in dict.fromkeys(term for inputs in terms for term in inputs):
            wanted.setdefault((name, source), []).append(owner)
        outputs: dict[tuple[str, int, int], Tensor] = {}
        for (name, source), owners in wanted.items():
            values = _run_together(self.operation(node, source, name), [states[source].values[o] for o in owners])
            outputs.update({(name, source, owner): value for owner, value in zip(owners, values, strict=True)})
        return _Shared.of(terms, lambda inputs: sum((outputs[t] for t in inputs[1:]), outputs[inputs[0]]))


def _run_together(module: nn.Module, batches: Sequence[Tensor]) -> Sequence[Tensor]:
    """The module on several batches of equal size, in one call."""
    if len(batches) == 1:
        return [module(batches[0])]
    joined: Tensor = module(cat(list(batches)))
    return joined.split(len(batches[0]))  # type: ignore[no-untyped-call,no-any-return]


class _Shared:
    """One value for each path, equal ones held once: path m's value is `values[owner[m]]`."""

    def __init__(self, values: Sequence[Tensor], owner: Sequence[int]) -> None:
        self.values, self.owner = values, owner

    @classmethod
    def of(cls, keys: Sequence[K], compute: Callable[[K], Tensor]) -> _Shared:
        """Compute the value of every distinct key once."""
        distinct = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        return cls([compute(key) for key in distinct], [distinct[key] for key in keys])

    def apply(self, module: nn.Module) -> _Shared:
        return _Shared(_run_together(module, self.values), self.owner)


class CellSupernet(nn.Module):
    """All weights of the cell space for a task; runs one genotype at a time.

    Args:
        spec: of the task; images `(C, H, W)`.
        init_channels, layers, stem: as for `CellNetwork`.
        nodes: computed nodes in a cell.
        operations: on each edge, in the space's order.
        swapped: run the normal cell in reducing positions and the reverse (a defect of the published CIFAR search).
    """

    def __init__(
        self,
        spec: TaskSpec,
        *,
        init_channels: int,
        layers: int,
        stem: str,
        nodes: int,
        operations: Sequence[str],
        swapped: bool = False,
    ) -> None:
        super().__init__()
        self._swapped = swapped
        self.stem = make_stem(stem, spec.input_shape[0], init_channels, affine=stem == "small")
        plan = plan_cells(layers, init_channels, self.stem.channels, self.stem.reduced, (nodes, nodes))
        self.cells = nn.ModuleList(SearchCell(layout, nodes, operations) for layout in plan.cells)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(plan.output_channels(layers - 1), spec.outputs)

    def _routed(self, architecture: CellGenotype) -> list[tuple[SearchCell, Cell]]:
        """Every cell with the path that it runs."""
        both = (architecture.normal, architecture.reduce)
        return [(cell, both[cell.reduces != self._swapped]) for cell in cast(list[SearchCell], list(self.cells))]

    def forward(self, inputs: Tensor, architecture: CellGenotype) -> Tensor:
        """`(N, C, H, W)` to logits `(N, outputs)` along the path of the genotype."""
        before, last = self.stem(inputs)
        for cell, path in self._routed(architecture):
            before, last = last, cell(before, last, path)
        logits: Tensor = self.classifier(self.pool(last).flatten(1))
        return logits

    def grouped(self, inputs: Tensor, architectures: Sequence[CellGenotype]) -> Tensor:
        """Logits `(M, N, outputs)` of M genotypes on one common batch, in evaluation mode.

        Paths that choose the same operation on the same edge run it in one call, and values that several paths have in
        common (the stem, equal prefixes) are computed once. In evaluation mode batch norm treats samples separately,
        so this equals M calls of `forward` (docs/methods/ednas.md#architectures-together).
        """
        if self.training:
            raise RuntimeError("grouped evaluation needs evaluation mode: batch norm would mix the paths.")
        everyone = [0] * len(architectures)
        before, last = (_Shared([state], everyone) for state in self.stem(inputs))
        for routes in zip(*(self._routed(genotype) for genotype in architectures), strict=True):
            before, last = last, routes[0][0].grouped(before, last, [path for _, path in routes])
        features = last.apply(self.pool)
        logits = features.apply(nn.Sequential(nn.Flatten(), self.classifier))
        return stack([logits.values[owner] for owner in logits.owner])

    def path_parameters(self, architecture: CellGenotype) -> list[nn.Parameter]:
        """The parameters that the path of a genotype uses."""
        modules: list[nn.Module] = [self.stem]
        for cell, path in self._routed(architecture):
            modules += cell.path_modules(path)
        modules.append(self.classifier)
        return [parameter for module in modules for parameter in module.parameters()]
