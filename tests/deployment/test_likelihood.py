"""Likelihoods of texts: as the evaluation of a run has them, line by line."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import archscout
import archscout.errors
from archscout.cli import app
from archscout.pipeline.run import Run
from archscout.testing.cases import write_text

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
    "export.formats=[onnx]",
    "evaluate.latency_batch_sizes=[1]",
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = write_text(tmp_path_factory.mktemp("text") / "text")
    out = tmp_path_factory.mktemp("runs") / "text"
    return folder, archscout.run(str(folder), method="ednas", values={"space": "recurrent"}, overrides=QUICK, out=out)


def test_the_perplexity_of_the_test_text_is_that_of_the_run(text: tuple[Path, Run]) -> None:
    folder, run = text
    done = CliRunner().invoke(app, ["predict", str(run.directory.path), str(folder / "test.txt")])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert rows[-1]["line"] == "all"
    assert float(rows[-1]["perplexity"]) == pytest.approx(run.result["test"]["perplexity"], rel=1e-6)
    assert sum(int(row["words"]) for row in rows[:-1]) == int(rows[-1]["words"])
    total = sum(float(row["log_likelihood"]) for row in rows[:-1])
    assert total == pytest.approx(float(rows[-1]["log_likelihood"]))
    assert len(rows) - 1 == len((folder / "test.txt").read_text().splitlines())


def test_lines_apart_are_scored_word_by_word(text: tuple[Path, Run], tmp_path: Path) -> None:
    _, run = text
    (tmp_path / "prompts.txt").write_text("one two three\nzzz one\n")
    predictor = archscout.load(run.directory.path)
    first, second, whole = predictor.likelihood(tmp_path / "prompts.txt", apart=True)
    assert (first.words, first.unknown, second.words, second.unknown) == (4, 0, 3, 1)
    known = {word: number for number, word in enumerate(predictor.class_names)}
    words = [known[word] for word in ("<eos>", "one", "two", "three", "<eos>")]
    with torch.inference_mode():
        chances = predictor.network(torch.tensor([words[:-1]])).log_softmax(2)[0]
    wanted = sum(float(chances[place, word]) for place, word in enumerate(words[1:]))
    assert first.log_likelihood == pytest.approx(wanted, rel=1e-5)
    assert first.perplexity == pytest.approx(math.exp(-wanted / 4), rel=1e-5)
    assert whole.log_likelihood == pytest.approx(first.log_likelihood + second.log_likelihood)


def test_a_text_in_one_piece_and_through_the_exported_step(text: tuple[Path, Run]) -> None:
    folder, run = text
    predictor = archscout.load(run.directory.path)
    exported = archscout.load(run.directory.path / "export/step.onnx")
    found = predictor.likelihood(folder / "test.txt", columns=1)
    again = exported.likelihood(folder / "test.txt", columns=1)
    assert [line.log_likelihood for line in again] == pytest.approx([line.log_likelihood for line in found], rel=1e-4)
    with pytest.raises(archscout.errors.DataError, match=r"step\.onnx"):
        archscout.load(run.directory.path / "export/segment.onnx")


def test_a_wrong_text_is_a_row(text: tuple[Path, Run], tmp_path: Path) -> None:
    _, run = text
    (tmp_path / "a.txt").write_bytes(b"\x00\x01\x02\xff" * 9)
    (tmp_path / "b.txt").write_text("one two\n")
    done = CliRunner().invoke(app, ["predict", str(run.directory.path), str(tmp_path)])
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert done.exit_code == 0 and rows[0]["error"] and rows[1]["words"] == "2"
