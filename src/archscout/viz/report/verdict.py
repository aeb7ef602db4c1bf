"""The head of the report: what was found, in one sentence and a few key numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from archscout.viz.report.content import NumberView, ReportContent
from archscout.viz.report.html import duration
from archscout.viz.svg import escape

__all__ = ["header", "headline"]


def headline(content: ReportContent) -> NumberView | None:
    """The first number that was measured on the test split."""
    return next((item for item in content.numbers if re.search(r"\btest\b", item.split, re.IGNORECASE)), None)


def _named(numbers: Sequence[NumberView], *words: str) -> NumberView | None:
    """The first number whose name contains one of the words."""
    return next((item for item in numbers if any(word in item.name.lower() for word in words)), None)


def _wall_time(content: ReportContent) -> NumberView | None:
    named = _named(content.numbers, "wall time", "total time")
    if named is not None or not content.stages:
        return named
    seconds = sum(stage.seconds for stage in content.stages if stage.seconds > 0)
    return NumberView("wall time, all stages", duration(seconds))


def _verdict(content: ReportContent, main: NumberView | None) -> str:
    """The sentence, as HTML."""
    who = f"<b>{escape(content.method)}</b>" if content.method else "The search"
    on = f" on {escape(content.task_name)}" if content.task_name else ""
    if main is None:
        open_stages = [stage.name for stage in content.stages if not stage.complete]
        if open_stages:
            return f"{who}{on}: not finished yet; {escape(', '.join(open_stages))} still to complete."
        return f"{who}{on}: no number has been measured on the test split yet."
    sizes = [
        (_named(content.numbers, "parameter"), "parameters"),
        (_named(content.numbers, "madds", "multiply"), "MAdds"),
    ]
    listed = [f"<b>{escape(item.value)}</b> {unit}" for item, unit in sizes if item is not None]
    having = f" with {' and '.join(listed)}" if listed else ""
    return (
        f"{who} found a network{having} that reaches <b>{escape(main.value)}</b> "
        f"{escape(main.name)}{on} ({escape(main.split)})."
    )


def _tile(item: NumberView, main: bool = False) -> str:
    split = f"<span>{escape(item.split)}</span>" if item.split else ""
    name = f"<span>{escape(item.name)}</span>"
    return f'<div class="tile{" main" if main else ""}"><b>{escape(item.value)}</b>{name}{split}</div>'


def _tiles(content: ReportContent, main: NumberView | None) -> str:
    others = [
        _named(content.numbers, "parameter"),
        _named(content.numbers, "madds", "multiply"),
        _named(content.numbers, "latency"),
        _wall_time(content),
    ]
    tiles = [_tile(main, main=True)] if main is not None else []
    tiles += [_tile(item) for item in others if item is not None and item is not main]
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _stages(content: ReportContent) -> str:
    items = "".join(
        f'<li class="{"done" if stage.complete else "open"}"><b>{escape(stage.name)}</b> '
        f"{duration(stage.seconds)}{'' if stage.complete else ', not complete'}</li>"
        for stage in content.stages
    )
    return f'<ul class="stages">{items}</ul>' if items else ""


def _navigation(sections: Sequence[str]) -> str:
    """Links to the sections, read from the sections themselves, so that the two cannot differ."""
    found = [re.match(r'<section id="([^"]*)"><h2>(.*?)</h2>', text) for text in sections]
    links = "".join(f'<a href="#{match[1]}">{match[2]}</a>' for match in found if match)
    return f"<nav>{links}</nav>" if links else ""


def header(content: ReportContent, sections: Sequence[str]) -> str:
    """Title, verdict, key numbers, stages, warnings, and links to the sections that there are."""
    main = headline(content)
    eyebrow = " · ".join(escape(text) for text in ("archscout report", content.created) if text)
    warnings = "".join(f"<p>{escape(text)}</p>" for text in content.warnings)
    return (
        f'<header><p class="eyebrow">{eyebrow}</p><h1>{escape(content.title)}</h1>\n'
        f'<p class="verdict">{_verdict(content, main)}</p>\n'
        + (f'<div class="warnings" role="note">{warnings}</div>\n' if warnings else "")
        + f"{_tiles(content, main)}{_stages(content)}{_navigation(sections)}</header>\n"
    )
