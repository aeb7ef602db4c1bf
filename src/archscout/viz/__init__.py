"""Drawings and charts as SVG text, and the report as one HTML file."""

from archscout.viz.charts.charts import Point, Series, line_chart, scatter_chart
from archscout.viz.charts.heat_map import heat_map
from archscout.viz.drawings.blocks import draw_mobilenet
from archscout.viz.drawings.cells import draw_cell, draw_genotype
from archscout.viz.drawings.changes import draw_changes
from archscout.viz.drawings.kernels import draw_kernels
from archscout.viz.drawings.nasbench201 import draw_nasbench201
from archscout.viz.drawings.networks import draw_network
from archscout.viz.drawings.recurrent import draw_recurrent
from archscout.viz.drawings.registry import DRAWINGS, SIZED_DRAWINGS, draw
from archscout.viz.report.content import (
    CandidateView,
    ComparisonRow,
    NumberView,
    ReportContent,
    StageView,
    SubspaceView,
)
from archscout.viz.report.report import render_report
from archscout.viz.report.subspaces import draw_subspace_graph

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
]
