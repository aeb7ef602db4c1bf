"""Networks of the user's own: what is replaced, what stays, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archscout
from archscout.errors import ArchitectureError, ArchscoutError, SettingsError, SpaceError
from archscout.exporting import export_network
from archscout.nn.kernels.layers import exchange, kept_layers, kernel_layers, set_kernels
from archscout.pipeline.run import Run
from archscout.spaces import GivenModule, ModuleSpace, architecture_from_json, architecture_to_json, get_space
from archscout.spaces.kernels.module import ModuleOptions, ModuleSize
from archscout.spaces.kernels.pattern import with_kernels
from archscout.tasks import Split, Task, TaskSpec, load_task

DIGITS = TaskSpec("digits", "classification", (1, 8, 8), 10)
SERIES = TaskSpec("series", "classification", (3, 20), 4)
QUICK = ["epochs=2", "batch_size=10", "train.epochs=1", "train.batch_size=16", "kernel_sizes=[3,5]", "dilations=[1,2]"]


class Block(nn.Module):
    """A residual block, with groups in its second convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        added: Tensor = self.norm(self.conv2(torch.relu(self.conv1(inputs)))) + self.shortcut(inputs)
        return torch.relu(added)


class SmallResNet(nn.Module):
    """Strides, groups, biases, a convolution without padding and one with an even kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.valid = nn.Conv2d(16, 16, 3)
        self.even = nn.Conv2d(16, 16, 2)
        self.head = nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.even(self.valid(self.blocks(self.stem(inputs))))
        return self.head(features.mean((2, 3)))  # type: ignore[no-any-return]


class SmallSequenceNet(nn.Module):
    """One convolution is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 6, 5, stride=2, padding=2)
        self.again = nn.Conv1d(6, 6, 3, padding=2, dilation=2, groups=6)
        self.alias = nn.ModuleList([self.again])
        self.head = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        features = torch.relu(self.first(inputs))
        features = torch.relu(self.alias[0](torch.relu(self.again(features))))
        return self.head(features.mean(2))  # type: ignore[no-any-return]


SEARCHED = ["stem", "blocks.0.conv1", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2"]


def few_digits() -> Task:
    task = load_task("digits")
    parts = {name: Split(task.split(name).source, task.split(name).indices[:40]) for name in ("train", "validation")}
    return Task(**{**vars(task), **parts})


def test_convolutions_that_keep_the_size_are_searched() -> None:
    network = SmallResNet()
    assert kernel_layers(network) == SEARCHED
    assert kept_layers(network, SEARCHED) == ["valid", "even"]
    assert kernel_layers(SmallSequenceNet()) == ["first", "again"]
    circular = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), nn.ConvTranspose2d(1, 1, 3))
    assert kernel_layers(circular) == []


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (("stem",), SEARCHED[1:]),
        (("blocks.0",), ["stem", *SEARCHED[3:]]),
        (("blocks.*",), ["stem"]),
        (("*.conv1", "stem"), ["blocks.0.conv2", "blocks.1.conv2"]),
    ],
)
def test_layers_to_keep_are_named_by_patterns(keep: tuple[str, ...], left: list[str]) -> None:
    assert kernel_layers(SmallResNet(), keep=keep) == left


def test_an_unknown_layer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"'stm\.\*' matches no layer.*stem, blocks"):
        kernel_layers(SmallResNet(), keep=("stm.*",))


def test_kernels_are_replaced_and_all_else_stays() -> None:
    network = SmallResNet()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    set_kernels(network, SEARCHED, [(5, 1), (3, 1), (3, 7), (7, 2), (1, 1)])
    changed = ("stem", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2")
    for name, value in network.state_dict().items():
        if not name.startswith(changed):
            assert torch.equal(value, before[name]), name
    found = network.blocks[0].conv2
    assert isinstance(found, nn.Conv2d)
    assert (found.kernel_size, found.dilation, found.padding, found.groups) == ((3, 3), (7, 7), (7, 7), 2)
    strided = network.blocks[1].conv1
    assert isinstance(strided, nn.Conv2d)
    assert strided.stride == (2, 2)
    assert strided.bias is None
    for size in (8, 9):
        inputs = torch.randn(2, 1, size, size)
        assert network(inputs).shape == SmallResNet()(inputs).shape


def test_a_layer_in_two_places_is_replaced_in_both() -> None:
    network = SmallSequenceNet()
    set_kernels(network, ["first", "again"], [(3, 1), (5, 1)])
    assert network.alias[0] is network.again
    assert network.again.kernel_size == (5,)
    assert exchange(network, [], lambda position, old: old) == {}


def test_a_wrong_number_of_kernels_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="2 kernels, but the network has 5"):
        set_kernels(SmallResNet(), SEARCHED, [(3, 1)] * 2)


# -- the space ---------------------------------------------------------------------------------------------------


def test_architectures_round_trip() -> None:
    space = ModuleSpace().given(SmallResNet())
    base = space.kernel_base()
    assert base == GivenModule("SmallResNet", tuple(SEARCHED))
    pattern = with_kernels(base, [(3, 1)] * 5)
    for architecture in (base, pattern):
        assert architecture_from_json(architecture_to_json(architecture)) == architecture
        assert architecture.space == "module"


@pytest.mark.parametrize(
    "fields", ['"name": "Net"', '"name": 3, "convolutions": []', '"name": "Net", "convolutions": "stem"']
)
def test_wrong_files_are_refused(fields: str) -> None:
    with pytest.raises(ArchitectureError):
        architecture_from_json(f'{{"format": "archscout.given_module", "version": 1, {fields}}}')


def test_networks_are_copies() -> None:
    module = SmallResNet().eval()
    space = ModuleSpace().given(module)
    built = space.build(space.kernel_base(), DIGITS, ModuleSize())
    assert built.training
    assert not module.training
    assert built is not module
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), module.parameters(), strict=True))


def test_a_pattern_of_another_network_is_refused() -> None:
    space = ModuleSpace().given(SmallResNet())
    other = with_kernels(ModuleSpace().given(SmallSequenceNet()).kernel_base(), [(3, 1)] * 2)
    with pytest.raises(ArchitectureError, match="another network"):
        space.build(other, DIGITS, ModuleSize())
    kept = ModuleSpace(ModuleOptions(keep=("stem",))).given(SmallResNet())
    with pytest.raises(ArchitectureError, match="keep"):
        kept.build(with_kernels(space.kernel_base(), [(3, 1)] * 5), DIGITS, ModuleSize())


@pytest.mark.parametrize(
    ("module", "spec"),
    [
        (SmallResNet(), TaskSpec("wide", "classification", (3, 8, 8), 10)),  # channels
        (SmallResNet(), TaskSpec("few", "classification", (1, 8, 8), 4)),  # outputs
        (SmallResNet(), TaskSpec("maps", "dense", (1, 8, 8), 10)),
        (SmallResNet(), TaskSpec("words", "language", (1,), 10)),
        (nn.LSTM(8, 10), DIGITS),
    ],
)
def test_a_task_that_does_not_fit_is_refused(module: nn.Module, spec: TaskSpec) -> None:
    with pytest.raises(SpaceError):
        ModuleSpace().given(module).check(spec)


def test_without_a_module_the_way_to_give_it_is_told() -> None:
    with pytest.raises(SpaceError, match="model="):
        get_space("module").check(DIGITS)


# -- the whole way -----------------------------------------------------------------------------------------------


def test_a_network_of_the_users_own_is_searched_trained_and_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SmallResNet()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    found = archscout.search(
        few_digits(), method="dash", model=model, keep=("stem",), out=tmp_path / "run", overrides=QUICK
    )
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    untrained = found.untrained()
    assert torch.equal(untrained.state_dict()["stem.weight"], weights["stem.weight"])
    assert torch.equal(untrained.state_dict()["head.weight"], weights["head.weight"])
    run = archscout.resume(tmp_path / "run", until="train", task=few_digits(), model=model)
    trained = run.model()
    assert isinstance(trained, SmallResNet)
    assert trained(torch.randn(3, 1, 8, 8)).shape == (3, 10)
    assert export_network(trained, DIGITS.input_shape, tmp_path / "export")[0].ok
    loaded, spec = archscout.load_network(tmp_path / "run" / "model.safetensors", model=model)
    assert spec.input_shape == (1, 8, 8)
    inputs = torch.randn(2, 1, 8, 8)
    assert torch.equal(loaded(inputs), trained(inputs))
    with pytest.raises(ArchscoutError, match="model="):
        Run.open(tmp_path / "run").model()
    again = archscout.train(
        run.architecture,
        task=few_digits(),
        model=model,
        out=tmp_path / "again",
        overrides=["train.epochs=1", "train.batch_size=16", 'keep=["stem"]'],
    )
    assert again.model()(inputs).shape == (2, 10)


def test_a_sequence_network_is_searched(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    arrays: list[Any] = []
    for count in (60, 20):
        targets = torch.arange(count) % 4
        arrays += [torch.randn(count, 3, 20, generator=draw) + targets.view(-1, 1, 1), targets]
    task = Task.from_arrays(*arrays, name="series")
    run = archscout.search(task, model=SmallSequenceNet(), out=tmp_path / "run", overrides=QUICK)
    assert run.untrained()(torch.randn(2, 3, 20)).shape == (2, 4)
    assert run.settings.method == "dash"


def test_options_of_modules_need_a_module(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="keep"):
        archscout.search("digits", method="dash", keep=("stem",), out=tmp_path / "run")
    with pytest.raises(SettingsError, match="model was given"):
        archscout.search(
            "digits", method="dash", model=SmallResNet(), values={"space": "backbones"}, out=tmp_path / "a"
        )
    with pytest.raises(SettingsError, match="starts from nothing"):
        archscout.search("digits", method="darts", architecture="darts_v2", out=tmp_path / "b")
