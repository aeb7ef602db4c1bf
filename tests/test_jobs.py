"""Declared state of jobs; the driver: checkpoints, resume, signals, time limit, diverging jobs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from archscout.driver import Driver, StopSignals
from archscout.errors import DivergedError, RunError, StoppedError
from archscout.jobs import Job, Metrics, State, Stored
from archscout.rundir import RunDirectory
from archscout.state import pack, unpack
from tests.toys import CountingJob


class Recorder:
    def __init__(self, stop_at: int | None = None, number: int = signal.SIGTERM) -> None:
        self.steps: list[int] = []
        self.messages: list[str] = []
        self.checkpoints: list[tuple[int, int]] = []
        self.stop_at, self.number = stop_at, number

    def started(self, stage: str, step: int) -> None:
        self.first = step

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        self.steps.append(step)
        if step == self.stop_at:
            os.kill(os.getpid(), self.number)

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        self.checkpoints.append((step, job.result()))

    def finished(self, stage: str, seconds: float) -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_a_job_runs_to_its_end_and_logs_every_step(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with run.hold():
        assert Driver(run).drive("count", CountingJob(5)) == 5
    assert [record["step"] for record in run.metrics("count")] == [1, 2, 3, 4, 5]
    assert run.load_checkpoint("count") is not None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_after_a_checkpoint_and_the_job_goes_on_later(tmp_path: Path, number: int, code: int) -> None:
    run = RunDirectory(tmp_path)
    with run.hold():
        recorder = Recorder(stop_at=3, number=number)
        with StopSignals().installed() as signals:
            driver = Driver(run, observers=(recorder,), signals=signals, checkpoint_seconds=1e9)
            with pytest.raises(StoppedError, match=r"after step 3 .*archscout resume") as stopped:
                driver.drive("count", CountingJob(5))
        assert stopped.value.exit_code == code
        later = Recorder()
        assert Driver(run, observers=(later,)).drive("count", CountingJob(5)) == 5
    assert later.first == 3
    assert later.steps == [4, 5]


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals().installed():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_time_limit_stops_like_a_signal(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with run.hold(), pytest.raises(StoppedError, match="time limit") as stopped:
        Driver(run, time_limit_seconds=0).drive("count", CountingJob(5))
    assert stopped.value.exit_code == 124
    assert run.load_checkpoint("count") is not None


def test_a_number_that_is_not_finite_stops_before_a_checkpoint_of_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with run.hold():
        driver = Driver(run, checkpoint_seconds=0)
        with pytest.raises(DivergedError, match=r"count: loss is not finite in step 3"):
            driver.drive("count", CountingJob(5, bad_step=3))
    found = run.load_checkpoint("count")
    assert found is not None
    assert found[0] == 2


def test_a_full_disk_does_not_stop_a_run_that_has_an_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path)
    save = run.save_checkpoint

    def sometimes(stage: str, step: int, state: object) -> Path:
        if step in (2, 3):
            raise OSError(28, "No space left on device")
        return save(stage, step, state)

    monkeypatch.setattr(run, "save_checkpoint", sometimes)
    recorder = Recorder()
    with run.hold():
        assert Driver(run, observers=(recorder,), checkpoint_seconds=0).drive("count", CountingJob(5)) == 5
    assert sum("disk is full" in text for text in recorder.messages) == 2
    assert recorder.checkpoints == [(1, 1), (4, 4), (5, 5)]


class TalkingJob(CountingJob):
    """Has something to say at two of its steps."""

    def said(self) -> list[str]:
        return [f"step {self.count} is odd", "more follows"] if self.count in (1, 3) else []


def test_notices_of_a_job_reach_the_observers_in_order_before_the_step_is_shown(tmp_path: Path) -> None:
    class Both(Recorder):
        def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
            self.messages.append(f"step {step}")

    run, recorder = RunDirectory(tmp_path), Both()
    with run.hold():
        Driver(run, observers=(recorder,)).drive("count", TalkingJob(4))
    said = [["step 1 is odd", "more follows", "step 1"], ["step 2"], ["step 3 is odd", "more follows", "step 3"]]
    assert recorder.messages == [*said[0], *said[1], *said[2], "step 4"]


def test_notices_are_passed_on_even_if_the_step_diverged(tmp_path: Path) -> None:
    run, recorder = RunDirectory(tmp_path), Recorder()
    with run.hold(), pytest.raises(DivergedError):
        Driver(run, observers=(recorder,)).drive("count", TalkingJob(4, bad_step=1))
    assert recorder.messages == ["step 1 is odd", "more follows"]


def test_observers_hear_of_every_checkpoint_with_the_job_as_it_stands(tmp_path: Path) -> None:
    run, every, last = RunDirectory(tmp_path), Recorder(), Recorder()
    with run.hold():
        Driver(run, observers=(every,), checkpoint_seconds=0).drive("each", CountingJob(3))
        Driver(run, observers=(last,), checkpoint_seconds=1e9).drive("last", CountingJob(3))
    assert every.checkpoints == [(1, 1), (2, 2), (3, 3)]
    assert last.checkpoints == [(3, 3)]


@pytest.mark.parametrize("event", ["started", "advanced", "checkpointed", "finished", "message"])
def test_an_observer_that_fails_stops_nothing_and_is_complained_of_once(
    tmp_path: Path, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*facts: object) -> None:
        raise BrokenPipeError("nobody listens")

    run, broken, healthy = RunDirectory(tmp_path), Recorder(), Recorder()
    monkeypatch.setattr(broken, event, fail)
    with run.hold():
        driver = Driver(run, observers=(broken, healthy), checkpoint_seconds=0)
        assert driver.drive("count", TalkingJob(4)) == 4
    assert healthy.steps == [1, 2, 3, 4]
    assert len(healthy.checkpoints) == 4
    (complaint,) = [text for text in healthy.messages if text.startswith("warning")]
    assert complaint == (
        f"warning: Recorder.{event} failed, the run goes on without it: BrokenPipeError: nobody listens"
    )


# -- declared state ----------------------------------------------------------------------------------------------


class Parts(Stored):
    """One of each kind."""

    weights: State[torch.Tensor]
    several: State[list[torch.Tensor]]
    layer: State[nn.Linear]
    _hidden: State[int]
    table: State[dict[str, list[float]]]
    aside: int

    def __init__(self, value: float = 0.0) -> None:
        self.weights, self.several = torch.full((2, 3), value), [torch.full((2,), value)]
        self.layer = nn.Linear(2, 2)
        self._hidden, self.table, self.aside = int(value), {"scores": [value]}, int(value)


class MoreParts(Parts):
    last: State[float | None]

    def __init__(self, value: float = 0.0) -> None:
        super().__init__(value)
        self.last = value


def test_what_is_declared_is_saved_and_restored_and_nothing_else() -> None:
    saved, other = MoreParts(3.0), MoreParts()
    state = saved.state_dict()
    assert list(state) == ["weights", "several", "layer", "hidden", "table", "last"]
    kept = other.weights, other.several[0], other.layer
    other.load_state_dict(unpack(*pack(state)))
    assert (other.weights is kept[0], other.several[0] is kept[1], other.layer is kept[2]) == (True, True, True)
    assert torch.equal(other.weights, saved.weights) and torch.equal(other.several[0], saved.several[0])
    assert torch.equal(other.layer.weight, saved.layer.weight)
    assert (other._hidden, other.table, other.last, other.aside) == (3, {"scores": [3.0]}, 3.0, 0)


def test_going_on_leaves_the_state_alone_that_was_handed_over() -> None:
    state = MoreParts(3.0).state_dict()
    other = MoreParts()
    other.load_state_dict(state)
    other.table["scores"].append(4.0)
    assert state["table"] == {"scores": [3.0]}


def test_a_state_that_lacks_something_is_refused_by_name() -> None:
    state = MoreParts().state_dict()
    del state["table"]
    with pytest.raises(RunError, match="no 'table' of MoreParts"):
        MoreParts().load_state_dict(state)


def test_a_job_is_entered_again_where_its_state_stands() -> None:
    job = CountingJob(3)
    assert [next(job.run())["loss"] for _ in range(2)] == [1, 1 / 2]
    assert job.progress == pytest.approx(2 / 3)
    assert job.complete() == 3 and job.progress == 1
    assert next(job.run(), None) is None
