"""TensorBoard files of a run, where the optional package is installed. Its errors never stop a run."""

from __future__ import annotations

import functools
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from archscout.jobs import Metrics

__all__ = ["TensorBoardObserver"]


class TensorBoardObserver:
    """Writes every metric as a scalar `stage/name`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def started(self, stage: str, step: int) -> None:
        """Open the files; steps from `step` on replace earlier ones."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        _quieten_writer_threads()
        try:
            self._writer = SummaryWriter(str(self._folder / stage), purge_step=step)
        except OSError:
            self._writer = None

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        """Write the metrics of a step."""
        if self._writer is None:
            return
        try:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)
        except OSError:
            self._writer = None

    def finished(self, stage: str, seconds: float) -> None:
        """Close the files."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
            self._writer = None

    def message(self, text: str) -> None:
        """Nothing: TensorBoard has no place for it."""


@functools.cache
def _quieten_writer_threads() -> None:
    """Keep tracebacks of TensorBoard's writing thread from the terminal, where the disk is full.

    The observer gets the same error at its next call, and ends the writing.
    """
    others = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        is_writer = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (is_writer and issubclass(arguments.exc_type, OSError)):
            others(arguments)

    threading.excepthook = hook
