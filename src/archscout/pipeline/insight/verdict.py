"""An insight in words: a few sentences that say where a network fails."""

from __future__ import annotations

from collections.abc import Callable

from archscout.pipeline.insight.content import Calibration, Insight
from archscout.tasks.metrics.classification import Metric

__all__ = ["calibration_in_words", "verdict"]

MOST_PAIRS, MOST_CLASSES, MOST_NAMED = 3, 3, 3
NEAR = 0.02  # of mean confidence and accuracy: neither too sure nor not sure enough
TRUSTED = 0.05  # expected calibration error

Format = Callable[[float], str]


def verdict(insight: Insight, metric: Metric | None = None) -> list[str]:
    """Sentences about where a network fails, the most important first.

    Args:
        metric: the deciding one, which says how its value is read.
    """
    shown = metric.format if metric is not None else lambda value: f"{value:.4g}"
    lines = [_score(insight, shown)]
    if insight.form in ("classes", "labels", "masks"):
        lines += _classes(insight)
    if insight.form in ("numbers", "fields"):
        lines += _numbers(insight)
    if insight.form == "words":
        lines += _words(insight)
    if insight.calibration is not None:
        lines.append(calibration_in_words(insight.calibration))
    lines += _positions(insight)
    return lines + [f"{note[:1].upper()}{note[1:]}." for note in insight.notes]


def _score(insight: Insight, shown: Format) -> str:
    name = insight.metric.replace("_", " ")
    unit = "words" if insight.form == "words" else "samples"
    text = f"{insight.part}: {name} {shown(insight.values[insight.metric])} on {insight.samples:,} {unit}"
    interval = insight.intervals.get(insight.metric)
    if interval is not None:
        text += f", 95 % interval {shown(interval.low)} to {shown(interval.high)}"
        if interval.unit == "groups":
            text += " (by groups)"
    if insight.wrong is not None:
        what = "answers about labels" if insight.form == "labels" else "samples"
        count = (
            f"{insight.wrong:,} {what} are"
            if insight.wrong > 1
            else f"{('none', 'one')[insight.wrong]} of the {what} is"
        )
        text += f"; {count} wrong"
    return text + "."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _classes(insight: Insight) -> list[str]:
    lines = []
    where = " (positions)" if insight.form == "masks" else ""
    pairs = insight.confused_pairs(MOST_PAIRS)
    if pairs:
        told = ", ".join(f"{true} taken for {found} ({_times(count)})" for true, found, count in pairs)
        lines.append(f"Most often confused{where}: {told}.")
    failing = [each for each in insight.worst_classes(MOST_CLASSES) if each.f1 < 1]
    if failing:
        told = "; ".join(
            f"{each.name} (F1 {each.f1:.2f}: {100 * each.recall:.0f} % of {each.support:,} found, "
            + (
                f"{100 * each.precision:.0f} % of {each.predicted:,} answers right)"
                if each.predicted
                else "never told)"
            )
            for each in failing
        )
        what = "labels" if insight.form == "labels" else "classes"
        lines.append(f"Weakest {what}: {told}.")
    absent = [each.name for each in insight.classes if not each.support]
    if absent:
        more = f" and {len(absent) - MOST_NAMED:,} more" if len(absent) > MOST_NAMED else ""
        lines.append(f"Never true in {insight.part}: {', '.join(absent[:MOST_NAMED])}{more}.")
    first = insight.mistakes[0] if insight.mistakes else None
    if first is not None and first.probability is not None:
        lines.append(
            f"The most confident mistake: {first.sample}, {first.true}, predicted {first.predicted} with "
            f"{100 * first.probability:.1f} %."
        )
    elif first is not None and insight.form == "masks":
        lines.append(f"The worst sample: {first.sample}, mean IoU {first.value:.3f}.")
    return lines


def calibration_in_words(calibration: Calibration) -> str:
    """Whether probabilities can be taken at their word."""
    error, sure, right = calibration.error, calibration.confidence, calibration.accuracy
    if calibration.what == "labels":
        facts = f"labels get {100 * sure:.1f} % on average and are true in {100 * right:.1f} %"
    else:
        facts = f"it is {100 * sure:.1f} % sure on average and right in {100 * right:.1f} %"
    if calibration.temperature != 1:
        facts += f", at temperature {calibration.temperature:.3g}"
    facts += f"; expected calibration error {100 * error:.1f} %"
    if error <= TRUSTED and abs(sure - right) <= NEAR:
        return f"Probabilities can be taken at their word: {facts}."
    if abs(sure - right) <= NEAR:
        return f"Probabilities are right on average, but not at each level: {facts}."
    if calibration.what == "labels":
        return f"Probabilities are too {'high' if sure > right else 'low'}: {facts}."
    return f"{'It is too sure of itself' if sure > right else 'It is right more often than it is sure'}: {facts}."


def _numbers(insight: Insight) -> list[str]:
    lines = []
    for each in insight.numbers[:MOST_NAMED]:
        side = "too high" if each.bias > 0 else "too low"
        lean = f", {abs(each.bias):.4g} {side} on average" if each.bias else ""
        lines.append(
            f"{each.name}: off by {each.mean_absolute_error:.4g} on average, by {each.largest:.4g} at most{lean}; "
            f"R2 {each.r_squared:.3f}."
        )
    if len(insight.numbers) > MOST_NAMED:
        lines.append(f"And {len(insight.numbers) - MOST_NAMED:,} more numbers; see per_class.csv.")
    first = insight.mistakes[0] if insight.mistakes else None
    if first is not None and insight.form == "numbers":
        lines.append(f"The worst sample: {first.sample}, true {first.true}, predicted {first.predicted}.")
    elif first is not None:
        lines.append(f"The worst sample: {first.sample}, root mean squared error {first.value:.4g}.")
    return lines


def _words(insight: Insight) -> list[str]:
    lines = []
    for band in insight.bands:
        often = "never" if band.high == 0 else f"{band.low:,} times or more"
        if band.high:
            often = f"{band.low:,} to {band.high:,} times"
        share = band.words / max(1, sum(each.words for each in insight.bands))
        lines.append(
            f"Words seen {often} in training: perplexity {band.perplexity:.4g}, {100 * share:.1f} % of the words."
        )
    if insight.costly:
        told = ", ".join(f"{word} ({100 * share:.1f} %)" for word, _, _, share in insight.costly[:MOST_NAMED])
        lines.append(f"The words that make up most of the loss: {told}.")
    return lines


def _positions(insight: Insight) -> list[str]:
    """The centre beside the border, where the border is worse: a network sees less around it."""
    found = insight.positions
    if found is None or min(len(found.cells[0]), max(len(found.cells), 3)) < 3:
        return []
    rows, columns = len(found.cells), len(found.cells[0])
    border: list[float] = []
    inner: list[float] = []
    for row, values in enumerate(found.cells):
        for column, value in enumerate(values):
            if value is not None:
                outside = column in (0, columns - 1) or (rows > 1 and row in (0, rows - 1))
                (border if outside else inner).append(value)
    if not border or not inner:
        return []
    outer, middle = sum(border) / len(border), sum(inner) / len(inner)
    if outer > 1.25 * middle:
        return [f"The {found.what} is larger at the border ({outer:.3g}) than inside ({middle:.3g})."]
    if middle > 1.25 * outer:
        return [f"The {found.what} is larger inside ({middle:.3g}) than at the border ({outer:.3g})."]
    return []
