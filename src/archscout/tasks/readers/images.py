"""Images streamed from files by worker processes."""

from __future__ import annotations

import atexit
import functools
import gc
import multiprocessing
import os
import signal
import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from archscout.errors import DataError
from archscout.tasks.readers.decoding import Decoding, decode, sample_seed
from archscout.tasks.readers.image_formats import patient
from archscout.tasks.sources import Overview

__all__ = ["ImageSource", "default_workers", "read_images"]

MOST_WORKERS = 16
PREFETCH = 2  # batches ahead, for each worker

Key = tuple[list[int], int | None]  # indices of a batch, seed of the pass
Decoded = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def default_workers() -> int:
    """Worker processes for decoding: `ARCHSCOUT_WORKERS` if set, else one for each core that this process may use.

    0 decodes in the calling process; so does a machine with one core.
    """
    named = os.environ.get("ARCHSCOUT_WORKERS", "")
    if named:
        if not named.isdecimal():
            raise DataError(f"ARCHSCOUT_WORKERS is '{named}'; it must be a whole number, 0 or more.")
        return int(named)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores == 1 else min(cores, MOST_WORKERS)


@dataclass(frozen=True)
class _Failure:
    """What a worker sends instead of a batch: an exception would arrive wrapped in the worker's traceback."""

    message: str


class _BatchReader(Dataset["Decoded | _Failure"]):
    """Decodes whole batches; lives in the worker processes.

    File names are kept as one array of bytes: a list of a million strings would be copied into every worker, page by
    page, as its reference counts change.
    """

    def __init__(self, root: Path, names: Sequence[str], targets: Tensor, decoding: Decoding) -> None:
        self.root = root
        self.names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
        self.targets = targets.numpy()
        self.decoding = decoding

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(bytes(self.names[index]))

    def __getitem__(self, key: Key) -> Decoded | _Failure:
        indices, seed = key
        inputs = np.empty((len(indices), *self.decoding.shape), np.uint8)
        try:
            with patient():
                for place, index in enumerate(indices):
                    inputs[place] = decode(self.path(index), self.decoding, sample_seed(seed, index))
        except DataError as error:
            return _Failure(str(error))
        return inputs, self.targets[indices]


class _Feed:
    """The sampler of a loader: hands over the keys of the pass that the loader serves.

    It refers to them weakly: the pass owns them, so that an abandoned one can be collected while its loader lives on.
    """

    def __init__(self) -> None:
        self.keys: Callable[[], Iterator[Key] | None] = lambda: None

    def __iter__(self) -> Iterator[Key]:
        owned = self.keys
        while (keys := owned()) is not None:
            try:
                key = next(keys)
            except StopIteration:
                return
            del keys
            yield key


class _Loader(DataLoader["Decoded | _Failure"]):
    """A loader of whole batches, with its worker processes."""

    sampler: _Feed


def _unchanged(item: Any) -> Any:
    return item


def _start_worker(_: int) -> None:
    # The parent may answer these signals with a checkpoint; a worker must end when it is told to, and a Ctrl-C, which
    # reaches all processes of a terminal, is the parent's to handle.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Objects that the parent has yet to finalise, other loaders among them, must not be finalised here as well.
    gc.freeze()


class ImageSource:
    """Samples decoded from image files when they are asked for.

    With a seed, every image is cropped and mirrored as a function of the seed and its index, whichever worker reads
    it. Worker processes are started on first use and kept; two passes at the same time have workers of their own.

    Args:
        root: folder of the files.
        names: paths below it, one for each sample.
        targets: `(N,)`.
        decoding: size and crop.
        workers: processes; 0 decodes in the calling process; None: `default_workers()`.
        overview: what is known of the files; None: they were not looked at.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        targets: Tensor,
        decoding: Decoding,
        workers: int | None = None,
        overview: Overview | None = None,
    ) -> None:
        if len(names) != len(targets):
            raise DataError(f"there are {len(names)} images but {len(targets)} targets; give one for each.")
        self.targets = targets
        self.decoding = decoding
        self.overview = overview
        self.workers = default_workers() if workers is None else workers
        self._reader = _BatchReader(root, names, targets, decoding)
        # Every loader is held here while the source lives. A generator of batches is often part of a reference cycle
        # (stream, its generator of indices, loader): were it the only holder, the collector would end the workers
        # before the generator hands their loader back.
        self._loaders: list[_Loader] = []
        self._idle: list[_Loader] = []
        self._running: weakref.WeakSet[Generator[Decoded | _Failure]] = weakref.WeakSet()
        weakref.finalize(self, self._loaders.clear).atexit = False

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def names(self) -> Sequence[str]:
        """The path of each sample's file below the root."""
        return [os.fsdecode(bytes(name)) for name in self._reader.names]

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self._reader.path(index)

    def batches(
        self, indices: Iterable[Tensor], device: torch.device, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `(inputs (N, C, H, W) uint8, targets (N,))` for every index tensor, in order.

        Raises:
            DataError: an image that cannot be read, with its path; a worker process that died.
        """
        keys = ((index.tolist(), seed) for index in indices)
        decoded: Iterator[Decoded | _Failure] = (self._reader[key] for key in keys)
        if self.workers:
            decoded = running = self._through_workers(keys)
            self._running.add(running)
        for item in decoded:
            if isinstance(item, _Failure):
                raise DataError(item.message)
            inputs, targets = (torch.from_numpy(part) for part in item)
            if device.type == "cuda":
                inputs = inputs.pin_memory()
            yield inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)

    def close(self) -> None:
        """End the worker processes and the passes that go on. A later pass starts new ones."""
        for running in list(self._running):
            running.close()
        self._idle.clear()
        self._loaders.clear()

    def _through_workers(self, keys: Generator[Key]) -> Generator[Decoded | _Failure]:
        loader = self._idle.pop() if self._idle else self._new_loader()
        loader.sampler.keys = weakref.ref(keys)
        usable = True
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            usable = False  # a worker was killed, most often for want of memory
            self._loaders.remove(loader)
            raise DataError(
                f"a worker process that decodes images died ({' '.join(str(error).split())}). {_why_workers_die()}"
            ) from None
        finally:
            if usable:
                self._idle.append(loader)

    def _new_loader(self) -> _Loader:
        loader = _Loader(
            self._reader,
            batch_size=None,  # a key names a whole batch
            sampler=_Feed(),
            num_workers=self.workers,
            collate_fn=_unchanged,
            persistent_workers=True,
            prefetch_factor=PREFETCH,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # else the loader draws from the global generator
        )
        self._loaders.append(loader)
        _close_at_exit()
        _SOURCES.add(self)
        return loader


def _why_workers_die() -> str:
    """What to do. Workers that are not forked import the script that was started, which runs it if it has no guard."""
    method = multiprocessing.get_start_method()
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        guarded = script is None or "__name__" in Path(script).read_text(encoding="utf-8", errors="replace")
    except OSError:
        guarded = True
    if method in ("spawn", "forkserver") and not guarded:
        return (
            f'{script} has no line if __name__ == "__main__": and worker processes, which import it anew (start method '
            f"{method}), run it from its beginning. Put what it does below such a line, or set ARCHSCOUT_WORKERS=0."
        )
    return "If memory is short, set ARCHSCOUT_WORKERS to a smaller number; 0 decodes without workers."


_SOURCES: weakref.WeakSet[ImageSource] = weakref.WeakSet()


def _close_all() -> None:
    for source in list(_SOURCES):
        source.close()


@functools.cache
def _close_at_exit() -> None:
    # Registered after multiprocessing's own exit function, so it runs before that one kills the workers, which the
    # loader would report as their death.
    atexit.register(_close_all)


def read_images(paths: Sequence[Path], decoding: Decoding) -> Tensor:
    """All images in memory, `(N, C, H, W)` uint8, decoded as for evaluation.

    Raises:
        DataError: the first image that cannot be read, with its path.
    """
    inputs = np.empty((len(paths), *decoding.shape), np.uint8)

    def read(part: range) -> None:
        for index in part:
            inputs[index] = decode(paths[index], decoding)

    # Pillow decodes without holding Python's lock.
    threads = max(1, default_workers())
    parts = [range(start, min(start + 64, len(paths))) for start in range(0, len(paths), 64)]
    with patient(), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(read, parts):
            pass
    return torch.from_numpy(inputs)
