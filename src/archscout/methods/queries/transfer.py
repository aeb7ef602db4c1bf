"""Starting a search from what is known already: the end of an earlier search, or named architectures (DSM-NAS+)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archscout.errors import SettingsError, SpaceError
from archscout.rundir import RunDirectory
from archscout.spaces.architecture import Architecture, architecture_from_json
from archscout.spaces.base import SearchSpace
from archscout.zoo import resolve_architecture

__all__ = ["initial_architectures"]


def initial_architectures(names: Sequence[str], space: SearchSpace) -> list[list[Architecture]]:
    """Architectures to start from, for each trial in turn.

    Args:
        names: run directories of searches with centres, which give those of their trial i to trial i (counted again
            from the first where there are more trials); or architectures, which every trial gets.
        space: that they must belong to.

    Raises:
        SettingsError, SpaceError, ArchitectureError: a name is neither, or belongs to another space.
    """
    by_trial: list[list[Architecture]] = []
    common: list[Architecture] = []
    for name in names:
        run = RunDirectory(Path(name))
        if run.exists() and run.has("search.json"):
            if by_trial:
                raise SettingsError("search.initial: only one earlier run can be named.")
            stages = run.read_json("search.json").values()
            records: list[dict[str, Any]] = next((facts["each"] for facts in stages if facts.get("each")), [])
            by_trial = [
                [architecture_from_json(json.dumps(each)) for each in record["centres"] or [record["best"]]]
                for record in records
            ]
        else:
            common.append(resolve_architecture(name))
    for architecture in (*common, *(each for trial in by_trial for each in trial)):
        if architecture.space != space.name:
            raise SpaceError(
                f"search.initial: an architecture of the space '{architecture.space}' cannot start a search of "
                f"'{space.name}'."
            )
    if not by_trial:
        return [common] if common else []
    return [[*common, *trial] for trial in by_trial]
