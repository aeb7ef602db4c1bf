from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archscout.errors import DataError
from archscout.tasks.readers.prepared import file_key, load_array, prepared, save_array


def test_arrays_are_made_once_for_each_key(tmp_path: Path) -> None:
    calls = []

    def build(folder: Path) -> None:
        calls.append(folder)
        save_array(folder, "x", np.arange(3) + len(calls))

    for key in ({"files": 1}, {"files": 1}, {"files": 2}):
        folder = prepared(tmp_path, "toy", key, build)
    assert len(calls) == 2
    assert load_array(folder, "x").tolist() == [2, 3, 4]
    assert not list(tmp_path.glob("**/.tmp-*"))


def test_a_failed_preparation_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        save_array(folder, "x", np.arange(3))
        raise DataError("wrong")

    with pytest.raises(DataError, match="wrong"):
        prepared(tmp_path, "toy", {}, build)
    assert not list((tmp_path / "prepared").iterdir())


def test_where_data_cannot_be_written_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prepared").write_text("in the way")
    monkeypatch.delenv("ARCHSCOUT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = prepared(tmp_path / "data", "toy", {}, lambda place: save_array(place, "x", np.zeros(2)))
    assert folder == tmp_path / "cache" / "archscout" / "prepared" / "toy"


def test_damaged_arrays_tell_the_next_step(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "toy", {}, lambda place: save_array(place, "x", np.zeros(50)))
    (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes()[:200])
    with pytest.raises(DataError, match=r"x\.npy is damaged .*it is then made again"):
        load_array(folder, "x")


@pytest.mark.parametrize("count", [3, 50])
def test_two_files_that_change_places_have_another_key(tmp_path: Path, count: int) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(number + 1))
    key = file_key(paths)
    assert file_key(paths) == key
    paths[0].rename(tmp_path / "aside")
    paths[1].rename(paths[0])
    (tmp_path / "aside").rename(paths[1])
    assert file_key(paths) != key
