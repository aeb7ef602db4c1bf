"""The genotype of the cells of D2NAS: a normal cell, and a reduction cell where the network reduces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from archscout.spaces.architecture import ARCHITECTURES
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input

__all__ = ["DiverseGenotype", "unused_cell"]


def unused_cell(nodes: int) -> Cell:
    """What stands for the reduction cell where there is none: skip connections from the two nodes before.

    Source: docs/methods/pdarts.md#operations-and-networks-of-d2nas.
    """
    inputs = tuple((Input("skip_connect", node - 2), Input("skip_connect", node - 1)) for node in range(2, nodes + 2))
    return Cell(inputs, tuple(range(2, nodes + 2)))


@ARCHITECTURES.register("archscout.diverse_genotype")
@dataclass(frozen=True)
class DiverseGenotype(CellGenotype):
    """A normal and a reduction cell for images or sequences; dense networks have no reduction cells.

    Source: D2NAS, Lee et al. 2024; docs/methods/pdarts.md#operations-and-networks-of-d2nas.
    """

    format: ClassVar[str] = "archscout.diverse_genotype"
    space: ClassVar[str] = "diverse-cells"

    @property
    def reduces(self) -> bool:
        """Whether the reduction cell is one, and not what stands for none."""
        return self.reduce != unused_cell(len(self.reduce.nodes))

    def describe(self) -> str:
        """Both cells, a line for each node; without the reduction cell where there is none."""
        return super().describe() if self.reduces else "\n".join(self.normal.lines("cell"))
