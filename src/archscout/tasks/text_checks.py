"""What archscout understood of a text, and what looks wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from archscout.tasks.findings import Finding, told
from archscout.tasks.readers.text import END, UNKNOWN
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["TextPart", "TextSummary", "check_text"]

MOST_UNKNOWN = 0.05  # share of words outside the vocabulary: worth a warning
MOST_REPEATED = 0.2  # share of test lines that stand in the other texts: worth a warning
LEAST_WORDS = 10_000  # of training text: worth a warning
LONG_LINE = 5  # shorter lines ("Yes.") repeat in any text


@dataclass(frozen=True)
class TextPart:
    """A split: its words with line ends, its lines, and how many words are `<unk>`."""

    name: str
    words: int
    lines: int
    unknown: int


@dataclass(frozen=True)
class TextSummary:
    """What was understood of a text task.

    Attributes:
        spec: name, kind, vocabulary.
        parts: train, validation, test.
        common: the most frequent words of the training text.
        repeated: share of the test lines of five and more words that also stand in train or validation.
        provenance: the task's.
        findings: what the reader has noticed, and what looks doubtful.
    """

    spec: TaskSpec
    parts: tuple[TextPart, ...]
    common: tuple[str, ...]
    repeated: float
    provenance: Mapping[str, object]
    findings: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """The summary for people."""
        return [
            f"{self.spec.name}: {self.spec.describe()}",
            f"source: {', '.join(f'{key} {value}' for key, value in self.provenance.items())}",
            *(
                f"{part.name}: {part.words:,} words in {part.lines:,} lines, {100 * part.unknown / part.words:.2f} % "
                f"{UNKNOWN}"
                for part in self.parts
            ),
            f"most frequent in train: {' '.join(self.common)}",
            f"test lines that are also in train or validation: {100 * self.repeated:.1f} %",
            *(line for finding in self.findings for line in told(finding)),
        ]


def check_text(task: Task) -> TextSummary:
    """Look at all words of a text task."""
    end, unknown = task.class_names.index(END), task.class_names.index(UNKNOWN)
    texts = {name: _text(task.split(name)) for name in ("train", "validation", "test")}
    parts = tuple(
        TextPart(name, len(words), int((words == end).sum()), int((words == unknown).sum()))
        for name, words in texts.items()
    )
    counts = torch.bincount(texts["train"], minlength=task.spec.outputs)
    common = tuple(task.class_names[number] for number in counts.argsort(descending=True)[:10].tolist())
    known = _long_lines(texts["train"], end) | _long_lines(texts["validation"], end)
    tested = _long_lines(texts["test"], end)
    repeated = len(tested & known) / max(1, len(tested))
    doubtful = [Finding("doubtful", "text", text) for text in _warnings(parts, repeated, int(counts[unknown]))]
    return TextSummary(task.spec, parts, common, repeated, task.provenance, (*task.findings, *doubtful))


def _text(split: Split) -> Tensor:
    inputs, _ = next(iter(split.source.batches([split.indices], torch.device("cpu"))))
    return inputs.flatten()


def _long_lines(words: Tensor, end: int) -> set[tuple[int, ...]]:
    lines: set[tuple[int, ...]] = set()
    line: list[int] = []
    for word in words.tolist():
        if word != end:
            line.append(word)
            continue
        if len(line) >= LONG_LINE:
            lines.add(tuple(line))
        line = []
    return lines


def _warnings(parts: tuple[TextPart, ...], repeated: float, unknown_in_train: int) -> list[str]:
    warnings = [
        f"{100 * part.unknown / part.words:.1f} % of the words of {part.name} are {UNKNOWN}: perplexity there says "
        "little about the words themselves."
        for part in parts
        if part.unknown > MOST_UNKNOWN * part.words
    ]
    if unknown_in_train == 0 and any(part.unknown for part in parts[1:]):
        warnings.append(
            f"the training text has no {UNKNOWN}, but the others have words that it lacks: no network can learn to "
            f"expect them. Replace rare words of the training text by {UNKNOWN}."
        )
    if parts[0].words < LEAST_WORDS:
        warnings.append(f"the training text has only {parts[0].words:,} words.")
    if repeated > MOST_REPEATED:
        warnings.append(
            f"{100 * repeated:.0f} % of the test lines are also in train or validation; the test result will look "
            "better than it is."
        )
    return warnings
