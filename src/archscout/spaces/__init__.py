"""Search spaces: what may be built."""

from archscout.spaces.architecture import (
    ARCHITECTURES,
    Architecture,
    architecture_from_json,
    architecture_to_json,
)
from archscout.spaces.backbones import Backbone, BackboneSpace
from archscout.spaces.base import SPACES, SearchSpace, get_space
from archscout.spaces.cells import CellSpace
from archscout.spaces.distributed import DistributedSpace
from archscout.spaces.distributed_genotype import DistributedGenotype
from archscout.spaces.diverse import DiverseSpace
from archscout.spaces.diverse_genotype import DiverseGenotype
from archscout.spaces.genotype import Cell, CellGenotype, Input
from archscout.spaces.given_module import GivenModule, ModuleSpace
from archscout.spaces.kernel_pattern import KernelPattern
from archscout.spaces.mobilenet import MobileNetConfig, MobileNetSpace
from archscout.spaces.nasbench201 import NasBench201Cell, NasBench201Space
from archscout.spaces.recurrent import RecurrentSpace
from archscout.spaces.recurrent_genotype import Node, RecurrentGenotype

__all__ = [
    "ARCHITECTURES",
    "SPACES",
    "Architecture",
    "Backbone",
    "BackboneSpace",
    "Cell",
    "CellGenotype",
    "CellSpace",
    "DistributedGenotype",
    "DistributedSpace",
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
]
