"""Search methods: how to look."""

from archscout.methods import d2nas as d2nas  # these register their methods
from archscout.methods import once_for_all as once_for_all
from archscout.methods.base import (
    METHODS,
    Candidate,
    Method,
    SearchContext,
    SearchResult,
    SearchStage,
    ShowsArchitecture,
    register_method,
)
from archscout.methods.differentiable import darts as darts
from archscout.methods.differentiable import ddarts as ddarts
from archscout.methods.differentiable import pdarts as pdarts
from archscout.methods.dsm import dsm as dsm
from archscout.methods.kernels import dash as dash
from archscout.methods.queries import evolution as evolution
from archscout.methods.queries import local as local
from archscout.methods.queries import random as random
from archscout.methods.queries import reinforce as reinforce
from archscout.methods.shared_weights import ednas as ednas

__all__ = [
    "METHODS",
    "Candidate",
    "Method",
    "SearchContext",
    "SearchResult",
    "SearchStage",
    "ShowsArchitecture",
    "register_method",
]
