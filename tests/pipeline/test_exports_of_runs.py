"""What a user does with finished runs: export them again, to int8, for a device; average them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import archscout
from archscout.cli import app
from archscout.deployment.int8 import Int8Attempt
from archscout.errors import RunError, SettingsError
from archscout.exporting import ExportError
from archscout.pipeline import exports
from archscout.pipeline.run import Run
from archscout.tasks import Task

SMALL = [
    "network.init_channels=4",
    "network.layers=3",
    "train.epochs=2",
    "train.batch_size=128",
    "evaluate.latency_batch_sizes=[1]",
    "export.formats=[torch]",
]


def trained(folder: Path, seed: int) -> Run:
    return archscout.train("darts_v2", task="digits", out=folder, overrides=SMALL, values={"seed": seed}, until=None)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder / "first", 0), trained(folder / "second", 1)


def entries(run: Run) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in json.loads(run.directory.read("export.json"))}


def test_result_tells_flash_and_ram(runs: tuple[Run, Run]) -> None:
    memory = runs[0].result["memory"]
    assert memory["weights"]["float32"] >= 4 * 0.9 * runs[0].result["parameters"]
    assert 0 < memory["ram"]["int8"] < memory["ram"]["float32"]
    assert memory["ram_lower_bound"]["float32"] <= memory["ram"]["float32"]
    assert "flash, int8" in runs[0].directory.read("report.html")


def test_export_of_a_finished_run_writes_what_is_asked_for(runs: tuple[Run, Run]) -> None:
    pytest.importorskip("onnxruntime")
    run = runs[0]
    settings = run.directory.read("config.yaml")
    assert list(entries(run)) == ["export/model.pt2"]
    archscout.export(run.directory.path, formats="onnx", int8=True, overrides=["int8_tolerance=0.5"])
    found = entries(run)
    assert set(found) == {"export/model.pt2", "export/model.onnx", "export/model.int8.onnx"}
    int8 = found["export/model.int8.onnx"]
    assert int8["after"] >= int8["before"] - 0.5
    assert int8["validation_samples"] == len(run.task.validation) and int8["validation_seen_in_training"]
    assert all((run.directory.path / path).stat().st_size == entry["bytes"] for path, entry in found.items())
    report = run.directory.read("report.html")
    assert "int8" in report and "validation, 300 samples" in report
    assert run.directory.read("config.yaml") == settings

    archscout.export(run.directory.path, formats=["onnx"], raw=True)
    assert entries(run)["export/model.onnx"]["raw"]
    assert not entries(run)["export/model.pt2"]["raw"]


def test_int8_that_loses_too_much_is_refused_and_removed_and_the_rest_is_kept(
    runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    run = runs[1]
    from archscout.deployment import int8

    lost = (None, [Int8Attempt("minmax", False, 0.25)])
    monkeypatch.setattr(int8, "_first_good", lambda quantiser, judge, allowed: lost)
    kept = run.directory.path / "export" / "model.int8.onnx"
    kept.write_bytes(b"of an earlier export")
    with pytest.raises(ExportError, match=r"accuracy .* in float32, .*Tried: ranges by minmax: 25.00 %"):
        archscout.export(run.directory.path, formats="torch", int8=True)
    assert not kept.exists()
    assert entries(run)["export/model.pt2"]["max_difference"] < 1e-4
    assert "too far from float32" in entries(run)["export/model.int8.onnx"]["refused"]
    assert "too far from float32" in run.directory.read("report.html")


def test_the_command_tells_whether_a_network_fits(runs: tuple[Run, Run]) -> None:
    path = str(runs[0].directory.path)
    said = CliRunner().invoke(app, ["export", path, "--format", "pt2", "--target", "microcontroller", "-q"])
    assert said.exit_code == 0
    assert "microcontroller: in float32 it fits (" in said.output
    told = CliRunner().invoke(app, ["export", path, "--format", "pt2", "--target", "pico", "-q", "--json"])
    content = json.loads(told.stdout)
    assert content["fit"]["int8"]["fits"] and content["fit"]["limits"]["ram"] == 264 * 1024
    assert "export/model.pt2" in [entry["path"] for entry in content["exports"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"formats": "onx"}, "export.formats"),
        ({"target": "microcontroler"}, "Did you mean microcontroller"),
        ({"overrides": ["int8_tolerence=1"]}, "int8_tolerence"),
        ({"overrides": ["int8_tolerance=-1"]}, "int8_tolerance"),
    ],
)
def test_wrong_wishes_are_refused_before_anything_is_written(
    options: dict[str, Any], words: str, runs: tuple[Run, Run]
) -> None:
    before = runs[0].directory.read("export.json")
    with pytest.raises(archscout.errors.ArchscoutError, match=words):
        archscout.export(runs[0].directory.path, **options)
    assert runs[0].directory.read("export.json") == before


def test_int8_of_a_model_file_is_refused_with_what_to_do(runs: tuple[Run, Run]) -> None:
    said = CliRunner().invoke(app, ["export", str(runs[0].directory.path / "model.safetensors"), "--int8"])
    assert isinstance(said.exception, SettingsError)
    assert "archscout export RUN --int8" in str(said.exception)


def test_an_ensemble_averages_probabilities_and_is_one_network(runs: tuple[Run, Run], tmp_path: Path) -> None:
    out = tmp_path / "both"
    said: list[str] = []
    result = archscout.ensemble([run.directory.path for run in runs], out, formats="torch", say=said.append)
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "model.json", "result.json", "export"}
    samples = torch.randint(0, 17, (5, 8, 8, 1)).to(torch.uint8)
    given = archscout.load(out)
    alone = [archscout.load(run.directory.path) for run in runs]
    samples = samples.to(given.preparation.given_dtype()).reshape(5, *given.given_shape)
    expected = sum(each.predict_proba(samples) for each in alone) / 2
    torch.testing.assert_close(torch.tensor(given.predict_proba(samples)), torch.tensor(expected), atol=1e-6, rtol=1e-5)
    program = torch.export.load(out / "export" / "model.pt2").module()
    torch.testing.assert_close(program(samples), torch.tensor(expected), atol=1e-5, rtol=1e-4)
    assert given.class_names == alone[0].class_names
    assert given.card.values["test"]["accuracy"] == result["test"]["accuracy"]
    assert json.loads((out / "result.json").read_text()) == result
    assert [member["values"]["test"]["accuracy"] for member in result["members"]] == [
        run.result["test"]["accuracy"] for run in runs
    ]
    assert "members were trained on too" in said[0] and said[1].startswith("test accuracy")
    told = CliRunner().invoke(app, ["evaluate", str(out / "model.safetensors"), "--json"])
    assert json.loads(told.stdout)["test"]["accuracy"] == pytest.approx(result["test"]["accuracy"])


def test_ensembles_of_other_data_are_refused(runs: tuple[Run, Run], tmp_path: Path) -> None:
    pictures = torch.randint(0, 17, (200, 8, 8, 1), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    task = Task.from_arrays(pictures.numpy(), torch.arange(200).remainder(10).numpy(), name="digits")
    other = archscout.train("darts_v2", task=task, out=tmp_path / "other", overrides=SMALL)
    with pytest.raises(RunError, match="are not about the same data"):
        archscout.ensemble([runs[0].directory.path, other.directory.path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ensembles_of_one_run_of_untrained_runs_and_in_a_full_folder_are_refused(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    first, second = (run.directory.path for run in runs)
    with pytest.raises(SettingsError, match="two runs or more"):
        archscout.ensemble([first], tmp_path / "out")
    with pytest.raises(SettingsError, match="named twice"):
        archscout.ensemble([first, first], tmp_path / "out")
    with pytest.raises(RunError, match="is not empty"):
        archscout.ensemble([first, second], first)
    with pytest.raises(RunError, match="is no run directory"):
        archscout.ensemble([first, tmp_path], tmp_path / "out")


def test_a_damaged_description_of_an_ensemble_is_named(runs: tuple[Run, Run], tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    out = tmp_path / "both"
    archscout.ensemble([run.directory.path for run in runs], out, formats="torch")
    with safe_open(out / "model.safetensors", framework="pt") as opened:
        description = json.loads(opened.metadata()["archscout"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    del description["members"][1]["size"]
    save_file(tensors, out / "model.safetensors", metadata={"archscout": json.dumps(description)})
    with pytest.raises(archscout.errors.DataError, match="no network that archscout wrote"):
        archscout.load(out)


def test_files_that_are_gone_are_not_listed_any_more(runs: tuple[Run, Run]) -> None:
    run = runs[0]
    gone = run.directory.path / "export" / "model.onnx"
    gone.unlink(missing_ok=True)
    archscout.export(run.directory.path, formats="torch")
    assert "export/model.onnx" not in entries(run)
    assert exports.read_exports(run.directory)
