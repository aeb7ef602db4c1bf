"""Released checkpoints as model files: by order and shape, and never by running what they hold."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout import import_weights, load_network
from archscout.errors import ArchscoutError, DataError
from archscout.spaces import Architecture, get_space
from archscout.state_dicts import read_entries
from archscout.tasks import TaskSpec
from archscout.zoo import load_zoo

CIFAR = TaskSpec("cifar10", "classification", (3, 32, 32), 10)
NAME = "do.resnet18.cifar10.sparse"


def architecture(name: str = NAME) -> Architecture:
    return load_zoo(name).architecture


def network(spec: TaskSpec = CIFAR, name: str = NAME, **size: Any) -> nn.Module:
    torch.manual_seed(0)
    found = architecture(name)
    space = get_space(found.space)
    built = space.build(found, spec, space.size_model.read({"init_channels": 4, **size}))
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):  # running statistics that are not the initial ones
            nn.init.uniform_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return built.eval()


def published_name(name: str) -> str:
    """Our names as the published code has them; the inner ones as in DARTS."""
    name = re.sub(r"^stem\.(conv|norm)\.", lambda m: f"stem.{['conv', 'norm'].index(m[1])}.", name)
    name = re.sub(r"^stem\.(first|second)\.", lambda m: f"stem{['first', 'second'].index(m[1])}.", name)
    name = re.sub(r"^(cells\.\d+)\.operations\.", r"\1._ops.", name)
    name = re.sub(r"^(cells\.\d+\.preprocess[01])\.(\d)", r"\1.op.\2", name)
    name = re.sub(r"\.even\.", ".conv_1.", name)
    name = re.sub(r"\.odd\.", ".conv_2.", name)
    return re.sub(r"^auxiliary\.", "auxiliary_head.", name)


def released(built: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + published_name(name): tensor for name, tensor in built.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module._orig_mod.", "net.backbone."])
def test_a_released_checkpoint_becomes_the_network_that_it_was(tmp_path: Path, prefix: str) -> None:
    built = network(auxiliary=True)
    file, out = tmp_path / "DO-ResNet18.pth.tar", tmp_path / "model.safetensors"
    content = {"epoch": 600, "state_dict": released(built, prefix), "optimizer": {"state": {0: torch.zeros(3)}}}
    torch.save(content, file)
    report = import_weights(file, NAME, out=out)
    assert (report.task, report.init_channels) == ("cifar10", 4)
    told = [f"the names are read without '{prefix}'"] if prefix else []
    assert report.notes == ("the weights are those of 'state_dict'", *told)
    assert all(name.startswith("auxiliary_head.") for name in report.ignored) and report.ignored
    assert [part.name for part in report.parts][:4] == [
        "stem",
        "cells.0.preprocess0",
        "cells.0.preprocess1",
        "cells.0.operations",
    ]
    assert report.parts[1].names["cells.0.preprocess0.1.weight"] == "cells.0.preprocess0.op.1.weight"
    loaded, spec = load_network(out)
    assert (spec.name, spec.outputs) == ("cifar10", 10)
    inputs = torch.randn(3, 3, 32, 32)
    assert torch.equal(loaded(inputs), built(inputs))
    assert report.parameters == sum(parameter.numel() for parameter in loaded.parameters())


def test_old_checkpoints_without_batch_counters_and_bare_state_dicts_are_read(tmp_path: Path) -> None:
    built = network(name="darts_v2", layers=3)
    state = {name: tensor for name, tensor in released(built).items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "cifar10_model.pt")
    import_weights(tmp_path / "cifar10_model.pt", "darts_v2", out=tmp_path / "m.safetensors", layers=3)
    inputs = torch.randn(2, 3, 32, 32)
    assert torch.equal(load_network(tmp_path / "m.safetensors")[0](inputs), built(inputs))


def test_imagenet_checkpoints_have_two_stems(tmp_path: Path) -> None:
    spec = TaskSpec("imagenet", "classification", (3, 224, 224), 1000)
    built = network(spec)
    torch.save({"state_dict": released(built)}, tmp_path / "c.pth.tar")
    report = import_weights(tmp_path / "c.pth.tar", NAME, out=tmp_path / "m.safetensors")
    assert (report.task, report.init_channels) == ("imagenet", 4)
    inputs = torch.randn(2, 3, 64, 64)
    assert torch.equal(load_network(tmp_path / "m.safetensors")[0](inputs), built(inputs))


def test_what_does_not_fit_is_told_part_by_part(tmp_path: Path) -> None:
    file = tmp_path / "c.pth"

    def refused(state: dict[str, Tensor], **options: Any) -> str:
        torch.save(state, file)
        with pytest.raises(ArchscoutError) as caught:
            import_weights(file, options.pop("name", NAME), out=tmp_path / "m.safetensors", **options)
        assert not (tmp_path / "m.safetensors").exists()
        return str(caught.value)

    good = released(network())
    other = refused(good, name="do.resnet18.cifar100.sparse")
    assert "in 4 of its parts: cells.0.operations: " in other and " where cells.0.operations.1." in other
    missing = {name: tensor for name, tensor in good.items() if name != "cells.1._ops.0.1.weight"}
    assert "cells.1.operations:" in refused(missing) and "tensors in the file" in refused(missing)
    assert "left over from extra.weight" in refused({**good, "extra.weight": torch.zeros(2)})
    assert "stem: stem.0.weight is 12 x 3 x 3 x 3 where stem.conv.weight is 24" in refused(good, init_channels=8)
    assert "classifier.weight" in refused({"fc.weight": torch.zeros(2, 2)})
    odd = {**good, "classifier.weight": torch.zeros(7, 8)}
    assert "has 7 classes; name what it was trained on with --task" in refused(odd)
    assert "has 10 classes, but cifar100 has 100" in refused(good, task="cifar100")


class Evil:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_a_checkpoint_that_could_run_code_is_refused_unrun(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"state_dict": {"classifier.weight": torch.zeros(10, 2)}, "criterion": Evil(trace)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil(trace)))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(DataError, match="is refused"):
            read_entries(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:d312\n", "pointer of git-LFS.*git lfs pull"),
        (b"", "is empty"),
        (b"PK\x03\x04 truncated", "is damaged, or no file of weights"),
    ],
)
def test_files_that_hold_no_tensors_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_entries(tmp_path / "c.pth")
    with pytest.raises(DataError, match="does not exist"):
        read_entries(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 3}}, {}, {3: torch.zeros(1)}])
def test_other_contents_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(DataError, match="holds no state dict of names and tensors, but a"):
        read_entries(tmp_path / "c.pth")
