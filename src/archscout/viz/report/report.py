"""The report of a run: one HTML file that needs nothing else, written by `report.html.j2` with `report.css`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from archscout.version import __version__
from archscout.viz.charts.axes import usable
from archscout.viz.drawings.changes import draw_changes
from archscout.viz.drawings.registry import draw
from archscout.viz.report.charts import MOST_POINTS, candidate_chart, prediction_chart, stage_charts, trial_chart
from archscout.viz.report.content import NumberView, ReportContent
from archscout.viz.report.insight import MistakeView, insight_charts, picture_html
from archscout.viz.report.subspaces import subspace_charts
from archscout.viz.svg import clean, page_style

__all__ = ["duration", "render_report", "render_sheet"]

MOST_CANDIDATES = 15
MOST_PREDICTIONS = 12  # numbers of a regression that have a chart each


def render_report(content: ReportContent) -> str:
    """The report as HTML text: no script, no outside resource, light and dark, readable on paper.

    Foreign strings are escaped; empty parts are left out.
    """
    ranked = sorted(content.candidates, key=lambda item: item.rank)
    main = _headline(content.numbers)
    parameters, madds = _named(content.numbers, "parameter"), _named(content.numbers, "madds", "multiply")
    tiles = [main, parameters, madds, _named(content.numbers, "latency"), _wall_time(content)]
    page = _TEMPLATES.get_template("report.html.j2").render(
        content=content,
        style=page_style(),
        version=__version__,
        main=main,
        sizes=[(size, unit) for size, unit in ((parameters, "parameters"), (madds, "MAdds")) if size],
        tiles=list(dict.fromkeys(tile for tile in tiles if tile)),
        open_stages=[stage.name for stage in content.stages if not stage.complete],
        drawings=_drawings(content),
        changes=_changes(content),
        subspaces=subspace_charts(content.subspaces, theme="inherit") if content.subspaces else [],
        trial_chart=trial_chart(content.tuning) if content.tuning else "",
        prediction_charts=[prediction_chart(view) for view in content.predictions[:MOST_PREDICTIONS]],
        insight_charts=insight_charts(content.insight) if content.insight else [],
        most_predictions=MOST_PREDICTIONS,
        most_points=MOST_POINTS,
        candidate_chart=candidate_chart(content.candidates),
        candidates=[item for index, item in enumerate(ranked) if index < MOST_CANDIDATES or item.chosen],
        most_candidates=MOST_CANDIDATES,
    )
    return clean(page.lstrip())  # the macros leave empty lines before the page


def render_sheet(title: str, mistakes: Sequence[MistakeView]) -> str:
    """A contact sheet of the worst samples as HTML text that needs nothing else."""
    page = _TEMPLATES.get_template("sheet.html.j2").render(title=title, mistakes=mistakes, style=page_style())
    return clean(page.lstrip())


def _headline(numbers: Sequence[NumberView]) -> NumberView | None:
    """The first number that was measured on the test split."""
    return next((item for item in numbers if re.search(r"\btest\b", item.split, re.IGNORECASE)), None)


def _named(numbers: Sequence[NumberView], *words: str) -> NumberView | None:
    """The first number whose name contains one of the words."""
    return next((item for item in numbers if any(word in item.name.lower() for word in words)), None)


def _wall_time(content: ReportContent) -> NumberView | None:
    named = _named(content.numbers, "wall time", "total time")
    if named is not None or not content.stages:
        return named
    seconds = sum(stage.seconds for stage in content.stages if stage.seconds > 0)
    return NumberView("wall time, all stages", duration(seconds))


def _drawings(content: ReportContent) -> list[str]:
    """The architecture; of a kernel pattern first the architecture whose kernels it sets."""
    from archscout.spaces.kernels.pattern import KernelPattern

    found = content.architecture
    shown = [found.base, found] if isinstance(found, KernelPattern) else [found] if found else []
    return [draw(part, theme="inherit", spec=content.spec, size=content.network_size) for part in shown]


def _changes(content: ReportContent) -> str:
    if content.architecture is None or content.baseline is None:
        return ""
    return draw_changes(content.architecture, content.baseline, theme="inherit")


def duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 0 or seconds != seconds:
        return "\u2013"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds == float("inf"):
        return "∞"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _count(count: int | None, millions: bool = False) -> str:
    if millions and count is not None and count >= 1_000_000:
        return f"{count / 1e6:,.1f} M"
    return "" if count is None else f"{count:,}"


def _score(score: float) -> str:
    return f"{score:.4f}" if usable(score) else "not finite"


def _state(state: str) -> str:
    """What to say of a trial's state."""
    return {"complete": "", "early": "ended early"}.get(state, state)


def _filled(columns: Iterable[tuple[str, str, Iterable[object]]], kept: str | None) -> list[tuple[str, str, list[str]]]:
    """Title, class and cells of the columns that have any content, and of the one with the title `kept`."""
    texts = [(title, class_, [_text(cell) for cell in cells]) for title, class_, cells in columns]
    return [column for column in texts if any(column[2]) or column[0] == kept]


_TEMPLATES = Environment(
    loader=PackageLoader("archscout.viz", "report"),
    autoescape=True,
    extensions=["jinja2.ext.do"],
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_TEMPLATES.filters |= {
    "count": _count,
    "curves": stage_charts,
    "duration": duration,
    "filled": _filled,
    "picture": picture_html,
    "score": _score,
    "state": _state,
    "text": _text,
}
