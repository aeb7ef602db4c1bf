"""Arrays that are made once from slow or unsafe files, and kept as plain `.npy` beside them.

Pickles, MATLAB files and audio are read once, checked, and written as arrays without Python objects; later starts map
those into memory. What was prepared from other files, or by another version of the preparation, is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archscout.atomic import atomic_directory, write_atomic
from archscout.errors import DataError
from archscout.tasks.registry import data_root

__all__ = ["FOLDER", "file_key", "load_array", "prepared", "save_array"]

FOLDER = "prepared"
KEY_FILE = "key.json"
VERSION = 1
MOST_NAMED = 32  # files in a key


def file_key(paths: Iterable[Path]) -> dict[str, list[int] | str]:
    """What tells files from others of the same names: size and time of change of each; of many, a digest of them.

    Files that are missing are passed over: whoever reads them says so.
    """
    found = {str(path): path.stat() for path in paths if path.is_file()}
    if len(found) <= MOST_NAMED:
        return {path: [facts.st_size, facts.st_mtime_ns] for path, facts in found.items()}
    digest = hashlib.blake2b(digest_size=16)
    for path, facts in found.items():
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return {f"{len(found)} files": digest.hexdigest()}


def prepared(root: Path, name: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder `prepared/<name>` below `root`; built if it is missing or was made from something else.

    Where `root` cannot be written, the folder is below the user's cache instead.

    Args:
        root: the folder of data files.
        key: what the arrays depend on: files, options, seeds.
        build: writes the arrays into an empty folder.

    Raises:
        DataError: neither place can be written, or what `build` raises.
    """
    wanted = json.loads(json.dumps({"version": VERSION, **key}))
    places = [root / FOLDER / name, data_root() / FOLDER / name]
    for place in places:
        if _matches(place, wanted):
            return place
    reason = ""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_directory(place) as folder:
                build(folder)
                write_atomic(folder / KEY_FILE, json.dumps(wanted, indent=1))
            return place
        except OSError as error:
            if _matches(place, wanted):  # another process was faster
                return place
            reason = error.strerror or str(error)
    raise DataError(
        f"{name} is prepared once, but neither {places[0]} nor {places[1]} can be written ({reason}). Free some space, "
        "or name a folder that can be written with XDG_CACHE_HOME."
    )


def _matches(place: Path, wanted: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((place / KEY_FILE).read_text()) == wanted)
    except (OSError, ValueError):
        return False


def save_array(folder: Path, name: str, values: Any) -> None:
    """Write `<name>.npy`, without Python objects."""
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    np.save(folder / f"{name}.npy", array, allow_pickle=False)


def load_array(folder: Path, name: str) -> Tensor:
    """A prepared array as a tensor over the mapped file; what is written to it is not written to the file."""
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}). Remove {folder}: it is then made again.") from None
    return torch.from_numpy(array)
