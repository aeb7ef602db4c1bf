"""The task: what to learn, from which data, judged how. A task never knows a network.

The three splits are explicit, disjoint index sets. Searches read `train` and `validation`; the final training may read
both (`development`); `test` is read once, by `evaluate`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.notebook import html_table
from archscout.seeds import generator
from archscout.tasks.findings import Finding
from archscout.tasks.metrics.classification import Loss, Metric, PooledLoss, pooled_mean
from archscout.tasks.preparation import Preparation
from archscout.tasks.scale import TargetScale
from archscout.tasks.sources import Source, sample_names
from archscout.tasks.spec import TaskSpec

__all__ = ["Split", "Task", "Transform"]

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""A batched operation on the device: `(inputs (N, ...), generator) -> inputs`."""


@dataclass(frozen=True, repr=False)
class Split:
    """Part of a source: the samples at `indices`, an int64 tensor."""

    source: Source
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return f"<Split: {len(self):,} of {len(self.source):,} samples of {type(self.source).__name__}>"

    def subset(self, positions: Tensor) -> Split:
        """The part of this split at the given positions."""
        return Split(self.source, self.indices[positions])


@dataclass(frozen=True, repr=False)
class Task:
    """What to learn.

    Attributes:
        spec: name, kind and shapes: all that a network needs to know.
        train, validation, test: disjoint splits.
        loss: what training minimises.
        metric: what decides; `extra_metrics` are reported beside it.
        to_float: raw batch as stored (often uint8) to float32, pixels in [0, 1].
        normalize: what `to_float` returns to network input; deterministic.
        augmentations: applied in training, after conversion to float in [0, 1] and before normalisation.
        class_names: one for each output, where they have names.
        provenance: what a reader of a result wants to know of the data: files, digests, counts.
        pool_loss: how losses of batches are added up, see `metrics.pooled_mean`.
        scale: of numeric targets, by which outputs are brought to the units of the targets; None where networks give
            those units, or no numbers.
        preparation: how new samples become what the sources hold; None: nobody can tell.
        sampling: "balanced" draws every class as often in training; see `BatchStream`.
        heeds_smoothing: whether the loss heeds `label_smoothing`, where there are classes to smooth.
        findings: what the reader of the data has noticed.
        unlabelled: samples without targets that came with the data (their targets are zeros); None: there are none.
        groups: for each split, the group of each of its samples, where samples belong together.
        evaluation_batch_size: largest batch of an evaluation, for tasks that judge larger samples than they train on.
        from_arrays: `archscout.tasks.readers.arrays.task_from_arrays`, which makes a task from arrays.
        from_datasets: `archscout.tasks.readers.arrays.task_from_datasets`, which makes one from map-style datasets.
        with_metric, with_loss: `archscout.tasks.choices.with_metric` and `with_loss`, called on a task: it with another
            metric or loss.
    """

    # Set by the modules of the functions: they need this class, and this class must not need them.
    from_arrays: ClassVar[Callable[..., Task]]
    from_datasets: ClassVar[Callable[..., Task]]
    with_metric: ClassVar[Callable[..., Task]]
    with_loss: ClassVar[Callable[..., Task]]

    spec: TaskSpec
    train: Split
    validation: Split
    test: Split
    loss: Loss
    metric: Metric
    to_float: Callable[[Tensor], Tensor]
    normalize: Callable[[Tensor], Tensor]
    augmentations: tuple[Transform, ...] = ()
    extra_metrics: tuple[Metric, ...] = ()
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    pool_loss: PooledLoss = pooled_mean
    scale: TargetScale | None = None
    preparation: Preparation | None = None
    sampling: Literal["natural", "balanced"] = "natural"
    heeds_smoothing: bool = True
    findings: tuple[Finding, ...] = ()
    unlabelled: Split | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    evaluation_batch_size: int | None = None

    def __repr__(self) -> str:
        return f"<Task {self.name}: {self.spec.describe()}; {self._sizes()}; {self.metric.name}>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        rows = {
            "learns": self.spec.describe(),
            "classes": _few(self.class_names),
            "samples": self._sizes(),
            "metric": ", ".join(metric.name for metric in self.metrics),
            "source": self.provenance.get("source", ""),
            "findings": "\n".join(finding.message for finding in self.findings),
        }
        return html_table(f"Task {self.name}", {name: value for name, value in rows.items() if value})

    def _sizes(self) -> str:
        """How large the splits are."""
        if self.spec.is_text:
            return "train, validation and test are texts"
        return ", ".join(f"{part} {len(self.split(part)):,}" for part in ("train", "validation", "test"))

    @property
    def name(self) -> str:
        """The task's name."""
        return self.spec.name

    @property
    def development(self) -> Split:
        """Train and validation together: what the final training may read."""
        if self.train.source is not self.validation.source:
            from archscout.tasks.sources import CombinedSource

            source = CombinedSource([self.train.source, self.validation.source])
            shifted = self.validation.indices + len(self.train.source)
            return Split(source, torch.cat([self.train.indices, shifted]))
        return Split(self.train.source, torch.cat([self.train.indices, self.validation.indices]))

    def split_digests(self) -> dict[str, dict[str, int | str]]:
        """Samples of each split, and the SHA-256 of their indices: results on equal splits can be compared."""
        return {
            name: {
                "samples": len(self.split(name)),
                "sha256": hashlib.sha256(self.split(name).indices.to(torch.int64).numpy().tobytes()).hexdigest(),
            }
            for name in ("train", "validation", "test")
        }

    def sample_names(self, part: str) -> list[str]:
        """A name for every sample of a split: its own, else the split's with the position in it, as `train[5]`."""
        split = self.split(part)
        names = sample_names(split.source)
        if names is None:
            return [f"{part}[{position}]" for position in range(len(split))]
        return [names[index] for index in split.indices.tolist()]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The deciding metric first, then the extra ones."""
        return (self.metric, *self.extra_metrics)

    def split(self, name: str) -> Split:
        """The split of that name: train, validation, development or test."""
        if name == "development":
            return self.development
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if name not in splits:
            raise DataError(f"unknown split '{name}'; allowed: train, validation, development, test.")
        return splits[name]

    def prepare(self, raw: Tensor, *, seed: int | None = None, extra: tuple[Transform, ...] = ()) -> Tensor:
        """A raw batch as network input; with a seed, augmented.

        Args:
            raw: `(N, ...)` as the source stores it.
            seed: of this batch's augmentation; None leaves the samples as they are.
            extra: transforms after normalisation, in training only (cutout).
        """
        inputs = self.to_float(raw)
        if seed is None:
            return self.normalize(inputs)
        draw = generator(seed, "augment")
        for transform in self.augmentations:
            inputs = transform(inputs, draw)
        inputs = self.normalize(inputs)
        for transform in extra:
            inputs = transform(inputs, draw)
        return inputs

    def resplit(self, validation_fraction: float, *, seed: int | None = None) -> Task:
        """The same task with another division of its development data.

        Args:
            validation_fraction: of the development samples, in (0, 1).
            seed: of the shuffle before the cut; None takes the tail in storage order, as the DARTS family does.
        """
        if not 0 < validation_fraction < 1:
            raise DataError(f"validation_fraction is {validation_fraction}; it must lie between 0 and 1.")
        pool = self.development
        order = torch.arange(len(pool))
        if seed is not None:
            order = torch.randperm(len(pool), generator=generator(seed, "split", self.name))
        held = max(1, min(len(pool) - 1, round(validation_fraction * len(pool))))
        return replace(
            self,
            train=pool.subset(order[: len(pool) - held]),
            validation=pool.subset(order[len(pool) - held :]),
            groups={part: groups for part, groups in self.groups.items() if part == "test"},
        )


def _few(names: tuple[str, ...], most: int = 10) -> str:
    """The first names, and how many there are."""
    told = ", ".join(names[:most])
    return told if len(names) <= most else f"{told}, ... ({len(names):,} in all)"
