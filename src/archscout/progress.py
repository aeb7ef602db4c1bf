"""What a run shows while it works: a bar on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Column

from archscout.driver import Observer

if TYPE_CHECKING:
    from archscout.jobs import Job, Metrics

__all__ = ["LineObserver", "NotebookObserver", "TerminalObserver", "download_bar", "make_observer"]

# Metrics beside accuracy and perplexity, logged as they are, and for train and validation. Those of the user's own are
# shown where they are of train or validation.
_OTHERS = (
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "exact_match",
    "false_negative_rate",
    "foreground_dice",
    "foreground_iou",
    "hamming_loss",
    "kappa",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "mae8",
    "mcc",
    "mean_absolute_error",
    "mean_average_precision",
    "mean_dice",
    "mean_iou",
    "mean_squared_error",
    "micro_f1",
    "pixel_accuracy",
    "quadratic_kappa",
    "r_squared",
    "relative_l2",
    "root_mean_squared_error",
    "weighted_f1",
    "word_accuracy",
)
SHOWN = (
    "search_stage",
    "epoch",
    "loss",
    "accuracy",
    "train_accuracy",
    "validation_accuracy",
    "perplexity",
    "validation_perplexity",
    *(f"{part}{name}" for name in _OTHERS for part in ("", "train_", "validation_")),
    "validation_loss",
    "reward",
    "entropy",
    "skip_share",
    "distance",
    "trials",
    "diverged",
    "best",
)
# Shares of one: entropies are of their maximum, which is an undecided search.
PERCENT = ("accuracy", "entropy", "share", "false_negative_rate", "exact_match")
COUNTS = ("search_stage", "epoch", "trials", "diverged")
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_MOVES = 0.25


def make_observer(quiet: bool = False) -> Observer:
    """A bar in a notebook or if stderr is a terminal, lines if not; with `quiet`, messages only."""
    if not quiet and in_notebook():
        return NotebookObserver()
    if not quiet and sys.stderr.isatty():
        return TerminalObserver()
    return LineObserver(quiet=quiet)


@contextmanager
def download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr while a file arrives; call what it gives with the bytes that are here, and how many there are."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None, visible=False)  # until something arrives: it may all be here
        yield lambda here, total: progress.update(task, completed=here, total=total, visible=True)


def _describe(metrics: Metrics) -> str:
    own = [name for name in metrics if name.startswith(("train_", "validation_")) and name not in SHOWN]
    names = [name for name in (*SHOWN, *own) if name in metrics]
    return ", ".join(f"{name.replace('_', ' ')} {_value(name, metrics[name])}" for name in names)


def _value(name: str, value: float) -> str:
    if name.endswith(PERCENT):
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if name in COUNTS or 1e4 <= abs(value) < 1e15 else f"{value:.3f}"


def _time_left(metrics: Metrics, seconds: float) -> str:
    share = metrics.get("progress", 0.0)
    if share <= 0:
        return ""
    left = seconds * (1 - share) / share
    minutes, rest = divmod(int(left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Latest:
    """The last value of every metric: phases of a job report different ones."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def update(self, metrics: Metrics) -> dict[str, float]:
        self.values.update(metrics)
        return self.values


class LineObserver:
    """A line every ten seconds and at the end of a stage, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._latest = _Latest()
        self._printed = 0.0

    def started(self, stage: str, step: int) -> None:
        """Begin a stage."""
        self._latest = _Latest()
        self._printed = time.monotonic()

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        """Print a line if it is time."""
        values = self._latest.update(metrics)
        if time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES and not self._quiet:
            self._printed = time.monotonic()
            parts = (f"{100 * values.get('progress', 0):3.0f} %", _describe(values))
            text = ", ".join([part for part in parts if part] + [f"left {_time_left(values, seconds)}"])
            print(f"{stage}: {text}", file=self._stream, flush=True)

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        """Nothing: a checkpoint is no news."""

    def finished(self, stage: str, seconds: float) -> None:
        """Print the last values."""
        if not self._quiet:
            described = _describe(self._latest.values)
            print(
                f"{stage}: done in {seconds:.0f} s{', ' + described if described else ''}",
                file=self._stream,
                flush=True,
            )

    def message(self, text: str) -> None:
        """Print a message."""
        print(text, file=self._stream, flush=True)


class TerminalObserver:
    """A progress bar with the metrics beside it and the time left."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        self._latest = _Latest()

    def started(self, stage: str, step: int) -> None:
        """Open a bar."""
        self._latest = _Latest()
        self._progress = Progress(
            TextColumn("[bold]{task.description:<8}", table_column=Column(no_wrap=True, min_width=8)),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} % {task.fields[left]:>7}", table_column=Column(no_wrap=True)),
            # On a narrow terminal the metrics go on in the next line: none is cut off.
            TextColumn("[dim]{task.fields[metrics]}", table_column=Column(overflow="fold")),
            console=self._console,
        )
        self._bar = self._progress.add_task(stage, total=1.0, metrics="", left="")
        self._progress.start()

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        """Move the bar."""
        values = self._latest.update(metrics)
        if self._progress is not None:
            self._progress.update(
                self._bar,
                completed=values.get("progress", 0.0),
                metrics=_describe(values),
                left=_time_left(values, seconds),
            )

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        """Nothing: a checkpoint is no news."""

    def finished(self, stage: str, seconds: float) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.update(self._bar, completed=1.0, left=f"{seconds:.0f} s")
            self._progress.stop()
            self._progress = None

    def message(self, text: str) -> None:
        """Print a message above the bar; warnings stand out."""
        style = "yellow" if text.startswith("warning") else None
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook: of Jupyter, Colab, VS Code and others that show HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookObserver:
    """A bar below the cell that works, drawn by the browser; messages stand above it.

    It needs IPython, which every notebook has, and none of the widgets that bars of rich and tqdm need.
    """

    def __init__(self) -> None:
        self._latest = _Latest()
        self._handle: Any = None
        self._drawn = 0.0

    def started(self, stage: str, step: int) -> None:
        """Open a bar."""
        self._latest = _Latest()
        self._handle = self._display(_bar_html(stage, 0.0, "", ""), display_id=True)
        self._drawn = time.monotonic()

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        """Move the bar, a few times a second at most: each move is kept in the notebook's traffic."""
        values = self._latest.update(metrics)
        if self._handle is not None and time.monotonic() - self._drawn >= SECONDS_BETWEEN_MOVES:
            self._drawn = time.monotonic()
            share, left = values.get("progress", 0.0), f"{_time_left(values, seconds)} left"
            self._handle.update(_Html(_bar_html(stage, share, left, _describe(values))))

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        """Nothing: a checkpoint is no news."""

    def finished(self, stage: str, seconds: float) -> None:
        """Fill the bar."""
        if self._handle is not None:
            self._handle.update(_Html(_bar_html(stage, 1.0, f"{seconds:.0f} s", _describe(self._latest.values))))
            self._handle = None

    def message(self, text: str) -> None:
        """Show a message; warnings stand out."""
        colour = "color: darkorange" if text.startswith("warning") else ""
        self._display(f'<div style="white-space: pre-wrap; {colour}">{escape(text)}</div>')

    @staticmethod
    def _display(html: str, **options: Any) -> Any:
        from IPython.display import display

        return display(_Html(html), **options)


class _Html:
    """Shown as HTML by notebooks."""

    def __init__(self, html: str) -> None:
        self._html = html

    def __repr__(self) -> str:
        return re.sub("<[^>]*>", "", self._html)  # where a notebook is printed or converted to text

    def _repr_html_(self) -> str:
        return self._html


def _bar_html(stage: str, share: float, left: str, metrics: str) -> str:
    return (
        f'<div><b>{escape(stage)}</b> <progress value="{share:.4f}" max="1"></progress> '
        f"{100 * share:.0f} % {escape(left)} <small>{escape(metrics)}</small></div>"
    )
