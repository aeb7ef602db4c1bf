"""What archscout understood of a user's data, and what looks wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from archscout.tasks.doubts import class_counts, doubts
from archscout.tasks.findings import Finding, told
from archscout.tasks.looks import look_at
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.options import TaskOptions
from archscout.tasks.registry import load_task, named_task
from archscout.tasks.sources import known_targets
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Task
from archscout.tasks.text_checks import TextSummary, check_text
from archscout.tasks.transforms import Normalizer

__all__ = ["DataSummary", "SplitSummary", "check_data", "check_task", "inspect_task"]

SPLITS = ("train", "validation", "test")
MOST_CHECKED = 10_000  # samples read from files by check-data; of more, so many are drawn
MOST_INSPECTED = 512  # by the start of a run
MOST_CLASSES_LISTED = 100


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
        mean, std: of each channel, as floats (uint8 divided by 255), as the task normalises; else of the train split.
        samples_read: how many samples were looked at; all of them, or a part of many image files.
        targets: of a dense task, what they are, for example "float32 1 x 85 x 85, values 0 to 0.3".
        duplicates: test samples that are also in train or validation, pixel for pixel; None where not all were read.
        provenance: the task's.
        findings: what the reader has noticed, and what looks wrong or doubtful.
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
    findings: tuple[Finding, ...]
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
        return lines + [line for finding in self.findings for line in told(finding)]

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
    return inspect_task(load_task(named_task(str(path_or_name), data), data, options), MOST_CHECKED)


def inspect_task(task: Task, most: int = MOST_INSPECTED) -> DataSummary | TextSummary:
    """The look at its data that every run begins with.

    Args:
        most: samples that are read from files, where their reader has not looked at them already.
    """
    return check_text(task) if task.spec.is_text else check_task(task, most)


def check_task(task: Task, most: int = MOST_CHECKED) -> DataSummary:
    """Look at the data of a task.

    Args:
        most: samples that are read from files, in all; those in memory are all looked at.
    """
    total = sum(len(task.split(part)) for part in SPLITS)
    looks = {}
    for part in SPLITS:
        split = task.split(part)
        looks[part] = look_at(split, max(1, most * len(split) // max(1, total)))
    summaries = tuple(
        SplitSummary(part, len(task.split(part)), class_counts(task, task.split(part))) for part in SPLITS
    )
    read = sum(len(look.digests) for look in looks.values())
    findings = (*task.findings, *doubts(task, looks))
    known = {*looks["train"].digests, *looks["validation"].digests}
    filled = [look for look in looks.values() if look.digests]
    seen = looks["train"].statistics
    if isinstance(task.normalize, Normalizer):
        mean, std = task.normalize.mean, task.normalize.std
    else:
        mean, std = (seen.mean, seen.std) if seen is not None else ((), ())
    return DataSummary(
        spec=task.spec,
        class_names=task.class_names,
        splits=summaries,
        dtype=looks["train"].dtype,
        low=min((look.low for look in filled), default=0.0),
        high=max((look.high for look in filled), default=0.0),
        mean=mean,
        std=std,
        samples_read=read,
        duplicates=sum(digest in known for digest in looks["test"].digests) if read == total else None,
        provenance=task.provenance,
        targets=_describe_targets(task),
        findings=findings,
    )


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


def _numbers(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:8])
    return shown + (f", ... ({len(values)} channels)" if len(values) > 8 else "")
