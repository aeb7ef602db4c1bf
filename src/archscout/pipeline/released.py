"""Released checkpoints of the DARTS family as model files.

`archscout.state_dicts` reads a checkpoint, which runs nothing that is in it. Its names are those of the published code,
of which only the outer structure is known: `stem...`, `cells.<i>.preprocess0`, `cells.<i>.preprocess1`,
`cells.<i>.<operations>`, `auxiliary_head...`, `classifier`; a prefix before all of these is taken off. So
tensors are assigned **part by part, by their order and their shape**: within each of these parts our network has
the same layers in the same order. A part with another number of tensors or another shape is an error that shows both.
What this cannot see is two tensors of equal shape in another order within one part; the accuracy on the test data is
the check that remains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archscout.atomic import write_atomic
from archscout.errors import DataError, SettingsError, SpaceError
from archscout.pipeline.artifacts import build_plain, network_bytes
from archscout.spaces import Architecture, get_space
from archscout.state_dicts import COUNTER, Entry, notes_of, read_entries, readings
from archscout.tasks import task_spec
from archscout.tasks.spec import TaskSpec

__all__ = ["ImportReport", "ImportedPart", "import_released"]

CLASSIFIER = "classifier.weight"
TASKS_BY_OUTPUTS = {10: "cifar10", 100: "cifar100", 1000: "imagenet"}
SHOWN = 4


@dataclass(frozen=True)
class ImportedPart:
    """A part of the network: tensors and numbers taken for it, and the checkpoint's name of each of our tensors."""

    name: str
    tensors: int
    elements: int
    names: Mapping[str, str]


@dataclass(frozen=True)
class ImportReport:
    """What was imported; `ignored` are the checkpoint's tensors that only training needs.

    `notes` say in sentences what wrapper and prefix were taken off, and what else was left out.
    """

    path: Path
    task: str
    init_channels: int
    parameters: int
    parts: tuple[ImportedPart, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()


def import_released(
    file: Path,
    architecture: Architecture,
    out: Path,
    *,
    task: str | None = None,
    init_channels: int | None = None,
    layers: int | None = None,
    data: Path | None = None,
    entry: str | None = None,
) -> ImportReport:
    """Write a model file with the weights of a released checkpoint.

    Args:
        file: the checkpoint: a state dict, or a dictionary that holds one.
        architecture: that it was trained with.
        out: the `model.safetensors` to write.
        task: None: CIFAR-10, CIFAR-100 or ImageNet by the number of classes.
        init_channels: None: read off the stem.
        layers: None: the architecture's own number, or the space's default.
        entry: which weights, where the file has several; None takes the likeliest.

    Raises:
        DataError: the file is no such checkpoint, could run code, or its tensors do not fit the network.
        SettingsError: the task or the number of channels cannot be told from the file.
    """
    tensors, notes = _published(read_entries(file, entry), file)
    spec = _task(tensors, task, data, file)
    space = get_space(architecture.space)
    values: dict[str, Any] = {"init_channels": init_channels or 2, "layers": layers}
    size = space.size_model.read({key: value for key, value in values.items() if value is not None})
    if init_channels is None:
        with torch.device("meta"):
            narrow = build_plain(space, architecture, spec, size)
        size = size.model_copy(update={"init_channels": _channels(tensors, narrow, file)})
    network = build_plain(space, architecture, spec, size)
    theirs, ignored = _parts(tensors)
    ours, _ = _parts(network.state_dict())
    parts = _matched(ours, theirs, file)
    state = network.state_dict()
    for part in parts:
        for name, foreign in part.names.items():
            state[name] = tensors[foreign]
    network.load_state_dict(state)
    options = space.options_model()
    try:
        write_atomic(out, network_bytes(network, space, options, architecture, spec, size))
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}. Choose another file with --out.") from None
    parameters = sum(parameter.numel() for parameter in network.parameters())
    channels = int(size.model_dump().get("init_channels", 0))
    return ImportReport(out, spec.name, channels, parameters, tuple(parts), tuple(ignored), notes)


def _published(entries: list[Entry], file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The first state dict with a classifier, names without what stands before it; and what was done, in sentences."""
    for entry in entries:
        for reading in readings(entry.tensors, (CLASSIFIER,)):
            name = reading.names.get(CLASSIFIER)
            if name is not None and entry.tensors[name].dim() == 2:
                tensors = {name: entry.tensors[old] for name, old in reading.names.items()}
                return tensors, (*notes_of(entries, entry, reading), *entry.notes)
    shown = ", ".join(list(entries[0].tensors)[:SHOWN])
    raise DataError(
        f"{file}: there is no matrix '{CLASSIFIER}', in which the published networks of the DARTS family end. Names in "
        f"the file: {shown}, ..."
    )


def _task(tensors: Mapping[str, Tensor], task: str | None, data: Path | None, file: Path) -> TaskSpec:
    outputs = len(tensors[CLASSIFIER])
    if task is None:
        if outputs not in TASKS_BY_OUTPUTS:
            raise SettingsError(f"{file} has {outputs} classes; name what it was trained on with --task.")
        task = TASKS_BY_OUTPUTS[outputs]
    spec = task_spec(task, data)
    if spec.outputs != outputs:
        raise SpaceError(f"{file} has {outputs} classes, but {task} has {spec.outputs}. Choose another --task.")
    return spec


def _channels(tensors: Mapping[str, Tensor], narrow: nn.Module, file: Path) -> int:
    """The initial channels by the first convolution of the stem, compared with a network of 2 channels."""
    theirs = next((value for name, value in tensors.items() if name.startswith("stem") and value.dim() == 4), None)
    ours = next(value for name, value in narrow.state_dict().items() if name.startswith("stem") and value.dim() == 4)
    if theirs is None or (2 * len(theirs)) % len(ours):
        raise SettingsError(f"{file}: the stem does not tell the number of channels; give it with --init-channels.")
    return 2 * len(theirs) // len(ours)


def _part_of(name: str) -> str:
    """The part of the published structure that a tensor belongs to; empty for what only training needs."""
    if name.startswith("auxiliary"):
        return ""
    if name.startswith("stem"):
        return "stem"
    found = re.match(r"cells\.(\d+)\.(?:(preprocess[01])\b)?", name)
    if found:
        return f"cells.{found[1]}.{found[2] or 'operations'}"
    return name.split(".")[0]


def _parts(tensors: Mapping[str, Tensor]) -> tuple[dict[str, list[tuple[str, tuple[int, ...]]]], list[str]]:
    """Names and shapes by part, in order, without the batch counters; and the names of what is left out."""
    parts: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    ignored = []
    for name, tensor in tensors.items():
        part = _part_of(name)
        if not part:
            ignored.append(name)
        elif not name.endswith(COUNTER):
            parts.setdefault(part, []).append((name, tuple(tensor.shape)))
    return parts, ignored


_Part = Mapping[str, list[tuple[str, tuple[int, ...]]]]


def _matched(ours: _Part, theirs: _Part, file: Path) -> list[ImportedPart]:
    problems, parts = [], []
    for part in [*ours, *(name for name in theirs if name not in ours)]:
        wanted, given = ours.get(part, []), theirs.get(part, [])
        wrong = [
            f"{foreign} is {_shape(shape)} where {name} is {_shape(needed)}"
            for (name, needed), (foreign, shape) in zip(wanted, given, strict=False)
            if needed != shape
        ]
        if len(wanted) != len(given):
            first = given[len(wanted)][0] if len(given) > len(wanted) else wanted[len(given)][0]
            which = "left over from" if len(given) > len(wanted) else "missing before"
            problems.append(
                f"{part}: {len(given)} tensors in the file, {len(wanted)} in the network; {which} {first}"
                + (f"; {wrong[0]}" if wrong else "")
            )
        elif wrong:
            problems.append(f"{part}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
        else:
            names = {name: foreign for (name, _), (foreign, _) in zip(wanted, given, strict=True)}
            elements = sum(torch.Size(shape).numel() for _, shape in wanted)
            parts.append(ImportedPart(part, len(wanted), elements, names))
    if problems:
        more = f" And {len(problems) - SHOWN} more parts differ." if len(problems) > SHOWN else ""
        raise DataError(
            f"{file} does not fit the network in {len(problems)} of its parts: {'. '.join(problems[:SHOWN])}.{more} "
            "Check the architecture, --init-channels and --layers."
        )
    return parts


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
