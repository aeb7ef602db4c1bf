"""Run independent pieces of work in processes of their own, on this machine or on a Ray cluster.

With one local worker everything runs in this process. Local workers are started afresh (never forked from a process
that has threads), leave signals to their parent, and end when it does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from archscout.errors import MissingExtraError, RunError, SettingsError

__all__ = ["LOCAL", "Executor", "RayWorkers", "Workers", "check_executor", "default_workers", "make_workers"]

LOCAL, RAY = "local", "ray"

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def default_workers() -> int:
    """As many as this process may use cores."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class Executor(Protocol):
    """Where independent pieces of work run.

    Attributes:
        here: whether they run in this process, and function and arguments may be anything.
    """

    @property
    def here(self) -> bool: ...

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> list[Result]:
        """The results in order. Function and arguments must be importable and picklable unless they stay here."""
        ...

    def close(self) -> None:
        """End processes and connections."""
        ...


def check_executor(executor: str) -> None:
    """Raise unless the name of an executor is one, and what it needs is installed.

    Args:
        executor: `local`; `ray`, which joins the cluster that `RAY_ADDRESS` names, else starts one on this machine; or
            `ray://HOST:PORT`, a cluster's client address.

    Raises:
        SettingsError: another name.
        MissingExtraError: Ray is not installed.
    """
    if executor != LOCAL and executor.partition("://")[0] != RAY:
        raise SettingsError(f"executor = '{executor}'; allowed: local, ray, ray://HOST:PORT.")
    if executor != LOCAL:
        _import_ray()


def make_workers(executor: str, count: int, *, threads: int | None = None, gpu: bool = False) -> Executor:
    """Workers of an executor.

    Args:
        executor: as in `check_executor`.
        count: of local processes; on Ray the largest number of pieces at a time.
        threads: of torch in each; None shares the cores out, and is one on Ray.
        gpu: whether each piece takes a GPU of the cluster.
    """
    check_executor(executor)
    if executor == LOCAL:
        return Workers(count, threads)
    address = executor if "://" in executor else None
    return RayWorkers(address, count, threads=threads or 1, gpus=int(gpu))


def _begin_worker(parent: int, threads: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a parent that was killed cannot end its workers itself."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class Workers:
    """A number of processes that are started when first needed.

    Args:
        count: how many; 1 works in this process.
        threads: of torch in each; by default several processes share the cores out, and this one keeps its number.
            Results can depend on it in the last bits.
    """

    def __init__(self, count: int, threads: int | None = None) -> None:
        self.count = count
        self._threads = threads or (None if count == 1 else max(1, default_workers() // count))
        self._pool: ProcessPoolExecutor | None = None

    @property
    def here(self) -> bool:
        """Whether everything runs in this process."""
        return self.count == 1

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> list[Result]:
        """The results in order. Function and arguments must be importable and picklable with several workers."""
        if self.count == 1:
            with _threads_of_torch(self._threads):
                return [function(argument) for argument in arguments]
        try:
            return list(self._started().map(function, arguments))
        except BrokenProcessPool:
            # Whoever stops a whole process group (timeout, a batch system) stops the workers too. This process has
            # to come to an end of its step, and then stops in order.
            self._pool = None
        try:
            return list(self._started().map(function, arguments))
        except BrokenProcessPool:
            self._pool = None
            raise RunError(
                "worker processes ended all of a sudden, twice; the memory may be full: begin with fewer workers. What "
                "was finished is kept: archscout resume. A Python script that starts workers needs the line "
                "if __name__ == '__main__': before its own steps, since they import it."
            ) from None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin_worker,
                initargs=(os.getpid(), self._threads),
            )
        return self._pool

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


class RayWorkers:
    """Work as tasks of a Ray cluster, whose machines have archscout installed.

    A cluster that was already joined is used and left as it is; one that was started or joined here is left at the end.

    Args:
        address: of the cluster, as in `ray.init`; None joins that of `RAY_ADDRESS`, else starts one on this machine.
        count: largest number of tasks at a time.
        threads: of torch in each task, and the cores that it takes.
        gpus: that each task takes.
    """

    here = False

    def __init__(self, address: str | None, count: int, *, threads: int = 1, gpus: int = 0) -> None:
        self._address, self._count, self._threads, self._gpus = address, count, threads, gpus
        self._joined = False

    def map(self, function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> list[Result]:
        """The results in order; a task whose machine died is repeated."""
        ray = _import_ray()
        if not ray.is_initialized():
            self._join(ray)
        task = ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_retries=3)(_call_with_threads)
        results: list[Any] = []
        for start in range(0, len(arguments), self._count):
            group = arguments[start : start + self._count]
            try:
                results += ray.get([task.remote(function, argument, self._threads) for argument in group])
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
        return results

    def _join(self, ray: Any) -> None:
        handlers = _signal_handlers()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(
                    self._address,
                    **({} if self._address else {"include_dashboard": False}),
                    log_to_driver=False,
                    logging_level="ERROR",
                )
        except (ConnectionError, ValueError, RuntimeError) as error:
            place = self._address or "the address in RAY_ADDRESS, or on this machine"
            raise SettingsError(
                f"executor: no Ray cluster at {place} ({error}). Start one with `ray start --head`, correct the "
                "address, or use executor: local."
            ) from None
        finally:
            for number, handler in handlers.items():  # Ray takes SIGTERM for itself
                signal.signal(number, handler)
        self._joined = True

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._joined:
            _import_ray().shutdown()
            self._joined = False


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingExtraError("ray", "ray", "executor = 'ray'") from None
    return ray


def _signal_handlers() -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


def _call_with_threads(function: Callable[[Argument], Result], argument: Argument, threads: int) -> Result:
    with _threads_of_torch(threads):
        return function(argument)


@contextmanager
def _threads_of_torch(count: int | None) -> Iterator[None]:
    import torch

    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
