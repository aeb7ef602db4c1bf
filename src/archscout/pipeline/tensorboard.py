"""TensorBoard files of a run, where the optional package is installed. Its errors never stop a run."""

from __future__ import annotations

import functools
import io
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from archscout.jobs import Job, Metrics
from archscout.methods.base import ShowsArchitecture
from archscout.spaces.architecture import Architecture

__all__ = ["TensorBoardObserver"]

IMAGE_SCALE = 1.5  # pixels for each unit of a drawing: its smallest text has 11 units


class TensorBoardObserver:
    """Writes every metric as a scalar under its stage, and the architecture that a search would choose now.

    The architecture is written at a checkpoint if it has changed: as the text `architecture`, and as an image of that
    name where resvg_py is installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._shown: Architecture | None = None

    def started(self, stage: str, step: int) -> None:
        """Open the files; steps after `step` replace earlier ones."""
        self._shown = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        _quieten_writer_threads()
        try:
            self._writer = SummaryWriter(str(self._folder / stage), purge_step=step + 1)
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

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        """Write the architecture that the job would choose now, if it changed, and all that is not on the disk yet."""
        if self._writer is None:
            return
        try:
            if isinstance(job, ShowsArchitecture):
                self._show(job.architecture(), step)
            self._writer.flush()
        except OSError:
            self._writer = None

    def _show(self, architecture: Architecture, step: int) -> None:
        if architecture == self._shown:
            return
        self._writer.add_text("architecture", f"```\n{architecture.describe()}\n```", step)
        if (image := _image(architecture)) is not None:
            self._writer.add_image("architecture", image, step, dataformats="HWC")
        self._shown = architecture

    def finished(self, stage: str, seconds: float) -> None:
        """Close the files."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
            self._writer = None

    def message(self, text: str) -> None:
        """Nothing: TensorBoard has no place for it."""


def _image(architecture: Architecture) -> npt.NDArray[np.uint8] | None:
    """The drawing as pixels `(H, W, 3)`; None where resvg_py is not installed. Labels need a font on the machine."""
    from archscout.viz import draw

    try:
        import resvg_py
    except ImportError:
        return None
    png = resvg_py.svg_to_bytes(svg_string=draw(architecture, theme="light"), zoom=IMAGE_SCALE)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


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
