"""Small cases: the size of a space's networks, the tasks to try it on, and settings that make a search seconds long."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from archscout.tasks import Split, Task, TaskSpec, load_task
from archscout.tasks.readers.text import find_text_files, text_task

__all__ = [
    "METHOD_CASES",
    "SPACE_CASES",
    "MethodCase",
    "SpaceCase",
    "small_digits",
    "small_number_of_series",
    "small_numbers",
    "small_text",
    "write_text",
]

WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


@dataclass(frozen=True)
class SpaceCase:
    """What a space is tried on.

    Attributes:
        size: of the smallest networks, for the space's `size_model`.
        specs: tasks that networks are built for; the first one is that of `task`.
        task: a task of a few dozen samples, for searches.
        options: of the space in searches.
        supernet_size: of supernets, where it is not `size`.
        further: small tasks of other kinds, each searched once from end to end.
    """

    size: Mapping[str, Any]
    specs: Sequence[TaskSpec]
    task: Callable[[], Task]
    options: Mapping[str, Any] = field(default_factory=dict)
    supernet_size: Mapping[str, Any] | None = None
    further: Sequence[Callable[[], Task]] = ()


@dataclass(frozen=True)
class MethodCase:
    """How a method is tried.

    Attributes:
        settings: that make a search take seconds.
        settings_on: others, by the name of a space.
        options: of every space that it searches, in place of the space's own.
    """

    settings: Mapping[str, Any]
    settings_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def small_digits() -> Task:
    """Thirty digits to train on and thirty to validate on."""
    task = load_task("digits")
    return replace(task, train=_first(task.train), validation=_first(task.validation))


def small_numbers() -> Task:
    """Two numbers of small images, brightness and contrast, in units far from 1: prices, say."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (90, 8, 8)).astype(np.uint8)
    numbers = np.stack([images.mean((1, 2)) * 1e4, images.std((1, 2)) * 1e-3], 1)
    return Task.from_arrays(
        images[:30],
        numbers[:30],
        images[60:],
        numbers[60:],
        x_val=images[30:60],
        y_val=numbers[30:60],
        name="numbers",
        kind="regression",
    )


def small_number_of_series() -> Task:
    """One number of short series: their mean slope."""
    draw = np.random.default_rng(0)
    series = draw.normal(size=(90, 2, 16)).cumsum(2).astype(np.float32)
    numbers = (series[:, 0, -1] - series[:, 0, 0]) * 100
    return Task.from_arrays(
        series[:30],
        numbers[:30],
        series[60:],
        numbers[60:],
        x_val=series[30:60],
        y_val=numbers[30:60],
        name="slopes",
        kind="regression",
    )


def _first(split: Split) -> Split:
    return Split(split.source, split.indices[:30])


def small_text() -> Task:
    """Lines that count up from a random word, so that there is something to learn."""
    with tempfile.TemporaryDirectory() as folder:
        return text_task("counting", find_text_files([write_text(Path(folder))]))


def write_text(folder: Path, lines: int = 60) -> Path:
    """The three files of `small_text`."""
    draw = Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", lines), ("valid", lines // 2), ("test", lines // 2)):
        text = []
        for _ in range(count):
            start = draw.randrange(len(WORDS))
            text.append(" ".join(WORDS[(start + step) % len(WORDS)] for step in range(draw.randint(4, 9))))
        (folder / f"{part}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    return folder


_DIGITS = TaskSpec("digits", "classification", (1, 8, 8), 10)
_MAPS = TaskSpec("dense images", "dense", (2, 7, 10), 1)
_NUMBERS = TaskSpec("numbers of images", "regression", (1, 8, 8), 2)
_NUMBER = TaskSpec("a number of sequences", "regression", (2, 16), 1)
_LABELS = TaskSpec("labels of images", "multilabel", (1, 8, 8), 3)
_SEQUENCES = (
    _NUMBER,
    TaskSpec("sequences", "multilabel", (3, 22), 5),
    _MAPS,
    TaskSpec("dense sequences", "dense", (2, 9), 2),
)
_CELLS = {"init_channels": 4, "layers": 3}

SPACE_CASES: dict[str, SpaceCase] = {
    "backbones": SpaceCase({"width": 1}, (_DIGITS, _MAPS, _NUMBERS), small_digits, further=(small_numbers,)),
    "cells": SpaceCase(_CELLS, (_DIGITS, _NUMBERS, _LABELS), small_digits, further=(small_numbers,)),
    "per-cell": SpaceCase(
        _CELLS,
        (_DIGITS, _NUMBERS, _LABELS),
        small_digits,
        options={"cells": 3},
        supernet_size={"init_channels": 4},
        further=(small_numbers,),
    ),
    "diverse-cells": SpaceCase(
        _CELLS, (_DIGITS, _NUMBERS, *_SEQUENCES), small_digits, further=(small_numbers, small_number_of_series)
    ),
    "mobilenet": SpaceCase({"width": 0.25}, (_DIGITS, _NUMBERS, _LABELS), small_digits, further=(small_numbers,)),
    "nasbench201": SpaceCase(
        {"init_channels": 4, "cells": 1}, (_DIGITS, _NUMBERS, _LABELS), small_digits, further=(small_numbers,)
    ),
    "recurrent": SpaceCase({"width": 6}, (TaskSpec("text", "language", (1,), 9),), small_text),
}

_QUERIES: dict[str, Any] = {
    "queries": 4,
    "candidate": {"train": {"epochs": 1, "batch_size": 16}, "workers": 1},
}
_MIXTURE: dict[str, Any] = {"epochs": 1, "batch_size": 10, "validation_fraction": None}
_STAGES: dict[str, Any] = {"epochs": 2, "warmup_epochs": 1, "batch_size": 10}

METHOD_CASES: dict[str, MethodCase] = {
    "ednas": MethodCase(
        {"epochs": 1, "child": {"batch_size": 30}, "policy": {"batch_size": 20}, "ranking": {"candidates": 3}}
    ),
    "once-for-all": MethodCase({"supernet": {"epochs": 2, "batch_size": 16}}),
    "dsm": MethodCase({**_QUERIES, "slots": 2, "edits": 1, "proposals": 2}),
    "evolution": MethodCase(
        {**_QUERIES, "population": 2},
        settings_on={
            "recurrent": {
                "queries": 4,
                "population": 2,
                "score": "shared",
                "shared": {"epochs": 1, "child": {"batch_size": 10}},
            }
        },
    ),
    "local": MethodCase(_QUERIES),
    "random": MethodCase({"epochs": 1, "child": {"batch_size": 30}, "ranking": {"candidates": 3}}),
    "reinforce": MethodCase(_QUERIES),
    "dash": MethodCase({"epochs": 2, "batch_size": 10, "kernel_sizes": [3, 5], "dilations": [1, 3]}),
    "darts": MethodCase(_MIXTURE, settings_on={"recurrent": {"epochs": 1, "order": "first", "batch_size": 10}}),
    "fairdarts": MethodCase(_MIXTURE),
    "ddarts": MethodCase(_MIXTURE),
    "dartopti": MethodCase({**_MIXTURE, "warmup_epochs": 0}, options={"baseline": "resnet18"}),
    "pdarts": MethodCase(
        {**_STAGES, "stages": [{"skip_dropout": 0.2}, {"init_channels": 6}], "validation_fraction": None}
    ),
    "d2nas": MethodCase({"cells": {**_STAGES, "stages": [{}, {"init_channels": 6}]}}),
}
