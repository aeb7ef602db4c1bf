"""Files of weights as people have them: every usual wrapper and prefix, old formats, and true messages for the rest."""

from __future__ import annotations

import argparse
import collections
import datetime
import hashlib
import json
import pathlib
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from archscout.errors import DataError
from archscout.state_dicts import Fitted, fit, read_entries
from archscout.zoo.weights import apply_weights, load_weighted_network


def network() -> nn.Module:
    return nn.Sequential(
        collections.OrderedDict(
            stem=nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), model=nn.Linear(2, 3), classifier=nn.Linear(3, 4)
        )
    )


def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(network().state_dict())


def shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state().items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def saved(content: Any, folder: Path, **options: Any) -> Path:
    torch.save(content, folder / "weights.pt", **options)
    return folder / "weights.pt"


def fitted(path: Path, entry: str | None = None) -> Fitted:
    found = fit(read_entries(path, entry), shapes(), path.name)
    expected = state()
    assert list(found.tensors) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.tensors.items())
    return found


PREFIXES = [
    "module.",
    "_orig_mod.",
    "model.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "module.model.",
    "net.",
    "backbone.encoder.",
    "module.module.module.",
]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("prefix", ["", *PREFIXES])
def test_prefixes_are_taken_off_and_told(prefix: str, new: bool, tmp_path: Path) -> None:
    found = fitted(saved(under(prefix, state()), tmp_path, _use_new_zipfile_serialization=new))
    assert found.notes == ((f"the names are read without '{prefix}'",) if prefix else ())


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_in_safetensors_are_taken_off(prefix: str, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "weights.bin"):  # known by its content
        save_file(under(prefix, state()), tmp_path / name)
        fitted(tmp_path / name)


def test_parts_that_wrappers_insert_are_taken_out_anywhere(tmp_path: Path) -> None:
    inner = {name.replace("stem.", "stem._orig_mod."): tensor for name, tensor in state().items()}
    assert fitted(saved(inner, tmp_path)).notes == ("the names are read without '_orig_mod.'",)
    both = under("net.", {name.replace("stem.", "stem.module."): tensor for name, tensor in state().items()})
    assert fitted(saved(both, tmp_path)).notes == ("the names are read without 'net.' and 'module.'",)


WRAPPERS = [
    "state_dict",
    "model",
    "net",
    "network",
    "model_state_dict",
    "state_dict_ema",
    "ema",
    "model_ema",
    "weights",
    "params",
    "module",
    "some_name_of_their_own",
    "checkpoint.model.state_dict",
]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_taken_off_and_told(wrapper: str, prefix: str, tmp_path: Path) -> None:
    content: Any = under(prefix, state())
    for key in reversed(wrapper.split(".")):
        content = {key: content, "epoch": 7, "best": torch.tensor(0.5)}
    network_, optimizer = network(), torch.optim.SGD(network().parameters(), 0.1, momentum=0.9)
    content["optimizer"] = optimizer.state_dict()
    assert isinstance(network_, nn.Module)
    assert f"the weights are those of '{wrapper}'" in fitted(saved(content, tmp_path)).notes


def test_weights_come_before_averaged_ones_which_can_be_chosen(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in state().items()}
    path = saved({"state_dict_ema": other, "state_dict": state()}, tmp_path)
    found = fitted(path)
    assert "the file also has state_dict_ema; choose with --entry NAME" in found.notes
    chosen = fit(read_entries(path, "state_dict_ema"), shapes(), "f")
    assert torch.equal(chosen.tensors["classifier.bias"], other["classifier.bias"])
    with pytest.raises(DataError, match=r"no weights of the name 'swa'\. It has: state_dict, state_dict_ema"):
        read_entries(path, "swa")


def test_of_several_networks_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    path = saved({"discriminator": {"a.weight": torch.zeros(3)}, "generator": state()}, tmp_path)
    assert "the weights are those of 'generator'" in fitted(path).notes
    with pytest.raises(DataError, match=r"more than once, under 'student\.' and 'teacher\.'"):
        fit(read_entries(saved({**under("student.", state()), **under("teacher.", state())}, tmp_path)), shapes(), "f")


def test_what_is_outside_of_the_prefix_is_left_out_and_told(tmp_path: Path) -> None:
    averaged = {"n_averaged": torch.tensor(3), **under("module.", state())}  # torch's AveragedModel
    assert "left out, as outside of 'module.': n_averaged" in fitted(saved(averaged, tmp_path)).notes
    mixed: Any = {**state(), "epoch": 3, "name": "net"}
    assert "left out, as no tensors: epoch, name" in fitted(saved(mixed, tmp_path)).notes


def test_averaged_models_of_torch_are_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    fitted(saved(torch.optim.swa_utils.AveragedModel(network()).state_dict(), tmp_path))


def test_batch_counters_that_old_versions_lack_are_zero() -> None:
    old = {name: tensor for name, tensor in state().items() if not name.endswith("num_batches_tracked")}
    made = network()
    notes = apply_weights(made, old, "f")
    assert notes == ("1 batch counters are missing, as in old files; nothing is computed from them",)
    assert int(made.state_dict()["stem.1.num_batches_tracked"]) == 0


HARMLESS = [
    argparse.Namespace(lr=0.1, layers=[1, 2]),
    types.SimpleNamespace(lr=0.1),
    np.float64(0.9),
    np.arange(3),
    pathlib.Path("data"),
    datetime.datetime(2020, 1, 1),
    {1, 2},
    slice(2),
    range(3),
    torch.float32,
    collections.Counter("ab"),
]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("value", HARMLESS, ids=lambda value: type(value).__name__)
def test_what_scripts_save_beside_weights_is_dropped(value: object, new: bool, tmp_path: Path) -> None:
    fitted(saved({"state_dict": state(), "args": value}, tmp_path, _use_new_zipfile_serialization=new))


# -- what is no state dict -----------------------------------------------------------------------------------------


def test_the_state_of_an_optimiser_is_told_as_such(tmp_path: Path) -> None:
    made = network()
    optimizer = torch.optim.Adam(made.parameters())
    for parameter in made.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for content, message in (
        (optimizer.state_dict(), "but the state of an optimiser alone"),
        ({"optimizer": optimizer.state_dict(), "epoch": 3}, r"only the state of the optimiser \(optimizer\)"),
    ):
        with pytest.raises(DataError, match=message):
            read_entries(saved(content, tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "but an empty dictionary"),
        ([1, 2], "but a list"),
        ({"a": 1, "args": argparse.Namespace()}, r"a dictionary with 'a' \(int\), 'args' \(value that is no tensor\)"),
        ({3: torch.zeros(1)}, r"a dictionary with '3' \(Tensor\)"),
        (torch.zeros(2), "but a Tensor"),
    ],
)
def test_other_contents_are_described(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"holds no state dict of names and tensors, {message}|{message}"):
        read_entries(saved(content, tmp_path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_files_are_told_as_what_they_are(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            read_entries(path)
        assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
        return str(caught.value)

    for content, message in (
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\n <?xml?>", "is a web page or XML"),
        (b"\x89HDF\r\n\x1a\nxx", "an HDF5 file, as Keras"),
        (b"\x93NUMPYxx", "a single array of numpy"),
        (b"\x1f\x8bxx", "is gzipped"),
        (b"version https://git-lfs", "git lfs pull"),
        (b"anything else", "is damaged, or no file of weights"),
    ):
        (tmp_path / "x.pt").write_bytes(content)
        assert message in refused(tmp_path / "x.pt")
    assert "is a folder" in refused(tmp_path)
    assert "does not exist" in refused(tmp_path / "none.pt")
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    assert "is a zip archive (a.npy)" in refused(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("weights.pt", "x")
    assert "is a zip archive (weights.pt)" in refused(tmp_path / "y.zip")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "z.pt")
    assert "is a program of TorchScript" in refused(tmp_path / "z.pt")
    assert "the pickle names torch.nn.modules.linear.Linear" in refused(saved(nn.Linear(2, 2), tmp_path))


def test_digits_of_a_date_are_no_checksum(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "x")
    fitted((tmp_path / "x").rename(tmp_path / "model-20240131.pt"))
    with pytest.raises(DataError, match="rename it if these digits mean something else"):
        read_entries((tmp_path / "model-20240131.pt").rename(tmp_path / "model-deadbeef.pt"))
    digest = hashlib.sha256((tmp_path / "model-deadbeef.pt").read_bytes()).hexdigest()
    fitted((tmp_path / "model-deadbeef.pt").rename(tmp_path / f"model-{digest[:8]}.pt"))


# -- what does not fit ---------------------------------------------------------------------------------------------


def misfit(tensors: dict[str, Tensor]) -> str:
    with pytest.raises(DataError) as caught:
        apply_weights(network(), tensors, "f.pt")
    return str(caught.value)


def test_messages_about_what_does_not_fit_are_true() -> None:
    wide = under("module.", {**state(), "classifier.weight": torch.zeros(7, 3), "classifier.bias": torch.zeros(7)})
    told = misfit(wide)
    assert "2 have another shape (classifier.weight (7, 3) instead of (4, 3), classifier.bias" in told
    assert "its names are read without 'module.'" in told
    assert "missing" not in told and "The names agree, the shapes do not" in told
    assert "None of the names is one of the network's" in misfit({"conv.weight": torch.zeros(2)})
    more = misfit(under("model.", {**state(), "more.weight": torch.zeros(2)}))
    assert "1 are unknown (more.weight)" in more and "missing" not in more
    less = {name: tensor for name, tensor in state().items() if name != "model.bias"}
    assert "1 tensors are missing (model.bias)" in misfit(under("_orig_mod.", less))


def test_a_part_of_the_network_that_is_called_like_a_prefix_stays(tmp_path: Path) -> None:
    fitted(saved(under("model.", state()), tmp_path))  # the network has a layer `model` itself
    fitted(saved(state(), tmp_path))


# -- the ways in ---------------------------------------------------------------------------------------------------


def test_python_is_told_by_a_warning(tmp_path: Path) -> None:
    from archscout.tasks import TaskSpec
    from archscout.zoo.weights import network_of

    spec = TaskSpec("digits", "classification", (1, 8, 8), 10)
    made = network_of("wide_resnet_10", spec)
    path = saved({"net": under("module.", dict(made.state_dict()))}, tmp_path)
    with pytest.warns(UserWarning, match=r"those of 'net'; the names are read without 'module\.'"):
        loaded = load_weighted_network("wide_resnet_10", path, spec)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), made.parameters(), strict=True))


def test_the_command_line_says_what_it_took_off(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from archscout.cli import app
    from archscout.tasks import task_spec
    from archscout.zoo.weights import network_of

    made = network_of("wide_resnet_10", task_spec("digits"))
    path = saved({"state_dict": under("_orig_mod.", dict(made.state_dict()))}, tmp_path)
    done = CliRunner().invoke(
        app,
        ["evaluate", "wide_resnet_10", "--weights", str(path), "--task", "digits", "--json"],
        catch_exceptions=False,
    )
    assert "the names are read without '_orig_mod.'" in done.stderr
    assert json.loads(done.stdout)["test"]["samples"] > 0
