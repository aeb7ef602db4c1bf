"""Features and distances of proteins, from their published pickles to plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.tasks.published.nasbench360.files import hint
from archscout.tasks.readers.pickles import read_pickled

__all__ = ["CHANNELS", "PROFILES", "prepare_proteins", "protein_files", "read_distances", "read_features"]

PROFILE_WIDTHS = {"ss": 3, "pssm": 22, "sa": 1, "entropy": 1}  # numbers of each residue
PAIRS = ("ccmpred", "freecon", "potential")  # numbers of each pair of residues
PROFILES = sum(PROFILE_WIDTHS.values())
CHANNELS = 2 * PROFILES + len(PAIRS)  # 57: a profile once along the rows and once along the columns


def read_features(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Profiles `(27, l)` and pair maps `(3, l, l)`, float32.

    Raises:
        DataError: missing, refused, or a feature is missing or of another shape.
    """
    content = read_pickled(path, hint("psicov"))
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds a {type(content).__name__}, not a dictionary of features. {hint('psicov')}")
    missing = [name for name in (*PROFILE_WIDTHS, *PAIRS) if name not in content]
    if missing:
        raise DataError(f"{path} has no {', no '.join(missing)}. {hint('psicov')}")
    length = np.asarray(content["ccmpred"]).shape[0]
    profiles = [_profile(content[name], name, width, length, path) for name, width in PROFILE_WIDTHS.items()]
    pairs = [_checked(content[name], name, (length, length), path) for name in PAIRS]
    return np.concatenate(profiles), np.stack(pairs)


def _profile(values: Any, name: str, width: int, length: int, path: Path) -> np.ndarray[Any, Any]:
    """`(width, length)`: published with the residues along either axis."""
    array = np.asarray(values)
    if array.ndim == 1:
        array = array[None]
    if array.shape == (length, width) and length != width:
        array = array.T
    # A profile of as many residues as columns: secondary structure has its rows first, the scoring matrix the residues.
    if length == width and name == "pssm":
        array = array.T
    return _checked(array, name, (width, length), path)


def _checked(values: Any, name: str, shape: tuple[int, int], path: Path) -> np.ndarray[Any, Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "buif" or array.shape != shape:
        raise DataError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; it must be numbers {shape}. {hint('psicov')}"
        )
    return np.nan_to_num(array.astype(np.float32), posinf=0.0, neginf=0.0)


def read_distances(path: Path) -> np.ndarray[Any, Any]:
    """Distances `(l, l)` in Angstrom, float32: at least 1, the diagonal from its neighbours, NaN where unknown.

    Raises:
        DataError: missing, refused, or not length, sequence and a square map.
    """
    content = read_pickled(path, hint("psicov"))
    parts = content.ravel().tolist() if isinstance(content, np.ndarray) else content
    try:
        length, _, values = parts
        distances = np.array(values, np.float32)
        length = int(length)
    except (TypeError, ValueError):
        raise DataError(f"{path} must hold length, sequence and distances. {hint('psicov')}") from None
    if distances.shape != (length, length):
        raise DataError(f"{path}: distances {distances.shape} of {length} residues. {hint('psicov')}")
    distances = np.maximum(distances, 1.0)  # NaN stays
    if length > 1:
        beside = np.diagonal(distances, 1)
        np.fill_diagonal(distances, np.concatenate([beside[:1], (beside[:-1] + beside[1:]) / 2, beside[-1:]]))
    return distances


def protein_files(group: Path, name: str) -> tuple[Path, Path]:
    """The files of features and of distances of a protein, by its group's folder and its identifier."""
    return group / "features" / f"{name}.pkl", group / "distance" / f"{name}-cb.npy"


def prepare_proteins(proteins: Sequence[tuple[Path, str]], folder: Path) -> None:
    """Write `<number>.npz` of every protein, given as its group's folder and its identifier."""
    for number, (group, name) in enumerate(proteins):
        of_features, of_distances = protein_files(group, name)
        profiles, pairs = read_features(of_features)
        distances = read_distances(of_distances)
        if distances.shape != pairs.shape[1:]:
            raise DataError(
                f"{group}: {name} has features of {pairs.shape[1]} residues, but distances of {len(distances)}. "
                f"{hint('psicov')}"
            )
        np.savez(folder / f"{number:05d}.npz", profiles=profiles, pairs=pairs, distances=distances)
