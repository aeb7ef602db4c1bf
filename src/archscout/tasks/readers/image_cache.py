"""What is known of image files, kept in the user's cache between starts.

One file for each folder of images. A file's entry counts as long as its path, size and times are the same: the time of
the last change of its content, and that of its entry in the folder, which also changes where files are exchanged that
have equal sizes and times. A cache that is damaged, missing or cannot be written only costs time.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from archscout.atomic import write_atomic
from archscout.tasks.registry import user_cache

__all__ = ["Known", "recall", "remember"]

FOLDER = "images"
VERSION = 1
MOST_BYTES = 2**30  # of all caches together; those not used for longest are removed
BETWEEN = b"\0"  # names and reasons hold no such character

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Known:
    """What was found of files.

    Attributes:
        rows: of each path below the folder, its row in the others.
        facts: `(n,)` of some fields.
        reasons: why a file cannot be read, or "".
    """

    rows: Mapping[str, int]
    facts: Array
    reasons: Sequence[str]


def recall(root: Path, fields: np.dtype[Any]) -> Known:
    """What is known of the files below a folder."""
    nothing = Known({}, np.zeros(0, fields), ())
    path = _path(root)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            facts, stamp = stored["facts"], bytes(stored["stamp"])
            names, reasons = _texts(stored["names"]), _texts(stored["reasons"])
        if stamp != _stamp(root) or facts.dtype != fields or not len(names) == len(reasons) == len(facts):
            return nothing
    except Exception:  # a file that is damaged can raise nearly anything
        return nothing
    with suppress(OSError):
        os.utime(path)
    return Known({name: row for row, name in enumerate(names)}, facts, reasons)


def remember(root: Path, names: Sequence[str], facts: Array, reasons: Sequence[str]) -> None:
    """Keep what is known of the files below a folder, in place of what was kept before."""
    content = io.BytesIO()
    stamp = np.frombuffer(_stamp(root), np.uint8)
    np.savez(content, facts=facts, stamp=stamp, names=_bytes(names), reasons=_bytes(reasons))
    path = _path(root)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content.getvalue())
        _remove_oldest(path.parent)


def _path(root: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return user_cache() / FOLDER / f"{digest}.npz"


def _stamp(root: Path) -> bytes:
    """What the entries depend on beside the files: the folder's path, and the programs that decoded them."""
    programs = []
    for package in ("pillow", "pillow-heif"):
        try:
            programs.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            programs.append(package)
    return "\n".join((str(VERSION), *programs, "")).encode() + os.fsencode(root)


def _bytes(texts: Sequence[str]) -> Array:
    return np.frombuffer(BETWEEN.join(text.encode("utf-8", "surrogateescape") for text in texts), np.uint8)


def _texts(stored: Array) -> list[str]:
    return [text.decode("utf-8", "surrogateescape") for text in stored.tobytes().split(BETWEEN)]


def _remove_oldest(folder: Path) -> None:
    kept = 0
    files = [(path.stat(), path) for path in folder.glob("*.npz")]
    for facts, path in sorted(files, key=lambda each: -each[0].st_mtime_ns):
        kept += facts.st_size
        if kept > MOST_BYTES:
            path.unlink(missing_ok=True)
