"""Drawings of cells of the DARTS family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from archscout.viz.drawings.layout import OUTPUT, Box, CellLayout, OperationBox, lay_out
from archscout.viz.drawings.operations import FAMILY_NAMES, operation_family, operation_label, operation_tooltip
from archscout.viz.drawings.registry import DRAWINGS
from archscout.viz.svg import FAMILIES, Theme, curve, document, element, escape, text, text_width

if TYPE_CHECKING:
    from archscout.spaces.cells.genotype import Cell, CellGenotype

__all__ = [
    "CELL_SPACE",
    "MARGIN",
    "TITLE_HEIGHT",
    "Marks",
    "draw_cell",
    "draw_genotype",
    "legend",
    "node_name",
    "title_width",
    "titled_cell",
]

Marks: TypeAlias = Mapping[tuple[str, int, int], str]
"""`kept`, `added` or `removed` by operation, source and target."""

TITLE_HEIGHT = 40.0
LEGEND_HEIGHT = 34.0
CELL_SPACE = 22.0
MARGIN = 14.0
_NAMES = {0: "c(k\u22122)", 1: "c(k\u22121)", OUTPUT: "c(k)"}


def node_name(number: int) -> str:
    """`c(k-2)` and `c(k-1)` for the inputs, `c(k)` for the output, `node 2` and so on between."""
    return _NAMES.get(number, f"node {number}")


def _centred(content: str, x: float, y: float, class_: str = "as-label") -> str:
    return text(content, x, y, class_, "middle")


def _rectangle(box: Box, radius: float, **attributes: object) -> str:
    return element("rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=radius, **attributes)


def _node(number: int, box: Box, absent: bool) -> str:
    middle = box.x + box.width / 2
    if number == OUTPUT or number < 2:
        below = "concat" if number == OUTPUT else f"node {number}"
        name = _centred(node_name(number), middle, box.middle - 2)
        content = name + _centred(below, middle, box.middle + 13, "as-small")
        return element("g", _rectangle(box, 9.0, class_="as-node") + content, class_="node")
    tip = f"node {number} does not exist: it has no inputs" if absent else f"node {number}: the sum of its inputs"
    shape = _rectangle(box, box.height / 2, class_="as-absent" if absent else "as-node")
    label = _centred(str(number), middle, box.middle + 4.2, "as-small" if absent else "as-label")
    return element("g", element("title", tip) + shape + label, class_="node")


_MARK_TIPS = {"kept": "as in the other network", "added": "only in this network", "removed": "not in the other network"}


def _operation(edge: OperationBox, layout: CellLayout, mark: str) -> str:
    box, target = edge.box, layout.nodes[edge.target]
    ignored = edge.source in layout.absent
    path = curve([(box.right, box.middle), (target.x, target.middle)])
    tip = operation_tooltip(edge.operation, node_name(edge.source), node_name(edge.target))
    if ignored:
        tip += f"; ignored, for node {edge.source} does not exist"
    if mark:
        tip += f"; {_MARK_TIPS[mark]}"
    content = (
        element("title", escape(tip))
        + element("path", class_="as-out", d=path)
        + _rectangle(box, 6.0)
        + _centred(operation_label(edge.operation), box.x + box.width / 2, box.middle + 4.2)
    )
    return element(
        "g",
        content,
        class_=f"operation as-{operation_family(edge.operation)}{' as-ignored' if ignored else ''}"
        + (f" as-{mark}" if mark else ""),
        data_operation=edge.operation,
        data_source=edge.source,
        data_target=edge.target,
    )


def _pieces(paths: list[tuple[tuple[float, float], ...]], class_: str) -> str:
    """Paths that share a lane, each piece drawn once."""
    pieces = dict.fromkeys(piece for path in paths for piece in pairwise(path))
    data = "".join(curve(list(piece)) for piece in pieces)
    return element("path", class_=class_, d=data) if data else ""


def _cell_body(layout: CellLayout, marks: Marks) -> str:
    """Connections first, so that boxes and labels lie above them."""
    parts = [
        _pieces(list(layout.concat.values()), "as-concat"),
        _pieces([edge.path for edge in layout.operations if edge.source], "as-wire"),
        # A darker tone for the wires of one input, so that the eye can tell the two fans apart.
        _pieces([edge.path for edge in layout.operations if not edge.source], "as-wire as-wire0"),
    ]
    parts += [
        _operation(edge, layout, marks.get((edge.operation, edge.source, edge.target), ""))
        for edge in layout.operations
    ]
    parts += [_node(number, box, number in layout.absent) for number, box in layout.nodes.items()]
    return "".join(parts)


def _legend_mark(entry: str, x: float, y: float) -> str:
    swatch = Box(x, y - 6.0, 16.0, 12.0)
    if entry == "concat":
        return element("path", class_="as-concat", d=curve([(x, y), (x + 16.0, y)]))
    if entry == "absent":
        return _rectangle(swatch, 6.0, class_="as-absent")
    return element("g", _rectangle(swatch, 3.0), class_=f"as-{entry}")


def legend(
    layouts: Sequence[CellLayout], width: float, y: float, more: Sequence[tuple[str, str]] = ()
) -> tuple[str, float]:
    """The families that occur and the kinds of lines, wrapped to the width. Also the height used.

    `more` are further entries: a class without its prefix, and what it means.
    """
    used = {operation_family(edge.operation) for layout in layouts for edge in layout.operations}
    entries = [(family, FAMILY_NAMES[family]) for family in FAMILIES if family in used]
    entries.append(("concat", "concatenated into the output"))
    if any(layout.absent for layout in layouts):
        entries.append(("absent", "does not exist: ignored"))
    entries += more
    x, top, parts = MARGIN, y, []
    for entry, name in entries:
        needed = 22.0 + text_width(name, 11.0)
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + 20.0
        parts.append(_legend_mark(entry, x, y))
        parts.append(text(name, x + 22.0, y + 4.0))
        x += needed + 14.0
    return "".join(parts), y - top + LEGEND_HEIGHT


def title_width(title: str, note: str) -> float:
    """How much room a title with its note takes."""
    return 1.1 * text_width(title, 15.0) + 12.0 + text_width(note, 11.0) + 2 * MARGIN


def titled_cell(layout: CellLayout, title: str, note: str, top: float, marks: Marks | None = None) -> str:
    """A cell under its title, with a small note beside it."""
    head = text(title, MARGIN, top + 24.0, "as-title")
    if note:
        head += text(note, MARGIN + 1.1 * text_width(title, 15.0) + 12.0, top + 24.0)
    return head + element("g", _cell_body(layout, marks or {}), transform=f"translate(0 {top + TITLE_HEIGHT:g})")


def _sheet(cells: list[tuple[Cell, str, str]], label: str, theme: Theme) -> str:
    """Cells with title and note, one below the other, over one legend."""
    layouts = [lay_out(cell) for cell, _, _ in cells]
    titles = [title_width(title, note) for _, title, note in cells]
    width = max(*(layout.width for layout in layouts), *titles)
    body, top = "", 6.0
    for layout, (_, title, note) in zip(layouts, cells, strict=True):
        body += titled_cell(layout, title, note, top)
        top += TITLE_HEIGHT + layout.height + CELL_SPACE
    explained, height = legend(layouts, width, top + 4.0)
    return document(width, top + height, body + explained, label=label, theme=theme)


def draw_cell(cell: Cell, title: str, *, theme: Theme = "auto") -> str:
    """A cell as SVG text: inputs left, output right, every operation a labelled box in front of its node.

    Args:
        cell: any cell, also one with missing nodes or parallel edges.
        title: shown above it.
        theme: as in `archscout.viz.draw`.
    """
    return _sheet([(cell, title, "")], title, theme)


@DRAWINGS.register("archscout.cell_genotype")
def _draw_registered(architecture: Any, theme: Theme) -> str:
    return draw_genotype(architecture, theme=theme)


@DRAWINGS.register("archscout.diverse_genotype")
def _draw_diverse(architecture: Any, theme: Theme) -> str:
    if architecture.reduces:
        return draw_genotype(architecture, theme=theme)
    return draw_cell(architecture.normal, "Cell", theme=theme)


def draw_genotype(genotype: CellGenotype, *, theme: Theme = "auto") -> str:
    """Both cells of a genotype on one sheet, as SVG text."""
    note = f"operations on {node_name(0)} and {node_name(1)} have stride 2"
    cells = [(genotype.normal, "Normal cell", ""), (genotype.reduce, "Reduction cell", note)]
    return _sheet(cells, "normal cell and reduction cell", theme)
