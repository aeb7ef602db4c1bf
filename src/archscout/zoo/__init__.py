"""The zoo: published architectures, each with its source, its published figures and our exact counts."""

from archscout.spaces.resolve import resolve_architecture
from archscout.zoo.entries import (
    ZOO,
    PublishedFigures,
    RecountedNetwork,
    ZooEntry,
    load_zoo,
    read_zoo_entry,
    register_zoo_entry,
    zoo_names,
)

__all__ = [
    "ZOO",
    "PublishedFigures",
    "RecountedNetwork",
    "ZooEntry",
    "load_zoo",
    "read_zoo_entry",
    "register_zoo_entry",
    "resolve_architecture",
    "zoo_names",
]
