"""What would make a careful person stop: rules that look at any task's splits, each with what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from archscout.tasks.findings import Finding, some
from archscout.tasks.looks import Look
from archscout.tasks.sources import known_targets
from archscout.tasks.task import Split, Task

__all__ = ["class_counts", "doubts"]

IMBALANCE = 10  # times more samples of the largest class than of the smallest
FEW = 10  # samples of a class in training
SMALL_TEST = 50  # samples: one more or less right is 2 points
NEAR = 0.01  # root mean square difference of two coarse copies, as a share of the values' range
FLAT = 0.04  # a sample whose values deviate less, as a share of the range, is like many others
NEAR_SHARE = 0.01  # of the test samples
CHUNK = 1024  # samples compared at a time
APART = 0.5  # deviations between the mean brightness of two splits
CERTAIN = 4.0  # standard errors
OUTLIER = 12.0  # deviations of a numeric target


def doubts(task: Task, looks: Mapping[str, Look]) -> list[Finding]:
    """All findings of a task.

    Args:
        looks: of train, validation and test.
    """
    counts = {part: class_counts(task, task.split(part)) for part in looks}
    return [
        *_classes(task, counts),
        *_sizes(task, looks),
        *_numbers(task),
        *_flat(task, looks),
        *_duplicates(task, looks),
        *_contradictions(task, looks["train"]),
        *_near(task, looks),
        *_unlike(looks),
        *_shares(task, counts),
    ]


def class_counts(task: Task, split: Split) -> tuple[int, ...]:
    """Samples of each class or label; empty where the task has neither."""
    targets = known_targets(split.source)
    if task.spec.kind not in ("classification", "multilabel") or targets is None:
        return ()
    if task.spec.kind == "multilabel":
        return tuple(targets[split.indices, : task.spec.outputs].sum(0, dtype=torch.int64).tolist())
    return tuple(torch.bincount(targets[split.indices], minlength=task.spec.outputs).tolist())


def _name(task: Task, label: int) -> str:
    return task.class_names[label] if label < len(task.class_names) else f"class {label}"


def _classes(task: Task, counts: Mapping[str, tuple[int, ...]]) -> Iterator[Finding]:
    train = counts["train"]
    if not train:
        return
    multilabel = task.spec.kind == "multilabel"
    told = {finding.names for finding in task.findings}
    least, most = train.index(min(train)), train.index(max(train))
    if task.spec.kind == "classification" and train[most] >= IMBALANCE * max(1, train[least]):
        yield Finding(
            "doubtful",
            "imbalance",
            f"the classes are unbalanced: {_name(task, most)} has {train[most]} training samples, {_name(task, least)} "
            f"{train[least]}; accuracy tells little of the small classes. Choose another metric (--metric "
            "balanced_accuracy), or weights (--set class_weights=balanced).",
        )
    if train[least] < FEW:
        few = [label for label, count in enumerate(train) if count < FEW]
        yield Finding(
            "doubtful",
            "few",
            f"{_count(len(few), multilabel)} fewer than {FEW} training samples, {_name(task, least)} only "
            f"{train[least]}; little can be learnt of them. Add samples, or join classes.",
            tuple(_name(task, label) for label in few),
        )
    for part, found in counts.items():
        empty = [label for label, count in enumerate(found) if count == 0]
        names = tuple(_name(task, label) for label in empty)
        if empty and part != "train" and any(found) and names not in told:  # the reader may have said so
            yield Finding(
                "doubtful",
                "absent",
                f"{_count(len(empty), multilabel)} no {part} sample, the first is {names[0]}; the {part} result says "
                "nothing of them.",
                names,
            )


def _count(number: int, multilabel: bool) -> str:
    """ "1 class has", "2 labels have", ..."""
    one, more = ("label", "labels") if multilabel else ("class", "classes")
    return f"1 {one} has" if number == 1 else f"{number} {more} have"


def _sizes(task: Task, looks: Mapping[str, Look]) -> Iterator[Finding]:
    count = len(task.test)
    if 0 < count < SMALL_TEST and not task.spec.is_text:
        told = ""
        if task.spec.kind == "classification":
            told = f": one answer more or less is {100 / count:.1f} points of accuracy"
        yield Finding(
            "doubtful",
            "small",
            f"the test split has only {count} samples{told}. Give more, or use cross-validation (--folds 5).",
        )


def _numbers(task: Task) -> Iterator[Finding]:
    targets = known_targets(task.train.source)
    if task.spec.kind != "regression" or targets is None:
        return
    values = targets[task.train.indices].double()
    deviation, mean = values.std(0, correction=0), values.mean(0)
    for column in (deviation == 0).nonzero().view(-1).tolist():
        yield Finding(
            "wrong",
            "constant",
            f"the target {_name(task, column) if task.class_names else column} is {float(mean[column]):g} for every "
            "training sample: there is nothing to learn. Give another column or other data.",
        )
    far = (((values - mean).abs() / deviation.clamp(min=1e-300)) > OUTLIER).any(1).nonzero().view(-1)
    if len(far):
        names = task.sample_names("train")
        yield Finding(
            "doubtful",
            "outliers",
            f"{len(far)} training targets lie more than {OUTLIER:g} deviations from the mean; a wrong unit or a "
            "placeholder for a missing value? If they are right, --set loss=huber lets them pull less.",
            tuple(names[position] for position in far.tolist()),
        )


def _flat(task: Task, looks: Mapping[str, Look]) -> Iterator[Finding]:
    names = [
        task.sample_names(part)[look.positions[place]]
        for part, look in looks.items()
        if bool((look.deviation == 0).any())
        for place in (look.deviation == 0).nonzero().view(-1).tolist()
    ]
    if names:
        yield Finding(
            "doubtful",
            "flat",
            f"{len(names)} samples have one value everywhere, for example {some(names)}: empty images or series? "
            "Remove them if they are no examples of their class.",
            tuple(names),
        )


def _duplicates(task: Task, looks: Mapping[str, Look]) -> Iterator[Finding]:
    for part, others in (("test", ("train", "validation")), ("validation", ("train",))):
        known = {digest for other in others for digest in looks[other].digests}
        look = looks[part]
        found = [place for place, digest in enumerate(look.digests) if digest in known]
        if found:
            names = task.sample_names(part)
            where = " or ".join(others)
            yield Finding(
                "doubtful",
                "duplicates",
                f"{len(found)} of {len(task.split(part))} {part} samples are also in the {where} split, value for "
                f"value; the {part} result will look better than it is. Remove them from one of the two.",
                tuple(names[look.positions[place]] for place in found),
            )


def _contradictions(task: Task, look: Look) -> Iterator[Finding]:
    """Equal training samples of different classes."""
    targets = known_targets(task.train.source)
    if task.spec.kind != "classification" or targets is None:
        return
    labels = targets[task.train.indices][look.positions].tolist()
    seen: dict[bytes, set[int]] = {}
    for digest, label in zip(look.digests, labels, strict=True):
        seen.setdefault(digest, set()).add(label)
    both = {digest for digest, found in seen.items() if len(found) > 1}
    if both:
        names = task.sample_names("train")
        concerned = tuple(
            names[position]
            for position, digest in zip(look.positions.tolist(), look.digests, strict=True)
            if digest in both
        )
        yield Finding(
            "doubtful",
            "contradictions",
            f"{len(concerned)} training samples are equal, value for value, to one of another class, for example "
            f"{some(concerned)}; one of the labels is wrong.",
            concerned,
        )


def _near(task: Task, looks: Mapping[str, Look]) -> Iterator[Finding]:
    """Test samples that are nearly the same as one that is learnt from, but not value for value."""
    test, known = looks["test"], [looks["train"], looks["validation"]]
    learnt = torch.cat([look.coarse for look in known])
    if test.coarse.shape[1] < 16 or len(test.coarse) == 0 or len(learnt) == 0:
        return
    spread = max(look.high for look in looks.values()) - min(look.low for look in looks.values())
    unit = spread / 255 if test.dtype == "uint8" else spread
    exact = {digest for look in known for digest in look.digests}
    found: list[int] = []
    first = ""
    learnt_names = [*task.sample_names("train"), *task.sample_names("validation")]
    offsets = [position for look in known for position in look.positions.tolist()]
    start_of_validation = len(known[0].positions)
    for start in range(0, len(test.coarse), CHUNK):
        part = test.coarse[start : start + CHUNK]
        distance = torch.cdist(part, learnt) / math.sqrt(part.shape[1])
        nearest, which = distance.min(1)
        for row in (nearest < NEAR * unit).nonzero().view(-1).tolist():
            place = start + row
            if test.digests[place] in exact or float(test.deviation[place]) < FLAT * unit:
                continue
            if not found:
                other = int(which[row])
                shift = len(task.train) if other >= start_of_validation else 0
                first = learnt_names[offsets[other] + shift]
            found.append(place)
    if len(found) >= max(2, NEAR_SHARE * len(test.coarse)):
        names = task.sample_names("test")
        concerned = tuple(names[test.positions[place]] for place in found)
        yield Finding(
            "doubtful",
            "near-duplicates",
            f"{len(found)} of {len(test.coarse)} test samples look nearly the same as one that is learnt from, for "
            f"example {concerned[0]} and {first}. If they are frames of one recording or of one person, keep those "
            "together with --groups: the test result looks better than it is.",
            concerned,
        )


def _unlike(looks: Mapping[str, Look]) -> Iterator[Finding]:
    """Splits whose values differ by more than chance: other units, another camera, another preparation."""
    train = looks["train"]
    for part in ("validation", "test"):
        look = looks[part]
        if len(look.mean) < FEW or len(train.mean) < FEW:
            continue
        for what, ours, theirs in (("contrast", train.deviation, look.deviation), ("mean", train.mean, look.mean)):
            spread = float(ours.double().std(correction=0))
            difference = abs(float(theirs.double().mean() - ours.double().mean()))
            error = spread / math.sqrt(len(theirs)) + 1e-12 * abs(float(ours.mean()))
            if difference > APART * spread and difference > CERTAIN * error:
                yield Finding(
                    "doubtful",
                    "unlike",
                    f"the {part} samples do not look like the training samples: their {what} is "
                    f"{float(theirs.mean()):.3g} on average, that of the training samples {float(ours.mean()):.3g}. "
                    "Other units, another device or another preparation?",
                )
                break


def _shares(task: Task, counts: Mapping[str, tuple[int, ...]]) -> Iterator[Finding]:
    """Classes whose share of a split differs by more than chance."""
    train = torch.tensor(counts["train"], dtype=torch.float64)
    if task.spec.kind != "classification" or train.sum() == 0:
        return
    expected = train / train.sum()
    for part in ("validation", "test"):
        found = torch.tensor(counts[part], dtype=torch.float64)
        total = float(found.sum())
        if total < FEW:
            continue
        error: Tensor = (expected * (1 - expected) / total).sqrt().clamp(min=1 / total)
        difference = found / total - expected
        worst = int((difference.abs() / error).argmax())
        if abs(float(difference[worst])) > 0.1 and abs(float(difference[worst] / error[worst])) > CERTAIN:
            yield Finding(
                "doubtful",
                "shares",
                f"the classes are shared out differently: {_name(task, worst)} makes up "
                f"{100 * float(expected[worst]):.0f} % of the training samples and "
                f"{100 * float(found[worst]) / total:.0f} % of the {part} samples. Which of the two is like what the "
                "network will meet?",
            )
