"""Run independent pieces of work in processes of their own.

With one worker everything runs in this process. Workers are started afresh (never forked from a process that has
threads), leave signals to their parent, and end when it does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Workers", "default_workers"]

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def default_workers() -> int:
    """As many as this process may use cores."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _begin_worker(parent: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def _end_with(parent: int) -> None:
    """A parent that was killed cannot say so: its children look after it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class Workers:
    """A number of processes that are started when first needed.

    Args:
        count: how many; 1 works in this process.
        threads: of torch in each; the default shares the cores out. Results can depend on it in the last bits.
    """

    def __init__(self, count: int, threads: int | None = None) -> None:
        self.count = count
        self._threads = threads or max(1, default_workers() // count)
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> list[Result]:
        """The results in order. Function and arguments must be importable and picklable with several workers."""
        if self.count == 1:
            with _threads_of_torch(self._threads):
                return [function(argument) for argument in arguments]
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin_worker,
                initargs=(os.getpid(), self._threads),
            )
        return list(self._pool.map(function, arguments))

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


@contextmanager
def _threads_of_torch(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
