"""From a run to predictions of the raw files of its test split: the score is that of the run."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import archscout
import archscout.errors
from archscout.cli import app
from archscout.deployment.prediction_files import csv_value
from archscout.pipeline.run import Run
from archscout.tasks import Task, load_task
from archscout.tasks.preparation import ArrayPreparation
from tests.deployment.toy_runs import (
    quick_run,
    registered,
    write_images,
    write_masks,
    write_series,
    write_sounds,
)


@pytest.fixture(autouse=True, scope="module")
def toys() -> Iterator[None]:
    with registered():
        yield


def invoke(*words: Any, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["predict", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        if code and isinstance(done.exception, archscout.errors.ArchscoutError):
            return done
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(keepends=True)))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = write_images(tmp_path_factory.mktemp("images"))
    return folder, quick_run(str(folder), tmp_path_factory.mktemp("runs") / "images")


def test_images_of_the_test_split_score_as_in_the_run(images: tuple[Path, Run]) -> None:
    folder, run = images
    rows = table(invoke(run.directory.path, folder / "test").stdout)
    assert [row["name"] for row in rows[:3]] == [str(folder / f"test/cat/cat {index}.png") for index in range(3)]
    right = [row["prediction"] == Path(row["name"]).parent.name for row in rows]
    assert np.mean(right) == pytest.approx(run.result["test"]["accuracy"], abs=1e-6)
    loss = [
        -np.log(float(row["probability"]) if yes else float(row["probability_2"]))
        for row, yes in zip(rows, right, strict=True)
    ]
    assert np.mean(loss) == pytest.approx(run.result["test"]["loss"], abs=1e-6)


def test_top_json_and_every_probability(images: tuple[Path, Run]) -> None:
    folder, run = images
    file = folder / "test/cat/cat 0.png"
    (row,) = table(invoke(run.directory.path, file, "--top", 1, "--probabilities").stdout)
    assert list(row) == ["name", "prediction", "probability", "probability of cat", "probability of dog", "error"]
    assert float(row["probability of cat"]) + float(row["probability of dog"]) == pytest.approx(1, abs=1e-6)
    (found,) = json.loads(invoke(run.directory.path, file, "--format", "json").stdout)
    assert found["prediction"] == row["prediction"] and "error" not in found


def test_a_damaged_file_is_a_row_and_no_stop(images: tuple[Path, Run], tmp_path: Path) -> None:
    folder, run = images
    (tmp_path / "new").mkdir()
    good = (folder / "test/cat/cat 1.png").read_bytes()
    (tmp_path / "new/a.png").write_bytes(good)
    (tmp_path / "new/b.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "new/c.png").write_bytes(b"<html>")
    (tmp_path / "new/notes.txt").write_text("x")
    (tmp_path / "new/d.png").symlink_to("nowhere.png")
    done = invoke(run.directory.path, tmp_path / "new", "--out", tmp_path / "p.csv")
    rows = table((tmp_path / "p.csv").read_text())
    assert [Path(row["name"]).name for row in rows] == ["a.png", "b.png", "c.png", "d.png"]
    assert [bool(row["error"]) for row in rows] == [False, True, True, True]
    assert "web page" in rows[2]["error"] and rows[2]["prediction"] == ""
    assert "3 of 4 samples could not be predicted" in done.stderr and "notes" not in done.stdout
    assert "1 files that are no images are passed over" in done.stderr
    for name in ("a.png", "d.png"):
        (tmp_path / "new" / name).unlink()
    failed = invoke(run.directory.path, tmp_path / "new", "--out", tmp_path / "none.csv", code=1)
    assert "none of the 2 samples could be predicted" in str(failed.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "p.csv"]


def test_patterns_lists_and_order(images: tuple[Path, Run], tmp_path: Path) -> None:
    folder, run = images
    rows = table(invoke(run.directory.path, str(folder / "test/*/* 1.png"), folder / "test/cat/cat 0.png").stdout)
    assert [Path(row["name"]).name for row in rows] == ["cat 1.png", "dog 1.png", "cat 0.png"]
    (folder / "list.csv").write_text('id;file;label\n1;test/dog/dog 2.png;x\n2;"test/gone, really.png";y\n')
    rows = table(invoke(run.directory.path, folder / "list.csv").stdout)
    assert [row["name"] for row in rows] == ["test/dog/dog 2.png", "test/gone, really.png"]
    assert rows[1]["error"] == "does not exist"
    (folder / "list.txt").write_text("test/dog/dog 2.png\n")
    assert [row["name"] for row in table(invoke(run.directory.path, folder / "list.txt").stdout)] == [
        "test/dog/dog 2.png"
    ]


def test_arrays_and_python(images: tuple[Path, Run], tmp_path: Path) -> None:
    folder, run = images
    files = [folder / f"test/dog/dog {index}.png" for index in range(3)]
    rows = table(invoke(run.directory.path, *files).stdout)
    predictor = archscout.load(run.directory.path)
    assert predictor.predict([str(file) for file in files]).tolist() == [row["prediction"] for row in rows]
    pictures = [Image.open(file) for file in files]
    chances = predictor.predict_proba(pictures)
    assert chances.max(1).tolist() == pytest.approx([float(row["probability"]) for row in rows], abs=1e-6)
    unequal = predictor.predict_proba([np.asarray(picture) for picture in pictures])
    np.testing.assert_allclose(unequal, chances, atol=1e-6)
    np.savez(tmp_path / "x.npz", x_new=np.stack([np.asarray(pictures[0])] * 2), y=np.arange(2))
    rows = table(invoke(run.directory.path, tmp_path / "x.npz").stdout)
    assert [row["name"] for row in rows] == [f"{tmp_path}/x/x_new[0]", f"{tmp_path}/x/x_new[1]"]
    np.savez(tmp_path / "two.npz", x_test=np.zeros((1, 8, 8, 3), np.uint8), x_train=np.zeros((2, 8, 8, 3), np.uint8))
    done = invoke(run.directory.path, tmp_path / "two.npz")
    assert len(table(done.stdout)) == 1 and "x_test is predicted. Another one: --key NAME" in done.stderr
    assert len(table(invoke(run.directory.path, tmp_path / "two.npz", "--key", "x_train").stdout)) == 2
    np.save(tmp_path / "y.npy", np.asarray(pictures[0])[None].transpose(0, 3, 1, 2))
    (row,) = table(invoke(run.directory.path, tmp_path / "y.npy").stdout)
    assert row["name"] == f"{tmp_path}/y[0]"
    assert float(row["probability"]) == pytest.approx(chances[0].max(), abs=1e-6)


def test_bad_input_is_one_sentence_and_leaves_nothing(images: tuple[Path, Run], tmp_path: Path) -> None:
    folder, run = images
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "wrong.npy", np.zeros((3, 7), np.float32))
    (tmp_path / "foreign.onnx").write_bytes(b"\x08\x01")
    (tmp_path / "text.txt").write_text("nothing.png\n")
    model = run.directory.path
    cases: list[tuple[list[Any], str]] = [
        ([model, tmp_path / "empty"], "has no images: it is empty"),
        ([model, tmp_path / "gone.png"], "gone.png does not exist"),
        ([model, str(tmp_path / "*.png")], "no file matches"),
        ([model, tmp_path / "wrong.npy"], "wrong.npy: holds float32; this network takes pixels"),
        ([model, tmp_path / "text.txt"], "none of the 1 files that .* names exists"),
        ([tmp_path / "foreign.onnx", folder], "foreign.onnx is no ONNX file that can be read"),
        ([model, folder, "--threshold", "0.3"], "a threshold is for several labels"),
        ([model, folder, "--format", "png", "--out", tmp_path / "x"], "masks as PNG"),
        ([model, folder, "--out", model / "model.safetensors"], "is there and is no table"),
        ([model, folder, "--top", "0"], "top = 0"),
        ([tmp_path, folder], "no run"),
    ]
    before = sorted(path.name for path in tmp_path.iterdir())
    for words, message in cases:
        done = invoke(*words, code=1)
        assert done.exception is not None and re.search(message, str(done.exception)), (words, done.exception)
        assert getattr(done.exception, "exit_code", None) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("values", [(0, 255), (3, 7)])
def test_masks(tmp_path: Path, values: tuple[int, int]) -> None:
    folder = write_masks(tmp_path / "data", values=values)
    run = quick_run(str(folder), tmp_path / "run")
    done = invoke(tmp_path / "run", folder / "test/images", "--out", tmp_path / "masks")
    assert done.stdout.splitlines() == [str(tmp_path / "masks"), str(tmp_path / "masks/predictions.csv")]
    rows = table((tmp_path / "masks/predictions.csv").read_text())
    assert rows[0]["file"] == "0.png" and set(rows[0]) == {
        "name", "file", f"share of {values[0]}", f"share of {values[1]}", "error"
    }  # fmt: skip
    right = []
    for row in rows:
        found = np.asarray(Image.open(tmp_path / "masks" / row["file"]))
        mask = np.asarray(Image.open(folder / "test/masks" / row["file"]))
        assert found.shape == mask.shape and set(np.unique(found)) <= set(values)
        right.append((found == mask).mean())
    assert np.mean(right) == pytest.approx(run.result["test"]["pixel_accuracy"], abs=1e-6)
    assert "exists and is not empty" in str(
        invoke(tmp_path / "run", folder / "test/images", "--out", tmp_path / "masks", code=1).exception
    )


def test_masks_have_the_size_of_their_images(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "data")
    quick_run(str(folder), tmp_path / "run", until="evaluate")
    Image.new("L", (40, 30), 200).save(tmp_path / "large.png")
    invoke(tmp_path / "run", tmp_path / "large.png", "--out", tmp_path / "a")
    with Image.open(tmp_path / "a/large.png") as mask:
        assert mask.size == (40, 30)
    invoke(tmp_path / "run", tmp_path / "large.png", "--out", tmp_path / "b", "--mask-size", "network")
    with Image.open(tmp_path / "b/large.png") as mask:
        assert mask.size == (16, 16)


def test_series(tmp_path: Path) -> None:
    file = write_series(tmp_path)
    run = quick_run(str(file), tmp_path / "run")
    done = invoke(tmp_path / "run", tmp_path / "Toy_TEST.ts")
    rows = table(done.stdout)
    assert "40 series have targets, which are not looked at" in done.stderr
    assert rows[1]["name"] == f"{tmp_path}/Toy_TEST[1]"
    right = [row["prediction"] == "ab"[index % 2] for index, row in enumerate(rows)]
    assert np.mean(right) == pytest.approx(run.result["test"]["accuracy"], abs=1e-6)
    loss = [
        -np.log(float(row["probability"]) if yes else float(row["probability_2"]))
        for row, yes in zip(rows, right, strict=True)
    ]
    assert np.mean(loss) == pytest.approx(run.result["test"]["loss"], abs=1e-6)
    long = ",".join(["1"] * 13)
    (tmp_path / "new.ts").write_text(
        f"@equalLength false\n@classLabel false\n@data\n1,2,3:4,?,6\n{long}:{long}\n1,x:2,3\n5,5:6,6\n"
    )
    done = invoke(tmp_path / "run", tmp_path / "new.ts")
    rows = table(done.stdout)
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert "has 13 steps; the longest series of the training has 12" in rows[1]["error"]
    assert "line 6" in rows[2]["error"]
    assert "were filled by straight lines" in done.stderr and "padded at their end" in done.stderr


def test_tables_of_series(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = ["id,t0,t1,t2,t3,t4,label"]
    for index in range(60):
        values = draw.normal(3 * (index % 2), 1, 5).round(2)
        lines.append(",".join([f"case {index}", *map(str, values), "xy"[index % 2]]))
    (tmp_path / "s_TRAIN.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "s_TEST.csv").write_text("\n".join([lines[0], *lines[21:41]]) + "\n")
    run = quick_run(str(tmp_path / "s_TRAIN.csv"), tmp_path / "run")
    rows = table(invoke(tmp_path / "run", tmp_path / "s_TEST.csv").stdout)
    assert rows[0]["name"] == f"{tmp_path}/s_TEST: case 20"
    right = [row["prediction"] == "xy"[index % 2] for index, row in enumerate(rows)]
    assert np.mean(right) == pytest.approx(run.result["test"]["accuracy"], abs=1e-6)
    cut = [line.rpartition(",")[0] for line in [lines[0], *lines[21:41]]]
    (tmp_path / "new.csv").write_text("\n".join(cut) + "\n")
    again = table(invoke(tmp_path / "run", tmp_path / "new.csv").stdout)
    assert [row["probability"] for row in again] == [row["probability"] for row in rows]


def test_sounds(tmp_path: Path) -> None:
    folder = write_sounds(tmp_path / "data")
    run = quick_run(str(folder), tmp_path / "run")
    done = invoke(tmp_path / "run", folder / "test")
    rows = table(done.stdout)
    right = [row["prediction"] == Path(row["name"]).parent.name for row in rows]
    assert np.mean(right) == pytest.approx(run.result["test"]["accuracy"], abs=1e-6)
    loss = [
        -np.log(float(row["probability"]) if yes else float(row["probability_2"]))
        for row, yes in zip(rows, right, strict=True)
    ]
    assert np.mean(loss) == pytest.approx(run.result["test"]["loss"], abs=1e-5)


def arrays_task(kind: str) -> Task:
    draw = np.random.default_rng(0)
    x = {f"x_{part}": draw.normal(size=(count, 2, 16)) for part, count in (("train", 40), ("test", 12))}
    if kind == "multilabel":
        y = {f"y_{part}": (x[f"x_{part}"][:, :1, :3] > 0)[:, 0].astype(int) for part in ("train", "test")}
        task = Task.from_arrays(**x, **y, name=kind, class_names=("=wet", "cold, grey", "7"))
    elif kind == "dense":
        task = Task.from_arrays(**x, y_train=x["x_train"][:, :1], y_test=x["x_test"][:, :1], name=kind)
    else:
        y = {f"y_{part}": x[f"x_{part}"].mean(2) * 100 + 7 for part in ("train", "test")}
        task = Task.from_arrays(**x, **y, name=kind, kind="regression")
    if task.preparation is None:
        task = replace(task, preparation=ArrayPreparation("NCL"))
    return task


@pytest.mark.parametrize("kind", ["multilabel", "dense", "regression"])
def test_arrays_of_other_kinds(tmp_path: Path, kind: str) -> None:
    task = arrays_task(kind)
    run = quick_run(task, tmp_path / "run")
    source: Any = task.test.source
    inputs, targets = source.inputs[task.test.indices].numpy(), source.targets[task.test.indices].numpy()
    np.save(tmp_path / "x.npy", inputs)
    if kind == "dense":
        invoke(tmp_path / "run", tmp_path / "x.npy", "--out", tmp_path / "maps")
        rows = table((tmp_path / "maps/predictions.csv").read_text())
        found = np.stack([np.load(tmp_path / "maps" / row["file"]) for row in rows])
        wanted = targets[:, 0] if targets.ndim == 3 else targets
        relative = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        assert relative.mean() == pytest.approx(run.result["test"]["relative_l2"], abs=1e-6)
        return
    rows = table(invoke(tmp_path / "run", tmp_path / "x.npy").stdout)
    if kind == "regression":
        found = np.array([[float(row[f"prediction_{number}"]) for number in (1, 2)] for row in rows])
        error = np.abs(found - targets).mean()
        assert error == pytest.approx(run.result["test"]["mean_absolute_error"], abs=1e-5)
        return
    assert list(rows[0])[1:4] == ["'=wet", "cold, grey", "7"]
    names = [csv_value(name) for name in list(rows[0])[1:4]]
    assert names == list(task.class_names)
    chances = np.array([[float(row[f"probability of {name}"]) for name in task.class_names] for row in rows])
    loss = -(targets * np.log(chances) + (1 - targets) * np.log(1 - chances)).mean()
    assert loss == pytest.approx(run.result["test"]["loss"], abs=1e-6)
    strict = table(invoke(tmp_path / "run", tmp_path / "x.npy", "--threshold", 0.9).stdout)
    assert [row["7"] for row in strict] == [str(int(float(row["probability of 7"]) >= 0.9)) for row in strict]


def test_samples_without_targets_are_predicted_at_the_end_of_a_run(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    (folder / "test").rename(folder / "aside")
    (folder / "test").mkdir()
    for index, file in enumerate(sorted((folder / "aside").rglob("*.png"))):
        file.rename(folder / "test" / f"{index}.png")
    (folder / "aside").rename(tmp_path / "aside")
    task = load_task(str(folder))
    assert task.unlabelled is not None
    run = quick_run(str(folder), tmp_path / "run", until="evaluate")
    rows = table((tmp_path / "run/predictions.csv").read_text())
    assert [row["name"] for row in rows] == task_names(task)
    assert run.result["unlabelled"] == {"samples": len(rows), "predictions": "predictions.csv"}
    again = table(invoke(tmp_path / "run", *(folder / row["name"] for row in rows)).stdout)
    assert [row["probability"][:7] for row in again] == [row["probability"][:7] for row in rows]


def task_names(task: Task) -> list[str]:
    assert task.unlabelled is not None
    names = getattr(task.unlabelled.source, "names")  # noqa: B009 - not every source has them
    return [names[index] for index in task.unlabelled.indices.tolist()]
