"""Runs, models and names of version 0.1 go on: stopped searches of every method, and a finished run."""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from archscout.api import export, load_architecture, load_run, report, resume
from archscout.methods import METHODS
from archscout.pipeline.artifacts import load_network
from archscout.pipeline.config import resolve_settings
from archscout.pipeline.run import Run
from archscout.recipes import load_recipe, recipe_names
from archscout.spaces import SPACES

DATA = Path(__file__).parents[1] / "data" / "version_0_1"
EXPECTED: dict[str, dict[str, Any]] = json.loads((DATA / "expected.json").read_text())
CONTINUOUS = {"progress", "epoch", "steps", "search_stage", "loss", "validation_loss", "entropy", "entropy_share"}
FORMER_METHODS = {"d-darts": "ddarts", "ofa": "once-for-all"}


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def close(value: float, expected: float) -> bool:
    """Other processors round otherwise, which training amplifies."""
    return math.isclose(value, expected, rel_tol=0.05, abs_tol=0.02)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_stopped_search_goes_on(name: str, tmp_path: Path) -> None:
    expected, path = EXPECTED[name], unpacked(name, tmp_path / "run")
    stage = expected["stopped_in"]
    run = resume(path, until=stage)
    assert run.settings.method == FORMER_METHODS.get(name, name)
    rows = run.metrics(stage)
    assert len(rows) == expected["steps"]
    first = rows[expected["after_step"]]
    assert first.keys() >= expected["next"].keys()
    for key in CONTINUOUS & expected["next"].keys():  # shares and accuracies jump
        then = expected["next"][key]
        assert close(first[key], then), f"{key} of the first step after the stop: {first[key]}, then {then}"
    found = [record for record in run.candidates() if record["stage"] == stage]
    assert [record["origin"] for record in found[:5]] == [record["origin"] for record in expected["candidates"]]
    assert found[0]["architecture"].keys() == expected["candidates"][0]["architecture"].keys()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("finished", tmp_path_factory.mktemp("finished") / "run")


def test_a_finished_run_is_evaluated_again_to_the_same_numbers(finished: Path) -> None:
    run = load_run(finished)
    before = run.result["test"]
    stages = json.loads((finished / "stages.json").read_text())
    stages["evaluate"]["complete"] = False
    (finished / "stages.json").write_text(json.dumps(stages))
    after = resume(finished, until="evaluate").result["test"]
    assert after["samples"] == before["samples"]
    assert after["accuracy"] == pytest.approx(before["accuracy"], abs=0.01)


def test_a_finished_run_is_reported_and_exported(finished: Path) -> None:
    assert report(finished).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    settings = (finished / "config.yaml").read_text().replace("formats: []", "formats: [torch]")
    (finished / "config.yaml").write_text(settings)
    stages = json.loads((finished / "stages.json").read_text())
    stages["export"]["complete"] = False
    (finished / "stages.json").write_text(json.dumps(stages))
    export(finished)
    assert [path.suffix for path in (finished / "export").iterdir()] == [".pt2"]


def test_a_model_file_gives_its_network(finished: Path) -> None:
    network = load_network(finished / "model.safetensors")[0]
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert load_architecture(finished).space == "cells"


def test_former_names_still_work() -> None:
    assert METHODS.get("d-darts") is METHODS.get("ddarts")
    assert METHODS.get("ofa") is METHODS.get("once-for-all")
    assert SPACES.get("distributed") is SPACES.get("per-cell")
    settings = resolve_settings("digits", method="d-darts", values={"space": "distributed"})
    assert (settings.method, settings.space) == ("ddarts", "per-cell")
    assert load_recipe("d-darts/digits") == load_recipe("ddarts/digits")
    assert load_recipe("ofa/default") == load_recipe("once-for-all/default")
    assert load_recipe("common/pictures-mixture") == load_recipe("common/images-mixture")
    assert not [name for name in recipe_names() if name.startswith(("d-darts/", "ofa/"))]


def test_a_run_with_former_names_is_the_same_run(tmp_path: Path) -> None:
    path = unpacked("d-darts", tmp_path / "run")
    opened = Run.open(path)
    again = Run.start(path, opened.settings)
    assert again.settings == opened.settings
