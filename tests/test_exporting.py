from __future__ import annotations

import copy
import errno
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import archscout.exporting as exporting
from archscout.errors import MissingExtraError, UnknownNameError
from archscout.exporting import ExportError, ExportReport, export_model


class Branches(nn.Module):
    """What cell networks are made of; in training mode with a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8, bias=False)
        self.max_pool = nn.MaxPool2d(3, 2, 1)
        self.average_pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.reduce = nn.Conv2d(8, 4, 1, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(20, 5)

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = torch.relu(self.norm(self.stem(inputs)))
        x = x + self.depthwise(x)
        joined = torch.cat([self.max_pool(x), self.average_pool(x), self.reduce(x[:, :, 1:, 1:])], dim=1)
        logits: Tensor = self.head(self.pool(joined).flatten(1))
        return (logits, logits) if self.training else logits


def trained_looking() -> Branches:
    """With running statistics that are not the initial ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Branches()
        model(torch.randn(16, 3, 8, 8) * 2 + 1)
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Branches, Path, list[ExportReport]]:
    model = trained_looking()
    folder = tmp_path_factory.mktemp("run") / "deep" / "exports"
    return model, folder, export_model(model, (3, 8, 8), folder)


def test_both_formats_are_written_and_agree_with_the_network(
    exported: tuple[Branches, Path, list[ExportReport]],
) -> None:
    _, folder, reports = exported
    assert [(report.format, report.path) for report in reports] == [
        ("onnx", folder / "model.onnx"),
        ("torch", folder / "model.pt2"),
    ]
    for report in reports:
        assert report.ok and report.tolerance == 1e-4
        assert 0 <= report.max_difference < 1e-5
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model.pt2"]


def test_the_network_is_left_as_it_was(exported: tuple[Branches, Path, list[ExportReport]]) -> None:
    model, _, _ = exported
    fresh = trained_looking()
    assert model.training
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_files_take_any_batch_size(exported: tuple[Branches, Path, list[ExportReport]]) -> None:
    import onnxruntime

    model, folder, _ = exported
    model = copy.deepcopy(model).eval()
    program = torch.export.load(folder / "model.pt2").module()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 3, 20):
        batch = torch.full((size, 3, 8, 8), 0.5)
        expected = model(batch)
        torch.testing.assert_close(program(batch), expected)
        (output,) = session.run(["output"], {"input": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(output), expected, atol=1e-5, rtol=1e-4)


def test_the_onnx_file_is_one_valid_file_with_named_ends_and_no_paths_of_this_machine(
    exported: tuple[Branches, Path, list[ExportReport]],
) -> None:
    _, folder, _ = exported
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [item.name for item in model.graph.input] == ["input"]
    assert [item.name for item in model.graph.output] == ["output"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not any(item.data_location == onnx.TensorProto.EXTERNAL for item in model.graph.initializer)
    for path in folder.iterdir():
        content = path.read_bytes()
        assert Path(__file__).name.encode() not in content
        assert str(Path.cwd()).encode() not in content


def test_export_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.root.manager.disable
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_model(nn.Linear(3, 2), (3,), tmp_path, formats=["onnx"])
    out, err = capfd.readouterr()
    assert (out, err, caught) == ("", "", [])
    assert logging.root.manager.disable == before


def test_channels_last_half_precision_networks_are_exported_in_float32(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    (report,) = export_model(model, (3, 5, 5), tmp_path, formats=["torch"])
    assert report.ok
    assert model[0].weight.dtype == torch.bfloat16
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.export.load(report.path).module()(torch.zeros(1, 3, 5, 5)).dtype == torch.float32


def test_networks_with_several_outputs_are_compared_in_all(tmp_path: Path) -> None:
    class Several(nn.Module):
        def forward(self, inputs: Tensor) -> dict[str, Any]:
            return {"sum": inputs.sum(1), "parts": [inputs * 2, inputs > 0]}

    reports = export_model(Several(), (4,), tmp_path)
    assert [report.max_difference for report in reports] == pytest.approx([0, 0], abs=1e-6)


def test_a_difference_above_the_tolerance_is_an_error_and_keeps_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt2").write_bytes(b"older")
    load = exporting._load

    def off_by_some(path: Path, kind: str) -> exporting.Runner:
        run = load(path, kind)
        return lambda batch: [output + (0.25 if len(batch) == 7 else 0.0) for output in run(batch)]

    monkeypatch.setattr(exporting, "_load", off_by_some)
    with pytest.raises(ExportError, match=r"model.pt2 computes something else.*difference is 0.25, 0.001 is allowed"):
        export_model(nn.Linear(3, 2), (3,), tmp_path, formats=["torch"], tolerance=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    assert (tmp_path / "model.pt2").read_bytes() == b"older"

    (report,) = export_model(nn.Linear(3, 2), (3,), tmp_path, formats=["torch"], tolerance=0.3)
    assert report.max_difference == pytest.approx(0.25)
    assert (tmp_path / "model.pt2").read_bytes() != b"older"


@pytest.mark.parametrize("wrong", [lambda batch: [batch[:, :1]], lambda batch: [batch * float("nan")]])
def test_other_shapes_and_missing_numbers_are_no_agreement(
    wrong: exporting.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_load", lambda path, kind: wrong)
    with pytest.raises(ExportError, match="the largest difference is inf"):
        export_model(nn.Identity(), (3,), tmp_path, formats=["torch"])
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_branches_on_values_is_refused_in_a_sentence(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs * 2 if inputs.sum() > 0 else inputs

    with pytest.raises(ExportError, match=r"torch.export cannot capture Branching with inputs \(batch, 3\)"):
        export_model(Branching(), (3,), tmp_path, formats=["torch"])
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_one_batch_size_is_refused(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs[:1] + torch.zeros(2, 3)[: len(inputs)] if len(inputs) == 2 else inputs

    with pytest.raises(ExportError, match="must take batches of any size"):
        export_model(Fixed(), (3,), tmp_path, formats=["torch"])


def test_a_missing_package_gives_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"ONNX export needs .* onnxruntime.*pip install 'archscout\[export\]'"):
        export_model(nn.Linear(3, 2), (3,), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (report,) = export_model(nn.Linear(3, 2), (3,), tmp_path, formats=["torch"])
    assert report.ok


def test_an_unknown_format_gets_suggestions(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown export format 'onx'. Did you mean onnx"):
        export_model(nn.Linear(3, 2), (3,), tmp_path, formats=["onx"])


def test_a_full_disk_is_an_error_that_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"cannot write .*model.pt2: No space left on device"):
        export_model(nn.Linear(3, 2), (3,), tmp_path, formats=["torch"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ExportError, match=r"cannot write .*taken/model.pt2: (File exists|Not a directory)"):
        export_model(nn.Linear(3, 2), (3,), tmp_path / "taken", formats=["torch"])


def test_the_same_seed_gives_the_same_comparison(tmp_path: Path) -> None:
    model = trained_looking()
    first, second = (
        export_model(model, (3, 8, 8), tmp_path, formats=["torch"], seed=3)[0].max_difference for _ in range(2)
    )
    assert first == second
