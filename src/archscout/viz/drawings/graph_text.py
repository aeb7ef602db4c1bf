"""Cells as text for other drawing programs: Graphviz's DOT and Mermaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archscout.viz.drawings.cells import node_name
from archscout.viz.drawings.layout import OUTPUT
from archscout.viz.drawings.operations import operation_label

if TYPE_CHECKING:
    from archscout.spaces.cells.genotype import Cell, CellGenotype

__all__ = ["to_dot", "to_mermaid"]


def _identifier(cell: str, number: int) -> str:
    return f"{cell}_out" if number == OUTPUT else f"{cell}_{number}"


def _numbers(cell: Cell) -> list[int]:
    """All nodes that the text needs: the inputs, existing nodes, sources that do not exist, the output."""
    existing = {number for number, inputs in enumerate(cell.nodes, start=2) if inputs}
    named = {source for inputs in cell.nodes for _, source in inputs}
    return [*sorted({0, 1} | existing | named), OUTPUT]


def _edges(cell: Cell) -> list[tuple[int, int, str]]:
    """Source, target and operation; an empty operation for the concatenation."""
    edges = [
        (source, number, operation) for number, inputs in enumerate(cell.nodes, start=2) for operation, source in inputs
    ]
    return edges + [(number, OUTPUT, "") for number in sorted(cell.concat)]


def _dot_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def to_dot(genotype: CellGenotype) -> str:
    """Both cells as one DOT graph with a cluster for each: `dot -Tsvg genotype.dot`."""
    lines = ["digraph genotype {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    for name, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        lines += [f"  subgraph cluster_{name} {{", f"    label={_dot_string(name + ' cell')};"]
        lines += [f"    {_identifier(name, n)} [label={_dot_string(node_name(n))}];" for n in _numbers(cell)]
        for source, target, operation in _edges(cell):
            look = f"label={_dot_string(operation_label(operation))}" if operation else "style=dashed"
            lines.append(f"    {_identifier(name, source)} -> {_identifier(name, target)} [{look}];")
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def _mermaid_string(text: str) -> str:
    return '"' + text.replace("#", "#35;").replace('"', "#quot;").replace("\n", " ") + '"'


def to_mermaid(genotype: CellGenotype) -> str:
    """Both cells as a Mermaid flowchart, which many Markdown viewers draw."""
    lines = ["flowchart LR"]
    for name, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        lines.append(f"  subgraph {name}[{_mermaid_string(name + ' cell')}]")
        lines += [f"    {_identifier(name, n)}[{_mermaid_string(node_name(n))}]" for n in _numbers(cell)]
        for source, target, operation in _edges(cell):
            arrow = f"-->|{_mermaid_string(operation_label(operation))}|" if operation else "-.->"
            lines.append(f"    {_identifier(name, source)} {arrow} {_identifier(name, target)}")
        lines.append("  end")
    return "\n".join(lines) + "\n"
