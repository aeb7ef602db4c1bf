"""Numbers as targets, of images and of series: a whole run each, and what it says of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from archscout import api
from archscout.errors import SettingsError
from archscout.pipeline.run import Run
from archscout.tasks import Task
from archscout.tasks.choices import split_targets
from archscout.testing.cases import small_number_of_series, small_numbers

SHORT = [
    "train.epochs=8",
    "train.batch_size=10",
    "train.split=train",
    "export.formats=[torch]",
    "evaluate.latency_batch_sizes=[1]",
    "search.epochs=1",
    "search.child.batch_size=10",
    "search.ranking.candidates=2",
]
CELLS = ["supernet.init_channels=4", "supernet.layers=3", "network.init_channels=4", "network.layers=3"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("images") / "run"
    return api.run(small_numbers(), method="random", values={"space": "cells"}, overrides=[*SHORT, *CELLS], out=out)


def test_a_run_on_images_with_two_numbers(images: Run) -> None:
    result = images.result
    assert images.pending() == []
    assert result["metric"] == "mean_absolute_error"
    assert set(result["test"]) >= {"mean_absolute_error", "root_mean_squared_error", "r_squared", "loss", "samples"}
    with (images.directory.path / "test_predictions.csv").open(encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["sample", "true number 1", "true number 2", "predicted number 1", "predicted number 2"]
    assert len(rows) == result["test"]["samples"] == 30
    numbers = np.array([row[1:] for row in rows], float)
    task = images.task
    assert numbers[:, :2] == pytest.approx(split_targets(task.test).numpy(), rel=1e-5)
    errors = np.abs(numbers[:, 2:] - numbers[:, :2])
    assert errors.mean() == pytest.approx(result["test"]["mean_absolute_error"], rel=1e-4)
    each = [part["mean_absolute_error"] for part in result["outputs"]]
    assert errors.mean(0) == pytest.approx(each, rel=1e-4)
    assert len(result["scale"]["std"]) == 2


def test_what_the_mean_or_the_median_reaches(images: Run) -> None:
    task = images.task
    train, test = (split_targets(split).double().numpy() for split in (task.train, task.test))
    constant = images.result["constant"]
    by_mean, by_median = (np.abs(test - middle(train, axis=0)).mean() for middle in (np.mean, np.median))
    assert constant["mean_absolute_error"]["value"] == pytest.approx(min(by_mean, by_median), rel=1e-5)
    expected = "always the mean" if by_mean < by_median else "always the median"
    assert constant["mean_absolute_error"]["answer"] == expected


def test_the_report_shows_predictions_and_a_constant_answer(images: Run) -> None:
    report = (images.directory.path / "report.html").read_text()
    assert "Predicted against true: number 1" in report
    assert "Predicted against true: number 2" in report
    assert "a constant answer reaches" in report
    assert "lower is better" in report
    assert "accuracy" not in report.lower()


def test_a_run_on_series_whose_search_optimises_another_metric(tmp_path: Path) -> None:
    task = small_number_of_series().with_metric("r2").with_loss("huber")
    run = api.run(
        task,
        method="evolution",
        values={"space": "diverse-cells"},
        overrides=[
            "search.queries=3",
            "search.population=2",
            "search.candidate.workers=1",
            "search.candidate.train.epochs=1",
            *SHORT[:5],
            *CELLS,
        ],
        out=tmp_path / "run",
    )
    assert run.result["metric"] == "r_squared"
    assert run.result["constant"]["r_squared"]["value"] == pytest.approx(0, abs=0.2)
    scores = [candidate["score"] for candidate in run.candidates()]
    assert scores == sorted(scores, reverse=True)
    assert "Predicted against true: number" in (tmp_path / "run" / "report.html").read_text()


QUICK_SEARCHES = {
    "once-for-all": [
        "search.supernet.epochs=2",
        "search.supernet.batch_size=10",
        "search.scoring.subnets=6",
        "search.predictor.epochs=20",
        "search.search.searcher=dsm",
        "search.search.budget=12",
    ],
    "dsm": [
        "search.queries=6",
        "search.slots=2",
        "search.edits=1",
        "search.proposals=2",
        "search.candidate.workers=1",
        "search.candidate.train.epochs=1",
    ],
}


@pytest.mark.parametrize("method", QUICK_SEARCHES)
def test_methods_that_learn_from_scores_see_errors_of_any_unit_alike(tmp_path: Path, method: str) -> None:
    run = api.run(
        small_numbers(),
        method=method,
        values={"space": "mobilenet"},
        overrides=[
            *QUICK_SEARCHES[method],
            "supernet.width=0.1",
            "network.width=0.1",
            "train.epochs=1",
            "train.batch_size=10",
            *SHORT[3:5],
        ],
        out=tmp_path / "run",
    )
    scale = run.task.scale
    assert scale is not None
    unit = sum(scale.std) / 2
    scores = np.array([candidate["score"] for candidate in run.candidates()])
    if method == "dsm":  # in percent of the deviation
        assert ((scores < -10) & (scores > -1000)).all()
    else:
        assert ((scores < -0.1 * unit) & (scores > -10 * unit)).all()
        predicted = run.metrics("search")[0]["predicted"]
        assert -10 * unit < predicted < -0.1 * unit


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.label_smoothing=0.1", "it spreads a class over the others, but the task numbers is regression"),
        ("train.cutout=4", "a hole of so many pixels is for classifying images"),
        ("train.auto_augment=cifar10", "the numbers of numbers may change with them"),
    ],
)
def test_settings_that_would_harm_are_refused(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        api.run(small_numbers(), method="random", overrides=[*SHORT, *CELLS, setting], out=tmp_path / "run")


def test_images_with_numbers_are_neither_moved_nor_mirrored_unless_asked() -> None:
    images = np.zeros((12, 8, 8, 3), np.uint8)
    numbers = np.linspace(-1, 1, 12)
    assert Task.from_arrays(images, numbers, kind="regression").augmentations == ()
    assert len(Task.from_arrays(images, numbers, kind="regression", augment="crop").augmentations) == 1


def test_classes_are_compared_with_the_most_frequent_one(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = np.array([1] * 30 + [0] * 20 + [2] * 10)
    images = draw.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    task = Task.from_arrays(images, labels, images[:20], np.array([1] * 8 + [0] * 12), class_names=["a", "b", "c"])
    run = api.run(
        task.with_metric("balanced_accuracy"),
        method="random",
        overrides=[*SHORT, *CELLS, "train.epochs=1"],
        out=tmp_path / "run",
    )
    constant = json.loads((tmp_path / "run" / "result.json").read_text())["constant"]
    assert constant["balanced_accuracy"] == {"value": 0.5, "answer": "always b, the most frequent class"}
    assert constant["accuracy"]["value"] == pytest.approx(8 / 20)
    assert (
        "a constant answer reaches 50.00 % (always b, the most frequent class)"
        in (run.directory.path / "report.html").read_text()
    )
