"""What people see of runs, tasks and predictors in a console and in a notebook: short, and all of it escaped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import archscout
from archscout.viz import draw

NAMES = ("<script>", "a & b")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> archscout.Run:
    images = np.random.default_rng(0).random((90, 8, 8, 3))
    task = archscout.Task.from_arrays(images, np.arange(90) % 2, class_names=NAMES, name="noise")
    tiny = ["search.epochs=1", "search.kernel_sizes=[3]", "search.dilations=[1]", "train.epochs=1"]
    folder = tmp_path_factory.mktemp("runs") / "noise"
    return archscout.run(task, recipe="dash/small", overrides=[*tiny, "export.raw=true"], out=folder, until="evaluate")


def test_tasks(run: archscout.Run) -> None:
    task = run.task
    told = "classification of 3 x 8 x 8 into 2 classes; train 63, validation 12, test 15; accuracy"
    assert repr(task) == f"<Task noise: {told}>"
    assert repr(task.train) == "<Split: 63 of 90 samples of ArraySource>"
    assert repr(task.spec) == "TaskSpec(name='noise', kind='classification', input_shape=(3, 8, 8), outputs=2)"
    assert "&lt;script&gt;, a &amp; b" in task._repr_html_()
    assert "<script>" not in task._repr_html_()


def test_runs(run: archscout.Run) -> None:
    path, result = run.directory.path, run.result
    value = f"{result['test']['accuracy']:.4g}"
    told = f"test accuracy {value}; parameters {result['parameters']:,}"
    assert repr(run) == f"<Run {path}: task noise; method dash; space backbones; state next: export; {told}>"
    assert f'<td style="text-align: left; white-space: pre-wrap">{value}</td>' in run._repr_html_()


def test_the_repr_of_a_run_reads_no_data(run: archscout.Run) -> None:
    opened = archscout.load_run(run.directory.path)  # its task was an object, which is not here
    assert repr(opened) == repr(run)


def test_drawings_are_pictures_in_notebooks(run: archscout.Run) -> None:
    drawing = draw(run.architecture)
    assert drawing._repr_svg_() == str(drawing)
    assert drawing.startswith("<svg")


def test_predictors(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 8, 8, 3), np.uint8)
    tiny = {"search.epochs": 1, "search.kernel_sizes": [3], "search.dilations": [1], "train.epochs": 1}
    labels = np.array(NAMES)[np.arange(90) % 2]
    predictor = archscout.Classifier(method="dash", overrides=tiny).fit(images, labels).predictor_
    told = "classification of 3 x 8 x 8 into 2 classes; takes (N, 8, 8, 3)"
    assert repr(predictor) == f"<Predictor of arrays: {told}>"
    html = predictor._repr_html_()
    assert "(N, 8, 8, 3), torch.uint8" in html
    assert "&lt;script&gt;, a &amp; b" in html
    assert "<script>" not in html
