"""Darcy flow as published with the Fourier neural operator; see also the generated task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from archscout.errors import DataError, MissingExtraError
from archscout.tasks.published.darcy.task import darcy_spec, darcy_task
from archscout.tasks.published.nasbench360.files import PUBLISHED, check_array, hint, locate
from archscout.tasks.readers.prepared import file_key, load_array, prepared, save_array
from archscout.tasks.registry import register_task
from archscout.tasks.task import Task

__all__ = ["published_darcy_task", "read_darcy"]

NODES, STEP = 421, 5  # every fifth node: 85 x 85
RESOLUTION = (NODES - 1) // STEP + 1
SIZES = (900, 100, 100)  # the first 1,000 of the one file, the first 100 of the other
FIELDS = ("coeff", "sol")


@register_task(darcy_spec("darcy", RESOLUTION))
def published_darcy_task(root: Path) -> Task:
    """Darcy flow: permeability to pressure on 85 x 85; 900 train, 100 validation, 100 test."""
    return read_darcy(root)


def read_darcy(root: Path, nodes: int = NODES, sizes: tuple[int, int, int] = SIZES) -> Task:
    """The task of the published MATLAB files, version 5 or 7.3 (HDF5).

    Args:
        nodes: of each axis in the files.
        sizes: of train and validation, from the first file, and of test, from the second.

    Raises:
        DataError: files are missing, truncated, or of other shapes.
        MissingExtraError: the files are HDF5 and h5py is not installed.
    """
    paths = locate("darcy", root, PUBLISHED["darcy"].files)
    wanted = (sum(sizes[:2]), sizes[2])

    def build(folder: Path) -> None:
        parts = [_read(path, count, nodes) for path, count in zip(paths, wanted, strict=True)]
        for number, name in enumerate(("permeability", "pressure")):
            save_array(folder, name, np.concatenate([part[number] for part in parts]))

    folder = prepared(root, "darcy", {"files": file_key(paths), "sizes": sizes}, build)
    return darcy_task(
        darcy_spec("darcy", (nodes - 1) // STEP + 1),
        load_array(folder, "permeability"),
        load_array(folder, "pressure"),
        sizes,
        {"source": ", ".join(path.name for path in paths), "split": "in storage order"},
    )


def _read(path: Path, count: int, nodes: int) -> list[np.ndarray[Any, Any]]:
    """Every fifth node of the first samples of both fields, float32."""
    is_old = b"MATLAB 5.0" in _head(path)
    arrays = _read_matlab5(path, count) if is_old else _read_hdf5(path, count)
    for name, array in zip(FIELDS, arrays, strict=True):
        check_array(array, f"{path}, {name}", "darcy", (None, nodes, nodes))
        if len(array) < count:
            raise DataError(f"{path}, {name} has {len(array)} samples; {count} are needed. {hint('darcy')}")
    if not (arrays[0] > 0).all():
        raise DataError(f"{path}, coeff: a permeability is not positive. {hint('darcy')}")
    return [np.ascontiguousarray(array[:, ::STEP, ::STEP], np.float32) for array in arrays]


def _read_matlab5(path: Path, count: int) -> list[np.ndarray[Any, Any]]:
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=FIELDS)
        return [np.asarray(content[name])[:count] for name in FIELDS]
    except KeyError as error:
        raise DataError(f"{path} has no {error}. {hint('darcy')}") from None
    except Exception as error:  # a damaged file makes the reader fail in any way
        raise DataError(f"{path} is truncated or no MATLAB file ({error}). {hint('darcy')}") from None


def _read_hdf5(path: Path, count: int) -> list[np.ndarray[Any, Any]]:
    """HDF5 has MATLAB's axes in the opposite order."""
    if b"\x89HDF\r\n\x1a\n" not in _head(path):
        raise DataError(f"{path} is no MATLAB file of version 5 or 7.3. {hint('darcy')}")
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("h5py", "hdf5", f"reading {path.name}") from None
    try:
        with h5py.File(path, "r") as file:
            return [np.asarray(file[name][..., :count]).transpose(2, 1, 0) for name in FIELDS]
    except KeyError:
        raise DataError(f"{path} lacks coeff or sol. {hint('darcy')}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} is truncated or no MATLAB file ({error}). {hint('darcy')}") from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2048)
