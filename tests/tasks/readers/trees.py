"""Folder trees for tests: files by path, with nothing or a little text in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from archscout.tasks.options import options_with
from archscout.tasks.readers.folder_layouts import find_layout
from archscout.tasks.readers.layout_of_folder import FolderLayout

SUFFIXES = frozenset((".png", ".jpg"))


def plant(root: Path, names: Iterable[str], text: str = "") -> Path:
    """Write files, with the folders that they need."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def files(folder: str, count: int, suffix: str = ".png") -> list[str]:
    """Names of files in a folder."""
    return [f"{folder}/{number}{suffix}" for number in range(count)]


def layout_of(root: Path, **options: Any) -> FolderLayout:
    """The layout by options, where .png and .jpg files are samples."""
    return find_layout(root, SUFFIXES, options_with(None, options))


def sizes(layout: FolderLayout) -> dict[str, int]:
    """Samples of each split."""
    return {part: len(found) for part, found in layout.parts.items()}


def codes(layout: FolderLayout, level: str = "") -> list[str]:
    """What was found, by its code."""
    return [finding.code for finding in layout.findings if finding.level == (level or finding.level)]


def message(layout: FolderLayout, code: str) -> str:
    """The one finding of that code."""
    (found,) = [finding for finding in layout.findings if finding.code == code]
    return found.message
