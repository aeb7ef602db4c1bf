from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.tasks import load_task
from archscout.tasks.readers.idx import read_idx

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
X = np.random.default_rng(0).integers(0, 256, (30, 9, 7), dtype=np.uint8)
Y = (np.arange(30) % 3).astype(np.uint8)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_all(folder: Path, test: str = "t10k", prefix: str = "", packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 30), (test, 9)):
        for what, array in (("images-idx3", X[:count]), ("labels-idx1", Y[:count])):
            content = idx(array)
            path = folder / f"{prefix}{part}-{what}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_a_folder_of_idx_files_is_a_task(test: str, packed: bool, tmp_path: Path) -> None:
    write_all(tmp_path, test, packed=packed)
    task = load_task(str(tmp_path))
    assert (task.spec.input_shape, task.spec.outputs) == ((1, 9, 7), 3)
    assert (len(task.train), len(task.validation), len(task.test)) == (25, 5, 9)
    inputs, targets = next(iter(task.test.source.batches([torch.arange(9)], torch.device("cpu"))))
    assert np.array_equal(inputs[:, 0].numpy(), X[:9])
    assert targets.tolist() == Y[:9].tolist()


def test_one_file_names_its_set(tmp_path: Path) -> None:
    write_all(tmp_path, "test", "emnist-letters-")
    write_all(tmp_path, "test", "emnist-digits-")
    with pytest.raises(DataError, match="2 sets of IDX files"):
        load_task(str(tmp_path))
    task = load_task(str(tmp_path / "emnist-letters-train-images-idx3-ubyte"))
    assert (task.name, len(task.test)) == ("emnist-letters", 9)


@pytest.mark.parametrize("dtype", sorted(CODES))
def test_every_type_is_read(dtype: str, tmp_path: Path) -> None:
    array = np.arange(-6 if dtype[0] != "u" else 0, 6).astype(dtype).reshape(-1, 2)
    (tmp_path / "a.idx").write_bytes(idx(array))
    header, values = read_idx(tmp_path / "a.idx")
    assert values is not None
    assert header.shape == array.shape
    assert np.array_equal(values, array)


GOOD = idx(X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file: it begins with nothing"),
        (b"\x89PNG\r\n", "no IDX file: it begins with 89 50 4e 47"),
        (GOOD[:9], "truncated: it ends in its header"),
        (GOOD[:-1], "1,890 bytes, but there are only 1,889"),
        (GOOD + b"\0", "1,890 bytes, but there are more"),
        (gzip.compress(GOOD)[:-20], "damaged or truncated"),
        (gzip.compress(GOOD)[:40] + b"\0\1\2" + gzip.compress(GOOD)[43:], "damaged or truncated"),
        (gzip.compress(GOOD[:16] + bytes(2**24)), "but there are more"),  # a bomb: not unpacked beyond its header
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 2**31), "more than this machine's memory"),
    ],
)
def test_damaged_files_are_told(content: bytes, message: str, tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte.*{message}"):
        load_task(str(tmp_path))


def test_images_of_the_test_split_without_labels_are_kept_to_be_predicted(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    task = load_task(str(tmp_path))
    assert task.unlabelled is not None
    assert len(task.unlabelled) == 9
    assert [each.code for each in task.findings] == ["unlabelled"]


def test_a_packed_and_an_unpacked_file_are_one(tmp_path: Path) -> None:
    write_all(tmp_path)
    write_all(tmp_path, packed=True)
    task = load_task(str(tmp_path))
    assert len(task.test) == 9
    assert [each.code for each in task.findings] == ["unread"]
