"""From what a reader found to a task: splits, judgement, normalisation, the same for every reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.choices import with_choices
from archscout.tasks.findings import Finding, some
from archscout.tasks.holdout import (
    fold_numbers,
    holdout_by_group,
    holdout_by_name,
    holdout_of_end,
    stratified_holdout,
)
from archscout.tasks.options import TaskOptions
from archscout.tasks.preparation import Preparation
from archscout.tasks.sources import known_targets, sample_names
from archscout.tasks.spec import TaskKind, TaskSpec
from archscout.tasks.statistics import ChannelStatistics
from archscout.tasks.targets import judgement
from archscout.tasks.task import Split, Task, Transform
from archscout.tasks.transforms import normalizer, uint8_to_float

__all__ = ["Samples", "samples_of", "task_of_samples"]

PARTS = ("train", "validation", "test")
TARGET_NAMES = {"train": "y_train", "validation": "y_val", "test": "y_test"}  # in messages


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a reader found. The splits that are missing are held out of `train`.

    Attributes:
        name: of the task.
        kind: what to learn.
        input_shape: of one sample, as the network sees it.
        parts: the splits that the data has, "train" at least; their sources know their targets. Names of samples, where
            a source has them, decide what is held out.
        by_name: False where names only count samples, so that the seed decides, each class in proportion.
        class_names: one for each class or label, where they have names.
        groups: for each part, the group of each of its samples; None: no samples belong together.
        statistics: mean and deviation of each channel, over a split.
        augmentations: as in `Task`.
        preparation: as in `Task`.
        unlabelled: samples without targets that came with the data.
        provenance, findings: as in `Task`.
    """

    name: str
    kind: TaskKind
    input_shape: tuple[int, ...]
    parts: Mapping[str, Split]
    statistics: Callable[[Split], ChannelStatistics]
    by_name: bool = True
    class_names: tuple[str, ...] = ()
    groups: Mapping[str, Sequence[str]] | None = None
    augmentations: tuple[Transform, ...] = ()
    preparation: Preparation | None = None
    unlabelled: Split | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


class _SamplesFoundError(Exception):
    """Ends a reader whose samples were wanted, and no task of them."""


_WANTED: ContextVar[list[Samples] | None] = ContextVar("_WANTED", default=None)


def samples_of(read: Callable[[], Task]) -> Samples | Task:
    """What a reader finds, before anything is held out, judged or normalised: for sets that are only to be judged.

    Args:
        read: calls the reader.

    Returns:
        The samples; of a reader that makes its task without `task_of_samples`, the task.

    Raises:
        DataError, SettingsError: of the reader.
    """
    wanted: list[Samples] = []
    token = _WANTED.set(wanted)
    try:
        return read()
    except _SamplesFoundError:
        return wanted[0]
    finally:
        _WANTED.reset(token)


def task_of_samples(samples: Samples, options: TaskOptions) -> Task:
    """The task: missing splits held out as the options say, judged as its targets and the options say.

    Raises:
        DataError: a split cannot be held out, targets contradict each other, or a group is in two splits.
        SettingsError: a metric or loss that is not for this kind of task.
    """
    wanted = _WANTED.get()
    if wanted is not None:
        wanted.append(samples)
        raise _SamplesFoundError
    targets = {TARGET_NAMES[part]: _targets(split) for part, split in samples.parts.items()}
    if samples.kind in ("classification", "multilabel"):
        # Raises before anything is held out of classes that are wrong.
        judgement(samples.kind, targets, torch.arange(0), samples.class_names)
    parts, groups, findings = _split(samples, options)
    train = parts["train"]
    learnt = torch.isin(samples.parts["train"].indices, train.indices).nonzero().view(-1)
    judged = judgement(samples.kind, targets, learnt, samples.class_names)
    statistics = samples.statistics(train)
    held = [part for part in ("validation", "test") if part not in samples.parts and len(parts[part])]
    task = Task(
        spec=TaskSpec(name=samples.name, kind=samples.kind, input_shape=samples.input_shape, outputs=judged.outputs),
        train=train,
        validation=parts["validation"],
        test=parts["test"],
        loss=judged.loss,
        metric=judged.metric,
        extra_metrics=judged.extra_metrics,
        to_float=uint8_to_float,
        normalize=normalizer(statistics.mean, statistics.std),
        augmentations=samples.augmentations,
        class_names=samples.class_names,
        provenance={**samples.provenance, "held_out": held, "split_seed": options.seed if held else None},
        scale=judged.scale,
        findings=(*samples.findings, *findings),
        preparation=samples.preparation,
        unlabelled=samples.unlabelled,
        groups=groups,
    )
    return with_choices(task, options)


def _targets(split: Split) -> Tensor:
    known = known_targets(split.source)
    assert known is not None, "sources of files and arrays know their targets"
    return known[split.indices]


def _split(
    samples: Samples, options: TaskOptions
) -> tuple[dict[str, Split], dict[str, tuple[str, ...]], list[Finding]]:
    """The three splits, the groups of their samples, and what is to be said of them."""
    parts = dict(samples.parts)
    groups = {part: list(each) for part, each in (samples.groups or {}).items()}
    findings = _shared_groups(groups)
    if options.folds is not None:
        _take_fold(parts, groups, samples, options)
    for part, fraction in (("test", options.test_fraction), ("validation", options.validation_fraction)):
        if part not in parts:
            train = parts["train"]
            if fraction == 0:
                parts[part] = train.subset(torch.arange(0))
                continue
            kept, held = _hold_out(part, fraction, train, groups.get("train"), samples, options)
            parts["train"], parts[part] = train.subset(kept), train.subset(held)
            if "train" in groups:
                _divide(groups, part, kept, held)
    return parts, {part: tuple(own) for part, own in groups.items()}, findings


def _divide(groups: dict[str, list[str]], part: str, kept: Tensor, held: Tensor) -> None:
    """Give a part that is held out of the train split its groups."""
    own = groups["train"]
    groups[part] = [own[position] for position in held.tolist()]
    groups["train"] = [own[position] for position in kept.tolist()]


def _hold_out(
    part: str, fraction: float, train: Split, groups: Sequence[str] | None, samples: Samples, options: TaskOptions
) -> tuple[Tensor, Tensor]:
    if options.order == "time":
        return holdout_of_end(len(train), fraction)
    if groups is not None:
        return holdout_by_group(groups, fraction, options.seed, part)
    classes = _classes(samples.kind, train)
    names = sample_names(train.source) if samples.by_name else None
    if names is not None and options.rules >= 2:
        return holdout_by_name(
            [names[index] for index in train.indices.tolist()], classes.tolist(), fraction, options.seed, part
        )
    return stratified_holdout(classes, fraction, generator(options.seed, part, samples.name))


def _classes(kind: TaskKind, split: Split) -> Tensor:
    """The class of each sample; 0 where there are no classes."""
    targets = _targets(split)
    return targets if kind == "classification" else torch.zeros(len(targets), dtype=torch.int64)


def _take_fold(parts: dict[str, Split], groups: dict[str, list[str]], samples: Samples, options: TaskOptions) -> None:
    """Make one fold the test split. In the order of time a fold is a block, and later blocks are left out."""
    if "test" in parts:
        raise DataError(
            "this data has a test split of its own, so there is nothing for folds to test on. Leave --folds out, or "
            "give the training data alone."
        )
    train, fold, folds = parts["train"], options.fold or 1, options.folds or 2
    if options.order == "time":
        # Of folds + 1 blocks, block `fold` is tested by what was learnt from the blocks before it.
        ends = [round(len(train) * number / (folds + 1)) for number in range(folds + 2)]
        if fold == 0 or len(set(ends)) < len(ends):
            raise DataError(f"{len(train)} samples in order of time are too few for {folds} folds.")
        kept, held = torch.arange(ends[fold]), torch.arange(ends[fold], ends[fold + 1])
    else:
        names = sample_names(train.source) if samples.by_name else None
        own = names if names is not None else [str(index) for index in range(len(train.source))]
        keys = groups.get("train") or [own[index] for index in train.indices.tolist()]
        numbers = fold_numbers(keys, _classes(samples.kind, train).tolist(), folds, options.seed)
        kept, held = (numbers != fold).nonzero().view(-1), (numbers == fold).nonzero().view(-1)
    parts["train"], parts["test"] = train.subset(kept), train.subset(held)
    if "train" in groups:
        _divide(groups, "test", kept, held)


def _shared_groups(groups: Mapping[str, Sequence[str]]) -> list[Finding]:
    """What to say of groups that are in two splits which the data itself has."""
    findings = []
    known = [part for part in PARTS if part in groups]
    for place, first in enumerate(known):
        for second in known[place + 1 :]:
            both = tuple(sorted(set(groups[first]) & set(groups[second])))
            if both:
                findings.append(
                    Finding(
                        "doubtful",
                        "groups",
                        f"{len(both)} groups are in {first} and in {second}, for example {some(both)}; results on "
                        f"{second} will look better than they are.",
                        both,
                    )
                )
    return findings
