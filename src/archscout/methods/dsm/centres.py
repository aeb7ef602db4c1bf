"""Where centres start: at architectures that were named or found before (DSM-NAS+), else at random within limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

import torch

from archscout.errors import SettingsError, SpaceError
from archscout.rundir import RunDirectory
from archscout.spaces.architecture import Architecture, architecture_from_json
from archscout.spaces.base import LayerCoded, SearchSpace
from archscout.zoo import resolve_architecture

__all__ = ["first_centres", "initial_architectures", "random_within"]

DRAWS = 200  # random draws before an architecture is made smaller
REPEATS = 1_000  # random architectures in a row that a trial has already


def first_centres(
    space: LayerCoded,
    count: int,
    given: Sequence[Architecture],
    admit: Callable[[Architecture], bool],
    smallest: Architecture | None,
    draw: Random,
) -> list[tuple[int, ...]]:
    """The codes of distinct centres within the limits: the given ones, then random ones; fewer if there are no more."""
    found = list(dict.fromkeys(space.encode(architecture) for architecture in given if admit(architecture)))[:count]
    for _ in range(REPEATS):
        if len(found) == count:
            break
        architecture = random_within(space, admit, draw, smallest)
        if architecture is None:
            break
        code = space.encode(architecture)
        if code not in found:
            found.append(code)
    return found


def random_within(
    space: LayerCoded, admit: Callable[[Architecture], bool], draw: Random, smallest: Architecture | None = None
) -> Architecture | None:
    """A random architecture that is admitted, or None.

    Draws until one is. After 200 in vain the layers of the last one become those of the smallest architecture, one
    after the other in random order, until it is admitted; the outcome is not uniform among those within the limits.

    Args:
        space: to draw from.
        admit: whether an architecture keeps the limits.
        draw: the generator.
        smallest: of the space, which should be admitted; None: there is nothing to shrink to.
    """
    architecture: Any = None
    for _ in range(DRAWS):
        architecture = cast(Any, space).random(draw)
        if admit(architecture):
            return cast(Architecture, architecture)
    if smallest is None:
        return None
    code, target = list(space.encode(architecture)), space.encode(smallest)
    for layer in draw.sample(range(len(code)), len(code)):
        code[layer] = target[layer]
        shrunk: Architecture = space.decode(space.canonical(torch.tensor([code]))[0].tolist())
        if admit(shrunk):
            return shrunk
    return None


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
