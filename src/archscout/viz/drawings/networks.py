"""Drawings of networks whose cells may all differ: the row of cells, and below it every wiring once."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from archscout.viz.drawings.cells import CELL_SPACE, MARGIN, TITLE_HEIGHT, legend, node_name, title_width, titled_cell
from archscout.viz.drawings.layout import lay_out
from archscout.viz.drawings.registry import DRAWINGS
from archscout.viz.svg import Theme, document, element, escape, text

if TYPE_CHECKING:
    from archscout.spaces.cells.per_cell_genotype import PerCellGenotype

__all__ = ["cell_row", "draw_network", "positions_text"]

PITCH = 62.0
BOX_WIDTH = 44.0
TALLEST, SHORTEST = 60.0, 22.0
SHRINK = 0.72  # of the boxes' height at each reduction: a hint at the smaller maps, not to scale
ROW_HEIGHT = 128.0
PER_ROW = 16
COLUMN_SPACE = 26.0
# Cells narrower than this stand in two columns.
NARROW = 960.0


@DRAWINGS.register("archscout.distributed_genotype")
def _draw_registered(architecture: Any, theme: Theme) -> str:
    return draw_network(architecture, theme=theme)


def draw_network(genotype: PerCellGenotype, *, theme: Theme = "auto") -> str:
    """The cells in order with their reductions marked, and every gene, as SVG text."""
    layouts = [lay_out(cell) for cell in genotype.genes]
    titles = [_gene_title(genotype, gene) for gene in range(len(layouts))]
    needed = [max(layout.width, title_width(*title)) for layout, title in zip(layouts, titles, strict=True)]
    columns = 2 if len(layouts) > 3 and max(needed) <= NARROW else 1
    column = max(needed) + (COLUMN_SPACE if columns == 2 else 0.0)
    row, row_width, top = cell_row(genotype, 6.0)
    width = max(columns * column, row_width)
    body = row
    for start in range(0, len(layouts), columns):
        beside = range(start, min(start + columns, len(layouts)))
        for gene in beside:
            cell = titled_cell(layouts[gene], *titles[gene], top)
            body += element("g", cell, transform=f"translate({(gene - start) * column:g} 0)")
        top += TITLE_HEIGHT + max(layouts[gene].height for gene in beside) + CELL_SPACE
    explained, height = legend(layouts, width, top + 4.0, _row_legend(genotype))
    label = f"network of {len(genotype.sequence)} cells with {len(layouts)} wirings"
    return document(width, top + height, body + explained, label=label, theme=theme)


def _row_legend(genotype: PerCellGenotype) -> list[tuple[str, str]]:
    return [("halving", "cell that halves height and width")] if genotype.reductions else []


def positions_text(positions: tuple[int, ...]) -> str:
    """`cell 3`, `cells 0 to 2 and 11`."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and runs[-1][1] == position - 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    parts = [
        str(first) if first == last else f"{first} to {last}" if last > first + 1 else f"{first}, {last}"
        for first, last in runs
    ]
    shown = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return f"cell{'s' if len(positions) > 1 else ''} {shown}"


def _gene_title(genotype: PerCellGenotype, gene: int) -> tuple[str, str]:
    positions = genotype.positions(gene)
    halving = tuple(position for position in positions if position in genotype.reductions)
    title = positions_text(positions).capitalize()
    shared = len(genotype.genes) < len(genotype.sequence)
    notes = [f"gene {gene}"] if shared else []
    if halving:
        where = "" if halving == positions else f" in {positions_text(halving)}"
        notes.append(f"halves height and width{where}: stride 2 from {node_name(0)} and {node_name(1)}")
    return title, "; ".join(notes)


def cell_row(genotype: PerCellGenotype, top: float) -> tuple[str, float, float]:
    """The cells in order: a box each, lower after each reduction, with gene and width. Also width, and new top."""
    shared = len(genotype.genes) < len(genotype.sequence)
    title = f"{len(genotype.sequence)} cells" + (f" of {len(genotype.genes)} wirings" if shared else "")
    body = text(title, MARGIN, top + 24.0, "as-title")
    top += TITLE_HEIGHT
    places: list[tuple[float, float]] = []
    parts = []
    reduced = 0
    for position, gene in enumerate(genotype.sequence):
        reduces = position in genotype.reductions
        reduced += reduces
        x = MARGIN + PITCH * (position % PER_ROW)
        middle = top + TALLEST / 2 + 4.0 + ROW_HEIGHT * (position // PER_ROW)
        places.append((x, middle))
        parts.append(_cell_box(position, gene if shared else None, x, middle, reduced, reduces))
    wires = "".join(
        f"M{before[0] + BOX_WIDTH:g} {before[1]:g}H{after[0]:g}"
        for before, after in pairwise(places)
        if before[1] == after[1]
    )
    rows = (len(places) - 1) // PER_ROW + 1
    width = 2 * MARGIN + PITCH * (min(len(places), PER_ROW) - 1) + BOX_WIDTH
    drawn = element("path", class_="as-wire", d=wires) if wires else ""
    return body + drawn + "".join(parts), width, top + rows * ROW_HEIGHT - 14.0


def _cell_box(position: int, gene: int | None, x: float, middle: float, reduced: int, reduces: bool) -> str:
    height = max(SHORTEST, TALLEST * SHRINK**reduced)
    centre = x + BOX_WIDTH / 2
    wide = "C" if reduced == 0 else f"{2**reduced}C"
    tip = f"cell {position}" + ("" if gene is None else f", gene {gene}") + f": width {wide}"
    if reduces:
        tip += ", halves height and width"
    shape = element(
        "rect",
        class_="as-reduction" if reduces else "as-node",
        x=x,
        y=middle - height / 2,
        width=BOX_WIDTH,
        height=height,
        rx=6.0,
    )
    label = text(position, centre, middle + 4.2, "as-label", "middle")
    below = middle + TALLEST / 2 + 16.0
    notes = text(wide, centre, below, anchor="middle")
    if gene is not None:
        notes += text(f"gene {gene}", centre, below + 15.0, anchor="middle")
    return element("g", element("title", escape(tip)) + shape + label + notes, class_="cell", data_cell=position)
