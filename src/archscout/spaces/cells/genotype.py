"""The genotype of the DARTS family: one normal and one reduction cell, repeated over the network."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from archscout.errors import ArchitectureError, closest
from archscout.spaces.architecture import ARCHITECTURES

__all__ = ["HANDCRAFTED_OPERATIONS", "KNOWN_OPERATIONS", "OPERATIONS", "Cell", "CellGenotype", "Input"]

# Index order of the search space (docs/methods/darts.md#operations-of-cells).
OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
# Index order of the space around handcrafted networks (docs/methods/ddarts.md#handcrafted-baselines).
HANDCRAFTED_OPERATIONS = (
    "conv_3x1_1x3",
    "conv_7x1_1x7",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "simple_conv_1x1",
    "simple_conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "bottleneck_1x3x1",
)
# What a genotype may name: the above, and what only published cells use.
KNOWN_OPERATIONS = (*HANDCRAFTED_OPERATIONS, "sep_conv_7x7", "none")


class Input(NamedTuple):
    """One input of a node: an operation applied to the output of a source node."""

    operation: str
    source: int


@dataclass(frozen=True)
class Cell:
    """A directed acyclic graph of operations.

    Nodes 0 and 1 are the outputs of the two cells before; `nodes[i]` are the inputs of node `i + 2`, which is the sum
    of them; several may have the same source. A node without inputs does not exist (some published cells skip node
    numbers). The cell's output is the channel concatenation of the nodes in `concat`.
    """

    nodes: tuple[tuple[Input, ...], ...]
    concat: tuple[int, ...]

    def check(self, where: str) -> None:
        """Raise ArchitectureError if the cell contradicts itself; `where` is its field name."""
        if not any(self.nodes):
            raise ArchitectureError(f"{where}: the cell has no node with an input; at least one is needed.")
        for number, inputs in enumerate(self.nodes, start=2):
            for slot, item in enumerate(inputs):
                field = f"{where}, node {number}, input {slot}"
                _check_input(item, field)
                operation, source = item
                if operation not in KNOWN_OPERATIONS:
                    near = closest(operation, KNOWN_OPERATIONS) or KNOWN_OPERATIONS
                    raise ArchitectureError(
                        f"{field}: unknown operation {_seen(operation)}. Closest: {', '.join(near)}."
                    )
                if not 0 <= source < number:
                    raise ArchitectureError(
                        f"{field}: source {_seen(source)} does not come before the node; allowed: 0 to {number - 1}."
                    )
        existing = {number for number, inputs in enumerate(self.nodes, start=2) if inputs}
        if not self.concat or len(set(self.concat)) != len(self.concat):
            raise ArchitectureError(
                f"{where}, concat: {_seen(list(self.concat))} must name at least one node, each once."
            )
        for number in self.concat:
            if number not in existing:
                raise ArchitectureError(
                    f"{where}, concat: node {_seen(number)} does not exist or has no input; "
                    f"allowed: {sorted(existing)}."
                )

    def pruned(self, where: str = "the cell") -> Cell:
        """The cell as it is built: without inputs from nodes that do not exist, and without nodes that no output needs.

        Nodes keep their numbers.

        Raises:
            ArchitectureError: no node of the output is left; `where` begins the message.
        """
        reached: dict[int, tuple[Input, ...]] = {0: (), 1: ()}
        missing: dict[int, set[int]] = {}
        for number, inputs in enumerate(self.nodes, start=2):
            kept = tuple(item for item in inputs if item.source in reached)
            if kept:
                reached[number] = kept
            elif inputs:
                missing[number] = {source for _, source in inputs}
        concat = tuple(number for number in self.concat if number in reached)
        if not concat:
            broken = "; ".join(
                f"node {number} reads only node {' and '.join(map(str, sorted(sources)))}"
                for number, sources in missing.items()
            )
            first = min(set.union(*missing.values()) - set(missing))
            raise ArchitectureError(
                f"{where} cannot be built: nothing in its output is connected to its inputs ({broken}; node {first} "
                f"has no input and does not exist). Give node {first} an input, such as ['skip_connect', 1], or let "
                f"node {min(missing)} read node 0 or 1."
            )
        used = set(concat)
        for number in sorted(reached, reverse=True):
            if number in used:
                used |= {source for _, source in reached[number]}
        return Cell(
            tuple(reached.get(number, ()) if number in used else () for number in range(2, len(self.nodes) + 2)), concat
        )

    def lines(self, title: str) -> list[str]:
        """For people: a line for the cell and one for each node."""
        return [
            f"{title} (output: nodes {', '.join(map(str, self.concat))})",
            *(
                f"  node {number} = " + " + ".join(f"{operation}({source})" for operation, source in inputs)
                for number, inputs in enumerate(self.nodes, start=2)
                if inputs
            ),
        ]

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {"nodes": [[list(item) for item in node] for node in self.nodes], "concat": list(self.concat)}

    @classmethod
    def from_fields(cls, fields: object, where: str) -> Self:
        """From JSON types, checked."""
        if not isinstance(fields, Mapping) or set(fields) != {"nodes", "concat"}:
            raise ArchitectureError(f"{where}: a cell has the two fields 'nodes' and 'concat'; got {_seen(fields)}.")
        nodes = fields["nodes"]
        if not isinstance(nodes, Sequence) or isinstance(nodes, str):
            raise ArchitectureError(f"{where}, nodes: must be a list of nodes; got {_seen(nodes)}.")
        cell = cls(
            nodes=tuple(_read_node(node, f"{where}, node {number}") for number, node in enumerate(nodes, start=2)),
            concat=tuple(_integers(fields["concat"], f"{where}, concat")),
        )
        cell.check(where)
        return cell


def _seen(value: object) -> str:
    """A short form of any value, nested as deeply as it may be."""
    return reprlib.repr(
        sorted(value) if isinstance(value, Mapping) and all(isinstance(k, str) for k in value) else value
    )


def _check_input(item: object, where: str) -> None:
    if (
        not isinstance(item, Sequence)
        or isinstance(item, str)
        or len(item) != 2
        or not isinstance(item[0], str)
        or not isinstance(item[1], int)
        or isinstance(item[1], bool)
    ):
        raise ArchitectureError(f"{where}: an input is [operation, source]; got {_seen(item)}.")


def _read_node(node: object, where: str) -> tuple[Input, ...]:
    if not isinstance(node, Sequence) or isinstance(node, str):
        raise ArchitectureError(f"{where}: must be a list of [operation, source]; got {_seen(node)}.")
    for item in node:
        _check_input(item, where)
    return tuple(Input(operation, source) for operation, source in node)


def _integers(values: object, where: str) -> Iterable[int]:
    return check_integers(values, where, "node number")


def check_integers(values: object, where: str, noun: str) -> Sequence[int]:
    """The values. Raises ArchitectureError unless they are a list of integers; `noun` is what one of them is."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ArchitectureError(f"{where}: must be a list of {noun}s; got {_seen(values)}.")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ArchitectureError(f"{where}: {_seen(value)} is not a {noun}.")
    return values


@ARCHITECTURES.register("archscout.cell_genotype")
@dataclass(frozen=True)
class CellGenotype:
    """A normal cell and a reduction cell (source: arXiv 1806.09055; docs/methods/darts.md#cells)."""

    format: ClassVar[str] = "archscout.cell_genotype"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "cells"

    normal: Cell
    reduce: Cell

    def __post_init__(self) -> None:
        self.normal.check("normal")
        self.reduce.check("reduce")

    def to_fields(self) -> dict[str, Any]:
        """The two cells as JSON types."""
        return {"normal": self.normal.to_fields(), "reduce": self.reduce.to_fields()}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types. Raises ArchitectureError."""
        if set(fields) != {"normal", "reduce"}:
            raise ArchitectureError(f"a cell genotype has the fields 'normal' and 'reduce'; got {_seen(fields)}.")
        return cls(Cell.from_fields(fields["normal"], "normal"), Cell.from_fields(fields["reduce"], "reduce"))

    def describe(self) -> str:
        """Both cells, a line for each node."""
        return "\n".join([*self.normal.lines("normal cell"), *self.reduce.lines("reduce cell")])
