"""Where a network fails: each number against an independent formula, each form of targets, whole runs, other sets."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_recall_fscore_support,
    r2_score,
)
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error
from typer.testing import CliRunner

import archscout
from archscout import api
from archscout.cli import app
from archscout.errors import DataError, RunError, SettingsError
from archscout.pipeline.insight import Insight
from archscout.pipeline.insight.bootstrap import Resampler
from archscout.pipeline.insight.calibration import best_thresholds, fitted_temperature
from archscout.pipeline.insight.observe import Witness
from archscout.pipeline.insight.verdict import calibration_in_words, verdict
from archscout.tasks import Task
from archscout.tasks.metrics.classification import IGNORED, accuracy, macro_f1
from archscout.tasks.metrics.numbers import r_squared
from archscout.tasks.metrics.ranking import auroc

SHORT = [
    "train.epochs=4",
    "train.batch_size=32",
    "train.split=train",
    "export.formats=[torch]",
    "evaluate.latency_batch_sizes=[1]",
    "search.epochs=1",
    "search.child.batch_size=32",
    "search.ranking.candidates=2",
    "supernet.init_channels=4",
    "supernet.layers=3",
    "network.init_channels=4",
    "network.layers=3",
]


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def task_of(targets: Tensor, *, kind: str = "auto", shape: tuple[int, ...] = (6, 6), **named: object) -> Task:
    images = (draws(len(targets), *shape).abs() * 50).to(torch.uint8).numpy()
    values = targets.numpy()
    given = {"kind": kind} | named
    return Task.from_arrays(images, values, images, values, x_val=images, y_val=values, name="toy", **given)


def seen(task: Task, outputs: Tensor, targets: Tensor, thresholds: tuple[float, ...] = ()) -> Insight:
    """The insight of outputs, shown in two batches of different size."""
    witness = Witness(task, thresholds=thresholds)
    cut = len(outputs) // 3
    for part in (slice(None, cut), slice(cut, None)):
        witness(outputs[part], targets[part])
    values = {metric.name: metric.measure(outputs, targets) for metric in task.metrics} | {"loss": 0.0}
    return witness.insight(values, part="test", names=task.sample_names("test"), seed=0)


def test_classes_are_counted_as_scikit_learn_counts_them() -> None:
    targets = torch.arange(60) % 4
    logits = 2 * F.one_hot(targets, 4) + 1.5 * draws(60, 4)
    insight = seen(task_of(targets, class_names=["a", "b", "c", "d"]), logits, targets)
    found = logits.argmax(1)
    assert (insight.confusion_matrix() == confusion_matrix(targets, found)).all()
    expected = precision_recall_fscore_support(targets, found)
    for number, each in enumerate(insight.classes):
        assert (each.precision, each.recall, each.f1, each.support) == pytest.approx(
            [part[number] for part in expected]
        )
        assert each.predicted == int((found == number).sum())
    assert insight.wrong == int((found != targets).sum()) == sum(count for *_, count in insight.confused_pairs())
    probabilities = logits.double().softmax(1)
    wrong = (found != targets).nonzero().view(-1)
    surest = wrong[probabilities.max(1).values[wrong].argmax()]
    assert insight.mistakes[0].position == int(surest)
    assert insight.mistakes[0].true == "abcd"[targets[surest]]
    assert insight.mistakes[0].predicted == "abcd"[found[surest]]
    assert insight.mistakes[0].probability == pytest.approx(float(probabilities[surest].max()))


def test_calibration_error_is_that_of_torchmetrics_and_of_the_formula() -> None:
    targets = torch.arange(90) % 3
    logits = 1.5 * F.one_hot(targets, 3) + 2 * draws(90, 3)
    calibration = seen(task_of(targets), logits, targets).calibration
    assert calibration is not None
    expected = multiclass_calibration_error(logits.softmax(1), targets, num_classes=3, n_bins=15, norm="l1")
    assert calibration.error == pytest.approx(float(expected), abs=1e-6)
    assert sum(each.count for each in calibration.bins) == 90
    confidence = logits.double().softmax(1).max(1).values
    assert calibration.confidence == pytest.approx(float(confidence.mean()))
    by_hand = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            right = (logits.argmax(1) == targets)[inside].double().mean()
            by_hand += float(inside.double().mean() * (right - confidence[inside].mean()).abs())
    assert calibration.error == pytest.approx(by_hand)


def test_a_temperature_is_found_again() -> None:
    logits = 2 * draws(4000, 5)
    targets = torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    assert fitted_temperature(3 * logits, targets) == pytest.approx(3.0, rel=0.05)
    labels = torch.bernoulli(logits.sigmoid(), generator=torch.Generator().manual_seed(1))
    assert fitted_temperature(0.5 * logits, labels, labels=True) == pytest.approx(0.5, rel=0.05)


def test_thresholds_have_the_best_f1_of_all() -> None:
    scores, truth = draws(50, 2).sigmoid(), (draws(50, 2, seed=1) > 0.3).long()
    truth[:, 1] = 0
    found = best_thresholds(scores, truth)
    possible = [f1_score(truth[:, 0], scores[:, 0] >= value, zero_division=0) for value in scores[:, 0]]
    assert f1_score(truth[:, 0], scores[:, 0] >= found[0]) == pytest.approx(max(possible))
    assert found[1] == 0.5


def test_labels_by_their_thresholds() -> None:
    truth = (draws(40, 3, seed=1) > 0).to(torch.uint8)
    logits = truth.float() + draws(40, 3)
    task = task_of(truth, kind="multilabel", class_names=["red", "round", "big"])
    insight = seen(task, logits, truth, thresholds=(0.4, 0.5, 0.7))
    given = logits.sigmoid() >= torch.tensor([0.4, 0.5, 0.7])
    for label, each in enumerate(insight.classes):
        assert each.f1 == pytest.approx(f1_score(truth[:, label], given[:, label]))
        assert each.average_precision == pytest.approx(average_precision_score(truth[:, label], logits[:, label]))
    assert insight.wrong == int((given != truth.bool()).sum())
    first = insight.mistakes[0]
    assert {first.true, first.predicted} & {"not red", "not round", "not big"}
    interval = insight.intervals["mean_average_precision"]
    assert interval.low < insight.values["mean_average_precision"] < interval.high


def test_masks_leave_ignored_positions_out() -> None:
    truth = (draws(12, 6, 6, seed=1) > 0).long()
    truth[:, :2] = IGNORED
    task = task_of((draws(12, 6, 6, seed=1) > 0).long(), kind="dense")
    logits = draws(12, 2, 6, 6) + F.one_hot(truth.clamp(min=0), 2).movedim(-1, 1)
    insight = seen(task, logits, truth)
    known = truth != IGNORED
    expected = jaccard_score(truth[known], logits.argmax(1)[known], average=None)
    assert [each.iou for each in insight.classes] == pytest.approx(list(expected))
    assert insight.positions is not None and insight.positions.shape == (6, 6)
    assert insight.positions.cells[0][0] is None
    share = (logits.argmax(1) != truth)[:, 4, 5].double().mean()
    assert insight.positions.cells[4][5] == pytest.approx(float(share))
    each = [jaccard_score(t[k], o[k], average="macro") for t, o, k in zip(truth, logits.argmax(1), known, strict=True)]
    assert insight.mistakes[0].position == int(np.argmin(each))
    assert set(insight.intervals) == {"pixel_accuracy", "mean_iou"}


def test_fields_and_numbers_in_their_units() -> None:
    truth = 100 + 5 * draws(20, 1, 40, seed=1).float()
    task = task_of(truth, kind="dense", shape=(1, 40), layout="NCL")
    assert task.scale is not None
    found = truth + draws(20, 1, 40)
    outputs = (found - task.scale.mean[0]) / task.scale.std[0]
    insight = seen(task, outputs, truth)
    assert insight.numbers[0].r_squared == pytest.approx(r2_score(truth.flatten(), found.flatten()), rel=1e-3)
    assert insight.numbers[0].mean_absolute_error == pytest.approx(float((found - truth).abs().mean()), rel=1e-4)
    errors = (found - truth).abs().mean((0, 1))
    assert insight.positions is not None
    assert insight.positions.cells[0][:2] == pytest.approx(
        [float(errors[:2].mean()), float(errors[2:4].mean())], rel=1e-3
    )
    assert len(insight.positions.cells[0]) == 20, "pairs of positions: at most 32 cells"


def test_intervals_of_sums_and_of_all_outputs_agree() -> None:
    targets = torch.arange(60) % 3
    logits = F.one_hot(targets, 3) + draws(60, 3)
    metric = accuracy(3)
    fast, slow = Resampler([metric]), Resampler([metric])
    slow._sums[0].is_additive = False
    for each in (fast, slow):
        each.update(logits, targets)
    values = {"accuracy": metric.measure(logits, targets)}
    assert fast.intervals(values, 0) == slow.intervals(values, 0)
    interval = fast.intervals(values, 0)[0]["accuracy"]
    # The normal approximation of a share, 1.96 standard errors to both sides.
    error = 1.96 * (values["accuracy"] * (1 - values["accuracy"]) / 60) ** 0.5
    assert interval.high - interval.low == pytest.approx(2 * error, rel=0.15)


@pytest.mark.parametrize("name", ["macro_f1", "r_squared", "auroc"])
def test_metrics_of_every_make_have_intervals_around_their_value(name: str) -> None:
    if name == "r_squared":
        targets = 1e4 + draws(50, 2, seed=1)
        outputs, metric = targets + 0.3 * draws(50, 2), r_squared(lambda values: values, 2)
    elif name == "auroc":
        targets = (draws(50, 2, seed=1) > 0).long()
        outputs, metric = targets + draws(50, 2), auroc(2)
    else:
        targets = torch.arange(50) % 3
        outputs, metric = F.one_hot(targets, 3) + draws(50, 3), macro_f1(3)
    resampler = Resampler([metric])
    resampler.update(outputs[:20], targets[:20])
    resampler.update(outputs[20:], targets[20:])
    value = metric.measure(outputs, targets)
    interval = resampler.intervals({metric.name: value}, 0)[0][metric.name]
    assert interval.low < value < interval.high
    assert interval.high - interval.low < 0.5


def test_groups_are_drawn_together_and_make_intervals_wider() -> None:
    right = torch.arange(20).repeat_interleave(10) % 4 != 0  # whole groups are right or wrong
    targets = torch.zeros(200, dtype=torch.int64)
    logits = torch.stack([right.float(), 0.5 * torch.ones(200)], 1)
    resampler = Resampler([accuracy(2)])
    resampler.update(logits, targets)
    groups = [f"patient {number // 10}" for number in range(200)]
    alone, together = (resampler.intervals({"accuracy": 0.75}, 0, which)[0]["accuracy"] for which in (None, groups))
    assert together.unit == "groups"
    # Twenty groups in place of 200 samples: wider by the root of ten.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(10**0.5, rel=0.2)


def test_no_mistake_is_no_certainty() -> None:
    targets = torch.arange(48) % 2
    resampler = Resampler([accuracy(2)])
    resampler.update(F.one_hot(targets, 2).float(), targets)
    interval = resampler.intervals({"accuracy": 1.0}, 0)[0]["accuracy"]
    assert interval.high == 1
    assert interval.low**48 == pytest.approx(0.025)


def test_insights_survive_json() -> None:
    truth = (draws(12, 6, 6, seed=1) > 0).long()
    insight = seen(task_of(truth, kind="dense"), draws(12, 2, 6, 6), truth)
    assert Insight.from_json(json.loads(json.dumps(insight.to_json()))) == insight
    with pytest.raises(RunError, match="damaged"):
        Insight.from_json({"format": "archscout.insight", "version": 1})


# -- whole runs --------------------------------------------------------------------------------------------------------


def write_images(root: Path, classes: range, numbers: range, side: int = 8) -> Path:
    digits = load_digits()
    for number in numbers:
        if digits.target[number] in classes:
            folder = root / f"digit {digits.target[number]}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((digits.images[number] * 15.9).astype(np.uint8))
            image.resize((side, side), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("insight")
    data = write_images(folder / "data", range(4), range(500))
    run = api.run(str(data), method="random", values={"space": "cells"}, overrides=SHORT, out=folder / "run")
    return run.directory.path


def test_a_run_knows_where_it_fails(images: Path) -> None:
    run = archscout.load_run(images)
    insight = run.insight()
    assert insight.samples == run.result["test"]["samples"] == int(insight.confusion_matrix().sum())
    right = np.trace(insight.confusion_matrix()) / insight.samples
    assert right == pytest.approx(run.result["test"]["accuracy"])
    interval = run.result["intervals"]["accuracy"]
    assert interval["low"] <= right <= interval["high"]
    with (images / "test_predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["true"] == row["predicted"] for row in rows) / len(rows) == pytest.approx(right)
    assert all((images.parent / "data" / row["sample"]).is_file() for row in rows)


def test_the_report_shows_it(images: Path) -> None:
    report = (images / "report.html").read_text(encoding="utf-8")
    assert "Where it fails" in report and "Reliability" in report and "95 % interval" in report
    assert "Confusion: true classes in rows" in report
    insight = archscout.load_run(images).insight()
    assert report.count("data:image/png;base64") == min(12, len(insight.mistakes))
    assert len(report) < 400_000


def test_explain_writes_tables_and_a_contact_sheet(images: Path, tmp_path: Path) -> None:
    (tmp_path / "mistakes.html").write_text("of another call")
    ended = CliRunner().invoke(app, ["explain", str(images), "--out", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    insight = archscout.load_run(images).insight()
    with (tmp_path / "confusion.csv").open(encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[1:] == [row[0] for row in rows] == [f"digit {number}" for number in range(4)]
    assert [[int(cell) for cell in row[1:]] for row in rows] == insight.confusion_matrix().tolist()
    assert insight.calibration is not None
    assert len((tmp_path / "calibration.csv").read_text().splitlines()) == 1 + len(insight.calibration.bins)
    for line in verdict(insight):
        assert not line.startswith("None")
    page = tmp_path / "mistakes.html"
    assert page.exists() == bool(insight.mistakes)
    if insight.mistakes:
        assert insight.mistakes[0].sample in page.read_text(encoding="utf-8")
    values = json.loads(CliRunner().invoke(app, ["explain", str(images), "--json", "--out", str(tmp_path)]).stdout)
    assert values["samples"] == insight.samples


def test_a_run_without_an_insight_file_makes_it_again(images: Path) -> None:
    before = archscout.load_run(images).insight()
    (images / "insight.json").unlink()
    again = archscout.load_run(images).insight()
    assert again.confusion == before.confusion and again.intervals == before.intervals
    assert (images / "insight.json").is_file()


def test_another_set_is_read_as_the_training_data_was(images: Path, tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", range(1, 6), range(500, 620), side=16)
    before = (images / "result.json").read_bytes()
    explained = archscout.evaluate_on(images, other, out=tmp_path / "out")
    insight = explained.insight
    known = [file for number in range(1, 4) for file in (other / f"digit {number}").iterdir()]
    strange = [file for number in range(4, 6) for file in (other / f"digit {number}").iterdir()]
    assert insight.samples == len(known)
    assert insight.class_names == tuple(f"digit {number}" for number in range(4))
    assert any(f"{len(strange)} samples are of classes" in line for line in explained.verdict)
    assert any("Never true in other: digit 0" in line for line in explained.verdict)
    assert (images / "result.json").read_bytes() == before
    # The same set, one size smaller by hand, must give the same answers: nothing was chosen from the new set.
    small = write_images(tmp_path / "small" / "other", range(1, 4), range(500, 620))
    same = archscout.evaluate_on(images / "model.safetensors", small).insight
    assert same.confusion == insight.confusion
    ended = CliRunner().invoke(app, ["evaluate", str(images), "--on", str(small), "--json"])
    assert json.loads(ended.stdout)["confusion"] == [list(entry) for entry in insight.confusion]


def test_the_test_files_as_another_set_give_the_result_of_the_run(images: Path, tmp_path: Path) -> None:
    result = archscout.load_run(images).result["test"]
    with (images / "test_predictions.csv").open(encoding="utf-8") as file:
        names = [row["sample"] for row in csv.DictReader(file)]
    for name in names:
        target = tmp_path / "again" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((images.parent / "data" / name).read_bytes())
    again = archscout.evaluate_on(images, tmp_path / "again").insight.values
    assert again["accuracy"] == pytest.approx(result["accuracy"], abs=1e-9)
    assert again["loss"] == pytest.approx(result["loss"], rel=1e-5)


def test_sets_that_do_not_fit_are_refused_in_words(images: Path, tmp_path: Path) -> None:
    strange = write_images(tmp_path / "strange", range(6, 9), range(100))
    with pytest.raises(DataError, match="no sample with a label that the network knows"):
        archscout.evaluate_on(images, strange)
    with pytest.raises(DataError, match="does not exist"):
        archscout.evaluate_on(images, tmp_path / "nothing")
    series = tmp_path / "set.npz"
    values, labels = np.zeros((4, 2, 9), np.float32), np.arange(4) % 2
    np.savez(series, x_train=values, y_train=labels, x_test=values, y_test=labels)
    with pytest.raises(DataError, match="no image files"):
        archscout.evaluate_on(images, series)
    ended = CliRunner().invoke(app, ["evaluate", str(images), "--kind", "regression"])
    assert isinstance(ended.exception, SettingsError)


def test_calibration_goes_into_the_model(images: Path) -> None:
    run = archscout.load_run(images)
    before = run.insight()
    try:
        explained = api.explain(images, calibrate=True)
    except DataError as error:
        pytest.skip(str(error))
    card = json.loads((images / "model.json").read_text(encoding="utf-8"))
    assert card["temperature"] != 1
    after = archscout.load_run(images).insight()
    assert after.calibration is not None
    assert after.calibration.temperature == pytest.approx(card["temperature"])
    assert after.confusion == before.confusion
    assert explained.next.startswith("archscout resume")
    assert "export" in archscout.load_run(images).pending()
    with pytest.raises(SettingsError, match="several labels"):
        api.explain(images, thresholds=True)


def test_words_about_calibration() -> None:
    targets = torch.arange(40) % 2
    logits = 20 * F.one_hot(targets, 2).float()
    logits[:10] = logits[:10].flip(1)
    sure = seen(task_of(targets), logits, targets).calibration
    assert sure is not None
    assert calibration_in_words(sure).startswith(
        "It is too sure of itself: it is 100.0 % sure on average and right in 75"
    )
    honest = replace(sure, error=0.01, confidence=0.75)
    assert calibration_in_words(honest).startswith("Probabilities can be taken at their word")
