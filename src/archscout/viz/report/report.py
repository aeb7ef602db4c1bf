"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from archscout.version import __version__
from archscout.viz.report.content import CandidateView, ComparisonRow, NumberView, ReportContent, StageView
from archscout.viz.report.html import page
from archscout.viz.report.page_style import report_style
from archscout.viz.report.sections import (
    architecture_section,
    asked_section,
    candidates_section,
    comparison_section,
    curve_sections,
    facts_sections,
    next_section,
    numbers_section,
    subspaces_section,
)
from archscout.viz.report.trials import tuning_section
from archscout.viz.report.verdict import header
from archscout.viz.svg import escape

__all__ = ["CandidateView", "ComparisonRow", "NumberView", "ReportContent", "StageView", "render_report"]


def render_report(content: ReportContent) -> str:
    """The report as HTML text: no script, no outside resource, light and dark, readable on paper.

    Foreign strings are escaped; empty parts are left out.
    """
    parts = [
        asked_section(content),
        numbers_section(content),
        architecture_section(content),
        subspaces_section(content),
        *curve_sections(content),
        tuning_section(content),
        candidates_section(content),
        comparison_section(content),
        next_section(content),
        *facts_sections(content),
    ]
    made = f"Made by archscout {__version__}"
    footer = f"<footer>{escape(made)}{' · ' + escape(content.created) if content.created else ''}</footer>\n"
    shown = [part for part in parts if part]
    body = f"<main>\n{header(content, shown)}{''.join(shown)}{footer}</main>\n"
    return page(f"{content.title}: archscout report", report_style(), body)
