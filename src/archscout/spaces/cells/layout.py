"""The macro structure of cell networks: which cells reduce, and how many channels go where.

Source: docs/methods/darts.md#networks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

__all__ = ["CellLayout", "NetworkPlan", "plan_cells", "plan_row", "reduction_indices"]


def reduction_indices(layers: int) -> tuple[int, int]:
    """The indices of the two reduction cells."""
    return layers // 3, 2 * layers // 3


@dataclass(frozen=True)
class CellLayout:
    """One cell's place in the network.

    Attributes:
        inputs: channels of the outputs of the two cells before.
        channels: of every node in the cell.
        reduces: whether the cell halves height and width.
        previous_reduces: whether its first input is twice as large as its second.
        outputs: channels of its output.
    """

    inputs: tuple[int, int]
    channels: int
    reduces: bool
    previous_reduces: bool
    outputs: int


@dataclass(frozen=True)
class NetworkPlan:
    """All cells of a network in order."""

    cells: tuple[CellLayout, ...]

    def output_channels(self, index: int) -> int:
        """Channels of the output of the cell at an index."""
        return self.cells[index].outputs

    def output_size(self, index: int, size: Sequence[int], stem_halvings: int) -> tuple[int, int]:
        """Height and width of the output of the cell at an index, for images of a size."""
        height, width = size
        for _ in range(stem_halvings + sum(cell.reduces for cell in self.cells[: index + 1])):
            height, width = (height + 1) // 2, (width + 1) // 2
        return height, width


def plan_cells(
    layers: int, channels: int, stem_channels: tuple[int, int], stem_reduced: bool, widths: tuple[int, int]
) -> NetworkPlan:
    """Lay out a network of normal cells with two reduction cells.

    Args:
        channels, stem_channels, stem_reduced: as for `plan_row`.
        widths: how many nodes a normal and a reduction cell concatenate.
    """
    reductions = reduction_indices(layers)
    row = [widths[index in reductions] for index in range(layers)]
    return plan_row(row, reductions, channels, stem_channels, stem_reduced)


def plan_row(
    widths: Sequence[int],
    reductions: Collection[int],
    channels: int,
    stem_channels: tuple[int, int],
    stem_reduced: bool,
) -> NetworkPlan:
    """Lay out cells that may all differ.

    Args:
        widths: how many nodes each cell concatenates.
        reductions: the cells that halve height and width.
        channels: of the nodes before the first reduction; each reduction doubles them.
        stem_channels, stem_reduced: of the stem's two outputs.
    """
    cells = []
    before, last = stem_channels
    previous_reduces = stem_reduced
    for index, width in enumerate(widths):
        reduces = index in reductions
        if reduces:
            channels *= 2
        outputs = channels * width
        cells.append(CellLayout((before, last), channels, reduces, previous_reduces, outputs))
        before, last, previous_reduces = last, outputs, reduces
    return NetworkPlan(tuple(cells))
