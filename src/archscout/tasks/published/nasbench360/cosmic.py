"""Cosmic: cosmic rays on images of the Hubble Space Telescope (deepCR's data)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import derive_seed, generator
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.metrics.dense import false_negative_rate, masked_binary_cross_entropy
from archscout.tasks.published.nasbench360.files import check_array, check_count, hint, numeric_array, places
from archscout.tasks.published.nasbench360.point_tasks import as_float, unchanged
from archscout.tasks.readers.pickles import read_pickled
from archscout.tasks.readers.prepared import file_key, load_array, prepared, save_array
from archscout.tasks.registry import register_task
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task

__all__ = ["SkySource", "cosmic_task", "read_cosmic"]

SIDE = 128
CROP = slice(64, 64 + SIDE)  # of both axes; docs/nasbench360.md#what-is-done-with-the-data
SKY = (-0.9, 3.0)  # times the sky level that is added, in training
COUNTS = (4830, 420)  # fields for training and validation, and for test; docs/nasbench360.md
VALIDATION = 0.1
FILTER = "f435w"
# Proposal and visit of the pointings at resolved galaxies; the published preprocessing leaves extragalactic fields and
# globular clusters out.
GALAXIES = """
10760_2 10760_4 13737_2 13737_3 9490_a3 12513_2 12513_3 10182_pb 10182_pd 10584_13 10342_3 14343_1 13057_1 10260_7
10260_5 10407_3 13364_95 10190_28 10190_13 9490_a2 13691_11 12058_12 12058_16 12058_1 12058_6 14704_1 13804_6
"""
PARTS = ("train", "test")
ARCHIVE = "deepCR.ACS-WFC.{part}.tar"
SPEC = TaskSpec("cosmic", "dense", (1, SIDE, SIDE), 1)


class SkySource:
    """Images, to which training adds a random part of the level of their sky.

    Args:
        images: `(N, 1, H, W)`, float32.
        targets: `(N, 1, H, W)`: 1 a cosmic ray, 0 none, `IGNORED` not known.
        sky: `(N,)`.
    """

    def __init__(self, images: Tensor, targets: Tensor, sky: Tensor) -> None:
        self._images, self.targets, self._sky = images, targets, sky

    def __len__(self) -> int:
        return len(self._images)

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and masks; only with a seed, in training, the sky is added."""
        low, high = SKY
        for index in indices:
            images = self._images[index]
            if seed is not None:
                # A draw for every image of the source: what an image gets does not depend on its batch.
                draws = torch.rand(len(self), generator=generator(derive_seed(seed, "sky")))[index]
                images = images + (self._sky[index] * (low + (high - low) * draws)).view(-1, 1, 1, 1)
            yield images.to(device), self.targets[index].to(device)


@register_task(SPEC)
def cosmic_task(root: Path) -> Task:
    """Cosmic rays on images of Hubble: a mask of 128 x 128; 4,347 train, 483 validation, 420 test."""
    return read_cosmic(root)


def read_cosmic(root: Path, counts: tuple[int, int] = COUNTS) -> Task:
    """The task of the published fields; a fixed random tenth of the training fields is the validation split.

    The centre of each field's 256 x 256 is kept. No sky is added in evaluation, so that scores are repeatable.

    The fields are those of `train_dirs.npy` and `test_dirs.npy`, which the published preprocessing makes. Where a list
    is missing, its rule finds them: filter F435W, pointings at resolved galaxies, in the order of their names.

    Args:
        counts: of the fields in train and test.

    Raises:
        DataError: fields or sky levels are missing, truncated, or of other shapes or counts.
    """
    base = _base(root)
    lists = [base / f"{part}_dirs.npy" for part in PARTS]
    fields = [
        _listed_fields(path, count) if path.is_file() else _fields_by_rule(base, part, count)
        for part, path, count in zip(PARTS, lists, counts, strict=True)
    ]

    def build(folder: Path) -> None:
        read = [_read_field(path) for part in fields for path in part]
        save_array(folder, "images", np.stack([image for image, _, _ in read]))
        save_array(folder, "targets", np.stack([target for _, target, _ in read]))
        save_array(folder, "sky", np.array([sky for _, _, sky in read], np.float32))

    folder = prepared(root, "cosmic", {"files": file_key([*lists, *fields[0], *fields[1]]), "counts": counts}, build)
    source = SkySource(*(load_array(folder, name) for name in ("images", "targets", "sky")))
    order = torch.randperm(counts[0], generator=generator(0, "cosmic", "validation"))
    held = max(1, round(VALIDATION * counts[0]))
    return Task(
        spec=SPEC,
        train=Split(source, order[held:]),
        validation=Split(source, order[:held]),
        test=Split(source, torch.arange(counts[0], sum(counts))),
        loss=masked_binary_cross_entropy,
        metric=false_negative_rate(),
        to_float=as_float,
        normalize=unchanged,
        provenance={
            "source": "deepCR ACS-WFC, f435w",
            "split": "validation: a fixed random tenth of train",
            "fields": "of the lists" if all(path.is_file() for path in lists) else "by the published rule",
        },
        pool_loss=_pool_loss,
    )


def _pool_loss(loss: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    count = (targets != IGNORED).sum().clamp(min=1)
    return loss.double() * count, count


def _base(root: Path) -> Path:
    """The folder of `npy_train` and `npy_test`. Raises DataError where there is none."""
    candidates = [folder for place in places("cosmic", root) for folder in (place / "cosmic", place)]
    best = max(candidates, key=lambda folder: sum((folder / f"npy_{part}").is_dir() for part in PARTS))
    missing = [part for part in PARTS if not (best / f"npy_{part}").is_dir()]
    if not missing:
        return best
    archives = [folder / ARCHIVE.format(part=part) for part in missing for folder in candidates]
    packed = next((path for path in archives if path.is_file()), None)
    unpack = f"Unpack it: tar -xf {packed} -C {packed.parent}. " if packed else ""
    raise DataError(f"{best} has no {', no '.join(f'npy_{part}' for part in missing)}. {unpack}{hint('cosmic')}")


def _fields_by_rule(base: Path, part: str, count: int) -> list[Path]:
    """The fields that the published preprocessing lists, sorted."""
    folder, galaxies = base / f"npy_{part}" / FILTER, frozenset(GALAXIES.split())
    found = [
        path
        for path in sorted(folder.glob("*/*/*.npy"))
        if path.name != "sky.npy" and f"{path.parts[-3]}_{path.parts[-2]}" in galaxies
    ]
    check_count(len(found), count, f"{folder} (pointings at resolved galaxies)", "cosmic")
    return found


def _listed_fields(path: Path, count: int) -> list[Path]:
    """The files that a list names, wherever its data folder was when it was written."""
    try:
        names = np.load(path, allow_pickle=False)
    except ValueError:
        names = read_pickled(path, hint("cosmic"))
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is truncated or no .npy file ({error}). {hint('cosmic')}") from None
    listed = [str(name) for name in np.asarray(names).ravel().tolist()]
    check_count(len(listed), count, str(path), "cosmic")
    return [_found(path.parent, name, path) for name in listed]


def _found(folder: Path, name: str, where: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    begin = next((place for place, part in enumerate(parts) if part in ("npy_train", "npy_test")), None)
    if begin is None or ".." in parts:
        raise DataError(f"{where} names '{name[:200]}', which is not below npy_train or npy_test. {hint('cosmic')}")
    found = folder.joinpath(*parts[begin:])
    if not found.is_file():
        raise DataError(f"{found} does not exist, but {where.name} names it. {hint('cosmic')}")
    return found


def _read_field(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]:
    """Image `(1, 128, 128)`, target as int8 `(1, 128, 128)`, and level of the sky of one field."""
    field = numeric_array(path, "cosmic", (None, None, None))
    if len(field) not in (2, 3) or min(field.shape[1:]) < CROP.stop:
        raise DataError(
            f"{path} has the shape {field.shape}; it must be (2 or 3, at least {CROP.stop}, at least {CROP.stop}). "
            f"{hint('cosmic')}"
        )
    layers: Sequence[Any] = [np.asarray(layer[CROP, CROP]) for layer in field]
    target = (layers[1] > 0).astype(np.int8)
    if len(layers) == 3:
        target[layers[2] > 0] = IGNORED
    return layers[0].astype(np.float32)[None], target[None], _sky(path)


def _sky(path: Path) -> float:
    """The level of the sky: of the visit, at the place that the number before the name's first `_` tells, less 1."""
    levels = numeric_array(path.with_name("sky.npy"), "cosmic", (None,))
    number = path.name.split("_")[0]
    if not number.isdigit() or not 1 <= int(number) <= len(levels):
        raise DataError(f"{path}: its number is '{number}'; {path.parent}/sky.npy has 1 to {len(levels)}.")
    check_array(levels, str(path.with_name("sky.npy")), "cosmic", (None,))
    return float(levels[int(number) - 1])
