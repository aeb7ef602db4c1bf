"""Colours and style sheets of drawings and of the report, light, dark and printed.

A drawing that stands alone carries literal colours, which every SVG reader understands. A drawing inside the report
takes them from the page's CSS variables, so that the page alone decides between light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from archscout.errors import SettingsError

__all__ = ["DARK", "FAMILIES", "FONT", "LIGHT", "SERIES", "Theme", "page_variables", "svg_rules", "svg_style"]

Theme = Literal["auto", "light", "dark", "inherit"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

# Operation families, in legend order.
FAMILIES = ("separable", "dilated", "pooling", "skip", "full", "bottleneck", "other", "none")
SERIES = 6

LIGHT = {
    "page": "#f7f7f5",
    "surface": "#ffffff",
    "raised": "#f4f6f8",
    "ink": "#1c2430",
    "muted": "#5b6675",
    "line": "#dfe3e8",
    "grid": "#e9ecf0",
    "wire": "#98a3b0",
    "accent": "#1f5fa8",
    "tint": "#eaf2fb",
    "warn": "#8a5a00",
    "warn-tint": "#fdf4e0",
    "good": "#2a7d46",
    "separable-fill": "#e2edfa",
    "separable-line": "#2f6fb7",
    "dilated-fill": "#efe5fa",
    "dilated-line": "#7f4db5",
    "pooling-fill": "#fcefd6",
    "pooling-line": "#b1740d",
    "skip-fill": "#e1f2e6",
    "skip-line": "#2f8a4e",
    "full-fill": "#d9f0f0",
    "full-line": "#12787d",
    "bottleneck-fill": "#fbe4e9",
    "bottleneck-line": "#b53c5b",
    "other-fill": "#ececdf",
    "other-line": "#75703a",
    "none-fill": "#f1f3f5",
    "none-line": "#8792a0",
    "series0": "#2f6fb7",
    "series1": "#c75f12",
    "series2": "#2f8a4e",
    "series3": "#7f4db5",
    "series4": "#b53c5b",
    "series5": "#5b6675",
}
DARK = {
    "page": "#0f1319",
    "surface": "#161b23",
    "raised": "#1d242e",
    "ink": "#e5e9ef",
    "muted": "#9ba7b6",
    "line": "#2d3642",
    "grid": "#262e39",
    "wire": "#6a7786",
    "accent": "#7fb4ee",
    "tint": "#1a2a3f",
    "warn": "#e9b95c",
    "warn-tint": "#2f2613",
    "good": "#6cc48c",
    "separable-fill": "#1b3350",
    "separable-line": "#6fa8e6",
    "dilated-fill": "#34254b",
    "dilated-line": "#b78ce6",
    "pooling-fill": "#3d2f13",
    "pooling-line": "#dfa945",
    "skip-fill": "#1a3826",
    "skip-line": "#61bb81",
    "full-fill": "#123638",
    "full-line": "#5cbcc2",
    "bottleneck-fill": "#42222d",
    "bottleneck-line": "#e6879f",
    "other-fill": "#31301d",
    "other-line": "#bdb67a",
    "none-fill": "#232a34",
    "none-line": "#7a8695",
    "series0": "#6fa8e6",
    "series1": "#f09c55",
    "series2": "#61bb81",
    "series3": "#b78ce6",
    "series4": "#e6879f",
    "series5": "#9ba7b6",
}


def svg_rules(colors: Mapping[str, str], theme: Theme) -> str:
    """The rules of the drawings of a theme with the given colours. Drawings of several themes may share a page."""
    rules = {
        "text": f"font-family:{FONT};fill:{colors['ink']}",
        ".as-background": f"fill:{colors['surface']}",
        ".as-title": "font-size:15px;font-weight:600",
        ".as-label": "font-size:12px",
        ".as-small": f"font-size:11px;fill:{colors['muted']}",
        ".as-mono": f"font-family:{MONO};font-size:13px;white-space:pre",
        ".as-wire": f"fill:none;stroke:{colors['wire']};stroke-width:1.5",
        ".as-wire0": f"stroke:{colors['muted']}",
        ".as-ignored": "opacity:0.55",
        ".as-concat": f"fill:none;stroke:{colors['wire']};stroke-width:1.3;stroke-dasharray:2 4;stroke-linecap:round",
        ".as-node": f"fill:{colors['raised']};stroke:{colors['muted']};stroke-width:1.4",
        ".as-absent": f"fill:none;stroke:{colors['muted']};stroke-width:1.2;stroke-dasharray:3 3",
        ".as-grid": f"fill:none;stroke:{colors['grid']};stroke-width:1",
        ".as-axis": f"fill:none;stroke:{colors['wire']};stroke-width:1",
        ".as-halo": f"paint-order:stroke;stroke:{colors['surface']};stroke-width:4px;stroke-linejoin:round",
        ".as-reduction": f"fill:{colors['tint']};stroke:{colors['accent']};stroke-width:1.8",
        ".as-halving rect": f"fill:{colors['tint']};stroke:{colors['accent']};stroke-width:1.8",
        ".as-heat": f"fill:{colors['series0']}",
        ".as-on-heat": f"fill:{colors['surface']}",
        ".as-ring": f"fill:none;stroke:{colors['ink']};stroke-width:1.8",
    }
    for family in FAMILIES:
        line = colors[f"{family}-line"]
        rules[f".as-{family} rect"] = f"fill:{colors[f'{family}-fill']};stroke:{line};stroke-width:1.3"
        rules[f".as-{family} .as-out"] = f"fill:none;stroke:{line};stroke-width:1.6"
    rules[".as-none rect"] += ";stroke-dasharray:3 3"
    # Beside a baseline: what stayed steps back, what came has a strong outline, what went is struck out.
    rules[".as-kept rect"] = f"fill:{colors['raised']};stroke:{colors['line']};stroke-width:1.2"
    rules[".as-kept .as-out"] = f"fill:none;stroke:{colors['wire']};stroke-width:1.2"
    rules[".as-kept text"] = f"fill:{colors['muted']}"
    rules[".as-added rect"] = "stroke-width:2.6"
    rules[".as-removed rect"] = "stroke-dasharray:4 3"
    rules[".as-came rect"] = f"fill:{colors['surface']};stroke:{colors['ink']};stroke-width:2.6"
    rules[".as-went rect"] = f"fill:{colors['surface']};stroke:{colors['ink']};stroke-width:1.3;stroke-dasharray:4 3"
    rules[".as-removed text"] = "text-decoration:line-through"
    for index in range(SERIES):
        color = colors[f"series{index}"]
        rules[f".as-line{index}"] = f"fill:none;stroke:{color};stroke-width:1.8;stroke-linejoin:round"
        rules[f".as-dot{index}"] = f"fill:{color};stroke:{colors['surface']};stroke-width:0.8"
    return "".join(f".as-{theme} {selector}{{{body}}}" for selector, body in rules.items())


def svg_style(theme: Theme) -> str:
    """The style element of a drawing that stands alone; empty for `inherit`. Raises SettingsError."""
    if theme == "inherit":
        return ""
    if theme == "light":
        return f"<style>{svg_rules(LIGHT, theme)}</style>"
    if theme == "dark":
        return f"<style>{svg_rules(DARK, theme)}</style>"
    if theme != "auto":
        raise SettingsError(f"unknown theme {theme!r}; allowed: {', '.join(get_args(Theme))}.")
    dark = f"@media screen and (prefers-color-scheme: dark){{{svg_rules(DARK, theme)}}}"
    return f"<style>{svg_rules(LIGHT, theme)}{dark}</style>"


def page_variables() -> str:
    """CSS variables of both palettes, and the drawings' rules in terms of them. Print is always light."""

    def variables(colors: Mapping[str, str]) -> str:
        return ":root{" + "".join(f"--{name}:{value};" for name, value in colors.items()) + "}"

    rules = svg_rules({name: f"var(--{name})" for name in LIGHT}, "inherit")
    return f"{variables(LIGHT)}@media screen and (prefers-color-scheme: dark){{{variables(DARK)}}}{rules}"
