"""Genotypes as the published code of D-DARTS writes them: every cell with its own wiring.

Source: docs/methods/ddarts.md#rules-and-text-form.

    Genotype_nested(genes=[[('sep_conv_3x3', 2, 0), ('skip_connect', 2, 1), ...], ...], concat=range(2, 6),
                    reductions=[2, 5])

An item is an operation, the node that it is added into, and its source. There is one gene for each cell of the
network, so those that handcrafted networks repeat are written out; reading, equal cells share a gene again. `concat` is
what the search concatenated: the published evaluation ignores it and concatenates every node that a cell has, and so
does this reader.
"""

from __future__ import annotations

import ast

from archscout.errors import ArchitectureError
from archscout.spaces.cells.genotype import Cell, Input
from archscout.spaces.cells.per_cell_genotype import PerCellGenotype
from archscout.spaces.published.syntax import PublishedReader

__all__ = ["NestedReader", "format_nested", "parse_nested_genotype"]

_ITEM = "('operation', node, source)"


def parse_nested_genotype(text: str) -> PerCellGenotype:
    """The genotype in a published text, `Genotype_nested(...)`.

    Raises:
        ArchitectureError: the text is something else; the message has the line and the column where it can.
    """
    return NestedReader(text).genotype()


def format_nested(genotype: PerCellGenotype) -> str:
    """The genotype as published code writes it, on one line; `parse_nested_genotype` reads it back.

    Raises:
        ArchitectureError: the output of a cell leaves a node out, which that form cannot express.
    """
    genes = []
    for number, cell in enumerate(genotype.genes):
        existing = [node for node, inputs in enumerate(cell.nodes, start=2) if inputs]
        if list(cell.concat) != existing:
            raise ArchitectureError(
                f"genes[{number}], concat: {list(cell.concat)}; the published text form concatenates every node "
                f"that there is, in order: {existing}. Write the genotype as JSON."
            )
        items = [
            f"({operation!r}, {node}, {source})"
            for node, inputs in enumerate(cell.nodes, start=2)
            for operation, source in inputs
        ]
        genes.append(f"[{', '.join(items)}]")
    last = max(node for cell in genotype.genes for node in cell.concat)
    cells = ", ".join(genes[gene] for gene in genotype.sequence)
    reductions = list(genotype.reductions)
    return f"{NestedReader.function}(genes=[{cells}], concat=range(2, {last + 1}), reductions={reductions})"


class NestedReader(PublishedReader):
    """Reads `Genotype_nested(...)`."""

    function = "Genotype_nested"
    fields = ("genes", "concat", "reductions")
    example = (
        "Genotype_nested(genes=[[('sep_conv_3x3', 2, 0), ('skip_connect', 2, 1), ...], ...], concat=range(2, 6), "
        "reductions=[2, 5])"
    )
    max_characters = 100_000  # the longest published one has about 11,000

    def genotype(self) -> PerCellGenotype:
        """The genotype."""
        fields = self.read_fields()
        cells = [
            self._cell(gene, f"genes[{number}]")
            for number, gene in enumerate(self.listed(fields["genes"], "cells", "genes"))
        ]
        last = max((len(cell.nodes) + 1 for cell in cells), default=0)
        for node in self.integers(fields["concat"], "concat"):
            if not 2 <= node <= last:
                raise ArchitectureError(f"concat: no cell has a node {node}; allowed: 2 to {last}.")
        return PerCellGenotype.of_cells(cells, self.integers(fields["reductions"], "reductions", "cell number"))

    def _cell(self, value: ast.expr, field: str) -> Cell:
        nodes: dict[int, list[Input]] = {}
        for item in self.listed(value, _ITEM, field):
            operation, node, source = self.parts(item, 3, _ITEM, field)
            number = self.integer(node, field)
            if number < 2:
                raise ArchitectureError(
                    f"{self._position(node)}: an item of {field} is added into node {number}; the first is node 2."
                )
            nodes.setdefault(number, []).append(Input(self.operation(operation, field), self.integer(source, field)))
        last = max(nodes, default=1)
        return Cell(tuple(tuple(nodes.get(number, ())) for number in range(2, last + 1)), tuple(sorted(nodes)))
