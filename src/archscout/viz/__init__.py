"""Drawings, charts and the report: text that browsers show, made without any other program."""

from archscout.viz.blocks import draw_mobilenet
from archscout.viz.cells import draw_cell, draw_genotype
from archscout.viz.changes import draw_changes
from archscout.viz.charts import Point, Series, line_chart, scatter_chart
from archscout.viz.content import CandidateView, ComparisonRow, NumberView, ReportContent, StageView, SubspaceView
from archscout.viz.drawings import DRAWINGS, SIZED_DRAWINGS, draw
from archscout.viz.graph_text import to_dot, to_mermaid
from archscout.viz.heat_map import heat_map
from archscout.viz.kernels import draw_kernels
from archscout.viz.nasbench201 import draw_nasbench201
from archscout.viz.networks import draw_network
from archscout.viz.recurrent import draw_recurrent
from archscout.viz.report import render_report
from archscout.viz.subspaces import draw_subspace_graph

__all__ = [
    "DRAWINGS",
    "SIZED_DRAWINGS",
    "CandidateView",
    "ComparisonRow",
    "NumberView",
    "Point",
    "ReportContent",
    "Series",
    "StageView",
    "SubspaceView",
    "draw",
    "draw_cell",
    "draw_changes",
    "draw_genotype",
    "draw_kernels",
    "draw_mobilenet",
    "draw_nasbench201",
    "draw_network",
    "draw_recurrent",
    "draw_subspace_graph",
    "heat_map",
    "line_chart",
    "render_report",
    "scatter_chart",
    "to_dot",
    "to_mermaid",
]
