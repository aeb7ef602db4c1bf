"""Files for runtimes of devices, and the limits of devices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archscout.deployment import devices
from archscout.deployment.devices import export_for_device, openvino_session
from archscout.deployment.footprint import footprint_facts
from archscout.deployment.targets import TARGETS, describe_fit, fit, target_limits
from archscout.errors import MissingExtraError, UnknownNameError
from archscout.exporting import ExportError, ExportInput


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.norm(self.layer(inputs))).mean((2, 3)))
        return logits


INPUTS = [ExportInput("input", (2, 6, 6))]


def test_an_openvino_file_computes_what_the_network_does_at_any_batch_size(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    network = Net().eval()
    facts = {"archscout.card": '{"a": "b"}'}
    report = export_for_device(network, INPUTS, tmp_path / "new", "openvino", outputs=["probabilities"], metadata=facts)
    assert report.ok and report.path == tmp_path / "new" / "model.xml"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model.bin", "model.xml"]
    run = openvino_session(report.path)
    for size in (1, 5):
        batch = torch.randn(size, 2, 6, 6)
        torch.testing.assert_close(run(batch)[0], network(batch), atol=1e-5, rtol=1e-4)
    model = openvino.Core().read_model(report.path)
    assert model.get_rt_info(["archscout", "card"]).value == '{"a": "b"}'
    assert model.outputs[0].any_name == "probabilities"


def test_an_openvino_file_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    session = devices.openvino_session
    monkeypatch.setattr(devices, "openvino_session", lambda file: lambda *batch: [session(file)(*batch)[0] + 0.5])
    with pytest.raises(ExportError, match=r"model.xml computes something else than the network: the difference is 0.5"):
        export_for_device(Net(), INPUTS, tmp_path, "openvino", outputs=["output"])
    assert list(tmp_path.iterdir()) == []


def test_an_executorch_file_computes_what_the_network_does(tmp_path: Path) -> None:
    pytest.importorskip("executorch.exir")
    report = export_for_device(Net(), INPUTS, tmp_path, "executorch", outputs=["output"])
    assert report.ok and report.path == tmp_path / "model.pte"


@pytest.mark.parametrize("kind", ["openvino", "executorch"])
def test_a_missing_package_gives_its_install_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'archscout\[{kind}\]'"):
        export_for_device(Net(), INPUTS, tmp_path, kind, outputs=["output"])
    assert list(tmp_path.iterdir()) == []


def test_limits_are_in_bytes() -> None:
    assert target_limits("microcontroller") == {"ram": 256 * 1024, "flash": 1024 * 1024}
    assert all(target.ram < target.flash for target in TARGETS.values())
    with pytest.raises(UnknownNameError, match=r"unknown target 'picco'\. Did you mean pico"):
        target_limits("picco")


def test_a_network_fits_if_flash_and_ram_do() -> None:
    def facts(flash: int, ram: int) -> dict[str, dict[str, int]]:
        return {"flash": {"float32": 4 * flash, "int8": flash}, "ram": {"float32": 4 * ram, "int8": ram}}

    found = fit(facts(1024**2, 256 * 1024), "microcontroller")
    assert not found["float32"]["fits"] and found["int8"]["fits"]
    assert not fit(facts(1024**2 + 1, 1), "microcontroller")["int8"]["fits"]
    assert not fit(facts(1, 256 * 1024 + 1), "microcontroller")["int8"]["fits"]
    text = describe_fit(found)
    assert text == (
        "microcontroller: in float32 it does not fit (4.00 MB of 1.00 MB flash, 1.00 MB of 256.0 kB RAM); in int8 it "
        "fits (1.00 MB of 1.00 MB flash, 256.0 kB of 256.0 kB RAM)"
    )


def test_a_network_that_cannot_be_read_neither_fits_nor_does_not() -> None:
    class Reads(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs * float(inputs.sum())

    found = fit(footprint_facts(Reads(), (3,), dtype=torch.float32), "pico")
    assert "float32" not in found
    assert describe_fit(found).startswith("whether it fits pico is not known: cannot plan the memory of Reads")
