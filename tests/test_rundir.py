"""The run directory survives kills, damage, full disks and second processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from archscout import rundir
from archscout.atomic import atomic_directory, write_atomic
from archscout.errors import RunError
from archscout.rundir import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    with directory.hold():
        pass
    return directory


def test_checkpoint_comes_back(run: RunDirectory) -> None:
    run.save_checkpoint("search", 3, {"w": torch.arange(4), "n": 1})
    found = run.load_checkpoint("search")
    assert found is not None
    step, state = found
    assert step == 3
    assert state["n"] == 1
    assert torch.equal(state["w"], torch.arange(4))
    assert run.load_checkpoint("train") is None


def test_only_the_last_two_checkpoints_of_a_stage_are_kept(run: RunDirectory) -> None:
    for step in (1, 2, 3):
        run.save_checkpoint("search", step, {"n": step})
    run.save_checkpoint("train", 1, {"n": 1})
    names = sorted(folder.name for folder in (run.path / "checkpoints").iterdir())
    assert names == ["search-00000002", "search-00000003", "train-00000001"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_checkpoint_is_passed_over_for_the_one_before(run: RunDirectory, name: str, damage: str) -> None:
    run.save_checkpoint("search", 1, {"w": torch.ones(2)})
    newest = run.save_checkpoint("search", 2, {"w": torch.zeros(2)})
    content = bytearray((newest / name).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        (newest / name).write_bytes(content)
    elif damage == "truncate":
        (newest / name).write_bytes(content[: len(content) // 2])
    else:
        (newest / name).unlink()
    found = run.load_checkpoint("search")
    assert found is not None
    assert found[0] == 1
    assert "damaged" in run.warnings[0]


def test_a_write_that_fails_in_the_middle_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    write_atomic(target, "old")

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_directory_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), atomic_directory(tmp_path / "new") as folder:
        (folder / "a").write_text("half")
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_swept(run: RunDirectory) -> None:
    (run.path / "checkpoints" / ".tmp-abc").mkdir()
    (run.path / ".tmp-def").write_text("half")
    with run.hold():
        assert not list(run.path.rglob(".tmp-*"))


def test_full_disk_is_one_sentence_with_the_way_on(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rundir, "write_atomic", fail)
    with pytest.raises(RunError, match=r"disk is full.*archscout resume"):
        run.write("file", "text")


def test_folder_below_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*--out"), RunDirectory(tmp_path / "file" / "run").hold():
        pass


def test_second_process_is_told_who_holds_the_run(run: RunDirectory) -> None:
    program = "import sys; from archscout.rundir import RunDirectory\nwith RunDirectory(sys.argv[1]).hold(): pass"
    with run.hold():
        second = subprocess.run(
            [sys.executable, "-c", program, str(run.path)], capture_output=True, text=True, check=False
        )
    assert f"in use by process {os.getpid()}" in second.stderr
    third = subprocess.run([sys.executable, "-c", program, str(run.path)], check=False)
    assert third.returncode == 0


def test_torn_last_line_of_the_metrics_is_closed_and_left_out(run: RunDirectory) -> None:
    (run.path / "metrics.jsonl").write_text('{"stage": "search", "step": 1, "loss": 2}\n{"stage": "sea')
    with run.metrics_log() as log:
        log.write('{"stage": "search", "step": 2, "loss": 1}\n')
    assert [record["step"] for record in run.metrics("search")] == [1, 2]


def test_a_repeated_step_counts_once_with_its_last_values(run: RunDirectory) -> None:
    with run.metrics_log() as log:
        for loss in (3, 4):
            log.write(f'{{"stage": "search", "step": 1, "loss": {loss}}}\n')
    assert [record["loss"] for record in run.metrics("search")] == [4]


def test_missing_files_name_the_status_command(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="archscout status"):
        run.read("architecture.json")
    with pytest.raises(RunError, match="no run directory"):
        run.require()


def test_a_process_that_does_not_write_leaves_no_trace(tmp_path: Path) -> None:
    silent = RunDirectory(tmp_path / "other", writes=False)
    with silent.hold():
        silent.write("file", "text")
        silent.save_checkpoint("search", 1, {})
        with silent.metrics_log() as log:
            log.write("line\n")
    assert not silent.path.exists()
