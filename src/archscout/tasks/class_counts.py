"""Classes of so few samples that a split has none of them."""

from __future__ import annotations

from dataclasses import replace

import torch

from archscout.tasks.findings import Finding, some
from archscout.tasks.sources import known_targets
from archscout.tasks.task import Task

__all__ = ["with_small_classes"]

HELD_OUT = ("validation", "test")


def with_small_classes(task: Task) -> Task:
    """The task with a finding on the classes that a split lacks as too few of their samples or groups were held out."""
    if task.spec.kind != "classification":
        return task
    counts = {}
    for part in ("train", *HELD_OUT):
        split = task.split(part)
        targets = known_targets(split.source)
        if targets is None:
            return task
        counts[part] = torch.bincount(targets[split.indices], minlength=task.spec.outputs).tolist()
    held = [part for part in HELD_OUT if part in (task.provenance.get("held_out") or ())]
    told = []
    for label in range(task.spec.outputs):
        lacking = [part for part in held if not counts[part][label]]
        if lacking:
            name = task.class_names[label] if label < len(task.class_names) else f"class {label}"
            total = sum(counts[part][label] for part in counts)
            told.append(f"{name} ({total:,} in all): none in {' and '.join(lacking)}")
    if not told:
        return task
    one = len(told) == 1
    message = (
        f"{len(told):,} class{'' if one else 'es'} {'has' if one else 'have'} no sample in a split that was held out: "
        f"{some(told, 5)}. Results there say nothing of {'it' if one else 'them'}; give more samples, or use --folds."
    )
    return replace(task, findings=(*task.findings, Finding("doubtful", "small classes", message, tuple(told))))
