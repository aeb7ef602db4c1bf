"""Workers of this machine: in order, and whole again after one was stopped from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from archscout.errors import RunError
from archscout.parallel import Workers


def stopped_once(flag: str) -> int:
    """Stop the worker that does this first, as a signal to its process group would."""
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGTERM)
    return 1


def stopped_always(argument: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return argument


def test_one_worker_is_this_process() -> None:
    workers = Workers(1)
    assert workers.here
    assert workers.map(lambda number: (number, os.getpid()), [2, 1]) == [(2, os.getpid()), (1, os.getpid())]


def test_workers_that_were_stopped_are_started_anew_once(tmp_path: Path) -> None:
    workers = Workers(2, threads=None)
    try:
        assert workers.map(stopped_once, [str(tmp_path / "flag")] * 3) == [1, 1, 1]
        with pytest.raises(RunError, match="twice"):
            workers.map(stopped_always, [1])
    finally:
        workers.close()
