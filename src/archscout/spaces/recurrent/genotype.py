"""The genotype of a recurrent cell, a tree of nodes with one predecessor and one activation each, and its choices."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from archscout.errors import ArchitectureError, closest
from archscout.nn.recurrent.reference import ACTIVATIONS
from archscout.spaces.architecture import ARCHITECTURES

__all__ = ["MAX_NODES", "Node", "RecurrentChoices", "RecurrentGenotype", "edge_index"]

MAX_NODES = 100


class Node(NamedTuple):
    """A node: the activation of its candidate state, and the node that feeds it (0: the gated input)."""

    activation: str
    source: int


@ARCHITECTURES.register("archscout.recurrent_genotype")
@dataclass(frozen=True)
class RecurrentGenotype:
    """A recurrent cell with highway gates (source: arXiv 1806.09055; docs/methods/darts_recurrent.md#the-cell).

    Attributes:
        nodes: node 1, 2, ...; node `i` may be fed by the nodes 0 to `i - 1`.
        concat: the nodes whose mean is the cell's output. (The published texts call it so; nothing is concatenated.)
    """

    format: ClassVar[str] = "archscout.recurrent_genotype"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "recurrent"

    nodes: tuple[Node, ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.nodes) <= MAX_NODES:
            raise ArchitectureError(f"nodes: there are {len(self.nodes)}; allowed: 1 to {MAX_NODES}.")
        for number, node in enumerate(self.nodes, start=1):
            _check_node(node, number)
        numbers = [number for number in self.concat if isinstance(number, int) and not isinstance(number, bool)]
        if not self.concat or len(numbers) < len(self.concat) or len(set(numbers)) < len(numbers):
            raise ArchitectureError(
                f"concat: {reprlib.repr(list(self.concat))} must name at least one node by number, each once."
            )
        for number in numbers:
            if not 1 <= number <= len(self.nodes):
                raise ArchitectureError(f"concat: node {number} does not exist; allowed: 1 to {len(self.nodes)}.")

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {"nodes": [list(node) for node in self.nodes], "concat": list(self.concat)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types. Raises ArchitectureError."""
        if set(fields) != {"nodes", "concat"}:
            raise ArchitectureError(
                f"a recurrent genotype has the fields 'nodes' and 'concat'; got {reprlib.repr(sorted(fields))}."
            )
        for name in ("nodes", "concat"):
            if not isinstance(fields[name], Sequence) or isinstance(fields[name], str):
                raise ArchitectureError(f"{name}: must be a list; got {reprlib.repr(fields[name])}.")
        nodes = []
        for number, item in enumerate(fields["nodes"], start=1):
            if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
                raise ArchitectureError(f"node {number}: must be [activation, source]; got {reprlib.repr(item)}.")
            nodes.append(Node(*item))
        return cls(tuple(nodes), tuple(fields["concat"]))

    def describe(self) -> str:
        """A line for each node."""
        lines = [f"recurrent cell (output: mean of nodes {', '.join(map(str, self.concat))})", "  node 0 = tanh(input)"]
        lines += [f"  node {number} = {name}({source})" for number, (name, source) in enumerate(self.nodes, start=1)]
        return "\n".join(lines)


def _check_node(node: Node, number: int) -> None:
    activation, source = node
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        near = closest(str(activation), ACTIVATIONS) or ACTIVATIONS
        raise ArchitectureError(
            f"node {number}: unknown activation {reprlib.repr(activation)}. Closest: {', '.join(near)}."
        )
    if not isinstance(source, int) or isinstance(source, bool) or not 0 <= source < number:
        raise ArchitectureError(
            f"node {number}: source {reprlib.repr(source)} does not come before the node; allowed: 0 to {number - 1}."
        )


def edge_index(node: int, source: int) -> int:
    """Row of the edge source → node: nodes in order, sources in order (docs/methods/ednas.md#recurrent-policy)."""
    return node * (node - 1) // 2 + source


class RecurrentChoices:
    """Implements `archscout.spaces.base.Factorization` for cells with a number of nodes.

    Node 1 is fed by node 0; every later node chooses among all nodes before it. Each of these edges has its own choice
    of an activation, used only where the edge is.
    """

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
