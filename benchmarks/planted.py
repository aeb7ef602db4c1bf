"""Small tasks in the published layouts of DeepSEA and Cosmic, with something planted in them that can be learnt.

The published files take gigabytes; the readers, losses and metrics that work on these are those of the real tasks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.tasks import Task
from archscout.tasks.nasbench360.cosmic import read_cosmic
from archscout.tasks.nasbench360.deepsea import read_deepsea

__all__ = ["motif_task", "streak_task"]

MOTIF_COUNTS = (400, 100, 200)
STREAK_COUNTS = (40, 20)
LABELS, LENGTH, COPIES, MOTIF = 36, 1000, 4, 6
FIELD = 256


def motif_task(root: Path) -> Task:
    """DNA with 36 labels, several labels a sequence: each says whether copies of its motif are in the sequence."""
    if not (root / "deepsea_filtered.npz").is_file():
        root.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(0)
        motifs = draw.integers(0, 4, (LABELS, MOTIF))
        arrays: dict[str, Any] = {}
        for part, count in zip(("train", "val", "test"), MOTIF_COUNTS, strict=True):
            bases = draw.integers(0, 4, (count, LENGTH))
            labels = draw.random((count, LABELS)) < 0.3
            for sequence, label in zip(*np.nonzero(labels), strict=True):
                for start in draw.integers(0, LENGTH - MOTIF, COPIES):
                    bases[sequence, start : start + MOTIF] = motifs[label]
            arrays[f"x_{part}"] = np.eye(4, dtype=np.float32)[bases]
            arrays[f"y_{part}"] = labels.astype(np.float32)
        np.savez_compressed(root / "deepsea_filtered.npz", **arrays)
    return read_deepsea(root, MOTIF_COUNTS)


def streak_task(root: Path) -> Task:
    """Pictures of stars under noise, crossed by thin streaks, whose mask is to be found pixel by pixel."""
    if not (root / "cosmic").is_dir():
        draw = np.random.default_rng(0)
        for part, count in zip(("train", "test"), STREAK_COUNTS, strict=True):
            visit = root / "cosmic" / f"npy_{part}" / "f435w" / "10000_1" / "1"
            visit.mkdir(parents=True)
            names = []
            for number in range(1, count + 1):
                np.save(visit / f"{number}_j8.npy", np.stack(_field(draw)).astype(np.float32))
                names.append(f"/cosmic/npy_{part}/f435w/10000_1/1/{number}_j8.npy")
            np.save(visit / "sky.npy", np.ones(count, dtype=np.float32))
            np.save(root / "cosmic" / f"{part}_dirs.npy", np.array(names, dtype=object), allow_pickle=True)
    return read_cosmic(root, STREAK_COUNTS)


def _field(draw: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rows, columns = np.mgrid[:FIELD, :FIELD]
    picture, mask = draw.normal(size=(FIELD, FIELD)), np.zeros((FIELD, FIELD), dtype=bool)
    for _ in range(40):
        row, column = draw.uniform(0, FIELD, 2)
        distance = (rows - row) ** 2 + (columns - column) ** 2
        picture += draw.uniform(2, 10) * np.exp(-distance / (2 * draw.uniform(1, 3) ** 2))
    for _ in range(40):
        row, column, angle = draw.uniform(0, FIELD), draw.uniform(0, FIELD), draw.uniform(0, np.pi)
        along = (rows - row) * np.cos(angle) + (columns - column) * np.sin(angle)
        across = (rows - row) * np.sin(angle) - (columns - column) * np.cos(angle)
        streak = (np.abs(across) < 0.7) & (np.abs(along) < draw.uniform(3, 15))
        picture[streak] += draw.uniform(2, 8)
        mask |= streak
    return picture, mask
