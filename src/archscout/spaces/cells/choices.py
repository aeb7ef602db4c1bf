"""The decoupled view of the cell space: which pair of nodes feeds a node, and which operation sits on an edge.

Source: EDNAS (docs/methods/ednas.md#policy). For each of the two cell types and each node from the second computed
one on there is one choice among all pairs of earlier nodes; for each edge there is one choice among the operations,
used only where a chosen pair contains the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from archscout.errors import ArchitectureError
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.spaces.cells.supernet import edge_index

__all__ = ["CellChoices", "pairs"]


def pairs(node: int) -> list[tuple[int, int]]:
    """All pairs of nodes before a node, by the larger index, then the smaller: (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    return [(low, high) for high in range(1, node) for low in range(high)]


class CellChoices:
    """Implements `archscout.spaces.base.Factorization` for cells with a number of computed nodes.

    All rows of the normal cell come first, then all rows of the reduction cell.

    Args:
        nodes: computed nodes in a cell.
        operations: their names, the same on every edge.
        make: the architecture of a normal and a reduction cell.
    """

    def __init__(
        self, nodes: int, operations: Sequence[str], make: Callable[[Cell, Cell], CellGenotype] = CellGenotype
    ) -> None:
        self._nodes, self._make = nodes, make
        self._names = tuple(operations)
        self._pairs = [pairs(node) for node in range(2, nodes + 2)]
        self._edges = edge_index(nodes + 2, 0)
        self.structure = tuple(len(options) for options in self._pairs[1:]) * 2
        self.operations = (self._names,) * (2 * self._edges)

    def _chosen_pairs(self, structure: Sequence[int]) -> list[tuple[int, int, tuple[int, int]]]:
        """`(cell, node, pair)` for both cells and all nodes; the first computed node has only the pair (0, 1)."""
        per_cell = self._nodes - 1
        return [
            (cell, node, self._pairs[node - 2][0 if node == 2 else structure[cell * per_cell + node - 3]])
            for cell in range(2)
            for node in range(2, self._nodes + 2)
        ]

    def active(self, structure: Sequence[int]) -> tuple[int, ...]:
        """The operation rows on the edges that the pairs select, ascending."""
        return tuple(
            cell * self._edges + edge_index(node, source)
            for cell, node, pair in self._chosen_pairs(structure)
            for source in pair
        )

    def assemble(self, structure: Sequence[int], operations: Sequence[int]) -> CellGenotype:
        """The genotype of the choices; `operations` holds one index for each active row."""
        chosen = iter(operations)
        nodes: tuple[list[tuple[Input, ...]], ...] = ([], [])
        for cell, _, pair in self._chosen_pairs(structure):
            nodes[cell].append(tuple(Input(self._names[next(chosen)], source) for source in pair))
        concat = tuple(range(2, self._nodes + 2))
        return self._make(Cell(tuple(nodes[0]), concat), Cell(tuple(nodes[1]), concat))

    def random(self, draw: Random) -> CellGenotype:
        """A genotype with pairs and operations drawn uniformly."""
        structure = [draw.randrange(options) for options in self.structure]
        return self.assemble(structure, [draw.randrange(len(self.operations[row])) for row in self.active(structure)])

    def mutate(self, architecture: CellGenotype, draw: Random) -> CellGenotype:
        """The genotype with one choice changed: the pair of one node, or the operation on one edge."""
        structure, operations = (list(part) for part in self.disassemble(architecture))
        position = draw.randrange(len(structure) + len(operations))
        part, options, index = (
            (structure, self.structure, position)
            if position < len(structure)
            else (operations, [len(self._names)] * len(operations), position - len(structure))
        )
        part[index] = (part[index] + draw.randrange(1, options[index])) % options[index]
        return self.assemble(structure, operations)

    def disassemble(self, architecture: CellGenotype) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The choices of a genotype.

        Raises:
            ArchitectureError: the genotype is not in this space (another number of nodes, a node without exactly two
                different sources, an operation that is not searched).
        """
        structure: list[int] = []
        operations: list[int] = []
        for name, cell in (("normal", architecture.normal), ("reduce", architecture.reduce)):
            if len(cell.nodes) != self._nodes:
                raise ArchitectureError(f"{name}: {len(cell.nodes)} nodes, but the space has {self._nodes}.")
            for node, inputs in enumerate(cell.nodes, start=2):
                ordered = sorted(inputs, key=lambda item: item.source)
                sources = tuple(item.source for item in ordered)
                if sources not in self._pairs[node - 2]:
                    raise ArchitectureError(
                        f"{name}, node {node}: sources {list(sources)}; here a node adds up two different ones."
                    )
                if node > 2:
                    structure.append(self._pairs[node - 2].index((sources[0], sources[1])))
                operations += [self._row(item.operation, f"{name}, node {node}") for item in ordered]
        return tuple(structure), tuple(operations)

    def _row(self, operation: str, where: str) -> int:
        if operation not in self._names:
            raise ArchitectureError(f"{where}: '{operation}' is not searched here; searched: {', '.join(self._names)}.")
        return self._names.index(operation)
