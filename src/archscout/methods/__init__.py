"""Search methods: how to look."""

from archscout.methods import d2nas as d2nas
from archscout.methods import darts as darts
from archscout.methods import dash as dash
from archscout.methods import ddarts as ddarts
from archscout.methods import dsm as dsm
from archscout.methods import ednas as ednas
from archscout.methods import evolution as evolution
from archscout.methods import local_search as local_search
from archscout.methods import once_for_all as once_for_all
from archscout.methods import pdarts as pdarts
from archscout.methods import random_search as random_search
from archscout.methods import reinforce as reinforce
from archscout.methods.base import METHODS, Candidate, Method, SearchContext, SearchResult, SearchStage, Showing

__all__ = ["METHODS", "Candidate", "Method", "SearchContext", "SearchResult", "SearchStage", "Showing"]
