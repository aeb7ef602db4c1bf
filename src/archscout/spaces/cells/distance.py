"""How far two architectures are apart: the architecture distance of DARTOpti.

Source: docs/architectures.md#comparing-distance.

An edge is the set of its operations; two edges differ by the weighted share of the operations that only one of them
has. Two cells differ by the Hausdorff distance between their sets of edges: the largest way from an edge of one to the
nearest edge of the other. Two networks differ by the mean over their genes, first with first, second with second, as
many as the shorter has.

That is no metric: it does not see where an edge is or how often it occurs, and networks with more genes are compared on
the first ones only.
"""

from __future__ import annotations

from collections.abc import Sequence

from archscout.errors import SpaceError
from archscout.spaces.architecture import Architecture
from archscout.spaces.cells.genotype import Cell, CellGenotype
from archscout.spaces.cells.per_cell_genotype import PerCellGenotype

__all__ = ["OPERATION_WEIGHTS", "cell_distance", "distance", "distance_matrix"]

# Mean CIFAR-10 accuracy in percent of a small network with the operation at one of 12 places:
# docs/methods/ddarts.md#weights-of-the-distance.
OPERATION_WEIGHTS = {
    "conv_3x1_1x3": 82.106,
    "conv_7x1_1x7": 83.159,
    "max_pool_3x3": 82.134,
    "avg_pool_3x3": 81.563,
    "skip_connect": 81.342,
    "simple_conv_1x1": 81.492,
    "simple_conv_3x3": 82.303,
    "sep_conv_3x3": 83.396,
    "sep_conv_5x5": 84.974,
    "dil_conv_3x3": 82.736,
    "dil_conv_5x5": 82.892,
    "bottleneck_1x3x1": 82.875,
}
_TOTAL = sum(OPERATION_WEIGHTS.values())

Edge = frozenset[str]


def distance(first: Architecture, second: Architecture) -> float:
    """The distance of two architectures of one space; from 0 (their edges are the same) to 1.

    Raises:
        SpaceError: of different spaces, without cells, or with an operation that has no weight.
    """
    genes, others = _genes(first), _genes(second)
    if first.space != second.space:
        raise SpaceError(
            f"an architecture of the space '{first.space}' and one of '{second.space}' cannot be compared. Give "
            "architectures of one space."
        )
    edges, other_edges = _edges(genes), _edges(others)
    pairs = list(zip(edges, other_edges, strict=False))
    return sum(_hausdorff(ours, theirs) for ours, theirs in pairs) / len(pairs)


def distance_matrix(architectures: Sequence[Architecture]) -> list[list[float]]:
    """The distance of every pair; symmetric, with zeros on the diagonal. Raises SpaceError."""
    count = len(architectures)
    matrix = [[0.0] * count for _ in range(count)]
    for row in range(count):
        for column in range(row, count):
            matrix[row][column] = matrix[column][row] = distance(architectures[row], architectures[column])
    return matrix


def cell_distance(first: Cell, second: Cell) -> float:
    """The distance of two cells. Raises SpaceError."""
    return _hausdorff(*_edges([first]), *_edges([second]))


def _genes(architecture: Architecture) -> Sequence[Cell]:
    if isinstance(architecture, PerCellGenotype):
        return architecture.genes
    if isinstance(architecture, CellGenotype):
        return architecture.normal, architecture.reduce
    raise SpaceError(f"architectures of the space '{architecture.space}' have no cells, which the distance compares.")


def _edges(cells: Sequence[Cell]) -> list[set[Edge]]:
    """The distinct edges of each cell, with the empty one where the network has more edges than the cell uses."""
    last = max(len(cell.nodes) + 2 for cell in cells)
    possible = last * (last - 1) // 2 - 1
    found = []
    for cell in cells:
        edges: dict[tuple[int, int], set[str]] = {}
        for node, inputs in enumerate(cell.nodes, start=2):
            for operation, source in inputs:
                if operation not in OPERATION_WEIGHTS:
                    raise SpaceError(
                        f"the operation '{operation}' has no weight in the distance; those with one: "
                        f"{', '.join(OPERATION_WEIGHTS)}."
                    )
                edges.setdefault((source, node), set()).add(operation)
        distinct = {frozenset(operations) for operations in edges.values()}
        found.append(distinct | {frozenset()} if len(edges) < possible else distinct)
    return found


def _hausdorff(first: set[Edge], second: set[Edge]) -> float:
    def reach(one: set[Edge], other: set[Edge]) -> float:
        return max(min(_edge_distance(edge, target) for target in other) for edge in one)

    return max(reach(first, second), reach(second, first))


def _edge_distance(first: Edge, second: Edge) -> float:
    return sum(OPERATION_WEIGHTS[operation] for operation in sorted(first ^ second)) / _TOTAL
