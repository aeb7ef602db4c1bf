"""The official order of the 15,625 cells, in which files of NAS-Bench-201 and NATS-Bench number them."""

from __future__ import annotations

import random
from functools import cache

from archscout.errors import ArchitectureError
from archscout.spaces.nasbench201.cell import SPACE_SIZE, NasBench201Cell

__all__ = ["cell_at", "official_index", "official_keys"]

SHUFFLE_SEED = 88  # docs/nasbench201.md#cells


@cache
def official_keys() -> tuple[int, ...]:
    """The key of each cell in official order: all codes in product order, shuffled by Python's generator."""
    keys = list(range(SPACE_SIZE))  # a key counts in the order of the product
    random.Random(SHUFFLE_SEED).shuffle(keys)
    return tuple(keys)


@cache
def _indices() -> dict[int, int]:
    return {key: index for index, key in enumerate(official_keys())}


def official_index(cell: NasBench201Cell) -> int:
    """The number of a cell in official files."""
    return _indices()[cell.key]


def cell_at(index: int) -> NasBench201Cell:
    """The cell of an official number. Raises ArchitectureError."""
    if not 0 <= index < SPACE_SIZE:
        raise ArchitectureError(f"NAS-Bench-201 has no cell #{index}; allowed: 0 to {SPACE_SIZE - 1}.")
    return NasBench201Cell.from_key(official_keys()[index])
