"""Charts of the report: the curves of a stage, its candidates and the trials of a tuning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from archscout.viz.charts.axes import Format, usable
from archscout.viz.charts.charts import Point, Series, line_chart, scatter_chart
from archscout.viz.report.content import CandidateView, PredictionView, StageView, TuningView

__all__ = ["MOST_POINTS", "candidate_chart", "prediction_chart", "stage_charts", "trial_chart"]

# What counts steps, in order of preference, with its axis label; none of these is a curve of its own.
_STEPS = ("step", "epoch", "progress")
_NO_CURVES = {*_STEPS, "seconds", "time", "eta"}
# Losses over more than this ratio are shown on a logarithmic axis.
_LOG_FROM = 100.0
MOST_POINTS = 5000  # samples of a chart of predictions; of more, every so many
# The usual origins of candidates come first, so that they have the same mark in every report.
_ORIGINS = ("policy", "random", "arg-max")


def _groups(keys: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Chart titles with their metrics: what is known first, then one chart for each of the others."""
    groups: dict[str, list[str]] = {}
    known = (
        ("Loss", lambda key: key.endswith("loss")),
        ("Accuracy", lambda key: "accuracy" in key),
        ("Reward and baseline", lambda key: key in ("reward", "baseline")),
        ("Entropy of the choices", lambda key: "entropy" in key),
        ("Share of skip connections", lambda key: key == "skip_share"),
    )
    rest: dict[str, list[str]] = {}
    for key in keys:
        title = next((title for title, fits in known if fits(key)), None)
        if title is None:
            # A metric of the search, of training and of validation share a chart.
            rest.setdefault(_readable(key.removeprefix("train_").removeprefix("validation_")), []).append(key)
        else:
            groups.setdefault(title, []).append(key)
    ordered = [(title, groups[title]) for title, _ in known if title in groups]
    return ordered + sorted(rest.items())


def _readable(key: str) -> str:
    text = key.replace("_", " ").replace("/", " ").strip() or key
    return text[:1].upper() + text[1:]


def _step_key(metrics: Sequence[Mapping[str, float]]) -> str:
    """The metric that all rows have and that tells them apart; empty where there is none."""
    for key in _STEPS:
        values = [row.get(key) for row in metrics]
        if all(usable(value) for value in values) and len(set(values)) == len(values):
            return key
    return ""


def _series(key: str, step: str, metrics: Sequence[Mapping[str, float]]) -> Series:
    """Rows that lack the metric are passed over: they are no gap."""
    rows = [(row[step] if step else index, row[key]) for index, row in enumerate(metrics, start=1) if key in row]
    return Series(key.replace("_", " "), [x for x, _ in rows], [y for _, y in rows])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _chart(title: str, keys: list[str], step: str, stage: StageView) -> str:
    series = [_series(key, step, stage.metrics) for key in keys]
    values = [y for line in series for y in line.y if usable(y)]
    fraction = bool(values) and min(values) >= 0 and max(values) <= 1
    style: Format = "percent" if fraction and any("accuracy" in key or "share" in key for key in keys) else "number"
    log = title == "Loss" and bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_FROM
    x_label = step or "row"
    return line_chart(series, title=title, x_label=x_label, style=style, log=log, theme="inherit")


def stage_charts(stage: StageView) -> list[str]:
    """The charts of a stage as SVG text that takes its style from the page; none for a stage without metrics."""
    keys = dict.fromkeys(key for row in stage.metrics for key, value in row.items() if _is_number(value))
    curves = [key for key in keys if key not in _NO_CURVES]
    step = _step_key(stage.metrics)
    return [_chart(title, grouped, step, stage) for title, grouped in _groups(curves)]


def prediction_chart(view: PredictionView) -> str:
    """Predicted against true values of one number, beside the line on which they are equal."""
    step = -(-len(view.samples) // MOST_POINTS)
    points = [
        Point(true, found, title=f"{sample}: true {true:.6g}, predicted {found:.6g}")
        for sample, true, found in view.samples[::step]
    ]
    title = f"Predicted against true: {view.name}"
    return scatter_chart(points, title=title, x_label="true", y_label="predicted", diagonal=True, theme="inherit")


def candidate_chart(candidates: Sequence[CandidateView]) -> str:
    """Score against parameters of all candidates; needs two, else empty."""
    points = [
        Point(
            item.parameters,
            item.score,
            item.origin,
            f"rank {item.rank}: score {item.score:.4f}, {item.parameters:,} parameters",
            item.chosen,
        )
        for item in sorted(candidates, key=_origin_order)
        if item.parameters is not None and usable(item.score)
    ]
    return _scatter(points, "Score against parameters", "parameters", "score")


def _origin_order(item: CandidateView) -> int:
    return _ORIGINS.index(item.origin) if item.origin in _ORIGINS else len(_ORIGINS)


def trial_chart(tuning: TuningView) -> str:
    """Value over trial; needs two, else empty. Groups are the values of the first parameter where they are few."""
    first = tuning.parameters[0]
    few = len({trial.parameters[0] for trial in tuning.trials}) <= 4
    points = [
        Point(
            trial.number,
            trial.score,
            f"{first} {trial.parameters[0]}" if few else "",
            f"trial {trial.number}: {', '.join(trial.parameters)}: {trial.value}",
            trial.chosen,
        )
        for trial in tuning.trials
        if trial.score is not None
    ]
    return _scatter(points, "Trials", "trial", f"validation {tuning.metric}")


def _scatter(points: Sequence[Point], title: str, x_label: str, y_label: str) -> str:
    if len(points) < 2:
        return ""
    return scatter_chart(points, title=title, x_label=x_label, y_label=y_label, theme="inherit")
