"""Drawings of an architecture beside its baseline, with the differences marked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from archscout.errors import SpaceError
from archscout.viz.drawings.cells import CELL_SPACE, TITLE_HEIGHT, Marks, legend, title_width, titled_cell
from archscout.viz.drawings.layout import CellLayout, lay_out
from archscout.viz.drawings.networks import positions_text
from archscout.viz.svg import Theme, document, element

if TYPE_CHECKING:
    from archscout.spaces.architecture import Architecture
    from archscout.spaces.cells.genotype import Cell

__all__ = ["draw_changes"]

SPACE = 40.0
# Two cells that are wider together stand one below the other.
WIDEST = 1900.0
LEGEND = [("kept", "in both"), ("came", "only in this network"), ("went", "only in the baseline")]


def draw_changes(architecture: Architecture, baseline: Architecture, *, theme: Theme = "auto") -> str:
    """Every wiring of the baseline beside the one in its place: what stayed is grey, what went is struck out.

    Raises:
        SpaceError: the two have no cells, or different numbers of them.
    """
    pairs = _pairs(architecture, baseline)
    parts, width, top = [], 0.0, 6.0
    layouts: list[CellLayout] = []
    for where, before, after in pairs:
        old, new = lay_out(before), lay_out(after)
        layouts += [old, new]
        common = _items(before) & _items(after)
        old_marks, new_marks = _marks(before, common, "removed"), _marks(after, common, "added")
        gone, came = (sum((_items(cell) - common).values()) for cell in (before, after))
        old_title = (f"{where}: baseline", f"{_count(gone)} removed")
        new_title = (f"{where}: this network", f"{_count(came)} added, {_count(sum(common.values()))} kept")
        left = max(old.width, title_width(*old_title)) + SPACE
        right = max(new.width, title_width(*new_title))
        parts.append(titled_cell(old, *old_title, top, old_marks))
        shown = titled_cell(new, *new_title, top if left + right <= WIDEST else top + _height(old), new_marks)
        if left + right <= WIDEST:
            parts.append(element("g", shown, transform=f"translate({left:g} 0)"))
            width = max(width, left + right)
            top += max(_height(old), _height(new))
        else:
            parts.append(shown)
            width = max(width, left - SPACE, right)
            top += _height(old) + _height(new)
    explained, height = legend(layouts, width, top + 4.0, LEGEND)
    label = "what changed from the baseline"
    return document(width, top + height, "".join(parts) + explained, label=label, theme=theme)


def _height(layout: CellLayout) -> float:
    return TITLE_HEIGHT + layout.height + CELL_SPACE


def _count(number: int) -> str:
    return f"{number} operation{'' if number == 1 else 's'}"


def _items(cell: Cell) -> Counter[tuple[str, int, int]]:
    """Operation, source and target of every edge."""
    return Counter(
        (operation, source, target) for target, inputs in enumerate(cell.nodes, start=2) for operation, source in inputs
    )


def _marks(cell: Cell, common: Counter[tuple[str, int, int]], other: str) -> Marks:
    return {item: "kept" if item in common else other for item in _items(cell)}


def _pairs(architecture: Architecture, baseline: Architecture) -> list[tuple[str, Cell, Cell]]:
    """Where, the baseline's wiring, and the architecture's; each pair once."""
    from archscout.spaces.cells.genotype import CellGenotype
    from archscout.spaces.cells.per_cell_genotype import PerCellGenotype

    if isinstance(architecture, CellGenotype) and isinstance(baseline, CellGenotype):
        return [
            ("Normal cell", baseline.normal, architecture.normal),
            ("Reduction cell", baseline.reduce, architecture.reduce),
        ]
    if not isinstance(architecture, PerCellGenotype) or not isinstance(baseline, PerCellGenotype):
        raise SpaceError(
            f"an architecture of the space '{architecture.space}' cannot be drawn beside one of '{baseline.space}'. "
            "Give two of the space 'cells' or two of 'per-cell'."
        )
    if len(architecture.sequence) != len(baseline.sequence):
        raise SpaceError(
            f"a network of {len(architecture.sequence)} cells cannot be drawn beside one of "
            f"{len(baseline.sequence)}. Give the baseline that it was made from."
        )
    places: dict[tuple[int, int], list[int]] = {}
    for position, genes in enumerate(zip(baseline.sequence, architecture.sequence, strict=True)):
        places.setdefault(genes, []).append(position)
    return [
        (positions_text(tuple(positions)).capitalize(), baseline.genes[before], architecture.genes[after])
        for (before, after), positions in places.items()
    ]
