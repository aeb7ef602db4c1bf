"""Drawings, charts and the report: text that browsers show, made without any other program."""

from archscout.viz.cells import draw_cell, draw_genotype
from archscout.viz.charts import Point, Series, line_chart, scatter_chart
from archscout.viz.content import CandidateView, ComparisonRow, NumberView, ReportContent, StageView
from archscout.viz.drawings import DRAWINGS, draw
from archscout.viz.graph_text import to_dot, to_mermaid
from archscout.viz.recurrent import draw_recurrent
from archscout.viz.report import render_report

__all__ = [
    "DRAWINGS",
    "CandidateView",
    "ComparisonRow",
    "NumberView",
    "Point",
    "ReportContent",
    "Series",
    "StageView",
    "draw",
    "draw_cell",
    "draw_genotype",
    "draw_recurrent",
    "line_chart",
    "render_report",
    "scatter_chart",
    "to_dot",
    "to_mermaid",
]
