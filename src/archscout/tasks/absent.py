"""A task without data, for searches that read all they need from a table."""

from __future__ import annotations

import torch

from archscout.tasks.metrics.classification import accuracy, cross_entropy
from archscout.tasks.registry import TASKS
from archscout.tasks.sources import ArraySource
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task
from archscout.tasks.transforms import uint8_to_float

__all__ = ["absent_task"]

# Stands in where the data set of a table is none of our tasks: the shapes that the table's networks were trained on.
UNKNOWN = TaskSpec("table", "classification", (3, 32, 32), 10)


def absent_task(dataset: str | None) -> Task:
    """The shapes of a registered task, or of small images, and three empty splits."""
    known = TASKS.get(dataset).spec if dataset is not None and dataset in TASKS else None
    spec = known or TaskSpec(dataset or UNKNOWN.name, UNKNOWN.kind, UNKNOWN.input_shape, UNKNOWN.outputs)
    source = ArraySource(torch.zeros(0, *spec.input_shape, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    nothing = Split(source, torch.arange(0))
    return Task(
        spec=spec,
        train=nothing,
        validation=nothing,
        test=nothing,
        loss=cross_entropy,
        metric=accuracy(spec.outputs),
        to_float=uint8_to_float,
        normalize=lambda inputs: inputs,
        provenance={"data": "none was read: scores are from a table"},
    )
