"""Genotypes as the published code of the DARTS family writes them: a Python expression in a text.

    NAME = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ...], normal_concat=range(2, 6),
                    reduce=[...], reduce_concat=[2, 3, 4, 5])

The items of a cell belong to its nodes 2, 3, 4, ... in order, two to a node. The text is parsed to a syntax tree, and
only the forms above are read from it; nothing is evaluated.
"""

from __future__ import annotations

import ast

from archscout.errors import ArchitectureError
from archscout.spaces.architecture import Architecture
from archscout.spaces.genotype import Cell, CellGenotype, Input
from archscout.spaces.published_nested import NestedReader, parse_nested_genotype
from archscout.spaces.published_syntax import PublishedReader

__all__ = ["format_published", "parse_published", "parse_published_genotype"]

INPUTS_PER_NODE = 2


def parse_published(text: str) -> Architecture:
    """The architecture in a published text of any form: `Genotype(...)` or `Genotype_nested(...)`.

    Raises:
        ArchitectureError: the text is something else; the message has the line and the column where it can.
    """
    return parse_nested_genotype(text) if NestedReader.function in text else parse_published_genotype(text)


def parse_published_genotype(text: str) -> CellGenotype:
    """The genotype in a published text, `Genotype(...)`.

    Raises:
        ArchitectureError: the text is something else; the message has the line and the column where it can.
    """
    return _Reader(text).genotype()


def format_published(genotype: CellGenotype) -> str:
    """The genotype as published code writes it, on one line; the inverse of `parse_published_genotype`.

    Raises:
        ArchitectureError: a node has another number of inputs than two, which that form cannot express.
    """
    parts = []
    for name, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        for number, inputs in enumerate(cell.nodes, start=2):
            if len(inputs) != INPUTS_PER_NODE:
                raise ArchitectureError(
                    f"{name}, node {number}: has {len(inputs)} inputs; the published text form needs exactly "
                    f"{INPUTS_PER_NODE} for each node. Write the genotype as JSON."
                )
        items = ", ".join(f"({operation!r}, {source})" for inputs in cell.nodes for operation, source in inputs)
        parts.append(f"{name}=[{items}], {name}_concat={list(cell.concat)}")
    return f"Genotype({', '.join(parts)})"


class _Reader(PublishedReader):
    function = "Genotype"
    fields = ("normal", "normal_concat", "reduce", "reduce_concat")
    example = (
        "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=[2, 3, 4, 5], reduce=[...], "
        "reduce_concat=range(2, 6))"
    )
    max_characters = 10_000  # a published genotype has about 600

    def genotype(self) -> CellGenotype:
        fields = self.read_fields()
        cells = {
            name: Cell(self._nodes(fields[name], name), self.integers(fields[f"{name}_concat"], f"{name}_concat"))
            for name in ("normal", "reduce")
        }
        return CellGenotype(**cells)

    def _nodes(self, value: ast.expr, field: str) -> tuple[tuple[Input, ...], ...]:
        inputs = [self._input(item, field) for item in self.listed(value, "('operation', source)", field)]
        if len(inputs) % INPUTS_PER_NODE:
            raise ArchitectureError(
                f"{field}: has {len(inputs)} items, {INPUTS_PER_NODE} belong to each node; one is missing or too many."
            )
        return tuple(tuple(inputs[i : i + INPUTS_PER_NODE]) for i in range(0, len(inputs), INPUTS_PER_NODE))

    def _input(self, item: ast.expr, field: str) -> Input:
        operation, source = self.parts(item, 2, "('operation', source)", field)
        return Input(self.operation(operation, field), self.integer(source, field))
