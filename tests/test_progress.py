"""What a run shows while it works: a bar on a terminal, plain lines elsewhere, warnings in both."""

from __future__ import annotations

import io
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from archscout import progress
from archscout.driver import Observer
from archscout.progress import LineObserver, TerminalObserver
from archscout.tasks.metrics import catalogue

METRICS = {
    "progress": 0.25,
    "epoch": 3.0,
    "loss": 1.2345,
    "accuracy": 0.5,
    "validation_accuracy": 0.4,
    "entropy": 0.8712,
    "skip_share": 0.125,
    "distance": 0.0421,
}
SHOWN = (
    "epoch 3, loss 1.234, accuracy 50.0 %, validation accuracy 40.0 %, entropy 87.1 %, skip share 12.5 %, "
    "distance 0.042"
)
WARNING = "warning: skip connections are the strongest operation on 60% of all edges; [red]see[/red] the docs."


def follow(observer: Observer) -> None:
    observer.started("search", 0)
    observer.advanced("search", 1, METRICS, 10.0)
    observer.message(WARNING)
    observer.advanced("search", 2, {"progress": 1.0, "loss": 1.0}, 20.0)
    observer.finished("search", 21.4)


def lines(monkeypatch: pytest.MonkeyPatch, *, quiet: bool) -> list[str]:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    follow(LineObserver(stream, quiet=quiet))
    return stream.getvalue().splitlines()


def bar(width: int) -> str:
    """All that a terminal of that width gets, with its control sequences."""
    observer, stream = TerminalObserver(), io.StringIO()
    observer._console = Console(file=stream, force_terminal=True, width=width, color_system="standard")
    follow(observer)
    return stream.getvalue()


def test_lines_name_shares_in_percent_and_keep_the_last_value(monkeypatch: pytest.MonkeyPatch) -> None:
    first, warning, second, last = lines(monkeypatch, quiet=False)
    assert first == f"search:  25 %, {SHOWN}, left 0:30"
    assert warning == WARNING
    later = SHOWN.replace("1.234", "1.000")
    assert second == f"search: 100 %, {later}, left 0:00"
    assert last == f"search: done in 21 s, {later}"


def test_quiet_lines_are_messages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(monkeypatch, quiet=True) == [WARNING]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_bar_shows_every_metric_at_any_width(width: int) -> None:
    text = " ".join(re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", bar(width)).split())
    for part in SHOWN.replace("1.234", "1.000").split(", "):
        assert part in text
    assert "search" in text
    assert "\u2026" not in text  # nothing is cut off


def test_warnings_stand_out_above_the_bar_word_for_word() -> None:
    assert f"\x1b[33m{WARNING}" in bar(200)


def test_every_metric_by_name_is_shown() -> None:
    names = {entry.name for _, entry in catalogue.METRICS.items()}
    assert names <= set(progress.SHOWN) | {"accuracy"}
    assert "train own 0.500" in progress._describe({"train_own": 0.5, "learning_rate": 0.1})
    assert "mean absolute error 35,685" in progress._describe({"mean_absolute_error": 35684.9})


# -- notebooks ---------------------------------------------------------------------------------------------------


class Notebook:
    """What a notebook has of IPython: the kernel's shell, and displays that can be updated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[str] = []
        package, display = ModuleType("IPython"), ModuleType("IPython.display")
        package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
        display.display = self.display  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", package)
        monkeypatch.setitem(sys.modules, "IPython.display", display)

    def display(self, shown: Any, *, display_id: bool = False) -> Any:
        self.shown.append(shown._repr_html_())
        place = len(self.shown) - 1
        return SimpleNamespace(update=lambda new: self.shown.__setitem__(place, new._repr_html_()))


def test_notebooks_show_one_bar_for_each_stage_and_messages_above(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(monkeypatch)
    observer = progress.make_observer()
    assert isinstance(observer, progress.NotebookObserver)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_MOVES", 0.0)
    observer.started("search", 0)
    observer.advanced("search", 1, METRICS, 10.0)
    assert 'value="0.2500" max="1"></progress> 25 % 0:30 left' in notebook.shown[0]
    observer.message(WARNING + " <b>")
    observer.finished("search", 21.4)
    bar, warning = notebook.shown
    assert '<b>search</b> <progress value="1.0000" max="1"></progress> 100 % 21 s' in bar
    assert SHOWN in bar
    assert "darkorange" in warning
    assert "&lt;b&gt;" in warning


def test_bars_of_notebooks_move_a_few_times_a_second_only(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(monkeypatch)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_MOVES", 3600.0)
    observer = progress.make_observer()
    observer.started("search", 0)
    observer.advanced("search", 1, METRICS, 10.0)
    assert " 0 %" in notebook.shown[0]


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    Notebook(monkeypatch)
    sys.modules["IPython"].get_ipython = lambda: SimpleNamespace()  # type: ignore[attr-defined]
    assert not isinstance(progress.make_observer(), progress.NotebookObserver)
