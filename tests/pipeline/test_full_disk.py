"""Runs on a real file system that fills up, or that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import archscout
from archscout.driver import Driver
from archscout.errors import RunError
from archscout.jobs import Job, Metrics
from archscout.pipeline.run import Run
from archscout.rundir import RunDirectory
from tests.toys import CountingJob

SETTINGS = [
    "network.init_channels=8",
    "network.layers=1",
    "train.epochs=2",
    "train.batch_size=64",
    "checkpoint_seconds=0",
    "threads=1",
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; skips where the process may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"there is no mount command: {error}")
    if mounted.returncode != 0:
        pytest.skip(f"this process may not mount a file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    ballast.write_bytes(b"\0" * (state.f_bavail * state.f_frsize))
    return ballast


class Filler:
    """Watches a run, and fills its disk after a step."""

    def __init__(self, disk: Path, step: int) -> None:
        self.disk, self.step = disk, step
        self.messages: list[str] = []

    def started(self, stage: str, step: int) -> None:
        pass

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        if step == self.step:
            fill(self.disk)

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        pass

    def finished(self, stage: str, seconds: float) -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append(text)


def train(out: Path, *observers: Filler) -> Run:
    return archscout.train("pdarts", task="digits", out=out, overrides=SETTINGS, observers=observers)


def test_a_run_whose_disk_fills_keeps_its_checkpoint_and_goes_on_once_there_is_space(
    disk: Path, tmp_path: Path
) -> None:
    out, filler = disk / "run", Filler(disk, step=2)
    with pytest.raises(RunError, match=r"the disk is full: cannot write .*Free some space.*archscout resume"):
        train(out, filler)
    assert any("no checkpoint was written, the one before is kept" in text for text in filler.messages)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["train-00000001"]

    again = subprocess.run(
        [sys.executable, "-m", "archscout", "resume", out], capture_output=True, text=True, check=False, timeout=120
    )
    assert again.returncode == 2
    assert "error: the disk is full" in again.stderr
    assert "Traceback" not in again.stderr

    (disk / "ballast").unlink()
    resumed = archscout.resume(out, until="train")
    undisturbed = train(tmp_path / "undisturbed")
    weights = [(run.directory.path / "model.safetensors").read_bytes() for run in (resumed, undisturbed)]
    assert weights[0] == weights[1]


def test_a_run_that_cannot_log_says_that_the_disk_is_full(disk: Path) -> None:
    run = RunDirectory(disk / "run")
    with run.hold():
        driver = Driver(run, observers=(Filler(disk, step=1),), checkpoint_seconds=1e9)
        with pytest.raises(RunError, match=r"the disk is full: cannot write .*metrics.jsonl"):
            driver.drive("count", CountingJob(1000))
    assert run.metrics("count")[0]["step"] == 1


def test_a_full_disk_is_told_before_anything_is_computed(disk: Path) -> None:
    fill(disk)
    with pytest.raises(RunError, match="the disk is full"):
        train(disk / "run")


def test_a_read_only_run_can_be_read_and_not_resumed(disk: Path) -> None:
    train(disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert archscout.load_run(disk / "run").model() is not None
    with pytest.raises(RunError, match=r"cannot write .*: Read-only file system.*--out"):
        archscout.resume(disk / "run")
    with pytest.raises(RunError, match=r"cannot write .*: Read-only file system.*--out"):
        train(disk / "other")
