"""An insight as a report shows it."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.engine import Engine
from archscout.errors import RunError, SpaceError
from archscout.pipeline.contents import RunContents
from archscout.pipeline.evaluation import read_predictions
from archscout.pipeline.insight.content import ClassScore, Insight
from archscout.pipeline.insight.of_run import INSIGHT
from archscout.pipeline.insight.pictures import mistake_views
from archscout.pipeline.insight.verdict import verdict
from archscout.viz.report.insight import InsightView, MistakeView

__all__ = ["class_columns", "insight_view", "view_of_run"]

MOST_PAIRS, MOST_ROWS, MOST_NUMBERS = 10, 40, 6
MOST_MISTAKES = 12

Columns = list[tuple[str, str, list[str]]]


def view_of_run(run: RunContents) -> InsightView | None:
    """What the report of a run says of where its network fails; None where that is not known."""
    if not run.directory.has(INSIGHT):
        return None
    try:
        insight = Insight.from_json(run.directory.read_json(INSIGHT))
    except RunError as error:
        run.directory.warnings.append(str(error))
        return None
    task = run.task
    engine = Engine.create("cpu")
    try:
        mistakes = mistake_views(insight, task, task.test, run.model, engine, MOST_MISTAKES)
    except SpaceError:  # a network of the caller's own that is not given now, asked for maps
        mistakes = []
    residuals = [
        (name, list(zip(samples, truth, found, strict=True)))
        for name, samples, truth, found in read_predictions(run.directory)[:MOST_NUMBERS]
    ]
    return insight_view(insight, verdict(insight, task.metric), mistakes, residuals)


def insight_view(
    insight: Insight,
    sentences: Sequence[str],
    mistakes: Sequence[MistakeView],
    residuals: Sequence[tuple[str, Sequence[tuple[str, float, float]]]],
) -> InsightView:
    """An insight with its sentences and pictures."""
    matrix = insight.confusion_matrix().tolist() if insight.confusion else []
    positions, calibration = insight.positions, insight.calibration
    return InsightView(
        verdict=sentences,
        class_names=insight.class_names,
        matrix=matrix,
        pairs=insight.confused_pairs(MOST_PAIRS),
        columns=_columns(insight),
        bins=[] if calibration is None else [(each.confidence, each.accuracy, each.count) for each in calibration.bins],
        residuals=residuals,
        cells=() if positions is None else positions.cells,
        cells_title="" if positions is None else f"{positions.what[:1].upper()}{positions.what[1:]} by position",
        mistakes=mistakes,
        wrong=insight.wrong,
    )


def _columns(insight: Insight) -> Columns:
    if insight.classes:
        return class_columns(_worst(insight))
    if insight.numbers:
        numbers = insight.numbers[:MOST_ROWS]
        return [
            ("number", "wide", [each.name for each in numbers]),
            ("mean absolute error", "numeric", [f"{each.mean_absolute_error:.4g}" for each in numbers]),
            ("root mean squared error", "numeric", [f"{each.root_mean_squared_error:.4g}" for each in numbers]),
            ("R2", "numeric", [f"{each.r_squared:.3f}" for each in numbers]),
            ("bias", "numeric", [f"{each.bias:+.4g}" for each in numbers]),
            ("largest error", "numeric", [f"{each.largest:.4g}" for each in numbers]),
        ]
    costly = insight.costly[:MOST_ROWS]
    if not costly:
        return []
    return [
        ("word", "wide", [word for word, _, _, _ in costly]),
        ("times", "numeric", [f"{count:,}" for _, count, _, _ in costly]),
        ("perplexity", "numeric", [f"{value:.4g}" for _, _, value, _ in costly]),
        ("share of the loss", "numeric", [f"{100 * share:.1f} %" for _, _, _, share in costly]),
    ]


def _worst(insight: Insight) -> Sequence[ClassScore]:
    """All classes where they are few, else the worst ones."""
    return insight.classes if len(insight.classes) <= MOST_ROWS else insight.worst_classes(MOST_ROWS)


def class_columns(classes: Sequence[ClassScore]) -> Columns:
    """The table of classes; columns that no class has are left out."""

    def optional(title: str, values: Sequence[float | None]) -> Columns:
        known = any(value is not None for value in values)
        return [(title, "numeric", ["" if value is None else f"{value:.3f}" for value in values])] if known else []

    return [
        ("class", "wide", [each.name for each in classes]),
        ("precision", "numeric", [f"{each.precision:.3f}" for each in classes]),
        ("recall", "numeric", [f"{each.recall:.3f}" for each in classes]),
        ("F1", "numeric", [f"{each.f1:.3f}" for each in classes]),
        *optional("IoU", [each.iou for each in classes]),
        *optional("average precision", [each.average_precision for each in classes]),
        *optional("threshold", [each.threshold for each in classes]),
        ("times true", "numeric", [f"{each.support:,}" for each in classes]),
        ("times predicted", "numeric", [f"{each.predicted:,}" for each in classes]),
    ]
