"""What a report shows, as plain values. Every part but the title may be empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archscout.spaces.architecture import Architecture
    from archscout.tasks.spec import TaskSpec
    from archscout.viz.report.insight import InsightView

__all__ = [
    "CandidateView",
    "ComparisonRow",
    "NumberView",
    "PredictionView",
    "ReportContent",
    "StageView",
    "SubspaceView",
    "TrialView",
    "TuningView",
]


@dataclass(frozen=True)
class StageView:
    """A stage of the run: its wall time, and the metrics of each step as logged (`step`, `loss`, `accuracy`, ...)."""

    name: str
    seconds: float
    complete: bool
    metrics: Sequence[Mapping[str, float]] = ()


@dataclass(frozen=True)
class CandidateView:
    """An architecture that was scored; `origin` is `policy`, `arg-max` or `random`."""

    rank: int
    score: float
    parameters: int | None = None
    madds: int | None = None
    origin: str = ""
    chosen: bool = False
    text: str = ""


@dataclass(frozen=True)
class NumberView:
    """A result as text with its unit; `split` tells the data and the sample count, as in `test, 360 samples`."""

    name: str
    value: str
    split: str = ""
    note: str = ""


@dataclass(frozen=True)
class ComparisonRow:
    """A run beside others, with numbers as text; `current` is the run that the report is about."""

    name: str
    method: str
    value: str = ""
    parameters: str = ""
    madds: str = ""
    seconds: str = ""
    current: bool = False


@dataclass(frozen=True)
class SubspaceView:
    """The course of a search by subspaces.

    Attributes:
        scores, texts: of the centres at the end, by slot.
        distances: between them, as a square.
        first_scores: of the centres at the beginning.
        steps: number, slot, score, and whether the proposal replaced its centre, of every step.
    """

    scores: Sequence[float]
    texts: Sequence[str]
    distances: Sequence[Sequence[int]]
    first_scores: Sequence[float]
    steps: Sequence[Sequence[float]]


@dataclass(frozen=True)
class TrialView:
    """A trial of a tuning, its parameters and its value as text; `score` is None where it diverged."""

    number: int
    parameters: Sequence[str]
    value: str
    score: float | None
    epochs: int
    state: str
    chosen: bool = False


@dataclass(frozen=True)
class TuningView:
    """The trials of a tuning; `left_out` configurations of a grid were not tried."""

    metric: str
    parameters: Sequence[str]
    trials: Sequence[TrialView]
    left_out: int = 0


@dataclass(frozen=True)
class PredictionView:
    """The predictions of one number: for each sample its name, the true and the predicted value."""

    name: str
    samples: Sequence[tuple[str, float, float]]


@dataclass(frozen=True)
class ReportContent:
    """All that `render_report` shows.

    Attributes:
        title: the run's name.
        command: the command line that repeats the run.
        task: one line about the data; `task_name` is its name.
        architecture: drawn as its space draws it; `architecture_text` is its description.
        baseline: what the search started from; the report shows what changed.
        metric_note: a sentence about the direction of the task's metric, where it is not the usual one.
        spec, network_size: of the task and of the network, for drawings that show channels and pixels.
        settings_yaml: all settings as resolved.
        next_commands: command and what it does.
        warnings: sentences that the reader must see first.
    """

    title: str
    command: str = ""
    task: str = ""
    task_name: str = ""
    method: str = ""
    space: str = ""
    seed: int | None = None
    created: str = ""
    architecture: Architecture | None = None
    architecture_text: str = ""
    baseline: Architecture | None = None
    metric_note: str = ""
    spec: TaskSpec | None = None
    network_size: Any = None
    settings_yaml: str = ""
    stages: Sequence[StageView] = ()
    candidates: Sequence[CandidateView] = ()
    numbers: Sequence[NumberView] = ()
    comparison: Sequence[ComparisonRow] = ()
    predictions: Sequence[PredictionView] = ()
    insight: InsightView | None = None
    subspaces: SubspaceView | None = None
    tuning: TuningView | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    next_commands: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()
