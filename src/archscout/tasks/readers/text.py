"""Text: language modelling on files of words, `train`, `valid` and `test`.

Words stand between blanks; every line ends with the word `<eos>`. The vocabulary is what occurs in the training text,
in order of first appearance; any other word is `<unk>`. Registered are Penn Treebank and WikiText-2, read from their
published files; any folder with such files, and any single text, is a task, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.choices import with_choices
from archscout.tasks.findings import Finding
from archscout.tasks.holdout import holdout_of_end
from archscout.tasks.metrics.classification import language_loss, perplexity
from archscout.tasks.options import DEFAULTS, RULES, TaskOptions
from archscout.tasks.preparation import TextPreparation
from archscout.tasks.readers.plain_text import read_plain_text
from archscout.tasks.registry import register_reader, register_task
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["END", "UNKNOWN", "TextSource", "find_text_files", "read_text", "read_words", "text_task"]

END = "<eos>"
UNKNOWN = "<unk>"
PARTS = ("train", "valid", "test")
# How the three files are called: a folder of one's own, Mikolov's Penn Treebank, WikiText.
LAYOUTS = ("{}.txt", "ptb.{}.txt", "wiki.{}.tokens")
NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
SUFFIXES = (".txt", ".text", ".tokens")
LONG_LINE = 200  # words; a longer line is rather a text without lines
PTB = TaskSpec("ptb", "language", (1,), 10_000)
WIKITEXT2 = TaskSpec("wikitext2", "language", (1,), 33_278)


class TextSource:
    """The words of a text as numbers, in order; a sample is a word with the one that follows.

    Args:
        words: `(N,)` int64. The last word has no successor and is no sample of its own.
    """

    def __init__(self, words: Tensor) -> None:
        self.words = words

    def __len__(self) -> int:
        return len(self.words)

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield words `(N, 1)` and their successors; the last word's is itself."""
        for index in indices:
            following = (index + 1).clamp(max=len(self) - 1)
            yield self.words[index].unsqueeze(1).to(device), self.words[following].unsqueeze(1).to(device)


def find_text_files(folders: Sequence[Path]) -> list[Path]:
    """The three files of a published text, in the first folder that has any.

    Raises:
        DataError: none, or not all of them; the message names what is missing.
    """
    for folder in folders:
        for layout in LAYOUTS:
            files = [_named(folder, layout, part) or folder / layout.format(part) for part in PARTS]
            missing = [file.name for file in files if not file.is_file()]
            if not missing:
                return files
            if len(missing) < len(files):
                raise DataError(
                    f"{folder} has no {' and no '.join(missing)}. A text needs three files: "
                    f"{', '.join(file.name for file in files)}."
                )
    names = " or ".join(", ".join(layout.format(part) for part in PARTS) for layout in LAYOUTS)
    raise DataError(f"no text was found in {' or '.join(str(folder) for folder in folders)}; wanted: {names}.")


def _named(folder: Path, layout: str, part: str) -> Path | None:
    """The file of a split under one of its usual names; None where there is none."""
    return next((file for name in NAMES[part] if (file := folder / layout.format(name)).is_file()), None)


def _parts_in(folder: Path) -> dict[str, Path]:
    """The files of a text in a folder, by split, under the first layout that has a training text or two files."""
    for layout in LAYOUTS:
        found = {part: file for part in PARTS if (file := _named(folder, layout, part)) is not None}
        if "train" in found or len(found) > 1:
            return found
    return {}


def _is_text(path: Path) -> bool:
    """Whether a path is a text, or a folder with a training text under one of the known names, or with two texts."""
    if path.is_file():
        # The UCR archive gives its series such names.
        return path.suffix.lower() in SUFFIXES and not path.stem.endswith(("_TRAIN", "_TEST"))
    return path.is_dir() and bool(_parts_in(path))


def read_words(file: Path) -> list[str]:
    """The words of a file, with `<eos>` after every line.

    Raises:
        DataError: the file cannot be read, is no text, or holds no word.
    """
    return read_text(file).words


@dataclass(frozen=True)
class Text:
    """The words of a file, with `<eos>` after every line, and what is to be said of it."""

    words: list[str]
    findings: tuple[Finding, ...]


def read_text(file: Path, rules: int = RULES) -> Text:
    """The words of a file of any usual encoding and line ends.

    Where a file has the word `<eos>` at the end of its lines already, it is not added again.

    Args:
        rules: by those of version 1 lines end with line feeds only, and `<eos>` is always added.

    Raises:
        DataError: the file cannot be read, is no text, or holds no word.
    """
    plain = read_plain_text(file)
    text, findings = plain.text, list(plain.findings)
    if rules >= 2 and "\n" not in text and "\r" in text:
        text = text.replace("\r", "\n")
        message = f"{file.name}: its lines end with carriage returns, as on old Macs; they were read as lines."
        findings.append(Finding("note", "line ends", message))
    # Each word is kept once: a large text has many words, but few different ones.
    known: dict[str, str] = {}
    lines = [[known.setdefault(word, word) for word in line.split()] for line in text.removesuffix("\n").split("\n")]
    # An empty line is a line with an end of its own, in a text that has ends and in one that has none.
    written = [line for line in lines if line]
    ended = sum(line[-1] == END for line in written)
    if rules >= 2 and written and ended == len(written):
        lines = [line[:-1] if line else line for line in lines]
        message = f"{file.name}: every line ends with {END} already; it was not added again."
        findings.append(Finding("note", "ends", message))
    count = sum(END in line for line in lines)
    if count:
        message = (
            f"{file.name}: {count:,} lines hold the word {END}, which also stands for the end of each line. Leave it "
            "out of the text, or write it at the end of every line."
        )
        findings.append(Finding("doubtful", "ends", message))
    words = [word for line in lines for word in (*line, END)]
    if len(words) == len(lines):
        raise DataError(f"{file} holds no word. Give a text with words between blanks, a sentence or paragraph a line.")
    if len(lines) == 1 and len(words) > LONG_LINE:
        message = (
            f"{file.name} is a single line of {len(words) - 1:,} words, so no end of a line is learnt. If it has "
            "sentences or paragraphs, write each on a line of its own."
        )
        findings.append(Finding("doubtful", "one line", message))
    return Text(words, tuple(findings))


def text_task(name: str, files: Sequence[Path]) -> Task:
    """A language task from a training, a validation and a test file.

    Raises:
        DataError: a file is wrong.
    """
    return _task(name, dict(zip(PARTS, files, strict=True)), DEFAULTS)


def _task(name: str, files: Mapping[str, Path], options: TaskOptions) -> Task:
    """A language task; splits without a file are held out of the training text: its last lines.

    Raises:
        DataError: what is wrong with each of the files.
    """
    texts: dict[str, Text] = {}
    faults = []
    for part, file in files.items():
        try:
            texts[part] = read_text(file, options.rules)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    findings = [finding for text in texts.values() for finding in text.findings]
    parts = {part: text.words for part, text in texts.items()}
    findings += _hold_out(parts, files, options)
    vocabulary = dict.fromkeys(parts["train"])
    vocabulary.setdefault(UNKNOWN)
    numbers = {word: number for number, word in enumerate(vocabulary)}
    unknown = numbers[UNKNOWN]
    ordered = [parts[part] for part in PARTS]
    source = TextSource(torch.tensor([numbers.get(word, unknown) for words in ordered for word in words]))
    ends = [0, *torch.tensor([len(words) for words in ordered]).cumsum(0).tolist()]
    train, validation, test = (Split(source, torch.arange(start, stop)) for start, stop in pairwise(ends))
    outside = {part: sum(word not in numbers for word in parts[part]) for part in PARTS[1:]}
    return Task(
        spec=TaskSpec(name, "language", (1,), len(numbers)),
        train=train,
        validation=validation,
        test=test,
        loss=language_loss,
        metric=perplexity(),
        to_float=_unchanged,
        normalize=_unchanged,
        class_names=tuple(numbers),
        preparation=TextPreparation(),
        provenance={
            "files": ", ".join(str(file) for file in files.values()),
            **{f"words of {part} outside the vocabulary": count for part, count in outside.items()},
        },
        findings=tuple(findings),
    )


def _hold_out(parts: dict[str, list[str]], files: Mapping[str, Path], options: TaskOptions) -> list[Finding]:
    """Cut the last lines of the training text off for splits that have no file: for test, and before it for validation.

    Raises:
        DataError: the text has too few lines.
    """
    findings = []
    for part, fraction in (("test", options.test_fraction), ("valid", options.validation_fraction)):
        if part in parts:
            continue
        words = parts["train"]
        ends = [place for place, word in enumerate(words, 1) if word == END]
        if len(ends) < 2:
            raise DataError(
                f"{files['train']} has one line, of which nothing can be held out for {part}. Write its sentences or "
                f"paragraphs on lines of their own, or give a file {part}{files['train'].suffix}."
            )
        kept, held = holdout_of_end(len(ends), fraction)
        cut = ends[len(kept) - 1]
        parts["train"], parts[part] = words[:cut], words[cut:]
        message = f"there is no text for {part}: the last {len(held):,} lines of {files['train'].name} were held out."
        findings.append(Finding("note", "held out", message))
    return findings


def _unchanged(words: Tensor) -> Tensor:
    return words


# Asked before the reader of series: a folder of texts may hold other files, too.
@register_reader(
    "text",
    "a text (.txt), or a folder of texts (train.txt, valid.txt, test.txt)",
    _is_text,
    priority=1,
    heeds=("order", "validation_fraction", "test_fraction"),
)
def text_folder_task(path: Path, options: TaskOptions = DEFAULTS) -> Task:
    """The language task of a folder of texts, or of one text.

    Files: `train.txt`, `valid.txt` (or `val`, `validation`, `dev`) and `test.txt`, or as Penn Treebank and WikiText
    are published. Of `train.txt`, the others beside it belong to it; any other file is a whole text. What is missing
    is held out: the last lines of the training text.
    """
    files, name = {"train": path}, path.stem
    if path.is_dir():
        files, name = _parts_in(path), path.resolve().name
    elif path in (beside := _parts_in(path.parent)).values():
        files, name = beside, path.resolve().parent.name
    if "train" not in files:
        raise DataError(
            f"{path} has {' and '.join(file.name for file in files.values())}, but no training text: train.txt."
        )
    return with_choices(_task(name, files, options), options)


def _published(spec: TaskSpec, root: Path, folders: Sequence[str]) -> Task:
    """A registered task from its published files."""
    try:
        files = find_text_files([root / folder for folder in folders] + [root])
    except DataError as error:
        raise DataError(
            f"{error} The published files of {spec.name} are not downloaded by archscout; name their folder with "
            "--data."
        ) from None
    task = text_task(spec.name, files)
    if task.spec != spec:
        raise DataError(
            f"{files[0].parent}: the training text has {task.spec.outputs:,} different words, the published "
            f"{spec.name} has {spec.outputs:,}. For a text of your own: archscout run {files[0].parent}"
        )
    return task


@register_task(PTB)
def ptb_task(root: Path) -> Task:
    """Penn Treebank by word, Mikolov's preparation: 10,000 words; files train.txt, valid.txt, test.txt or ptb.*.txt."""
    return _published(PTB, root, ("ptb", "penn", "simple-examples/data"))


@register_task(WIKITEXT2)
def wikitext2_task(root: Path) -> Task:
    """WikiText-2 by word: 33,278 words; files wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens."""
    return _published(WIKITEXT2, root, ("wikitext-2", "wikitext2"))
