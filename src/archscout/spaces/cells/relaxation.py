"""The continuous view of cell spaces: architecture tensors, the supernet that they weigh, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from archscout.spaces.architecture import Architecture
from archscout.spaces.cells.discretization import DiscretizationRule, discretize_cell, present_operations
from archscout.spaces.cells.genotype import Cell
from archscout.spaces.cells.mixture import MixturePlan, MixtureSupernet
from archscout.tasks.spec import TaskSpec

__all__ = ["CellRelaxation"]


class CellRelaxation:
    """Implements `archscout.spaces.base.Relaxation` for cells.

    Args:
        spec: of the task; images or sequences.
        assemble: makes the architecture of the K discretized cells.
        start: a cell for each of the K tensors to start from, or None.
    """

    def __init__(
        self,
        spec: TaskSpec,
        plan: MixturePlan,
        *,
        assemble: Callable[[Sequence[Cell]], Architecture],
        start: Sequence[Cell] | None = None,
    ) -> None:
        self._spec, self._plan, self._assemble = spec, plan, assemble
        self.shape, self.operations = plan.shape, tuple(plan.operations)
        self.start = None
        if start is not None:
            self.start = torch.tensor([present_operations(cell, self.operations, plan.nodes) for cell in start])

    def supernet(self, live: Tensor | None = None) -> MixtureSupernet:
        """The network that the mixing weights weigh, of all operations, or of those that are left: `(K, E, O)`."""
        return MixtureSupernet(self._spec, self._plan, live)

    def discretize(
        self, weights: Tensor, rule: DiscretizationRule, threshold: float, *, skip_limit: int | None = None
    ) -> Architecture:
        """The architecture of mixing weights `(K, E, O)`; the limit is on cells that do not reduce."""
        plan, cells = self._plan, []
        reducing = {plan.owners[index] for index in plan.reductions}
        for owner, tensor in enumerate(weights.detach().double().cpu().tolist()):
            limit = None if owner in reducing else skip_limit
            cells.append(discretize_cell(tensor, self.operations, plan.nodes, rule, threshold, skip_limit=limit))
        return self._assemble(cells)
