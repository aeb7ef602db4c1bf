"""What every architecture can do: check itself, and read and write versioned JSON."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from archscout.errors import ArchitectureError
from archscout.registry import Registry

__all__ = ["ARCHITECTURES", "Architecture", "architecture_from_json", "architecture_to_json"]


@runtime_checkable
class Architecture(Protocol):
    """One point of a search space: frozen, hashable, checked on construction.

    Attributes:
        format: the name in the JSON's `format` field, also the name it is registered under.
        version: of the JSON layout; readers keep reading old versions.
        space: the search space it belongs to.
    """

    format: ClassVar[str]
    version: ClassVar[int]

    @property
    def space(self) -> str: ...

    def to_fields(self) -> dict[str, Any]:
        """The content as JSON types, without format and version."""
        ...

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """The inverse. Raises ArchitectureError that names the field."""
        ...

    def describe(self) -> str:
        """A few lines for a terminal."""
        ...


ARCHITECTURES: Registry[type[Any]] = Registry("architecture format", "archscout.spaces")


def architecture_to_json(architecture: Architecture) -> str:
    """JSON text with format and version; equal architectures give equal text."""
    content = {"format": architecture.format, "version": architecture.version, **architecture.to_fields()}
    return json.dumps(content, indent=2) + "\n"


def architecture_from_json(text: str) -> Architecture:
    """The architecture in a JSON text. Raises ArchitectureError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: bad JSON, or a number of thousands of digits
        raise ArchitectureError(f"this is not JSON ({error}). Give a file that archscout wrote.") from None
    if not isinstance(content, dict) or "format" not in content:
        raise ArchitectureError(
            "this JSON has no field 'format'; an architecture file has format, version and the architecture. "
            f"Known formats: {', '.join(ARCHITECTURES)}."
        )
    name = content["format"]
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ArchitectureError(f"field 'format' is {reprlib.repr(name)}; known formats: {', '.join(ARCHITECTURES)}.")
    kind: type[Architecture] = ARCHITECTURES.get(name)
    version = content.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= kind.version:
        raise ArchitectureError(
            f"field 'version' is {reprlib.repr(version)}; this archscout reads {kind.format} versions 1 to "
            f"{kind.version}. A newer file needs a newer archscout."
        )
    fields = {key: value for key, value in content.items() if key not in ("format", "version")}
    return kind.from_fields(fields, version)
