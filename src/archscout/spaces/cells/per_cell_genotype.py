"""The genotype of a network whose cells may all differ (source: D-DARTS and DARTOpti, arXiv:2108.09306)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

from archscout.errors import ArchitectureError
from archscout.spaces.architecture import ARCHITECTURES
from archscout.spaces.cells.genotype import Cell, check_integers

__all__ = ["PerCellGenotype"]

_FIELDS = ("genes", "sequence", "reductions")


@ARCHITECTURES.register("archscout.distributed_genotype")
@dataclass(frozen=True)
class PerCellGenotype:
    """Cells in a row, each with its own wiring or with one that it shares.

    Attributes:
        genes: the distinct wirings.
        sequence: which gene each cell of the network has, from the first cell to the last.
        reductions: the cells, by position, that halve height and width and double the channels.
    """

    format: ClassVar[str] = "archscout.distributed_genotype"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "per-cell"

    genes: tuple[Cell, ...]
    sequence: tuple[int, ...]
    reductions: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.genes:
            raise ArchitectureError("genes: there is no cell; at least one is needed.")
        for number, cell in enumerate(self.genes):
            cell.check(f"genes[{number}]")
        if not self.sequence:
            raise ArchitectureError("sequence: the network has no cell; at least one is needed.")
        last = len(self.genes) - 1
        for position, gene in enumerate(check_integers(self.sequence, "sequence", "gene number")):
            if not 0 <= gene <= last:
                raise ArchitectureError(
                    f"sequence: cell {position} has gene {gene}, which does not exist; allowed: 0 to {last}."
                )
        unused = sorted(set(range(len(self.genes))) - set(self.sequence))
        if unused:
            raise ArchitectureError(
                f"genes: no cell has gene {', '.join(map(str, unused))}. Leave it out, or name it in 'sequence'."
            )
        check_integers(self.reductions, "reductions", "cell number")
        for position in self.reductions:
            if not 0 <= position < len(self.sequence):
                raise ArchitectureError(
                    f"reductions: there is no cell {position}; allowed: 0 to {len(self.sequence) - 1}."
                )
        if any(before >= after for before, after in pairwise(self.reductions)):
            raise ArchitectureError(f"reductions: {list(self.reductions)} must ascend, each position once.")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The wiring of every cell of the network in order."""
        return tuple(self.genes[gene] for gene in self.sequence)

    def positions(self, gene: int) -> tuple[int, ...]:
        """The cells that have a gene."""
        return tuple(position for position, number in enumerate(self.sequence) if number == gene)

    @classmethod
    def of_cells(cls, cells: Sequence[Cell], reductions: Sequence[int]) -> Self:
        """The genotype of a row of cells; equal cells share a gene, and genes are in order of appearance."""
        genes = {cell: number for number, cell in enumerate(dict.fromkeys(cells))}
        return cls(tuple(genes), tuple(genes[cell] for cell in cells), tuple(reductions))

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "genes": [cell.to_fields() for cell in self.genes],
            "sequence": list(self.sequence),
            "reductions": list(self.reductions),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types. Raises ArchitectureError."""
        if set(fields) != set(_FIELDS):
            raise ArchitectureError(
                f"a per-cell genotype has the fields {', '.join(_FIELDS)}; got {', '.join(sorted(fields))[:200]}."
            )
        genes = fields["genes"]
        if not isinstance(genes, Sequence) or isinstance(genes, str):
            raise ArchitectureError(f"genes: must be a list of cells; got a {type(genes).__name__}.")
        return cls(
            tuple(Cell.from_fields(gene, f"genes[{number}]") for number, gene in enumerate(genes)),
            tuple(check_integers(fields["sequence"], "sequence", "gene number")),
            tuple(check_integers(fields["reductions"], "reductions", "cell number")),
        )

    def describe(self) -> str:
        """The row of cells, then each gene with a line for each node."""
        row = " ".join(
            f"{gene}{'*' if position in self.reductions else ''}" for position, gene in enumerate(self.sequence)
        )
        note = " (* halves height and width)" if self.reductions else ""
        lines = [f"{len(self.sequence)} cells with gene: {row}{note}"]
        for number, cell in enumerate(self.genes):
            lines += cell.lines(f"gene {number}")
        return "\n".join(lines)
