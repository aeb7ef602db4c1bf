"""NAS-Bench-201: cells, networks, shared weights, and the table of all trained cells."""

from archscout.spaces.nasbench201.cell import EDGES, OPERATIONS, SPACE_SIZE, NasBench201Cell, cell_at, official_index
from archscout.spaces.nasbench201.space import NasBench201Size, NasBench201Space

__all__ = [
    "EDGES",
    "OPERATIONS",
    "SPACE_SIZE",
    "NasBench201Cell",
    "NasBench201Size",
    "NasBench201Space",
    "cell_at",
    "official_index",
]
