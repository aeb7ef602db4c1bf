"""Weights from files of others: every file of weights is read here."""

from archscout.state_dicts.fitting import COUNTER, Fitted, Reading, fit, notes_of, readings
from archscout.state_dicts.reading import Entry, read_entries

__all__ = ["COUNTER", "Entry", "Fitted", "Reading", "fit", "notes_of", "read_entries", "readings"]
