"""Once-for-all from images to an exported network, and what its stages leave in the run directory."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import archscout
from archscout.errors import RunError, SpaceError
from archscout.pipeline.run import Run
from archscout.spaces import MobileNetConfig
from archscout.state import read_state, state_bytes
from archscout.tasks import Task, load_task

QUICK = [
    "supernet.width=0.1",
    "network.width=0.1",
    "search.supernet.epochs=1",
    "search.supernet.largest_epochs=0",
    "search.supernet.random_subnets=0",
    "search.scoring.subnets=5",
    "search.scoring.validation_samples=40",
    "search.scoring.calibration_samples=40",
    "search.predictor.epochs=10",
    "search.search.verify=1",
    "search.search.budget=10",
    "search.search.validation_samples=40",
    "search.search.calibration_samples=40",
    "train.epochs=0",
    "evaluate.latency_batch_sizes=[1]",
    "export.formats=[torch]",
]


def small_digits() -> Task:
    task = load_task("digits")
    return Task(**{**vars(task), "train": task.train.subset(torch.arange(64))})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return archscout.run(
        small_digits(), method="once-for-all", overrides=QUICK, out=tmp_path_factory.mktemp("runs") / "once-for-all"
    )


def test_the_default_recipe_brings_its_space_and_every_stage_is_run(finished: Run) -> None:
    assert finished.settings.space == "mobilenet"
    assert finished.stage_names()[:4] == ["supernet", "scoring", "predictor", "search"]
    assert finished.pending() == []
    assert isinstance(finished.architecture, MobileNetConfig)
    assert {record["stage"] for record in finished.candidates()} == {"scoring", "search"}
    assert {"spearman", "kendall"} <= set(finished.metrics("predictor")[-1])


def test_without_training_the_network_has_the_calibrated_shared_weights(finished: Run) -> None:
    initial = read_state(finished.directory.path / "initial.safetensors")
    state = finished.model().state_dict()
    assert set(initial) == set(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in initial.items())


def test_the_report_shows_the_strip_and_the_rank_correlation(finished: Run) -> None:
    page = (finished.directory.path / "report.html").read_text()
    assert "1\u00d78\u00d78 to 10 classes, width 0.1" in page
    assert "spearman" in page


def test_a_lost_artifact_is_told(finished: Run, tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    with pytest.raises(RunError, match=r"supernet.safetensors cannot be read .* earlier stage"):
        read_state(path)
    path.write_bytes(b"damaged")
    with pytest.raises(RunError, match="cannot be read"):
        read_state(path)
    state = {"a": [1, 2.5, None], 3: torch.ones(2)}
    path.write_bytes(state_bytes(state))
    found = read_state(path)
    assert found["a"] == state["a"] and torch.equal(found[3], torch.ones(2))


def test_a_limit_that_nothing_keeps_stops_before_the_first_step(tmp_path: Path) -> None:
    overrides = [*QUICK, "search.search.limits.max_madds=1000"]
    with pytest.raises(SpaceError, match="the smallest has"):
        archscout.run(small_digits(), method="once-for-all", overrides=overrides, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def real_images(archive: Path, train: int, test: int) -> tuple[np.ndarray, ...]:
    """So many images of each of CIFAR-10's classes from each split: images, labels, twice."""
    wanted = {"train": train, "test": test}
    counts: Counter[tuple[str, str]] = Counter()
    images: dict[str, list[np.ndarray]] = {split: [] for split in wanted}
    names: dict[str, list[str]] = {split: [] for split in wanted}
    with tarfile.open(archive) as tar:
        for member in tar:
            split, name = (*member.name.split("/"), "")[:2]
            if not member.isfile() or counts[split, name] == wanted[split]:
                continue
            file = tar.extractfile(member)
            assert file is not None
            images[split].append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")).transpose(2, 0, 1))
            names[split].append(name)
            counts[split, name] += 1
    classes = sorted(set(names["train"]))
    labels = {split: np.array([classes.index(name) for name in names[split]]) for split in wanted}
    return np.stack(images["train"]), labels["train"], np.stack(images["test"]), labels["test"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_small_recipe_works_on_real_images(shared_data: Path, tmp_path: Path) -> None:
    task = Task.from_arrays(*real_images(shared_data / "cifar10" / "cifar10_jpeg.tar.xz", 60, 20), name="pictures")
    limit = 2_000_000
    overrides = [
        "task=pictures",  # the split is drawn by this name
        "search.supernet.epochs=8",
        "search.supernet.batch_size=32",
        "search.scoring.subnets=24",
        "search.scoring.validation_samples=null",
        "search.search.validation_samples=null",
        "search.search.budget=200",
        "search.search.verify=3",
        "train.batch_size=32",
        "evaluate.latency_batch_sizes=[1]",
    ]
    run = archscout.run(
        task, method="once-for-all", recipe="once-for-all/cifar10-small", overrides=overrides, out=tmp_path / "run"
    )
    losses = [row["loss"] for row in run.metrics("supernet")]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    assert -1 <= run.metrics("predictor")[-1]["spearman"] <= 1
    checked = [record for record in run.candidates() if record["stage"] == "search"]
    assert len(checked) == 3
    assert all(record["madds"] <= limit for record in checked)
    assert run.result["madds"] <= limit
    assert run.result["test"]["accuracy"] > 0.13  # by chance 0.1, with a deviation of 0.02
    exports = json.loads((run.directory.path / "export.json").read_text())
    assert {export["format"] for export in exports} == {"onnx", "torch"}
