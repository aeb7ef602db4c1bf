"""The sections of the report, each from the content's part of the same name; empty text where there is nothing."""

from __future__ import annotations

from archscout.viz.charts.axes import usable
from archscout.viz.charts.charts import Point, scatter_chart
from archscout.viz.charts.curves import stage_charts
from archscout.viz.charts.subspaces import subspace_charts
from archscout.viz.drawings.changes import draw_changes
from archscout.viz.drawings.registry import draw
from archscout.viz.report.content import CandidateView, ReportContent
from archscout.viz.report.html import Column, code, definitions, details, duration, section, table
from archscout.viz.svg import escape

__all__ = [
    "architecture_section",
    "asked_section",
    "candidates_section",
    "comparison_section",
    "curve_sections",
    "facts_sections",
    "next_section",
    "numbers_section",
    "subspaces_section",
]

SHOWN_CANDIDATES = 15
# The usual origins come first, so that they have the same mark in every report.
_ORIGINS = ("policy", "random", "arg-max")


def numbers_section(content: ReportContent) -> str:
    """Every number with the data on which it was measured."""
    columns = [
        Column("number", wide=True),
        Column("value", numeric=True),
        Column("measured on", wide=True),
        Column("note", wide=True),
    ]
    rows = [
        ([escape(item.name), escape(item.value), escape(item.split), escape(item.note)], False)
        for item in content.numbers
    ]
    return section("numbers", "Numbers", table(columns, rows))


def architecture_section(content: ReportContent) -> str:
    """The drawing, what changed from the baseline if there is one, and the description to copy."""
    body = ""
    if content.architecture is not None:
        # A pattern stands on another architecture, whose network it fills in.
        parts = [part for part in (getattr(content.architecture, "base", None), content.architecture) if part]
        for part in parts:
            drawing = draw(part, theme="inherit", spec=content.spec, size=content.network_size)
            body += f'<div class="drawing" tabindex="0">{drawing}</div>'
    if content.architecture is not None and content.baseline is not None:
        changes = draw_changes(content.architecture, content.baseline, theme="inherit")
        body += f'<h3>What changed from the baseline</h3><div class="drawing" tabindex="0">{changes}</div>'
    if content.architecture_text:
        text = code(content.architecture_text)
        body += details("As text", text) if body else text
    return section("architecture", "The architecture", body)


def curve_sections(content: ReportContent) -> list[str]:
    """The curves of each stage that has any."""
    sections = []
    for index, stage in enumerate(content.stages):
        charts = stage_charts(stage)
        if charts:
            state = duration(stage.seconds) + ("" if stage.complete else ", not complete")
            rows = len(stage.metrics)
            note = f"{rows} row{'' if rows == 1 else 's'} of metrics, {state}. {content.metric_note}".rstrip()
            body = f'<div class="charts">{"".join(charts)}</div>'
            sections.append(section(f"stage-{index}", f"Curves: {stage.name}", body, note))
    return sections


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1_000_000 else f"{count:,}"


def _candidate_row(item: CandidateView) -> tuple[list[str], bool]:
    badge = '<span class="badge">chosen</span>' if item.chosen else ""
    cells = [
        str(item.rank),
        f"{item.score:.4f}" if usable(item.score) else "not finite",
        "" if item.parameters is None else f"{item.parameters:,}",
        "" if item.madds is None else _millions(item.madds),
        escape(item.origin) + badge,
        details("show", code(item.text)) if item.text else "",
    ]
    return cells, item.chosen


def _origin_order(item: CandidateView) -> int:
    return _ORIGINS.index(item.origin) if item.origin in _ORIGINS else len(_ORIGINS)


def _scatter(content: ReportContent) -> str:
    """Score against parameters of all candidates; needs two."""
    points = [
        Point(
            item.parameters,
            item.score,
            item.origin,
            f"rank {item.rank}: score {item.score:.4f}, {item.parameters:,} parameters",
            item.chosen,
        )
        for item in sorted(content.candidates, key=_origin_order)
        if item.parameters is not None and usable(item.score)
    ]
    if len(points) < 2:
        return ""
    chart = scatter_chart(
        points, title="Score against parameters", x_label="parameters", y_label="score", theme="inherit"
    )
    return f'<div class="charts">{chart}</div>'


def candidates_section(content: ReportContent) -> str:
    """The best candidates and the chosen one, and all of them as points."""
    ranked = sorted(content.candidates, key=lambda item: item.rank)
    shown = ranked[:SHOWN_CANDIDATES] + [item for item in ranked[SHOWN_CANDIDATES:] if item.chosen]
    columns = [
        Column("rank", numeric=True),
        Column("score", numeric=True),
        Column("parameters", numeric=True),
        Column("MAdds", numeric=True),
        Column("origin"),
        Column("architecture"),
    ]
    body = _scatter(content) + table(columns, [_candidate_row(item) for item in shown])
    also = " and the chosen one," if len(shown) > SHOWN_CANDIDATES else ""
    note = f"The best {SHOWN_CANDIDATES}{also} of {len(ranked)} scored candidates." if len(shown) < len(ranked) else ""
    note = f"{note} {content.metric_note if ranked else ''}".strip()
    return section("candidates", "Candidates", body, note)


def subspaces_section(content: ReportContent) -> str:
    """The course of a search by subspaces."""
    if content.subspaces is None:
        return ""
    charts = "".join(subspace_charts(content.subspaces, theme="inherit"))
    note = "Of the first trial: each centre stands for all architectures within a few edits of it."
    return section("subspaces", "Subspaces over the search", f'<div class="charts">{charts}</div>', note)


def comparison_section(content: ReportContent) -> str:
    """This run beside others."""
    columns = [
        Column("run", wide=True),
        Column("method"),
        Column("test metric", numeric=True),
        Column("parameters", numeric=True),
        Column("MAdds", numeric=True),
        Column("wall time", numeric=True),
    ]
    rows = []
    for row in content.comparison:
        badge = '<span class="badge">this run</span>' if row.current else ""
        texts = (row.method, row.value, row.parameters, row.madds, row.seconds)
        rows.append(([escape(row.name) + badge, *(escape(text) for text in texts)], row.current))
    return section("comparison", "Beside other runs", table(columns, rows))


def next_section(content: ReportContent) -> str:
    """Commands to copy, each with what it does."""
    body = "".join(
        f'<div class="command"><p>{escape(explanation)}</p>{code(command)}</div>'
        for command, explanation in content.next_commands
    )
    return section("next", "Go on from here", body)


def asked_section(content: ReportContent) -> str:
    """Task, method, space, seed, command and settings."""
    task = f"{content.task_name}: {content.task}" if content.task_name and content.task else ""
    facts = {
        "task": task or content.task_name or content.task,
        "method": content.method,
        "search space": content.space,
        "seed": "" if content.seed is None else str(content.seed),
    }
    body = definitions(facts)
    if content.command:
        body += f'<div class="command"><p class="note">The command of this run:</p>{code(content.command)}</div>'
    if content.settings_yaml:
        body += details("All settings as resolved", code(content.settings_yaml))
    return section("asked", "What was asked", body)


def facts_sections(content: ReportContent) -> list[str]:
    """Where it ran, and where the data came from."""
    return [
        section("environment", "Where it ran", definitions(content.environment)),
        section("provenance", "Where the data came from", definitions(content.provenance)),
    ]
