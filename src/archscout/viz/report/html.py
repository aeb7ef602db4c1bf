"""Snippets of HTML. Arguments named `body` or `html` are HTML already; everything else is foreign and escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from archscout.viz.svg import escape

__all__ = ["Column", "code", "definitions", "details", "duration", "page", "section", "table"]

# In a place where a value is missing: an en dash.
NOTHING = "\u2013"
# Nothing is loaded from anywhere, whatever a foreign string may contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 0 or seconds != seconds:
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds == float("inf"):
        return "∞"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def section(anchor: str, title: str, body: str, note: str = "") -> str:
    """A titled section; nothing where the body is empty."""
    if not body:
        return ""
    lead = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{lead}{body}</section>\n'


def details(summary: str, body: str) -> str:
    """A part that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def code(text: str) -> str:
    """A block of code that one click selects."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def definitions(items: Mapping[str, str]) -> str:
    """Names with their values; items without a value are left out."""
    rows = "".join(
        f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in items.items() if value
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


@dataclass(frozen=True)
class Column:
    """A column of a table; `numeric` ones are aligned right, `wide` ones may wrap."""

    title: str
    numeric: bool = False
    wide: bool = False

    @property
    def attributes(self) -> str:
        """Its class attribute."""
        names = " ".join(name for name, on in (("numeric", self.numeric), ("wide", self.wide)) if on)
        return f' class="{names}"' if names else ""


def table(columns: Sequence[Column], rows: Iterable[tuple[Sequence[str], bool]]) -> str:
    """A table of cells that are HTML already; the flag marks a row. Columns without any content are left out."""
    listed = list(rows)
    shown = [i for i in range(len(columns)) if any(cells[i] for cells, _ in listed)]
    if not shown:
        return ""
    head = "".join(f'<th scope="col"{columns[i].attributes}>{escape(columns[i].title)}</th>' for i in shown)
    body = ""
    for cells, marked in listed:
        row = "".join(f"<td{columns[i].attributes}>{cells[i] or NOTHING}</td>" for i in shown)
        body += f"<tr{' class=marked' if marked else ''}>{row}</tr>"
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def page(title: str, style: str, body: str) -> str:
    """The whole file."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n<body>\n{body}</body></html>\n"
    )
