"""A task from a folder of recordings: classes, labels or numbers, laid out as for images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from archscout.tasks.findings import Finding, raise_wrong
from archscout.tasks.options import DEFAULTS, HOLD_OUT, TaskOptions
from archscout.tasks.preparation import SoundPreparation
from archscout.tasks.readers.file_tree import suffix_of
from archscout.tasks.readers.folder_layouts import LAYOUT_OPTIONS, find_layout, holds_samples
from archscout.tasks.readers.image_formats import IMAGE_SUFFIXES
from archscout.tasks.readers.layout_of_folder import FileList, FolderLayout
from archscout.tasks.readers.sounds import SUFFIXES, Sounds, read_sounds
from archscout.tasks.registry import register_reader
from archscout.tasks.samples import Samples, task_of_samples
from archscout.tasks.statistics import ChannelStatistics
from archscout.tasks.task import Split, Task

__all__ = ["sound_task"]

SOUNDS = frozenset(SUFFIXES)
STATISTICS_BATCH = 256
MOST_FOLDERS, MOST_FILES = 1000, 20_000


@register_reader(
    "sounds",
    "a folder of .wav sounds (one folder for each class, or a table of labels)",
    lambda path: path.is_dir() and _is_of_sounds(path),
    heeds=HOLD_OUT | LAYOUT_OPTIONS | {"sound"},
)
def sound_task(path: Path, options: TaskOptions = DEFAULTS, *, name: str | None = None) -> Task:
    """A task from a folder of recordings.

    Layouts are those of images, docs/tasks.md. Recordings become log-mel spectrograms or stay samples, of one length:
    `archscout.tasks.readers.sounds`. Nothing is augmented.

    Args:
        name: of the task; default: the folder's name.

    Raises:
        DataError: no such layout, or everything that is wrong with it, at once.
        SettingsError: options that contradict each other.
    """
    name = name or path.resolve().name
    layout = find_layout(path, SOUNDS, options, samples="sounds")
    parts = dict(layout.parts)
    if layout.unlabelled:
        known = parts["train"].targets
        nothing = torch.zeros(len(layout.unlabelled), *known.shape[1:], dtype=known.dtype)
        parts["unlabelled"] = FileList(layout.unlabelled, nothing)
    names = [each for files in parts.values() for each in files.names]
    given = {} if options.sound is None else options.sound.model_dump(exclude_none=True)
    sounds = read_sounds(path, names, given)
    damaged = _damaged(sounds, len(names), skip=options.skip_damaged)
    raise_wrong([*layout.findings, *damaged])
    kept = torch.tensor(sounds.positions)
    source = sounds.source(torch.cat([files.targets for files in parts.values()])[kept])
    owner = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(files) for files in parts.values()]))
    places = {part: (owner[kept] == number).nonzero().view(-1) for number, part in enumerate(parts)}
    unlabelled = places.pop("unlabelled", None)
    samples = Samples(
        name=name,
        kind=layout.kind,
        input_shape=sounds.settings.shape,
        parts={part: Split(source, place) for part, place in places.items()},
        statistics=_statistics,
        class_names=layout.class_names,
        groups=_groups(layout, sounds),
        preparation=SoundPreparation(sounds.settings),
        unlabelled=None if unlabelled is None or not len(unlabelled) else Split(source, unlabelled),
        provenance={"source": path.name, **layout.provenance},
        findings=(*layout.findings, *damaged, *sounds.findings),
    )
    return task_of_samples(samples, options)


def _is_of_sounds(path: Path) -> bool:
    """Whether a folder has more sounds than images, among the files that are found first."""
    if not holds_samples(path, SOUNDS):
        return False
    files = (name for _, _, names in islice(os.walk(path), MOST_FOLDERS) for name in names)
    counts = Counter(suffix_of(name) for name in islice(files, MOST_FILES))
    return sum(counts[each] for each in SOUNDS) > sum(counts[each] for each in IMAGE_SUFFIXES)


def _damaged(sounds: Sounds, given: int, *, skip: bool) -> list[Finding]:
    if not sounds.unreadable:
        return []
    told = tuple(reason for _, reason in sounds.unreadable)
    files = f"{len(told):,} of {given:,} recordings cannot be read"
    if skip:
        return [Finding("doubtful", "damaged", f"{files} and are left out.", told)]
    todo = "Repair or remove them, or go on without with --skip-damaged."
    return [Finding("wrong", "damaged", f"{files}. {todo}", told)]


def _statistics(train: Split) -> ChannelStatistics:
    batches = train.source.batches(torch.split(train.indices, STATISTICS_BATCH), torch.device("cpu"))
    return ChannelStatistics().update_all(inputs for inputs, _ in batches)


def _groups(layout: FolderLayout, sounds: Sounds) -> dict[str, Sequence[str]] | None:
    """Of the recordings that are kept: their groups."""
    if layout.parts["train"].groups is None:
        return None
    kept = set(sounds.positions)
    groups: dict[str, Sequence[str]] = {}
    start = 0
    for part, files in layout.parts.items():
        if files.groups is not None:
            groups[part] = [group for place, group in enumerate(files.groups, start) if place in kept]
        start += len(files)
    return groups
