"""The section of the report about a tuning: every configuration with what it reached."""

from __future__ import annotations

from archscout.viz.charts.charts import Point, scatter_chart
from archscout.viz.report.content import ReportContent, TrialView, TuningView
from archscout.viz.report.html import Column, section, table
from archscout.viz.svg import escape

__all__ = ["tuning_section"]

_STATES = {"complete": "", "early": "ended early", "diverged": "diverged"}


def tuning_section(content: ReportContent) -> str:
    """The trials as points and as a table; empty where nothing was tuned."""
    tuning = content.tuning
    if tuning is None:
        return ""
    columns = [
        Column("trial", numeric=True),
        *(Column(name, numeric=True) for name in tuning.parameters),
        Column(f"validation {tuning.metric}", numeric=True),
        Column("epochs", numeric=True),
        Column(""),
    ]
    body = _chart(tuning) + table(columns, [_row(trial) for trial in tuning.trials])
    note = f"{len(tuning.trials)} configurations, each from the same initial weights, judged on the validation split."
    if tuning.left_out:
        note += f" {tuning.left_out} more were left out: the values before them had brought nothing better."
    return section("tuning", "Tuning of the final training", body, note)


def _row(trial: TrialView) -> tuple[list[str], bool]:
    badge = '<span class="badge">chosen</span>' if trial.chosen else ""
    cells = [str(trial.number), *map(escape, trial.parameters), escape(trial.value), str(trial.epochs)]
    return [*cells, escape(_STATES.get(trial.state, trial.state)) + badge], trial.chosen


def _chart(tuning: TuningView) -> str:
    """Value over trial, in groups of the first parameter; needs two."""
    first = tuning.parameters[0]
    points = [
        Point(
            trial.number,
            trial.score,
            f"{first} {trial.parameters[0]}" if _few(tuning) else "",
            f"trial {trial.number}: {', '.join(trial.parameters)}: {trial.value}",
            trial.chosen,
        )
        for trial in tuning.trials
        if trial.score is not None
    ]
    if len(points) < 2:
        return ""
    label = f"validation {tuning.metric}"
    chart = scatter_chart(points, title="Trials", x_label="trial", y_label=label, theme="inherit")
    return f'<div class="charts">{chart}</div>'


def _few(tuning: TuningView) -> bool:
    """Whether the first parameter has few values, as in a grid."""
    return len({trial.parameters[0] for trial in tuning.trials}) <= 4
