"""Text: language modelling on three files of words, `train`, `valid` and `test`.

Words stand between blanks; every line ends with the word `<eos>`. The vocabulary is what occurs in the training file,
in order of first appearance; any other word is `<unk>`. Registered are Penn Treebank and WikiText-2, read from their
published files; any folder with three such files is a task, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.choices import with_choices
from archscout.tasks.metrics.classification import language_loss, perplexity
from archscout.tasks.options import DEFAULTS, TaskOptions
from archscout.tasks.preparation import TextPreparation
from archscout.tasks.registry import register_reader, register_task
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["END", "UNKNOWN", "TextSource", "find_text_files", "read_words", "text_task"]

END = "<eos>"
UNKNOWN = "<unk>"
PARTS = ("train", "valid", "test")
# How the three files are called: a folder of one's own, Mikolov's Penn Treebank, WikiText.
LAYOUTS = ("{}.txt", "ptb.{}.txt", "wiki.{}.tokens")
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


def _is_text_folder(folder: Path) -> bool:
    """Whether a folder has a training text under one of the known names, or at least two of the three."""
    return any(
        (folder / layout.format("train")).is_file()
        or sum((folder / layout.format(part)).is_file() for part in PARTS) > 1
        for layout in LAYOUTS
    )


def find_text_files(folders: Sequence[Path]) -> list[Path]:
    """The three files, in the first folder that has any.

    Raises:
        DataError: none, or not all of them; the message names what is missing.
    """
    for folder in folders:
        for layout in LAYOUTS:
            files = [folder / layout.format(part) for part in PARTS]
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


def read_words(file: Path) -> list[str]:
    """The words of a file, with `<eos>` after every line.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or holds no word.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{file}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Convert the file, for example with: "
            "iconv -f latin1 -t utf-8"
        ) from None
    lines = text.removesuffix("\n").split("\n")
    words = [word for line in lines for word in (*line.split(), END)]
    if len(words) == len(lines):
        raise DataError(f"{file} holds no word. Give a text with words between blanks, a sentence or paragraph a line.")
    return words


def text_task(name: str, files: Sequence[Path]) -> Task:
    """A language task from a training, a validation and a test file.

    Raises:
        DataError: a file is wrong.
    """
    parts = [read_words(file) for file in files]
    vocabulary = dict.fromkeys(parts[0])
    vocabulary.setdefault(UNKNOWN)
    numbers = {word: number for number, word in enumerate(vocabulary)}
    unknown = numbers[UNKNOWN]
    source = TextSource(torch.tensor([numbers.get(word, unknown) for words in parts for word in words]))
    ends = [0, *torch.tensor([len(words) for words in parts]).cumsum(0).tolist()]
    train, validation, test = (Split(source, torch.arange(start, stop)) for start, stop in pairwise(ends))
    outside = {
        part: sum(word not in numbers for word in words) for part, words in zip(PARTS[1:], parts[1:], strict=True)
    }
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
            "files": ", ".join(str(file) for file in files),
            **{f"words of {part} outside the vocabulary": count for part, count in outside.items()},
        },
    )


def _unchanged(words: Tensor) -> Tensor:
    return words


# Asked before the reader of series: a folder of three texts may hold other files, too.
@register_reader("text", "a folder of texts (train.txt, valid.txt, test.txt)", _is_text_folder, priority=1)
def text_folder_task(folder: Path, options: TaskOptions = DEFAULTS) -> Task:
    """The language task of a folder with three files."""
    return with_choices(text_task(folder.resolve().name, find_text_files([folder])), options)


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
