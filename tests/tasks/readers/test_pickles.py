from __future__ import annotations

import io
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from archscout.errors import DataError
from archscout.tasks.readers.pickles import read_python2_pickle

# The pure Python pickler, whose parts can be replaced; its stubs do not tell that it has any.
PurePickler: Any = pickle._Pickler


class Python2Pickler(PurePickler):  # type: ignore[misc]
    """Writes as Python 2 did: byte strings as BINSTRING, numpy under its old module name."""

    dispatch: ClassVar[dict[type, Any]] = PurePickler.dispatch.copy()

    def save_bytes(self, value: bytes) -> None:
        self.write(b"T" + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    def save_global(self, value: Any, name: str | None = None) -> None:
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{name or value.__name__}\n".encode())
        self.memoize(value)

    dispatch[bytes] = save_bytes
    dispatch[type] = save_global
    dispatch[type(len)] = save_global


def python2_pickle(value: Any) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2, fix_imports=False).dump(value)
    return stream.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_dictionaries_of_arrays_bytes_numbers_and_lists_are_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)
    content = {b"data": data, b"labels": [0, 1, 2], b"batch_label": b"training batch 1 of 5", b"filenames": [b"a.png"]}
    read = read_python2_pickle(write(tmp_path / "batch", python2_pickle(content)))
    assert np.array_equal(read.pop("data"), data)
    assert read == {"labels": [0, 1, 2], "batch_label": b"training batch 1 of 5", "filenames": [b"a.png"]}


def test_arrays_in_column_order_are_read(tmp_path: Path) -> None:
    data = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert np.array_equal(read_python2_pickle(write(tmp_path / "b", python2_pickle({b"d": data})))["d"], data)


class Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_a_function_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "ran"
    for name, function, argument in (("mkdir", os.mkdir, str(trap)), ("eval", eval, f"open({str(trap)!r}, 'w')")):
        path = write(tmp_path / "batch", pickle.dumps({"data": Runs(function, argument)}, protocol))
        with pytest.raises(DataError, match=rf"batch is refused: the pickle names \w+\.{name}, which could run code"):
            read_python2_pickle(path)
        assert not trap.exists()


@pytest.mark.parametrize(
    "name", ["numpy\nload", "numpy.core.multiarray\nfromfile", "numpy\ndtype.mro", "builtins\ngetattr", "copyreg\nx"]
)
def test_neighbours_of_the_allowed_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is refused: the pickle names"):
        read_python2_pickle(write(tmp_path / "batch", f"c{name}\n.".encode()))


def test_extension_codes_and_persistent_ids_are_refused(tmp_path: Path) -> None:
    for content in (b"\x82\x01.", b"Pname\n."):
        with pytest.raises(DataError, match="truncated or no file of CIFAR"):
            read_python2_pickle(write(tmp_path / "batch", content))


def test_an_object_array_disguised_by_its_state_is_refused(tmp_path: Path) -> None:
    # With numpy's own functions such bytes would be taken for pointers.
    honest = python2_pickle({b"data": np.arange(8, dtype=np.uint8)})
    assert b"u1" in honest
    for disguise in (b"O8", b"O1", b"V1", b"i1"):
        with pytest.raises(DataError, match=r"another type than uint8|truncated"):
            read_python2_pickle(write(tmp_path / "batch", honest.replace(b"u1", disguise)))


def test_arrays_with_missing_bytes_are_refused(tmp_path: Path) -> None:
    honest = python2_pickle({b"data": np.arange(200, dtype=np.uint8)})
    shorter = honest.replace(b"T" + (200).to_bytes(4, "little") + bytes(range(200)), b"T\x03\x00\x00\x00abc")
    assert shorter != honest
    with pytest.raises(DataError, match="too few or too many bytes"):
        read_python2_pickle(write(tmp_path / "batch", shorter))


def test_every_truncation_is_one_sentence(tmp_path: Path) -> None:
    content = python2_pickle({b"data": np.arange(20, dtype=np.uint8), b"labels": [1, 2]})
    for end in range(len(content)):
        with pytest.raises(DataError) as raised:
            read_python2_pickle(write(tmp_path / "batch", content[:end]))
        assert "\n" not in str(raised.value)


def test_every_flipped_byte_is_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    content = python2_pickle({b"data": np.arange(20, dtype=np.uint8), b"labels": [1, 2]})
    for place in range(len(content)):
        for flip in (0x01, 0x80):
            changed = bytearray(content)
            changed[place] ^= flip
            try:
                read_python2_pickle(write(tmp_path / "batch", bytes(changed)))
            except DataError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("value", [[1, 2], 3, {1: 2}, {b"\xff": 1}, None])
def test_other_contents_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(DataError, match="truncated or no file of CIFAR"):
        read_python2_pickle(write(tmp_path / "batch", pickle.dumps(value, 2 if value != {b"\xff": 1} else 4)))


def test_missing_and_enormous_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none: No such file"):
        read_python2_pickle(tmp_path / "none")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="huge has 1099511627776 bytes"):
        read_python2_pickle(tmp_path / "huge")


def test_the_test_pickles_look_like_python_2s() -> None:
    names = {
        str(argument)
        for opcode, argument, _ in pickletools.genops(python2_pickle({b"a": np.zeros(2, np.uint8)}))
        if opcode.name == "GLOBAL"
    }
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
