"""Cross-validation: folds that are whole runs, resumed after a stop, with mean and spread."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from archscout import api
from archscout.cli import app
from archscout.errors import DataError, RunError, SettingsError, StoppedError
from archscout.jobs import Job, Metrics
from archscout.pipeline.folds import CrossValidation, spread
from archscout.progress import LineObserver

SHORT = [
    "train.epochs=2",
    "train.batch_size=8",
    "export.formats=[torch]",
    "evaluate.latency_batch_sizes=[1]",
    "search.epochs=1",
    "search.child.batch_size=8",
    "search.ranking.candidates=2",
    "supernet.init_channels=4",
    "supernet.layers=3",
    "network.init_channels=4",
    "network.layers=3",
]
FOLDS = 3


class StopsIn(LineObserver):
    """Sends a signal when a stage of a fold begins."""

    def __init__(self, fold: str, stage: str) -> None:
        super().__init__(quiet=True)
        self.fold, self.stage, self.there = fold, stage, False

    def message(self, text: str) -> None:
        self.there = self.there or self.fold in text

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        if self.there and stage == self.stage:
            self.there = False
            os.kill(os.getpid(), signal.SIGINT)

    def checkpointed(self, stage: str, step: int, job: Job[Any]) -> None:
        pass


def write_images(folder: Path, test: bool = False) -> Path:
    draw = np.random.default_rng(0)
    for part in ("train", "test") if test else ("",):
        for label, base in (("dark", 60), ("light", 190)):
            (folder / part / label).mkdir(parents=True)
            for number in range(12):
                pixels = draw.normal(base, 20, (8, 8)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cross-validation that a signal stopped in the second fold, and what was said then."""
    root = tmp_path_factory.mktemp("folds")
    with pytest.raises(StoppedError) as error:
        api.cross_validate(
            str(write_images(root / "pets")),
            folds=FOLDS,
            method="random",
            overrides=SHORT,
            out=root / "run",
            observers=[StopsIn("fold-2", "train")],
        )
    return root / "run", str(error.value)


@pytest.fixture(scope="module")
def done(stopped: tuple[Path, str]) -> CrossValidation:
    path, message = stopped
    assert message.endswith(f"archscout resume {path}")
    folds = CrossValidation.open(path)
    assert folds.pending() == [2, 3]
    assert folds.result["evaluated"] == [1]
    status = CliRunner().invoke(app, ["status", str(path)]).output
    assert "fold-1: done" in status
    assert "fold-3: to do" in status
    before = (path / "fold-1" / "result.json").read_text()
    result = CliRunner().invoke(app, ["resume", str(path), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "mean and standard deviation over 3 of 3 folds" in result.output
    assert (path / "fold-1" / "result.json").read_text() == before
    return CrossValidation.open(path)


def test_every_sample_is_tested_once_by_runs_that_did_not_see_it(done: CrossValidation) -> None:
    tested: list[str] = []
    for run in done.runs():
        task = run.task
        parts = {part: set(task.sample_names(part)) for part in ("train", "validation", "test")}
        assert not parts["test"] & (parts["train"] | parts["validation"])
        assert len(set.union(*parts.values())) == 24
        tested += sorted(parts["test"])
    assert len(tested) == len(set(tested)) == 24


def test_mean_and_spread(done: CrossValidation) -> None:
    each = [run.result["test"]["accuracy"] for run in done.runs()]
    found = done.result["test"]["accuracy"]
    assert found["each"] == each
    assert found["mean"] == pytest.approx(np.mean(each))
    assert found["std"] == pytest.approx(np.std(each, ddof=1))
    assert done.result["network"] == "fold-1"
    values = [0.5, 0.6, 0.9]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (spread(values)["low"], spread(values)["high"]) == pytest.approx((low, high))
    assert spread([0.5])["std"] is None


def test_the_report_of_all_folds(done: CrossValidation) -> None:
    path = api.report(done.directory.path)
    report = path.read_text()
    assert "3 folds" in report
    assert "standard deviation over 3 test folds, 24 samples in all" in report
    assert all(f"fold-{fold}" in report for fold in (1, 2, 3))
    found = json.loads(CliRunner().invoke(app, ["evaluate", str(done.directory.path), "--json"]).stdout)
    assert found["evaluated"] == [1, 2, 3]


def test_verbs_of_single_runs_name_the_folds(done: CrossValidation) -> None:
    with pytest.raises(RunError, match=r"is a cross-validation, whose folds are runs: name one .*fold-1"):
        api.export(done.directory.path)
    assert api.load_run(done.folder(2)).settings.task_options.fold == 2


def test_other_settings_are_refused(done: CrossValidation) -> None:
    task = str(done.settings.task)
    with pytest.raises(RunError, match=r"other settings \(seed: 0 then, 1 now\)"):
        api.cross_validate(
            task, folds=FOLDS, method="random", values={"seed": 1}, overrides=SHORT, out=done.directory.path
        )


def test_data_that_changed_or_moved(done: CrossValidation, tmp_path: Path) -> None:
    data, run = tmp_path / "pets", tmp_path / "run"
    shutil.copytree(str(done.settings.task), data)
    shutil.copytree(done.directory.path, run)
    shutil.rmtree(run / "fold-3")
    shutil.copy(data / "dark" / "1.png", data / "dark" / "added.png")
    with pytest.raises(RunError, match=rf"archscout resume {run} --accept-data-change"):
        api.resume_folds(run, task=data)
    (data / "dark" / "added.png").unlink()
    moved = api.resume_folds(run, task=data)
    assert moved.result["evaluated"] == [1, 2, 3]
    assert moved.runs()[2].settings.task == str(data)


def test_what_cannot_be_folded_is_refused_before_anything_starts(tmp_path: Path) -> None:
    own = str(write_images(tmp_path / "own", test=True))
    with pytest.raises(DataError, match="has a test split of its own"):
        api.cross_validate(own, folds=3, method="random", overrides=SHORT, out=tmp_path / "run")
    few = str(write_images(tmp_path / "few"))
    with pytest.raises(DataError, match="50 folds were asked for, but there are only 24"):
        api.cross_validate(few, folds=50, method="random", overrides=SHORT, out=tmp_path / "run")
    with pytest.raises(SettingsError, match=r"name it, --set fold=1, or run them all: .*--folds 3"):
        api.run(few, method="random", overrides=[*SHORT, "folds=3"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
