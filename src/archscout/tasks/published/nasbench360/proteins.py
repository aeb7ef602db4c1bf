"""The source of proteins, crops of their maps for training and whole maps for evaluation; their loss and metric."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.seeds import derive_seed
from archscout.tasks.metrics.classification import IGNORED, Metric, mean_of, reciprocal_reward
from archscout.tasks.published.nasbench360.protein_files import CHANNELS, PROFILES

__all__ = ["ProteinSource", "clipped_distance_loss", "mae8", "pool_known"]

MARGIN = 5  # of padding on all sides; docs/nasbench360.md#what-is-done-with-the-data
NO_PAIR = -1  # separation of what is no pair of residues


class ProteinSource:
    """Maps of proteins from a prepared folder; a sample is 57 channels, and distance and separation of each pair.

    Inputs are `(57, side, side)`: profiles along the rows, along the columns, then the pair maps, zero around the
    protein. Targets are `(2, side, side)`: distance in Angstrom, `IGNORED` around the protein and where unknown; and
    how far apart the residues stand in the sequence, -1 around the protein.

    Args:
        folder: with `<number>.npz` of each protein.
        side: of a crop.
        whole_side: of a whole map; longer proteins lose their end.
    """

    def __init__(self, folder: Path, count: int, side: int, whole_side: int, *, is_whole: bool = False) -> None:
        self._folder, self._count, self._side, self._whole_side = folder, count, side, whole_side
        self._is_whole = is_whole

    def __len__(self) -> int:
        return self._count

    @property
    def whole(self) -> ProteinSource:
        """The same proteins as evaluation reads them: whole maps from the upper left corner."""
        return ProteinSource(self._folder, self._count, self._side, self._whole_side, is_whole=True)

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield maps. Crops begin at rows and columns that the seed and the index draw; without a seed at the first."""
        for index in indices:
            samples = [self._sample(number, seed) for number in index.tolist()]
            yield (
                torch.from_numpy(np.stack([inputs for inputs, _ in samples])).to(device),
                torch.from_numpy(np.stack([targets for _, targets in samples])).to(device),
            )

    def _sample(self, number: int, seed: int | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        path = self._folder / f"{number:05d}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                profiles, pairs, distances = (file[name] for name in ("profiles", "pairs", "distances"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged ({error}). Remove {path.parent}: it is then made again.") from None
        length = len(distances)
        side = self._whole_side if self._is_whole else self._side
        rows = columns = 0
        if seed is not None and not self._is_whole:
            spare = max(0, length + 2 * MARGIN - side)
            draw = np.random.default_rng(derive_seed(seed, "crop", number))
            rows, columns = (int(offset) for offset in draw.integers(spare + 1, size=2))
        return _crop(profiles, pairs, distances, rows, columns, side)


def _crop(
    profiles: np.ndarray[Any, Any],
    pairs: np.ndarray[Any, Any],
    distances: np.ndarray[Any, Any],
    rows: int,
    columns: int,
    side: int,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cut from the padded maps at an offset; what lies outside the protein is not built first."""
    length = len(distances)
    inputs = np.zeros((CHANNELS, side, side), np.float32)
    targets = np.full((2, side, side), IGNORED, np.float32)
    targets[1] = NO_PAIR
    (row, of_row), (column, of_column) = (_overlap(offset, length, side) for offset in (rows, columns))
    inputs[:PROFILES, row, column] = profiles[:, of_row, None]
    inputs[PROFILES : 2 * PROFILES, row, column] = profiles[:, None, of_column]
    inputs[2 * PROFILES :, row, column] = pairs[:, of_row, of_column]
    targets[0, row, column] = np.nan_to_num(distances[of_row, of_column], nan=IGNORED)
    places = np.arange(length)
    targets[1, row, column] = np.abs(places[of_row, None] - places[None, of_column])
    return inputs, targets


def _overlap(offset: int, length: int, side: int) -> tuple[slice, slice]:
    """Where residues lie in a window that begins at `offset` of the padded axis, and which residues these are."""
    begin = max(0, MARGIN - offset)
    first = max(0, offset - MARGIN)
    size = max(0, min(side - begin, length - first))
    return slice(begin, begin + size), slice(first, first + size)


FARTHEST = 16.0  # Angstrom, at which distances are clipped in the loss
NEAREST = 0.01  # floor of predicted distances in the metric
CONTACT = 8.0  # Angstrom
SEPARATION = 24  # residues


def clipped_distance_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean squared error to the distances clipped at 16 Angstrom, over the known pairs."""
    distances = targets[:, :1]
    known = distances != IGNORED
    errors = (outputs.float() - distances.clamp(max=FARTHEST)).square() * known
    return errors.sum() / known.sum().clamp(min=1)


def pool_known(loss: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For `clipped_distance_loss`."""
    count = (targets[:, :1] != IGNORED).sum()
    return loss.double() * count, count


def _contact_errors(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The errors of proteins, and how many of them have such pairs; see `mae8`."""
    predicted, distances, separation = outputs[:, 0].float(), targets[:, 0], targets[:, 1]
    # Rows and columns of a whole map, and of a crop with equal offsets, are the same residues.
    aligned = (separation.diagonal(dim1=1, dim2=2) <= 0).all(1).view(-1, 1, 1)
    predicted = torch.where(aligned, (predicted + predicted.transpose(1, 2)) / 2, predicted).clamp(min=NEAREST)
    counts = (separation >= SEPARATION) & (distances != IGNORED) & (distances <= CONTACT)
    pairs = counts.sum((1, 2))
    errors = ((predicted - distances).abs() * counts).sum((1, 2)).double() / pairs.clamp(min=1)
    return errors.sum(), (pairs > 0).sum()


def mae8() -> Metric:
    """Mean absolute error of long-range contacts, averaged over proteins, in Angstrom; lower is better.

    Predictions are made symmetric and at least 0.01; of each protein the pairs count whose residues are 24 or more
    places apart and truly within 8 Angstrom. A protein without such pairs counts nothing.
    Source: docs/nasbench360.md#what-is-done-with-the-data.
    """
    return Metric("mae8", "min", mean_of(_contact_errors), reciprocal_reward)
