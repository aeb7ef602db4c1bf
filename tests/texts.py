"""A small text: words that follow each other by a rule, so that there is something to learn."""

from __future__ import annotations

from pathlib import Path
from random import Random

from archscout.tasks import Task
from archscout.tasks.readers.text import find_text_files, text_task

__all__ = ["small_text", "write_text"]

WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


def write_text(folder: Path, lines: int = 60) -> Path:
    """Three files of lines that count up from a random word."""
    draw = Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", lines), ("valid", lines // 2), ("test", lines // 2)):
        text = []
        for _ in range(count):
            start = draw.randrange(len(WORDS))
            text.append(" ".join(WORDS[(start + step) % len(WORDS)] for step in range(draw.randint(4, 9))))
        (folder / f"{part}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    return folder


def small_text() -> Task:
    """The same, as a task."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return text_task("counting", find_text_files([write_text(Path(folder))]))
