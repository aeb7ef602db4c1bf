"""Once-for-all search: train a supernet, score some of its networks, learn to predict the scores, search with that."""

from archscout.methods.once_for_all.method import OnceForAllSettings
from archscout.methods.once_for_all.searchers import SEARCHERS, Admit, Scorer, Searcher

__all__ = ["SEARCHERS", "Admit", "OnceForAllSettings", "Scorer", "Searcher"]
