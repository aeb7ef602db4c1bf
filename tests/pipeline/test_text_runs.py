"""A run on a text from the search to the report, and what can go wrong on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import archscout
from archscout.errors import DataError, RunError, SpaceError
from archscout.pipeline.config import resolve_settings
from archscout.pipeline.estimate import estimate_run
from archscout.rundir import RunDirectory
from archscout.testing.cases import WORDS, write_text

QUICK = [
    "supernet.width=8",
    "network.width=8",
    "search.epochs=1",
    "search.child.batch_size=4",
    "search.policy.batch_size=2",
    "search.ranking.candidates=3",
    "search.ranking.batch_size=2",
    "train.epochs=2",
    "train.batch_size=4",
    "export.formats=[torch]",
    "evaluate.latency_batch_sizes=[1]",
]


def run_on(folder: Path, out: Path, **options: Any) -> archscout.Run:
    return archscout.run(
        str(folder), method="ednas", values={"space": "recurrent"}, overrides=QUICK, out=out, **options
    )


def test_a_run_on_a_text(tmp_path: Path) -> None:
    text = write_text(tmp_path / "text")
    run = run_on(text, tmp_path / "run")
    assert run.pending() == []
    assert run.result["metric"] == "perplexity" and 1 < run.result["test"]["perplexity"] < 12
    assert run.result["parameters"] == 9 * 8 + 9 + 4 * 64 + 8 * 2 * 64
    assert sorted(file.name for file in (tmp_path / "run" / "export").iterdir()) == ["segment.pt2", "step.pt2"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert "perplexity" in report and 'data-operation="' in report
    assert (tmp_path / "run" / "vocabulary.txt").read_text().split()[0] in WORDS
    written = archscout.generate(tmp_path / "run", "one two", words=9)
    assert written.startswith("one two") and set(written.split()) <= set(WORDS)


def test_wrong_texts_and_spaces_stop_before_a_folder_is_made(tmp_path: Path) -> None:
    text = write_text(tmp_path / "text")
    with pytest.raises(SpaceError, match="list spaces"):
        archscout.run(str(text), method="ednas", out=tmp_path / "run")
    (text / "train.txt").write_text("")
    with pytest.raises(DataError, match=r"train.txt"):
        run_on(text, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_on_images_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run directory"):
        archscout.generate(tmp_path / "nothing")


@pytest.mark.parametrize("method", ["ednas", "darts"])
def test_an_estimate_of_a_run_on_a_text_reads_a_part_of_it(method: str, tmp_path: Path) -> None:
    text = write_text(tmp_path / "text", lines=2000)
    small = [
        "supernet.width=8",
        "network.width=8",
        "train.batch_size=4",
        "train.epochs=50",
        "search.epochs=50",
        "nodes=3",
    ]
    sizes = {
        "ednas": ["search.child.batch_size=8", "search.policy.batch_size=8"],
        "darts": ["search.batch_size=8", "order=first"],
    }
    settings = resolve_settings(
        str(text), method=method, values={"space": "recurrent"}, overrides=[*small, *sizes[method]]
    )
    run = archscout.Run(RunDirectory(tmp_path / "none"), settings)
    words = len(run.task.train)
    found = estimate_run(run)
    assert found.smallest.parameters == found.largest.parameters == 9 * 8 + 9 + 4 * 64 + 3 * 2 * 64
    assert len(run.task.train) < words / 2
    assert [stage.name for stage in found.stages] == ["search", "train"]
    assert all(stage.seconds_total > stage.seconds_per_step > 0 for stage in found.stages)
    assert not (tmp_path / "none").exists()


def test_candidates_on_texts_are_scored_with_shared_weights(tmp_path: Path) -> None:
    text = write_text(tmp_path / "text")
    with pytest.raises(SpaceError, match="score=shared"):
        archscout.run(str(text), method="evolution", values={"space": "recurrent"}, out=tmp_path / "run")
    run = archscout.search(
        str(text),
        method="evolution",
        values={"space": "recurrent"},
        overrides=["score=shared", "queries=4", "population=2", "shared.epochs=1", "shared.child.batch_size=4",
                   "supernet.width=8"],
        out=tmp_path / "run",
    )  # fmt: skip
    best, *rest = [candidate["score"] for candidate in run.candidates()]
    assert -12 < best < -1 and all(score <= best for score in rest)  # perplexities, not percent
