"""From mixing weights to a cell: which operations on which edges stay.

Sources: DARTS, docs/methods/darts.md#discretization; FairDARTS and D-DARTS,
docs/methods/ddarts.md#rules-and-text-form; P-DARTS, docs/methods/pdarts.md#choice-of-operations-and-edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from archscout.errors import ArchitectureError
from archscout.spaces.cells.genotype import Cell, Input

__all__ = ["DiscretizationRule", "discretize_cell", "present_operations"]

DiscretizationRule = Literal["two_edges", "progressive", "sparse", "edge", "complete"]
"""`two_edges` keeps the strongest operation on the two strongest edges into each node (DARTS). So does `progressive`
(P-DARTS), but of equal edges it takes the later one, and it may limit the number of skip connections. The others keep
only operations that reach the threshold: `sparse` of those that `two_edges` names, `edge` of the two strongest on every
edge, `complete` of all."""

Weights = Sequence[Sequence[float]]
"""Of one cell, `(E, O)`: edges in the order node 2 from 0, from 1, node 3 from 0, ..."""


def discretize_cell(
    weights: Weights,
    operations: Sequence[str],
    nodes: int,
    rule: DiscretizationRule,
    threshold: float,
    *,
    skip_limit: int | None = None,
) -> Cell:
    """The cell of a rule; its output is the concatenation of all nodes that data reaches.

    Where the threshold leaves nothing that is connected to the cell's inputs, the strongest operation on an edge from
    an input is kept: a cell must have one.

    Args:
        operations: names of the columns.
        rule, threshold: see `DiscretizationRule`.
        skip_limit: most skip connections in the cell, for `progressive`; None: any number.
    """
    if rule == "progressive":
        return _progressive(weights, operations, nodes, skip_limit)
    rows = iter(weights)
    incoming = [[next(rows) for _ in range(node)] for node in range(2, nodes + 2)]
    chosen = [_node(edges, operations, rule, threshold) for edges in incoming]
    reached = _reached(chosen)
    if not any(reached):
        return _strongest(incoming, operations)
    return Cell(tuple(reached), tuple(number for number, inputs in enumerate(reached, start=2) if inputs))


def present_operations(cell: Cell, operations: Sequence[str], nodes: int) -> list[list[bool]]:
    """Which operations of a cell are on which edge: `(E, O)` in the order of `Weights`.

    Raises:
        ArchitectureError: the cell has more nodes, or an operation that is not among the columns.
    """
    if len(cell.nodes) > nodes:
        raise ArchitectureError(f"the cell has {len(cell.nodes)} nodes, but only {nodes} are searched.")
    rows = []
    for node in range(2, nodes + 2):
        inputs = cell.nodes[node - 2] if node - 2 < len(cell.nodes) else ()
        for operation, _ in inputs:
            if operation not in operations:
                raise ArchitectureError(
                    f"node {node}: '{operation}' is not searched here; searched: {', '.join(operations)}."
                )
        rows += [[Input(name, source) in inputs for name in operations] for source in range(node)]
    return rows


def _progressive(weights: Weights, operations: Sequence[str], nodes: int, skip_limit: int | None) -> Cell:
    """While there are too many skip connections, they lose all weight except on the edges where it is largest."""
    rows = [list(row) for row in weights]
    while True:
        cell = _two_edges(rows, operations, nodes)
        skips = sum(item.operation == "skip_connect" for inputs in cell.nodes for item in inputs)
        if skip_limit is None or skips <= skip_limit:
            return cell
        column = operations.index("skip_connect")
        ranked = sorted(range(len(rows)), key=lambda edge: (-rows[edge][column], -edge))
        for edge in ranked[skips - 1 :]:
            rows[edge][column] = 0.0


def _two_edges(weights: Weights, operations: Sequence[str], nodes: int) -> Cell:
    rows, chosen = iter(weights), []
    for node in range(2, nodes + 2):
        edges = [next(rows) for _ in range(node)]
        kept = sorted(range(node), key=lambda source, edges=edges: (max(edges[source]), source))[-2:]  # type: ignore[misc]
        inputs = (Input(operations[edges[source].index(max(edges[source]))], source) for source in sorted(kept))
        chosen.append(tuple(inputs))
    return Cell(tuple(chosen), tuple(range(2, nodes + 2)))


def _node(edges: Weights, operations: Sequence[str], rule: DiscretizationRule, threshold: float) -> tuple[Input, ...]:
    """The inputs of one node; `edges[source]` holds the weights of its operations."""
    if rule in ("two_edges", "sparse"):
        ranked = sorted(range(len(edges)), key=lambda source: -max(edges[source]))[:2]
        best = [(source, max(range(len(operations)), key=edges[source].__getitem__)) for source in ranked]
        kept = [pair for pair in best if rule == "two_edges" or edges[pair[0]][pair[1]] >= threshold]
        return tuple(Input(operations[column], source) for source, column in kept)
    inputs = []
    for source, row in enumerate(edges):
        columns = sorted(range(len(operations)), key=row.__getitem__)
        columns = columns[-2:] if rule == "edge" else sorted(columns)
        inputs += [Input(operations[column], source) for column in columns if row[column] >= threshold]
    return tuple(inputs)


def _reached(nodes: Sequence[tuple[Input, ...]]) -> list[tuple[Input, ...]]:
    """The nodes without inputs from nodes that do not exist."""
    found: list[tuple[Input, ...]] = []
    for inputs in nodes:
        found.append(tuple(item for item in inputs if item.source < 2 or found[item.source - 2]))
    return found


def _strongest(incoming: Sequence[Weights], operations: Sequence[str]) -> Cell:
    _, node, source, column = max(
        (weight, -node, -source, -column)
        for node, edges in enumerate(incoming)
        for source, row in enumerate(edges[:2])
        for column, weight in enumerate(row)
    )
    nodes: list[tuple[Input, ...]] = [()] * len(incoming)
    nodes[-node] = (Input(operations[-column], -source),)
    return Cell(tuple(nodes), (2 - node,))
