"""Search spaces: what may be built."""

from archscout.spaces.architecture import (
    ARCHITECTURES,
    Architecture,
    architecture_from_json,
    architecture_to_json,
)
from archscout.spaces.base import SPACES, SearchSpace, get_space
from archscout.spaces.cells import CellSpace
from archscout.spaces.genotype import Cell, CellGenotype, Input
from archscout.spaces.recurrent import RecurrentSpace
from archscout.spaces.recurrent_genotype import Node, RecurrentGenotype

__all__ = [
    "ARCHITECTURES",
    "SPACES",
    "Architecture",
    "Cell",
    "CellGenotype",
    "CellSpace",
    "Input",
    "Node",
    "RecurrentGenotype",
    "RecurrentSpace",
    "SearchSpace",
    "architecture_from_json",
    "architecture_to_json",
    "get_space",
]
