"""Search methods: how to look."""

from archscout.methods import darts_recurrent as darts_recurrent
from archscout.methods import ednas as ednas
from archscout.methods import random_search as random_search
from archscout.methods.base import METHODS, Candidate, Method, SearchContext, SearchResult, SearchStage

__all__ = ["METHODS", "Candidate", "Method", "SearchContext", "SearchResult", "SearchStage"]
