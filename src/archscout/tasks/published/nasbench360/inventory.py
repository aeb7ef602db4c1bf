"""What is there of a data set, what is missing, and where it is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archscout.tasks.published.nasbench360.files import published

__all__ = ["inventory"]


def inventory(task: str, root: Path) -> list[str]:
    """Lines for people, the last of them with the next step.

    Raises:
        UnknownNameError: none of the ten tasks.
    """
    data = published(task)
    places = (root, root / task, root / "nasbench360", root / "nasbench360" / task)
    folder = max(places, key=lambda place: sum(bool(_files(place, name)) for name in data.files))
    missing = [name for name in data.files if not _files(folder, name)]
    lines = [f"{task}: {data.holds}"]
    lines += [f"  {_state(folder, name)}  {name}" for name in data.files]
    digest = f", MD5 {data.md5}" if data.md5 else ", no checksum is published"
    lines += [f"  published at {data.place}", f"  {data.size}; licence {data.licence}{digest}"]
    if missing:
        lines.append(f"  missing in {folder}: get the files and put them there as named above, or name their folder")
    else:
        lines.append(f"  all there in {folder}; next: archscout check-data {task} --data {root}")
    return lines


def _files(folder: Path, name: str) -> Sequence[Path]:
    """The file, or the first of those that a pattern stands for."""
    if "*" not in name:
        return [folder / name] if (folder / name).is_file() else []
    first = next(folder.glob(name), None) if folder.is_dir() else None
    return [] if first is None else [first]


def _state(folder: Path, name: str) -> str:
    found = _files(folder, name)
    if not found:
        return f"{'missing':>11}"
    if "*" in name:
        return f"{sum(1 for _ in folder.glob(name)):>5,} files"
    return f"{found[0].stat().st_size / 1e6:>8,.1f} MB"
