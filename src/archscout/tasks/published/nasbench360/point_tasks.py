"""What the classification and multilabel tasks of NAS-Bench-360 have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from archscout.tasks.metrics.classification import Metric, accuracy, cross_entropy
from archscout.tasks.metrics.ranking import weighted_binary_cross_entropy
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task, Transform

__all__ = ["as_float", "classification_task", "multilabel_task", "unchanged"]


def as_float(raw: Tensor) -> Tensor:
    """The stored values as float32, unscaled."""
    return raw.to(torch.float32)


def unchanged(inputs: Tensor) -> Tensor:
    """No normalisation."""
    return inputs


def classification_task(
    spec: TaskSpec, splits: tuple[Split, Split, Split], provenance: Mapping[str, Any], metric: Metric | None = None
) -> Task:
    """Cross-entropy on inputs that are neither scaled nor augmented, as the benchmark has them."""
    train, validation, test = splits
    return Task(
        spec=spec,
        train=train,
        validation=validation,
        test=test,
        loss=cross_entropy,
        metric=metric or accuracy(spec.outputs),
        to_float=as_float,
        normalize=unchanged,
        provenance=provenance,
    )


def multilabel_task(
    spec: TaskSpec,
    splits: tuple[Split, Split, Split],
    provenance: Mapping[str, Any],
    metric: Metric,
    positive_weight: float,
    augmentations: tuple[Transform, ...] = (),
) -> Task:
    """Binary cross-entropy with weighted positives."""
    train, validation, test = splits
    return Task(
        spec=spec,
        train=train,
        validation=validation,
        test=test,
        loss=weighted_binary_cross_entropy(spec.outputs, positive_weight),
        metric=metric,
        to_float=as_float,
        normalize=unchanged,
        augmentations=augmentations,
        provenance=provenance,
    )
