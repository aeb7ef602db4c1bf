"""Search spaces: what may be built."""

from archscout.spaces.architecture import (
    ARCHITECTURES,
    Architecture,
    architecture_from_json,
    architecture_to_json,
)
from archscout.spaces.base import SPACES, SearchSpace, get_space
from archscout.spaces.cells.diverse import DiverseGenotype, DiverseSpace
from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.spaces.cells.per_cell import PerCellSpace
from archscout.spaces.cells.per_cell_genotype import PerCellGenotype
from archscout.spaces.cells.space import CellSpace
from archscout.spaces.kernels.backbones import Backbone, BackboneSpace
from archscout.spaces.kernels.module import GivenModule, ModuleSpace
from archscout.spaces.kernels.pattern import KernelPattern
from archscout.spaces.mobilenet import MobileNetConfig, MobileNetSpace
from archscout.spaces.nasbench201 import NasBench201Cell, NasBench201Space
from archscout.spaces.published import darts as darts  # registers its text form
from archscout.spaces.published import mappings as mappings  # the same
from archscout.spaces.recurrent.genotype import Node, RecurrentGenotype
from archscout.spaces.recurrent.space import RecurrentSpace
from archscout.spaces.resolve import resolve_architecture

__all__ = [
    "ARCHITECTURES",
    "SPACES",
    "Architecture",
    "Backbone",
    "BackboneSpace",
    "Cell",
    "CellGenotype",
    "CellSpace",
    "PerCellGenotype",
    "PerCellSpace",
    "DiverseGenotype",
    "DiverseSpace",
    "GivenModule",
    "Input",
    "KernelPattern",
    "MobileNetConfig",
    "MobileNetSpace",
    "NasBench201Cell",
    "NasBench201Space",
    "ModuleSpace",
    "Node",
    "RecurrentGenotype",
    "RecurrentSpace",
    "SearchSpace",
    "architecture_from_json",
    "architecture_to_json",
    "get_space",
    "resolve_architecture",
]
