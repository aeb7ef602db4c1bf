"""What a run was started with: digests of its data, so that a run never goes on with other data in silence.

`data.json` holds the digests of the splits and what the inspection found, `splits.csv` a row for every sample: its
split, name, target, and the digest of its content.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from archscout.errors import RunError
from archscout.rundir import RunDirectory
from archscout.tasks import Task
from archscout.tasks.checks import inspect_task
from archscout.tasks.findings import Finding, some
from archscout.tasks.looks import is_in_memory, sample_digests
from archscout.tasks.sources import known_targets, overview_of

__all__ = [
    "Change",
    "DataRecord",
    "changed_message",
    "compare",
    "findings_as_json",
    "read_record",
    "record_of",
    "write_record",
]

PARTS = ("train", "validation", "test")
VERSION = 1
RECORD, SPLITS = "data.json", "splits.csv"
COLUMNS = ("split", "name", "target", "sha")
MOST_NUMBERS = 16  # of a target in splits.csv; a dense target is told by its digest


@dataclass(frozen=True)
class Row:
    """A sample: its name, its target as text, and the digest of its content."""

    name: str
    target: str
    sha: str


@dataclass(frozen=True)
class DataRecord:
    """The data of a run.

    Attributes:
        path: absolute, of the user's files; None for a registered task or a task object.
        facts: name, kind, shapes, class names.
        splits: of each part, the digest of all its rows.
        rows: of each part.
        findings: what the inspection found.
    """

    path: str | None
    facts: Mapping[str, Any]
    splits: Mapping[str, str]
    rows: Mapping[str, Sequence[Row]]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Change:
    """How data differs from what a run was started with: in words, and the splits that are concerned."""

    words: tuple[str, ...]
    splits: frozenset[str]


def record_of(task: Task, path: str | None, findings: Sequence[Finding] | None = None) -> DataRecord:
    """The record of a task.

    Args:
        path: of the user's files.
        findings: of the inspection; None inspects the data now.
    """
    rows = {part: _rows(task, part) for part in PARTS}
    facts = {
        "name": task.name,
        "kind": task.spec.kind,
        "input_shape": list(task.spec.input_shape),
        "outputs": task.spec.outputs,
        "class_names": [] if task.spec.is_text else list(task.class_names),
    }
    return DataRecord(
        path,
        facts,
        {part: _digest_of_rows(rows[part]) for part in PARTS},
        rows,
        tuple(inspect_task(task).findings if findings is None else findings),
    )


def _rows(task: Task, part: str) -> list[Row]:
    split = task.split(part)
    if task.spec.is_text:
        inputs, _ = next(iter(split.source.batches([split.indices], torch.device("cpu"))))
        words = "\0".join(task.class_names[number] for number in inputs.flatten().tolist())
        return [Row(part, "", hashlib.blake2b(words.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest())]
    names = task.sample_names(part)
    targets = _target_texts(task, part)
    if is_in_memory(split.source) or overview_of(split.source) is not None:
        digests = [digest.hex() for digest in sample_digests(split)]
    else:
        digests = [""] * len(names)  # known by their names alone: reading terabytes at every start would not do
    return [Row(*each) for each in zip(names, targets, digests, strict=True)]


def _target_texts(task: Task, part: str) -> list[str]:
    """The class, labels or numbers of each sample; of maps a digest."""
    split = task.split(part)
    targets = known_targets(split.source)
    if targets is None:
        return [""] * len(split)
    names = task.class_names

    def named(label: int) -> str:
        return names[label] if label < len(names) else str(label)

    own = targets[split.indices]
    if task.spec.kind == "classification":
        return [named(label) for label in own.tolist()]
    if task.spec.kind == "multilabel":
        known = own[:, : task.spec.outputs]
        return ["|".join(named(label) for label in row.nonzero().view(-1).tolist()) for row in known]
    if own.dim() == 2 and own.shape[1] <= MOST_NUMBERS:
        return ["|".join(f"{value:.9g}" for value in row) for row in own.tolist()]
    return [hashlib.blake2b(row.contiguous().numpy().tobytes(), digest_size=8).hexdigest() for row in own]


def _digest_of_rows(rows: Sequence[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.name}\0{row.target}\0{row.sha}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def write_record(run: RunDirectory, record: DataRecord) -> None:
    """Write `splits.csv`, then `data.json`, which tells that both are there."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for part in PARTS:
        table.writerows((part, row.name, row.target, row.sha) for row in record.rows[part])
    run.write(SPLITS, text.getvalue().encode("utf-8", "surrogateescape"))
    content = {
        "format": "archscout.data",
        "version": VERSION,
        "path": record.path,
        **record.facts,
        "splits": {part: {"samples": len(record.rows[part]), "sha256": record.splits[part]} for part in PARTS},
        "findings": [asdict(finding) for finding in record.findings],
    }
    run.write_json(RECORD, content)


def read_record(run: RunDirectory) -> DataRecord | None:
    """The record of a run; None where an earlier version started it, which noted none.

    Raises:
        RunError: a file is damaged.
    """
    if not run.has(RECORD):
        return None
    content = run.read_json(RECORD)
    try:
        facts = {key: content[key] for key in ("name", "kind", "input_shape", "outputs", "class_names")}
        splits = {part: str(content["splits"][part]["sha256"]) for part in PARTS}
        findings = tuple(Finding(**{**each, "names": tuple(each["names"])}) for each in content["findings"])
        return DataRecord(content["path"], facts, splits, _read_rows(run), findings)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunError(
            f"{run.path / RECORD} or {SPLITS} is damaged ({error}). Restore them from a copy, or start a new run."
        ) from None


def _read_rows(run: RunDirectory) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {part: [] for part in PARTS}
    try:
        text = (run.path / SPLITS).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ValueError(error.strerror) from None
    lines = csv.reader(io.StringIO(text, newline=""))
    if tuple(next(lines, ())) != COLUMNS:
        raise ValueError(f"{SPLITS} has not the columns {', '.join(COLUMNS)}")
    for part, name, target, sha in lines:
        rows[part].append(Row(name, target, sha))
    return rows


def compare(old: DataRecord, new: DataRecord) -> Change | None:
    """What differs; None where all that a run learns from and is judged by is the same."""
    changed = frozenset(part for part in PARTS if old.splits[part] != new.splits[part])
    if old.facts == new.facts and not changed:
        return None
    words = [
        f"{key.replace('_', ' ')}: {_short(old.facts[key])} then, {_short(new.facts[key])} now"
        for key in ("kind", "input_shape", "outputs")
        if old.facts[key] != new.facts[key]
    ]
    words += _class_words(old.facts["class_names"], new.facts["class_names"])
    words += _row_words(old, new)
    everything = frozenset(PARTS)
    same_task = all(old.facts[key] == new.facts[key] for key in ("kind", "input_shape", "outputs", "class_names"))
    return Change(tuple(words), changed if same_task else everything) if words or changed else None


def changed_message(run: RunDirectory, change: Change) -> str:
    """The sentence for data that is not what a run was started with."""
    return (
        f"the data is not what {run.path} was started with: {'; '.join(change.words)}. Bring the old data back, or "
        f"start the stages that depend on it again: archscout resume {run.path} --accept-data-change"
    )


def _short(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _class_words(old: Sequence[str], new: Sequence[str]) -> list[str]:
    if old == new:
        return []
    gone = [name for name in old if name not in set(new)]
    come = [name for name in new if name not in set(old)]
    if not gone and not come:
        return ["the classes are in another order"]
    told = []
    if gone:
        told.append(f"no class is called {some([repr(name) for name in gone])} any more")
    if come:
        told.append(f"new classes: {some([repr(name) for name in come])}")
    return told


def _row_words(old: DataRecord, new: DataRecord) -> list[str]:
    """Samples that were added, are gone, have other content or targets, or are in another split."""
    before = {row.name: (part, row) for part in PARTS for row in old.rows[part]}
    after = {row.name: (part, row) for part in PARTS for row in new.rows[part]}
    both = [name for name in before if name in after]
    found = {
        "added": [name for name in after if name not in before],
        "gone": [name for name in before if name not in after],
        "of other content": [name for name in both if before[name][1].sha != after[name][1].sha],
        "with another target": [name for name in both if before[name][1].target != after[name][1].target],
        "in another split": [name for name in both if before[name][0] != after[name][0]],
    }
    words = [
        f"{len(names):,} sample{'s' * (len(names) != 1)} {what}: {some(names)}"
        for what, names in found.items()
        if names
    ]
    return words or ["the samples are in another order"] * (old.splits != new.splits)


def findings_as_json(findings: Sequence[Finding], most: int = 20) -> list[dict[str, Any]]:
    """Findings for result.json: without notes, with the first names only."""
    return [
        {**asdict(each), "names": list(each.names[:most]), "count": len(each.names)}
        for each in findings
        if each.level != "note"
    ]
