"""Genotypes as the published code of the DARTS family writes them: a Python expression in a text.

    NAME = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ...], normal_concat=range(2, 6),
                    reduce=[...], reduce_concat=[2, 3, 4, 5])
    NAME = Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ...], concat=range(1, 9))

The items of a cell belong to its nodes 2, 3, 4, ... in order, two to a node, or in a list for each node; those of a
recurrent cell to its nodes 1, 2, 3, ..., one to a node. An item may end in a weight, a number with a decimal point, as
GDAS prints it. Fields may come without their names, in this order, and the function with its module. The text is parsed
to a syntax tree, and only these forms are read from it; nothing is evaluated. It may stand in a longer text, such as
the line of a log or a Python file (`archscout.spaces.published.finding`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TypeVar

from archscout.errors import ArchitectureError
from archscout.spaces.architecture import Architecture
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.spaces.excerpts import Excerpt, choose
from archscout.spaces.published.finding import find_genotypes, looks_like_genotype, typed_plainly
from archscout.spaces.published.nested import NestedReader
from archscout.spaces.published.syntax import PublishedReader
from archscout.spaces.recurrent.genotype import Node, RecurrentGenotype
from archscout.spaces.resolve import GENOTYPE, register_text_form

__all__ = ["format_published", "parse_published", "parse_published_genotype"]

INPUTS_PER_NODE = 2
RECURRENT_FIELDS = ("recurrent", "concat")
A = TypeVar("A")


def parse_published(text: str, name: str | None = None) -> Architecture:
    """The architecture in a published text of any form: `Genotype(...)` or `Genotype_nested(...)`.

    Args:
        text: the genotype, or a longer text in which it stands.
        name: which one, where there are several: a name that the text gives it, or the number of its line.

    Raises:
        ArchitectureError: the text is something else, or holds several and none is named; the message has the line and
            the column where it can.
    """
    return _chosen(text, _parse, name)


def parse_published_genotype(text: str) -> CellGenotype:
    """The genotype of a normal and a reduction cell in a published text, `Genotype(normal=..., ...)`.

    Raises:
        ArchitectureError: the text is something else; the message has the line and the column where it can.
    """
    found = _chosen(text, lambda excerpt: _Reader.of(excerpt).genotype(), None)
    if not isinstance(found, CellGenotype):
        raise ArchitectureError("this is the genotype of a recurrent cell, not of a normal and a reduction cell.")
    return found


def _chosen(text: str, parse: Callable[[Excerpt], A], name: str | None) -> A:
    plain = typed_plainly(text)
    found = find_genotypes(plain)
    if not found and len(plain) > NestedReader.max_characters:
        raise ArchitectureError(f"nothing in this text of {len(plain)} characters reads Genotype(...).")
    return choose(found, "genotype", parse, name) if found else parse(Excerpt(plain, 1))


def _parse(excerpt: Excerpt) -> Architecture:
    return (NestedReader if NestedReader.function in excerpt.text else _Reader).of(excerpt).genotype()


register_text_form(GENOTYPE, looks_like_genotype, choose=parse_published)(parse_published)


def format_published(genotype: CellGenotype | RecurrentGenotype) -> str:
    """The genotype as published code writes it, on one line; the inverse of `parse_published`.

    Raises:
        ArchitectureError: a node has another number of inputs than two, which that form cannot express.
    """
    if isinstance(genotype, RecurrentGenotype):
        items = ", ".join(f"({activation!r}, {source})" for activation, source in genotype.nodes)
        return f"Genotype(recurrent=[{items}], concat={list(genotype.concat)})"
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
    unused = ("connectN", "connects")  # of GDAS's
    example = (
        "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=[2, 3, 4, 5], reduce=[...], "
        "reduce_concat=range(2, 6))"
    )
    max_characters = 10_000  # a published genotype has about 600

    def fields_of(self, call: ast.Call) -> tuple[str, ...]:
        recurrent = any(keyword.arg in RECURRENT_FIELDS for keyword in call.keywords)
        bare = len(call.args) == len(RECURRENT_FIELDS) and not call.keywords
        return RECURRENT_FIELDS if recurrent or bare else self.fields

    def genotype(self) -> CellGenotype | RecurrentGenotype:
        fields = self.read_fields()
        if "recurrent" in fields:
            nodes = (Node(*item) for item in self._inputs(fields["recurrent"], "recurrent"))
            return RecurrentGenotype(tuple(nodes), self.integers(fields["concat"], "concat"))
        cells = {
            name: Cell(self._nodes(fields[name], name), self.integers(fields[f"{name}_concat"], f"{name}_concat"))
            for name in ("normal", "reduce")
        }
        return CellGenotype(**cells)

    def _inputs(self, value: ast.expr, field: str) -> list[Input]:
        return [self._input(item, field) for item in self.listed(value, "('operation', source)", field)]

    def _nodes(self, value: ast.expr, field: str) -> tuple[tuple[Input, ...], ...]:
        items = self.listed(value, "('operation', source)", field)
        if items and all(_is_list_of_items(item) for item in items):
            return tuple(tuple(self._inputs(item, field)) for item in items)
        inputs = [self._input(item, field) for item in items]
        if len(inputs) % INPUTS_PER_NODE:
            raise ArchitectureError(
                f"{field}: has {len(inputs)} items, {INPUTS_PER_NODE} belong to each node; one is missing or too many."
            )
        return tuple(tuple(inputs[i : i + INPUTS_PER_NODE]) for i in range(0, len(inputs), INPUTS_PER_NODE))

    def _input(self, item: ast.expr, field: str) -> Input:
        weighted = isinstance(item, ast.Tuple | ast.List) and len(item.elts) == 3 and _is_weight(item.elts[2])
        operation, source, *_ = self.parts(item, 3 if weighted else 2, "('operation', source)", field)
        return Input(self.operation(operation, field), self.integer(source, field))


def _is_list_of_items(item: ast.expr) -> bool:
    """Whether this is a list of items, of one node, and no item itself."""
    return isinstance(item, ast.List | ast.Tuple) and all(isinstance(each, ast.List | ast.Tuple) for each in item.elts)


def _is_weight(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and type(value.value) is float
