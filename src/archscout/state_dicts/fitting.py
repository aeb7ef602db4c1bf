"""State dicts under a network's own names: what prefixes the names of a file have is found, taken off, and told.

`module.` comes from data-parallel training, `_orig_mod.` from `torch.compile`, `model.` and the like from training
modules; they may be combined. A prefix is whatever stands before a name of the network, if all of its tensors are
there; parts that torch's wrappers insert are taken out anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.state_dicts.reading import Entry, listed

__all__ = ["COUNTER", "Fitted", "Reading", "fit", "notes_of", "readings"]

COUNTER = "num_batches_tracked"  # of batch norms; old versions of torch lack it, and nothing is computed from it
_INSERTED = {"module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}


@dataclass(frozen=True)
class Fitted:
    """A state dict under a network's own names, and what was done to get it, in sentences."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def fit(entries: Sequence[Entry], wanted: Mapping[str, tuple[int, ...]], where: str) -> Fitted:
    """The first state dict that has all tensors of a network, under the network's names.

    Args:
        entries: of a file, from `read_entries`.
        wanted: name and shape of the network's tensors.
        where: begins messages.

    Raises:
        DataError: none fits; the message tells what is missing, unknown or of another shape in the likeliest one.
    """
    problems = []
    for entry in entries:
        found = _fit_one(entry, wanted)
        if isinstance(found, Fitted):
            return Fitted(found.tensors, (*notes_of(entries, entry, None), *found.notes, *entry.notes))
        problems.append(found)
    raise DataError(f"{where} {problems[0]}")


def _fit_one(entry: Entry, wanted: Mapping[str, tuple[int, ...]]) -> Fitted | str:
    """The tensors under the names of the network, or what is wrong, as the end of a sentence."""
    needed = [name for name in wanted if not name.endswith(COUNTER)] or list(wanted)
    anchors = (needed[0], needed[len(needed) // 2], needed[-1])
    candidates = [each for plain in (False, True) for each in readings(entry.tensors, anchors, plain=plain)]
    whole = [each for each in candidates if all(name in each.names for name in needed)]
    right = [each for each in whole if all(_shape(entry, each, name) == wanted[name] for name in needed)]
    taken = {tuple(each.names[name] for name in needed) for each in right}
    if len(taken) > 1 and not any(not each.prefix and not each.inserted for each in right):
        prefixes = sorted({f"'{each.prefix}'" for each in right})
        return (
            f"holds weights for this network more than once, under {' and '.join(prefixes)}. Save the ones that you "
            "mean alone."
        )
    best = max(right or whole or candidates, key=lambda each: sum(name in each.names for name in needed))
    problem = _misfit(entry, best, wanted)
    return problem or _taken(entry, best, wanted)


@dataclass(frozen=True)
class Reading:
    """A way to read the names of a state dict.

    Attributes:
        prefix: what is taken off.
        inserted: parts of names that are taken out anywhere.
        names: the file's name of each name that results.
        outside: the file's names without the prefix, which are left out.
    """

    prefix: str
    inserted: tuple[str, ...]
    names: Mapping[str, str]
    outside: tuple[str, ...]


def readings(tensors: Mapping[str, Tensor], anchors: Sequence[str], *, plain: bool = False) -> Iterator[Reading]:
    """Ways to read names: without whatever stands before an anchor, the shortest first; the first takes nothing off.

    Args:
        tensors: by name.
        anchors: names that are in the state dict, perhaps after a prefix.
        plain: take out what wrappers of torch insert; gives nothing where there is nothing of the kind.
    """
    inserted: dict[str, None] = {}
    names = {}
    for name in tensors:
        parts = name.split(".")
        kept = [part for part in parts if not (plain and part in _INSERTED)]
        inserted |= dict.fromkeys(part for part in parts if part not in kept)
        names[".".join(kept)] = name
    if plain and (not inserted or len(names) < len(tensors)):
        return
    found = {name[: -len(anchor)] for anchor in anchors for name in names if f".{name}".endswith(f".{anchor}")}
    for prefix in sorted({"", *found}, key=lambda each: (len(each), each)):
        under = {name[len(prefix) :]: old for name, old in names.items() if name.startswith(prefix)}
        outside = tuple(old for name, old in names.items() if not name.startswith(prefix))
        yield Reading(prefix, tuple(inserted), under, outside)


def notes_of(entries: Sequence[Entry], entry: Entry, reading: Reading | None) -> list[str]:
    """What was taken off and left out, in sentences, for an entry of a file that was chosen."""
    others = [each.name for each in entries if each is not entry and each.name]
    notes = [f"the weights are those of '{entry.name}'"] if entry.name else []
    if others:
        notes.append(f"the file also has {listed(others)}; choose with --entry NAME")
    if reading is not None and (reading.prefix or reading.inserted):
        notes.append(f"the names are read {_off(reading)}")
    if reading is not None and reading.outside:
        notes.append(f"left out, as outside of '{reading.prefix}': {listed(reading.outside)}")
    return notes


def _shape(entry: Entry, reading: Reading, name: str) -> tuple[int, ...]:
    return tuple(entry.tensors[reading.names[name]].shape)


def _misfit(entry: Entry, reading: Reading, wanted: Mapping[str, tuple[int, ...]]) -> str | None:
    names = reading.names
    missing = [name for name in wanted if name not in names and not name.endswith(COUNTER)]
    extra = [name for name in names if name not in wanted]
    other = [
        f"{name} {_shape(entry, reading, name)} instead of {shape}"
        for name, shape in wanted.items()
        if name in names and _shape(entry, reading, name) != shape
    ]
    kinds = (("tensors are missing", missing), ("are unknown", extra), ("have another shape", other))
    problems = [f"{len(each)} {what} ({listed(each, 2)})" for what, each in kinds if each]
    if not problems:
        return None
    place = f" (the weights of '{entry.name}')" if entry.name else ""
    told = [f"its names are read {_off(reading)}"] if reading.prefix or reading.inserted else []
    if len(missing) == len([name for name in wanted if not name.endswith(COUNTER)]):
        end = "None of the names is one of the network's: were they given by other code, or for another network?"
    elif other and not missing and not extra:
        end = "The names agree, the shapes do not: another size, or another number of classes or channels."
    else:
        end = "Are these perhaps the weights of another architecture or size?"
    return f"does not fit the network{place}, which has {len(wanted)} tensors: {'; '.join([*problems, *told])}. {end}"


def _off(reading: Reading) -> str:
    parts = [f"'{reading.prefix}'"] if reading.prefix else []
    parts += [f"'{part}.'" for part in reading.inserted if f"{part}." != reading.prefix]
    return f"without {' and '.join(parts)}"


def _taken(entry: Entry, reading: Reading, wanted: Mapping[str, tuple[int, ...]]) -> Fitted:
    notes = notes_of((), Entry("", {}), reading)
    tensors = {name: entry.tensors[reading.names[name]] for name in wanted if name in reading.names}
    absent = [name for name in wanted if name not in tensors]
    if absent:
        notes.append(f"{len(absent)} batch counters are missing, as in old files; nothing is computed from them")
        tensors |= {name: torch.zeros(wanted[name], dtype=torch.long) for name in absent}
    return Fitted(tensors, tuple(notes))
