"""Zoo entries: one JSON file for each, beside this module; plugins register more with `register_zoo_entry`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from pydantic import Field

from archscout import catalog
from archscout.errors import ArchitectureError, UnknownNameError
from archscout.registry import Registry, without_plugins
from archscout.settings import Settings
from archscout.spaces import Architecture, architecture_from_json

__all__ = [
    "ZOO",
    "PublishedFigures",
    "RecountedNetwork",
    "ZooEntry",
    "load_zoo",
    "read_zoo_entry",
    "register_zoo_entry",
    "zoo_names",
]


class PublishedFigures(Settings):
    """What its authors report for an architecture on one task; rounded as they round it, for comparison only."""

    source: str = Field(min_length=1, description="where the figures stand")
    error_percent: float | None = Field(None, gt=0, lt=100, description="top-1 test error")
    error_percent_std: float | None = Field(None, ge=0, description="standard deviation over trainings")
    test_perplexity: float | None = Field(None, gt=1)
    validation_perplexity: float | None = Field(None, gt=1)
    top5_error_percent: float | None = Field(None, gt=0, lt=100)
    parameters_millions: float | None = Field(None, gt=0)
    madds_millions: float | None = Field(None, gt=0, description="by the authors' own convention")
    search_gpu_days: float | None = Field(None, ge=0)


class RecountedNetwork(Settings):
    """Our counts for the evaluation network of a stated size; they test what archscout builds."""

    init_channels: int | None = Field(None, gt=0, description="of cell networks")
    layers: int | None = Field(None, gt=0, description="of cell networks")
    width: float | None = Field(None, gt=0, description="multiplier of MobileNets; size of language models")
    parameters: int = Field(gt=0, description="exact, without the auxiliary head")
    parameters_with_auxiliary: int | None = Field(None, gt=0)
    madds_millions: float = Field(gt=0, description="convolutions and linear layers, to a tenth of a million")

    @property
    def size(self) -> dict[str, Any]:
        """The stated size as settings of the space's networks."""
        stated = {"init_channels": self.init_channels, "layers": self.layers, "width": self.width}
        return {key: value for key, value in stated.items() if value is not None}


@dataclass(frozen=True)
class ZooEntry:
    """A published architecture.

    Attributes:
        name: as registered, for example `darts_v2`; what was searched on a task of its own carries the task's name.
        title: one line for people.
        source: authors, year, venue, and where the architecture was read.
        published: figures by task name; empty where none are at hand.
        recounted: counts by task name.
    """

    name: str
    title: str
    source: str
    architecture: Architecture
    published: Mapping[str, PublishedFigures] = field(default_factory=dict, hash=False)
    recounted: Mapping[str, RecountedNetwork] = field(default_factory=dict, hash=False)

    @property
    def description(self) -> str:
        """The title, for lists."""
        return self.title


ZOO: Registry[ZooEntry] = catalog.ZOO


_FIELDS = {"name", "title", "source", "architecture", "published", "recounted"}


def read_zoo_entry(text: str, where: str = "zoo entry") -> ZooEntry:
    """The entry in a JSON text with the fields name, title, source, architecture, published and recounted.

    Raises:
        ArchitectureError: not such a text, or a wrong architecture; `where` begins the message.
        SettingsError: a wrong figure.
    """
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f"{where}: this is not JSON ({error}).") from None
    if not isinstance(content, dict) or set(content) != _FIELDS:
        seen = ", ".join(sorted(content)) if isinstance(content, dict) else type(content).__name__
        raise ArchitectureError(f"{where}: needs exactly the fields {', '.join(sorted(_FIELDS))}; got {seen[:200]}.")
    for key in ("name", "title", "source"):
        if not isinstance(content[key], str) or not content[key]:
            raise ArchitectureError(f"{where}: the field '{key}' must be a text that is not empty.")
    for key in ("published", "recounted"):
        if not isinstance(content[key], dict) or not all(isinstance(item, dict) for item in content[key].values()):
            raise ArchitectureError(f"{where}: the field '{key}' must hold figures by task name.")
    try:
        architecture = architecture_from_json(json.dumps(content["architecture"]))
    except ArchitectureError as error:
        raise ArchitectureError(f"{where}: {error}") from None
    return ZooEntry(
        name=content["name"],
        title=content["title"],
        source=content["source"],
        architecture=architecture,
        published={
            task: PublishedFigures.read(values, f"{where}: published.{task}")
            for task, values in content["published"].items()
        },
        recounted={
            task: RecountedNetwork.read(values, f"{where}: recounted.{task}")
            for task, values in content["recounted"].items()
        },
    )


def register_zoo_entry(entry: ZooEntry) -> ZooEntry:
    """Add an entry under its name; a clash raises. A package does it on import, named as an `archscout.plugins` entry
    point."""
    return ZOO.register(entry.name)(entry)


def zoo_names(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, sorted."""
    return ZOO.names(pattern)


def load_zoo(name: str) -> ZooEntry:
    """The entry of that name. Raises UnknownNameError with the closest names."""
    if name not in ZOO:
        raise UnknownNameError(ZOO.noun, name, ZOO, "See: archscout list zoo")
    return ZOO.get(name)


def _register_own_files() -> None:
    folder = files("archscout.zoo")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            register_zoo_entry(read_zoo_entry(file.read_text(encoding="utf-8"), file.name))


with without_plugins():
    _register_own_files()
