"""How objects show themselves in a notebook: small tables, with everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

__all__ = ["html_table"]


def html_table(title: str, rows: Mapping[str, object]) -> str:
    """A table of two columns as HTML; texts of several lines keep them."""
    body = "".join(
        f'<tr><th style="text-align: left; vertical-align: top">{escape(name)}</th>'
        f'<td style="text-align: left; white-space: pre-wrap">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f"<div><b>{escape(title)}</b><table>{body}</table></div>"
