"""PSICOV: which residues of a protein are near each other, from what is known of its sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks.published.nasbench360.files import check_count, hint, locate
from archscout.tasks.published.nasbench360.point_tasks import as_float, unchanged
from archscout.tasks.published.nasbench360.protein_files import CHANNELS, prepare_proteins, protein_files
from archscout.tasks.published.nasbench360.proteins import ProteinSource, clipped_distance_loss, mae8, pool_known
from archscout.tasks.readers.prepared import file_key, prepared
from archscout.tasks.registry import register_task
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["psicov_task", "read_psicov"]

SIDE, WHOLE = 128, 512  # of a training crop, and of the map that a whole protein is judged on
COUNTS = (3456, 150)  # proteins of deepcov and of psicov; docs/nasbench360.md#the-ten-tasks-of-nas-bench-360
VALIDATION = 100  # of deepcov, held out
EVALUATION_BATCH = 2  # maps of 512 x 512; docs/nasbench360.md#what-is-done-with-the-data
SPEC = TaskSpec("psicov", "dense", (CHANNELS, SIDE, SIDE), 1)


@register_task(SPEC)
def psicov_task(root: Path) -> Task:
    """PSICOV: distances between residues, crops of 57 x 128 x 128; 3,356 train, 100 validation, 150 test proteins."""
    return read_psicov(root)


def read_psicov(root: Path, counts: tuple[int, int] = COUNTS, held: int = VALIDATION) -> Task:
    """The task of the published proteins: deepcov to learn from, psicov to be judged on.

    Validation proteins are held out of deepcov with a fixed seed: the 150 test proteins decide nothing.

    Args:
        counts: of the proteins in `deepcov.lst` and in `psicov.lst`.
        held: proteins for validation.

    Raises:
        DataError: lists or files are missing, truncated, refused, or contradict each other.
    """
    lists = locate("psicov", root, ("protein/deepcov.lst", "protein/psicov.lst"))
    names = [_names(path, count) for path, count in zip(lists, counts, strict=True)]
    base = lists[0].parent
    proteins = [(base / group, name) for group, part in zip(("deepcov", "psicov"), names, strict=True) for name in part]
    files = [file for group, name in proteins for file in protein_files(group, name)]
    key = {"proteins": names, "files": file_key(files)}
    folder = prepared(root, "psicov", key, lambda folder: prepare_proteins(proteins, folder))
    source = ProteinSource(folder, len(proteins), SIDE, WHOLE)
    order = torch.randperm(counts[0], generator=generator(0, "psicov", "validation"))
    return Task(
        spec=SPEC,
        train=Split(source, order[held:]),
        validation=Split(source, order[:held]),
        test=Split(source, torch.arange(counts[0], sum(counts))),
        loss=clipped_distance_loss,
        metric=mae8(),
        to_float=as_float,
        normalize=unchanged,
        provenance={"source": "protein: deepcov, psicov", "split": f"validation: {held} fixed proteins of deepcov"},
        pool_loss=pool_known,
        evaluation_batch_size=EVALUATION_BATCH,
    )


def _names(path: Path, count: int) -> Sequence[str]:
    """The identifiers in a list, one a line."""
    names = [
        line.split()[0] for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.split()
    ]
    for name in names:
        if not name.replace("_", "").replace("-", "").replace(".", "").isalnum() or ".." in name:
            raise DataError(f"{path} names '{name[:40]}', which is no identifier of a protein. {hint('psicov')}")
    check_count(len(names), count, str(path), "psicov")
    return names
