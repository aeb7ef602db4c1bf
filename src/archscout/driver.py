"""The one driver that runs all jobs: checkpoints, resume, signals, time limit, and the metric log.

A job computes; the driver does everything else, and guards against numbers that are not finite. Neither knows anything
of architecture search.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from archscout.errors import DivergedError, RunError, StoppedError
from archscout.rundir import RunDirectory

if TYPE_CHECKING:
    from archscout.jobs import Job, Metrics

__all__ = ["Driver", "Observer", "StopSignals"]

R = TypeVar("R")


class Observer(Protocol):
    """Whoever watches a run: a progress bar, plain lines, TensorBoard.

    An observer never stops a run: what it raises is told to the others, once for each of its functions.
    """

    def started(self, stage: str, step: int) -> None: ...

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None: ...

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        """A checkpoint of the job as it stands was written. The job may be looked at, not changed."""
        ...

    def finished(self, stage: str, seconds: float) -> None: ...

    def message(self, text: str) -> None: ...


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag that the driver reads between steps; a second one ends at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = number

    @contextmanager
    def installed(self) -> Iterator[StopSignals]:
        """Handle the signals for a while; outside the main thread Python allows none, and nothing is done."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Driver:
    """Runs jobs in a run directory that the caller holds.

    Args:
        run: where everything is written.
        observers: who watches.
        checkpoint_seconds: time between checkpoints; 0 writes one after every step.
        time_limit_seconds: stop cleanly, as a signal does, once so much time has passed in this process.
        signals: the flag that stops the run.
        agree: makes a decision common to all processes; the identity for one process.
    """

    def __init__(
        self,
        run: RunDirectory,
        *,
        observers: tuple[Observer, ...] = (),
        checkpoint_seconds: float = 60.0,
        time_limit_seconds: float | None = None,
        signals: StopSignals | None = None,
        agree: Callable[[bool], bool] = bool,
    ) -> None:
        self._run = run
        self._observers = observers
        self._complained: set[tuple[int, str]] = set()
        self._checkpoint_seconds = checkpoint_seconds
        self._deadline = None if time_limit_seconds is None else time.monotonic() + time_limit_seconds
        self._signals = signals or StopSignals()
        self._agree = agree

    def message(self, text: str) -> None:
        """Tell the observers."""
        self._tell("message", lambda observer: observer.message(text))

    def _tell(self, event: str, call: Callable[[Observer], None]) -> None:
        """Call a function of every observer; one that fails is complained of once, and the run goes on."""
        for number, observer in enumerate(self._observers):
            try:
                call(observer)
            except Exception as error:
                if (number, event) in self._complained:
                    continue
                self._complained.add((number, event))
                reason = f"{type(error).__name__}: {error}"
                self.message(f"warning: {type(observer).__name__}.{event} failed, the run goes on without it: {reason}")

    def drive(self, stage: str, job: Job[R]) -> R:
        """Run a job to its end, from its last checkpoint if it has one, and return its result.

        Raises:
            StoppedError: a signal came or the time is over; a checkpoint is written.
            DivergedError: a metric is not finite; the last checkpoint is from before.
            RunError: the run directory cannot be written.
        """
        try:
            return self._run_job(stage, job)
        finally:
            job.close()

    def _run_job(self, stage: str, job: Job[R]) -> R:
        step, spent = self._restore(stage, job)
        self._tell("started", lambda observer: observer.started(stage, step))
        began = saved = time.monotonic()
        at = step  # of the last checkpoint
        with self._run.metrics_log() as log:
            for metrics in job.run():
                step += 1
                now = time.monotonic()
                for text in job.said():
                    self.message(text)
                self._check_finite(stage, step, metrics)
                self._log(log, stage, step, {"progress": job.progress, **metrics}, spent + now - began)
                stopping = self._agree(self._must_stop(now))
                # Common to all processes, too: a state can hold parts of each.
                if stopping or self._agree(now - saved >= self._checkpoint_seconds):
                    at = self._save(stage, step, job, spent + now - began, required=stopping) or at
                    saved = time.monotonic()
                if stopping:
                    self._stop(stage, step)
        seconds = spent + time.monotonic() - began
        if at != step:
            self._save(stage, step, job, seconds, required=True)
        self._tell("finished", lambda observer: observer.finished(stage, seconds))
        return job.result()

    def _restore(self, stage: str, job: Job[Any]) -> tuple[int, float]:
        warnings = len(self._run.warnings)
        checkpoint = self._run.load_checkpoint(stage)
        for text in self._run.warnings[warnings:]:
            self.message(text)
        if checkpoint is None:
            return 0, 0.0
        step, state = checkpoint
        job.load_state_dict(state["job"])
        self.message(f"{stage}: goes on after step {step}")
        return step, float(state["seconds"])

    def _check_finite(self, stage: str, step: int, metrics: Metrics) -> None:
        wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
        if wrong:
            raise DivergedError(
                f"{stage}: {', '.join(wrong)} is not finite in step {step}: the training diverged. The checkpoint "
                f"before it is kept in {self._run.path}. Start again with a lower learning rate or float32 precision."
            )

    def _log(self, log: Any, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        try:
            log.write(json.dumps({"stage": stage, "step": step, "seconds": round(seconds, 3), **metrics}) + "\n")
            log.flush()
        except OSError as error:
            with suppress(OSError):
                log.close()  # tries to write the rest once more, and would hide the error below
            raise self._run.write_error(self._run.path / "metrics.jsonl", error) from None
        self._tell("advanced", lambda observer: observer.advanced(stage, step, metrics, seconds))

    def _must_stop(self, now: float) -> bool:
        return self._signals.received is not None or (self._deadline is not None and now >= self._deadline)

    def _save(self, stage: str, step: int, job: Job[Any], seconds: float, *, required: bool) -> int | None:
        """Write a checkpoint. Returns its step; None: it could not be written, and is not required."""
        try:
            self._run.save_checkpoint(stage, step, {"job": job.state_dict(), "seconds": seconds})
            self._run.update_stage(stage, seconds=round(seconds, 3), step=step)
        except (OSError, RunError) as error:
            wrong = error if isinstance(error, RunError) else self._run.write_error(self._run.path, error)
            if required:
                raise wrong from None
            self.message(f"warning: no checkpoint was written, the one before is kept: {wrong}")
            return None
        self._tell("checkpointed", lambda observer: observer.checkpointed(stage, step, job))
        return step

    def _stop(self, stage: str, step: int) -> None:
        number = self._signals.received
        why = "the time limit" if number is None else signal.Signals(number).name
        raise StoppedError(
            f"stopped by {why} after step {step} of {stage}; nothing is lost. Go on: archscout resume {self._run.path}",
            exit_code=124 if number is None else 128 + number,
        )
