"""The report: complete, self-contained, escaped, and right with any part missing."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest

from archscout.spaces.cells.genotype import Cell, CellGenotype, Input
from archscout.viz import CandidateView, ComparisonRow, NumberView, ReportContent, StageView, render_report
from archscout.viz.report.charts import stage_charts
from archscout.viz.report.report import duration

CELL = Cell(((Input("sep_conv_3x3", 0), Input("skip_connect", 1)),), (2,))
GENOTYPE = CellGenotype(CELL, CELL)
EVIL = "<script>alert('x')</script>\"&\x00"
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Checker(HTMLParser):
    """Finds tags that are not closed in order, and collects what a page must not or must have."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [f"{name}={value}" for name, value in attrs if name in ("src", "onclick", "onload")]
        self.outside += [str(value) for name, value in attrs if name == "href" and not str(value).startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag


def check(text: str) -> Checker:
    """The page's structure; fails where tags do not match."""
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.outside == []
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.tags)
    assert "url(" not in text and "@import" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)
    return checker


def full(text: str = "words") -> ReportContent:
    """A report in which every foreign string is `text` or contains it."""
    search = StageView(
        text,
        102.4,
        True,
        [
            {
                "step": i,
                "loss": 1 / i,
                "reward": i / 9,
                "baseline": i / 10,
                "entropy": 1.9,
                "skip_share": 0.1,
                text: 2.0,
            }
            for i in range(1, 9)
        ],
    )
    train = StageView("train", 71.0, False, [{"step": 1, "loss": 0.5, "accuracy": 0.75}])
    return ReportContent(
        title=text,
        command=text,
        task=text,
        task_name=text,
        method=text,
        space=text,
        seed=3,
        created=text,
        architecture=GENOTYPE,
        architecture_text=text,
        settings_yaml=text,
        stages=[search, train],
        candidates=[
            CandidateView(i, 0.9 - i / 100, 1000 * i, 2_000_000 * i, text, i == 17, f"{text} {i}") for i in range(1, 21)
        ],
        numbers=[
            NumberView(f"validation {text}", "97.1 %", "validation, 288 samples", text),
            NumberView(f"accuracy {text}", "98.6 %", f"test, 360 samples {text}", text),
            NumberView("parameters", "213,450"),
            NumberView("MAdds", "21.4 M"),
            NumberView("latency, batch 1", "2.3 ms"),
        ],
        comparison=[ComparisonRow(text, text, text, text, text, text, True), ComparisonRow("other", "random search")],
        environment={text: text},
        provenance={text: text},
        next_commands=[(text, text)],
        warnings=[text],
    )


def test_a_report_with_only_a_title_is_whole() -> None:
    text = render_report(ReportContent(title="bare"))
    assert check(text).tags.count("section") == 0
    assert "<h1>bare</h1>" in text and "no number has been measured on the test split" in text


@pytest.mark.parametrize("name", [field.name for field in fields(ReportContent) if field.name != "title"])
def test_a_report_with_any_part_missing_or_alone_is_whole(name: str) -> None:
    empty = ReportContent(title="bare")
    check(render_report(replace(full(), **{name: getattr(empty, name)})))
    check(render_report(replace(empty, **{name: getattr(full(), name)})))


def test_foreign_strings_are_escaped_everywhere() -> None:
    text = render_report(full(EVIL))
    check(text)
    assert "<script" not in text.lower() and "\x00" not in text
    assert text.encode()


def test_strings_that_no_file_can_hold_are_replaced() -> None:
    assert "a\ufffdb" in render_report(ReportContent(title="a\udc80b"))


def test_the_verdict_has_the_number_of_the_test_split_and_the_sizes() -> None:
    text = render_report(full())
    verdict = re.sub(r"<[^>]+>", "", re.findall(r'<p class="verdict">(.*?)</p>', text)[0])
    assert verdict == (
        "words found a network with 213,450 parameters and 21.4 M MAdds that reaches 98.6 % accuracy words on words "
        "(test, 360 samples words)."
    )
    assert "2 min 53 s" in text  # the wall time of both stages


def test_every_number_states_its_split() -> None:
    text = render_report(full())
    assert "validation, 288 samples" in text and "test, 360 samples" in text


def test_a_run_that_is_not_finished_says_what_is_open() -> None:
    text = render_report(replace(full(), numbers=[]))
    assert "not finished yet; train still to complete" in text
    assert "1 min 11 s, not complete" in text


def test_the_table_has_the_best_fifteen_and_the_chosen_one() -> None:
    text = render_report(full("cell"))
    assert re.findall(r"<code>cell (\d+)</code>", text) == [*map(str, range(1, 16)), "17"]
    assert re.search(r"<tr class=marked><td[^>]*>17</td>", text)
    assert "The best 15 and the chosen one, of 20 scored candidates." in text


def test_candidates_without_sizes_or_with_a_broken_score_are_listed() -> None:
    rows = [CandidateView(1, 0.5), CandidateView(2, math.nan, 10)]
    text = render_report(ReportContent(title="t", candidates=rows))
    check(text)
    assert "not finite" in text and "Score against parameters" not in text


def test_links_lead_to_sections_that_exist() -> None:
    text = render_report(full())
    anchors = re.findall(r'<a href="#([^"]+)"', text)
    assert anchors and all(f'<section id="{anchor}"' in text for anchor in anchors)
    assert len(set(anchors)) == len(anchors)


def test_the_architecture_is_drawn_in_the_colours_of_the_page() -> None:
    text = render_report(full())
    assert 'class="as-drawing as-inherit"' in text
    assert "prefers-color-scheme: dark" in text and text.count("<style>") == 1


def test_metrics_are_grouped_into_charts() -> None:
    charts = stage_charts(full().stages[0])
    labels = [ET.fromstring(chart).attrib["aria-label"] for chart in charts]
    assert labels == ["Loss", "Reward and baseline", "Entropy of the choices", "Share of skip connections", "Words"]


def test_a_metric_that_is_logged_now_and_then_leaves_no_gap() -> None:
    rows = [{"step": float(i), "loss": 1.0, **({"accuracy": i / 10} if i % 3 == 0 else {})} for i in range(10)]
    accuracy = stage_charts(StageView("train", 1.0, True, rows))[1]
    (path,) = re.findall(r'class="as-line0" d="(M[^"]*L[^"]*)"', accuracy)
    assert path.count("M") == 1 and path.count("L") == 3


def test_steps_that_repeat_are_not_an_axis() -> None:
    rows = [{"step": 1.0, "loss": 1.0}, {"step": 1.0, "loss": 2.0}]
    (chart,) = stage_charts(StageView("train", 1.0, True, rows))
    assert ">row<" in chart and ">step<" not in chart


def test_a_loss_over_orders_of_magnitude_has_a_logarithmic_axis() -> None:
    wide = stage_charts(StageView("a", 1.0, True, [{"loss": 10.0**-i} for i in range(5)]))[0]
    narrow = stage_charts(StageView("a", 1.0, True, [{"loss": 1.0 - i / 10} for i in range(5)]))[0]
    assert ">0.001<" in wide and ">0.001<" not in narrow


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.42 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7_620, "2 h 07 min"),
        (math.nan, "\u2013"),
        (-1, "\u2013"),
        (math.inf, "∞"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
