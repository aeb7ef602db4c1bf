"""What archscout understood of a user's data, and what looks wrong with it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archscout.seeds import generator
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.options import TaskOptions
from archscout.tasks.published.nasbench360.clips import ChunkSource
from archscout.tasks.published.nasbench360.proteins import ProteinSource
from archscout.tasks.readers.images import ImageSource
from archscout.tasks.registry import load_task
from archscout.tasks.sources import known_targets
from archscout.tasks.spec import TaskSpec
from archscout.tasks.statistics import ChannelStatistics
from archscout.tasks.task import Split, Task
from archscout.tasks.text_checks import TextSummary, check_text

__all__ = ["DataSummary", "SplitSummary", "check_data", "check_task"]

SPLITS = ("train", "validation", "test")
MOST_IMAGES = 10_000  # read from files; of more, so many are drawn
BATCH = 256
MOST_VALUES = 2**24  # in a batch
IMBALANCE = 10  # times more samples of the largest class than of the smallest: worth a warning
MOST_CLASSES_LISTED = 100
FEW = 10  # samples of a class in training: worth a warning


@dataclass(frozen=True)
class SplitSummary:
    """Size of a split, and its samples of each class or label (empty where the task has none)."""

    name: str
    size: int
    class_counts: tuple[int, ...]


@dataclass(frozen=True)
class DataSummary:
    """What was understood of a task's data.

    Attributes:
        spec: name, kind, shapes.
        class_names: empty where they have none.
        splits: train, validation, test.
        dtype: of the stored inputs, for example "uint8".
        low, high: smallest and largest stored value.
        mean, std: of each channel of the train split, as floats (uint8 divided by 255).
        samples_read: how many samples were looked at; all of them, or a part of many image files.
        targets: of a dense task, what they are, for example "float32 1 x 85 x 85, values 0 to 0.3".
        duplicates: test samples that are also in train or validation, pixel for pixel; None where not all were read.
        provenance: the task's.
        warnings: sentences.
    """

    spec: TaskSpec
    class_names: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    dtype: str
    low: float
    high: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    samples_read: int
    duplicates: int | None
    provenance: Mapping[str, object]
    warnings: tuple[str, ...]
    targets: str = ""

    def lines(self) -> list[str]:
        """The summary for people."""
        total = sum(split.size for split in self.splits)
        lines = [
            f"{self.spec.name}: {self.spec.describe()}",
            f"data: {', '.join(f'{key} {value}' for key, value in self.provenance.items()) or 'not told'}",
            "splits: " + ", ".join(f"{split.name} {split.size:,}" for split in self.splits),
            f"stored as {self.dtype}, values {self.low:g} to {self.high:g}",
            f"mean of each channel in train: {_numbers(self.mean)}",
            f"standard deviation: {_numbers(self.std)}",
        ]
        if self.targets:
            lines.append(f"targets: {self.targets}")
        if self.samples_read < total:
            lines.append(f"read {self.samples_read:,} of {total:,} samples")
        if self.splits[0].class_counts:
            lines += self._class_lines()
        return lines + [f"warning: {warning}" for warning in self.warnings]

    def _class_lines(self) -> list[str]:
        def named(label: int) -> str:
            return self.class_names[label] if label < len(self.class_names) else str(label)

        if self.spec.outputs > MOST_CLASSES_LISTED:
            counts = self.splits[0].class_counts
            least, most = counts.index(min(counts)), counts.index(max(counts))
            one = "label" if self.spec.kind == "multilabel" else "class"
            return [
                f"training samples of a {one}: {counts[least]} ({named(least)}) to {counts[most]} ({named(most)})",
            ]
        return [
            f"samples of each {'label' if self.spec.kind == 'multilabel' else 'class'}: "
            + " / ".join(split.name for split in self.splits),
            *(
                f"  {named(label)}: " + " / ".join(str(split.class_counts[label]) for split in self.splits)
                for label in range(self.spec.outputs)
            ),
        ]


def check_data(
    path_or_name: str | Path, data: Path | None = None, options: TaskOptions | None = None
) -> DataSummary | TextSummary:
    """Load a task and look at its data.

    Args:
        path_or_name: a registered task, a folder of images, texts or series, an `.npz` or a `.ts` file.
        data: where a registered task's files lie.
        options: how to read the data.

    Raises:
        UnknownNameError: neither a task nor a path.
        DataError: the data is wrong; the message says what and where.
    """
    task = load_task(str(path_or_name), data, options)
    return check_text(task) if task.spec.is_text else check_task(task)


def check_task(task: Task) -> DataSummary:
    """Look at the data of a task: every sample in memory; at most 10,000 of those in files."""
    splits = {name: task.split(name) for name in SPLITS}
    total = sum(len(split) for split in splits.values())
    streamed = any(isinstance(split.source, ImageSource | ProteinSource | ChunkSource) for split in splits.values())
    share = min(1.0, MOST_IMAGES / total) if streamed else 1.0
    statistics, dtype = ChannelStatistics(), ""
    extremes: list[tuple[float, float]] = []
    digests: dict[str, list[bytes]] = {}
    for name, split in splits.items():
        digests[name] = []
        for inputs in _read(split, share, task.spec.input_shape):
            dtype = str(inputs.dtype).removeprefix("torch.")
            extremes.append((float(inputs.min()), float(inputs.max())))
            digests[name] += [hashlib.blake2b(sample.numpy(), digest_size=16).digest() for sample in inputs]
            if name == "train":
                statistics.update(inputs)
    known = {*digests["train"], *digests["validation"]}
    duplicates = sum(digest in known for digest in digests["test"]) if share == 1 else None
    summaries = tuple(SplitSummary(name, len(split), _class_counts(task, split)) for name, split in splits.items())
    return DataSummary(
        spec=task.spec,
        class_names=task.class_names,
        splits=summaries,
        dtype=dtype,
        low=min(low for low, _ in extremes),
        high=max(high for _, high in extremes),
        mean=statistics.mean,
        std=statistics.std,
        samples_read=sum(len(found) for found in digests.values()),
        duplicates=duplicates,
        provenance=task.provenance,
        targets=_describe_targets(task),
        warnings=(*_class_warnings(task, summaries), *_duplicate_warnings(duplicates, len(splits["test"]))),
    )


def _read(split: Split, share: float, input_shape: Sequence[int]) -> Iterator[Tensor]:
    """Raw inputs of a split, or of a fixed random share of it."""
    indices = split.indices
    if share < 1:
        some = torch.randperm(len(indices), generator=generator(0, "check"))[: max(1, int(share * len(indices)))]
        indices = indices[some]
    size = max(1, min(BATCH, MOST_VALUES // math.prod(input_shape)))
    for inputs, _ in split.source.batches(torch.split(indices, size), torch.device("cpu")):
        yield inputs.contiguous()


def _class_counts(task: Task, split: Split) -> tuple[int, ...]:
    targets = known_targets(split.source)
    if task.spec.kind not in ("classification", "multilabel") or targets is None:
        return ()
    if task.spec.kind == "multilabel":
        return tuple(targets[split.indices, : task.spec.outputs].sum(0, dtype=torch.int64).tolist())
    return tuple(torch.bincount(targets[split.indices], minlength=task.spec.outputs).tolist())


def _describe_targets(task: Task) -> str:
    """Type, shape and range of a dense task's targets, of the train split as far as it is in memory."""
    targets = known_targets(task.train.source)
    if task.spec.kind != "dense" or targets is None:
        return ""
    values = targets[task.train.indices]
    known = values[values != IGNORED]
    shape = " x ".join(str(size) for size in values.shape[1:])
    ignored = 1 - known.numel() / values.numel()
    told = f", {100 * ignored:.1f} % ignored" if ignored > 0 else ""
    dtype = str(values.dtype).removeprefix("torch.")
    return f"{dtype} {shape}, values {float(known.min()):g} to {float(known.max()):g}{told}"


def _class_warnings(task: Task, splits: tuple[SplitSummary, ...]) -> list[str]:
    if not splits[0].class_counts:
        return []

    def named(label: int) -> str:
        return task.class_names[label] if label < len(task.class_names) else f"class {label}"

    warnings = []
    counts = splits[0].class_counts
    least, most = counts.index(min(counts)), counts.index(max(counts))
    if counts[most] >= IMBALANCE * max(1, counts[least]):
        warnings.append(
            f"the classes are unbalanced: {named(most)} has {counts[most]} training samples, {named(least)} "
            f"{counts[least]}; accuracy tells little of the small classes."
        )
    if task.spec.kind == "multilabel":
        warnings = []  # labels are rare by nature, and the metric averages over labels
    if counts[least] < FEW:
        few = sum(count < FEW for count in counts)
        what = "labels" if task.spec.kind == "multilabel" else "classes"
        warnings.append(f"{few} {what} have fewer than {FEW} training samples, {named(least)} only {counts[least]}.")
    for split in splits[1:]:
        empty = [label for label, count in enumerate(split.class_counts) if count == 0]
        if empty:
            what = "labels" if task.spec.kind == "multilabel" else "classes"
            warnings.append(f"{len(empty)} {what} have no {split.name} sample, the first is {named(empty[0])}.")
    return warnings


def _duplicate_warnings(duplicates: int | None, test_size: int) -> list[str]:
    if not duplicates:
        return []
    return [
        f"{duplicates} of {test_size} test samples are also in the train or validation split, value for value; the "
        "test result will look better than it is."
    ]


def _numbers(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:8])
    return shown + (f", ... ({len(values)} channels)" if len(values) > 8 else "")
