"""The decoupled view of recurrent cells: which node feeds a node, and which activation sits on an edge.

Source: EDNAS (docs/methods/ednas.md#recurrent-policy). Node 1 is fed by node 0; every later node chooses
among all nodes before it, and each of the edges has its own choice of an activation, used only where the edge is.
"""

from __future__ import annotations

from collections.abc import Sequence

from archscout.errors import ArchitectureError
from archscout.nn.recurrent.reference import ACTIVATIONS
from archscout.spaces.recurrent.genotype import Node, RecurrentGenotype

__all__ = ["RecurrentChoices", "edge_index"]


def edge_index(node: int, source: int) -> int:
    """Row of the edge source → node: nodes in order, sources in order (docs/methods/ednas.md#recurrent-policy)."""
    return node * (node - 1) // 2 + source


class RecurrentChoices:
    """Implements `archscout.spaces.base.Factorization` for cells with a number of nodes."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self.structure = tuple(range(2, nodes + 1))
        self.operations = (ACTIVATIONS,) * edge_index(nodes + 1, 0)

    def active(self, structure: Sequence[int]) -> tuple[int, ...]:
        """The operation rows on the chosen edges, ascending."""
        return tuple(edge_index(node, source) for node, source in enumerate((0, *structure), start=1))

    def assemble(self, structure: Sequence[int], operations: Sequence[int]) -> RecurrentGenotype:
        """The genotype of the choices."""
        chosen = zip(operations, (0, *structure), strict=True)
        nodes = tuple(Node(ACTIVATIONS[operation], source) for operation, source in chosen)
        return RecurrentGenotype(nodes, tuple(range(1, self._nodes + 1)))

    def disassemble(self, architecture: RecurrentGenotype) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The choices of a genotype.

        Raises:
            ArchitectureError: it has another number of nodes, or another output than the mean of all.
        """
        if len(architecture.nodes) != self._nodes:
            raise ArchitectureError(f"the cell has {len(architecture.nodes)} nodes, but the space has {self._nodes}.")
        if sorted(architecture.concat) != list(range(1, self._nodes + 1)):
            raise ArchitectureError(
                f"concat: {list(architecture.concat)}; in this space the output is the mean of all nodes."
            )
        structure = tuple(source for _, source in architecture.nodes[1:])
        return structure, tuple(ACTIVATIONS.index(activation) for activation, _ in architecture.nodes)
