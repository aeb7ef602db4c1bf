"""The continuous view of cell spaces: architecture tensors, the supernet that they weigh, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch
from torch import Tensor

from archscout.spaces.architecture import Architecture
from archscout.spaces.cell_mixture import MixtureSupernet, edge_count
from archscout.spaces.discretisation import DiscretisationRule, discretise_cell, present_operations
from archscout.spaces.genotype import Cell
from archscout.tasks.spec import TaskSpec

__all__ = ["CellRelaxation"]


class CellRelaxation:
    """Implements `archscout.spaces.base.Relaxation` for cells.

    Args:
        spec: of the task; pictures.
        init_channels, stem: of the supernet.
        owners: which architecture tensor each cell of the supernet takes.
        reductions: the cells that halve height and width.
        nodes: computed nodes in a cell.
        width: how many of them, from the last one back, make up a cell's output in the supernet.
        operations: on each edge.
        assemble: makes the architecture of the K discretised cells.
        start: a cell for each of the K tensors to start from, or None.
    """

    def __init__(
        self,
        spec: TaskSpec,
        *,
        init_channels: int,
        stem: str,
        owners: Sequence[int],
        reductions: Collection[int],
        nodes: int,
        width: int,
        operations: Sequence[str],
        assemble: Callable[[Sequence[Cell]], Architecture],
        start: Sequence[Cell] | None = None,
    ) -> None:
        self.operations = tuple(operations)
        self.shape = (max(owners) + 1, edge_count(nodes), len(self.operations))
        self.start = None
        if start is not None:
            self.start = torch.tensor([present_operations(cell, self.operations, nodes) for cell in start])
        self._nodes, self._assemble = nodes, assemble
        self._make = partial(
            MixtureSupernet,
            spec,
            init_channels=init_channels,
            stem=stem,
            owners=owners,
            reductions=reductions,
            nodes=nodes,
            width=width,
            operations=self.operations,
        )

    def supernet(self) -> MixtureSupernet:
        """The network that the mixing weights weigh."""
        return self._make()

    def discretise(self, weights: Tensor, rule: DiscretisationRule, threshold: float) -> Architecture:
        """The architecture of mixing weights `(K, E, O)`."""
        tensors = weights.detach().double().cpu().tolist()
        return self._assemble(
            [discretise_cell(tensor, self.operations, self._nodes, rule, threshold) for tensor in tensors]
        )
