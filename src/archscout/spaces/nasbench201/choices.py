"""NAS-Bench-201 as independent choices, for policies that decouple structure and operations."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.spaces.nasbench201.cell import EDGES, OPERATIONS, NasBench201Cell

__all__ = ["NasBench201Choices"]


class NasBench201Choices:
    """A `Factorization` without structure: every edge has an operation.

    Attributes:
        structure: none.
        operations: the five operations for each of the six edges.
    """

    structure: Sequence[int] = ()
    operations: Sequence[Sequence[str]] = (OPERATIONS,) * len(EDGES)

    def active(self, structure: Sequence[int]) -> Sequence[int]:
        """All edges."""
        return range(len(EDGES))

    def assemble(self, structure: Sequence[int], operations: Sequence[int]) -> NasBench201Cell:
        """The cell of one operation for each edge."""
        return NasBench201Cell(tuple(operations))

    def disassemble(self, architecture: NasBench201Cell) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inverse of `assemble`."""
        return (), architecture.code
