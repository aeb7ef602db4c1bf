"""The order in which a recurrent cell is computed: nodes with one source are one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from archscout.nn.recurrent.reference import ACTIVATIONS

__all__ = ["CellPlan", "Group", "plan_cell"]


@dataclass(frozen=True)
class Group:
    """All nodes that one node feeds; computed together.

    Attributes:
        source: slot of the node that feeds them.
        first: slot of the first of them; the others follow.
        nodes: their indices among the computed nodes (node `i` of the genotype has index `i - 1`), by activation.
        spans: `(activation, start, stop)`: which of them have which activation.
    """

    source: int
    first: int
    nodes: tuple[int, ...]
    spans: tuple[tuple[str, int, int], ...]

    @property
    def stop(self) -> int:
        """The slot after the last of them."""
        return self.first + len(self.nodes)


@dataclass(frozen=True)
class CellPlan:
    """A cell for the fast path. Slot 0 is node 0; every other node has the slot that its group gives it.

    Attributes:
        groups: in an order in which every source is computed before.
        outputs: slots of the nodes whose mean is the output.
        slots: how many there are.
    """

    groups: tuple[Group, ...]
    outputs: tuple[int, ...]
    slots: int

    @property
    def all_output(self) -> bool:
        """Whether the output is the mean of all nodes but node 0."""
        return self.outputs == tuple(range(1, self.slots))


def plan_cell(cell: Sequence[tuple[str, int]], concat: Sequence[int]) -> CellPlan:
    """The plan of a cell.

    Args:
        cell: activation and source of the nodes 1, 2, ...; a source comes before its node.
        concat: the nodes whose mean is the output.
    """
    return _plan(tuple((activation, source) for activation, source in cell), tuple(concat))


@lru_cache(maxsize=1024)
def _plan(cell: tuple[tuple[str, int], ...], concat: tuple[int, ...]) -> CellPlan:
    slots = {0: 0}
    groups = []
    for source in sorted({source for _, source in cell}):
        nodes = [number for number, (_, feeding) in enumerate(cell, start=1) if feeding == source]
        nodes.sort(key=lambda number: ACTIVATIONS.index(cell[number - 1][0]))
        first = len(slots)
        slots.update({number: first + place for place, number in enumerate(nodes)})
        spans, start = [], 0
        for activation, members in groupby(nodes, key=lambda number: cell[number - 1][0]):
            stop = start + len(list(members))
            spans.append((activation, start, stop))
            start = stop
        groups.append(Group(slots[source], first, tuple(number - 1 for number in nodes), tuple(spans)))
    return CellPlan(tuple(groups), tuple(sorted(slots[number] for number in concat)), len(slots))
