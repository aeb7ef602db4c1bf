"""Networks of the user's own that are more than plain layers: nothing of them is dropped in silence."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import archscout
from archscout.driver import Observer
from archscout.errors import ArchscoutError, SpaceError
from archscout.methods.kernels.search import check_names
from archscout.nn.kernels.layers import kernel_layers, odd_layers
from archscout.nn.kernels.mixture import KernelMixture
from archscout.spaces import ModuleSpace
from archscout.spaces.kernels.module import ModuleOptions, ModuleSize
from archscout.spaces.kernels.pattern import with_kernels
from archscout.tasks import TaskSpec

DIMENSIONS = [1, 2]
CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}
CONVOLVE: dict[int, Any] = {1: F.conv1d, 2: F.conv2d}


class Masked1d(nn.Conv1d):
    """Sees only what comes before, as in PixelCNN and WaveNet."""

    def forward(self, input: Tensor) -> Tensor:
        mask = torch.ones_like(self.weight)
        mask[..., 2:] = 0
        return F.conv1d(input, self.weight * mask, self.bias, padding=1)


class Masked2d(nn.Conv2d):
    """The same for images."""

    def forward(self, input: Tensor) -> Tensor:
        mask = torch.ones_like(self.weight)
        mask[..., 2:, :] = 0
        return F.conv2d(input, self.weight * mask, self.bias, padding=1)


class Standardised(nn.Conv2d):
    """Weight standardisation."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(input, weight, self.bias, padding=1)


class Renamed(nn.Conv2d):
    """A subclass that changes nothing: this cannot be known."""


MASKED: dict[int, Any] = {1: Masked1d, 2: Masked2d}


class Net(nn.Module):
    """Two convolutions, `first` and `second`, in one or two dimensions."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.first = CONV[dimensions](2, 4, 3, padding=1)
        self.second = CONV[dimensions](4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.answer(self.features(inputs))

    def features(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.second(torch.relu(self.first(inputs)))
        return hidden

    def answer(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.head(features.flatten(2).mean(2))
        return outputs


def spec_of(dimensions: int) -> TaskSpec:
    return TaskSpec("own", "classification", (2, *(8,) * dimensions), 3)


def inputs_of(dimensions: int, count: int = 2) -> Tensor:
    return torch.randn((count, 2, *(8,) * dimensions), generator=torch.Generator().manual_seed(1))


def checked(network: nn.Module, dimensions: int, **options: Any) -> ModuleSpace:
    space = ModuleSpace(ModuleOptions(**options)).given(network)
    space.check(spec_of(dimensions))
    return space


# -- what a layer carries ------------------------------------------------------------------------------------------


def hooked(layer: Any) -> None:
    layer.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)


def pre_hooked(layer: Any) -> None:
    layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))


def backward_hooked(layer: Any) -> None:
    layer.register_full_backward_hook(lambda module, into, out: None)


def backward_pre_hooked(layer: Any) -> None:
    layer.register_full_backward_pre_hook(lambda module, out: None)


def state_hooked(layer: Any) -> None:
    layer.register_state_dict_post_hook(lambda *_: None)


def patched(layer: Any) -> None:
    def doubled(self: Any, input: Tensor) -> Tensor:
        doubled: Tensor = 2 * type(self).forward(self, input)
        return doubled

    layer.forward = types.MethodType(doubled, layer)


def buffered(layer: Any) -> None:
    layer.register_buffer("mask", torch.ones(3))


def with_parameter(layer: Any) -> None:
    layer.gain = nn.Parameter(torch.ones(1))


def with_module(layer: Any) -> None:
    layer.norm = nn.BatchNorm1d(3)


def with_attribute(layer: Any) -> None:
    layer.gain = 2.0


def frozen(layer: Any) -> None:
    layer.weight.requires_grad_(False)


def tagged(layer: Any) -> None:
    layer.weight.no_decay = True


class Special(nn.Parameter):
    """A parameter of a class of its own."""


def special(layer: Any) -> None:
    layer.weight = Special(layer.weight.data)


def old_spectral(layer: Any) -> None:
    nn.utils.spectral_norm(layer)


CARRIED = [
    (hooked, "has hooks"),
    (pre_hooked, "has hooks"),
    (backward_hooked, "has hooks"),
    (backward_pre_hooked, "has hooks"),
    (state_hooked, "has hooks"),
    (patched, "'forward' of its own"),
    (buffered, "'mask' of its own"),
    (with_parameter, "'gain' of its own"),
    (with_module, "'norm' of its own"),
    (with_attribute, "'gain' of its own"),
    (frozen, "is frozen"),
    (tagged, "the attribute 'no_decay'"),
    (special, "a weight that is a Special"),
    (parametrizations.weight_norm, "a parametrization of its weight"),
    (parametrizations.spectral_norm, "a parametrization of its weight"),
    (old_spectral, "has hooks"),
]


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize(("change", "reason"), CARRIED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_layer_carries_is_kept_and_told(change: Callable[[Any], Any], reason: str, dimensions: int) -> None:
    network: Any = Net(dimensions)
    change(network.second)
    assert kernel_layers(network) == ["first"]
    assert reason in odd_layers(network)["second"]
    space = checked(network, dimensions)
    built: Any = space.build(with_kernels(space.kernel_base(), [(3, 1)]), spec_of(dimensions), ModuleSize())
    inputs = inputs_of(dimensions)
    assert torch.equal(built.eval()(inputs), network.eval()(inputs))
    assert vars(built.second.weight) == vars(network.second.weight)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_subclasses_are_kept(dimensions: int) -> None:
    network: Any = Net(dimensions)
    network.second = MASKED[dimensions](4, 4, 3, padding=1)
    space = checked(network, dimensions)
    assert space.kernel_base().convolutions == ("first",)
    assert "a subclass with code of its own" in odd_layers(network)["second"]
    built: Any = space.build(with_kernels(space.kernel_base(), [(5, 1)]), spec_of(dimensions), ModuleSize())
    assert type(built.second) is MASKED[dimensions]
    assert torch.equal(built.second.weight, network.second.weight)


@pytest.mark.parametrize("kind", [Standardised, Renamed])
def test_without_a_plain_layer_the_reasons_are_told(kind: type[nn.Conv2d]) -> None:
    network = nn.Sequential(kind(2, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SpaceError, match=f"no convolution.*'0' is a {kind.__name__}, a subclass"):
        check_names(network, kernel_layers(network))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_layers_that_share_a_weight_are_kept(dimensions: int) -> None:
    network: Any = Net(dimensions)
    network.third = CONV[dimensions](4, 4, 3, padding=1)
    network.third.weight = network.second.weight
    assert kernel_layers(network) == ["first"]
    assert odd_layers(network)["third"] == "shares a weight with second.weight"
    bare: Any = Net(dimensions)
    bare.register_parameter("again", bare.first.weight)
    assert odd_layers(bare) == {"first": "shares a weight with again"}


# -- what cannot be copied -----------------------------------------------------------------------------------------


def pruned(layer: Any) -> None:
    cast(Any, prune).l1_unstructured(layer, "weight", 0.5)


def old_weight_norm(layer: Any) -> None:
    nn.utils.weight_norm(layer)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("change", [old_weight_norm, pruned])
def test_a_network_that_cannot_be_copied_is_refused_with_the_layer(
    change: Callable[[Any], None], dimensions: int
) -> None:
    network: Any = Net(dimensions)
    change(network.second)
    with pytest.raises(SpaceError, match=r"cannot be copied.*the layer 'second' \(Conv\dd\).*parametrizations"):
        checked(network, dimensions)


def test_a_hook_of_a_parameter_is_refused() -> None:
    for register in ("register_hook", "register_post_accumulate_grad_hook"):
        for layer in ("second", "head"):
            network: Any = Net(2)
            getattr(network.get_submodule(layer).weight, register)(lambda gradient: None)
            with pytest.raises(SpaceError, match=f"'{layer}.weight' has a hook on its gradient"):
                checked(network, 2)


class Closing(Net):
    """Functions that hold on to the network."""

    def __init__(self, how: str) -> None:
        super().__init__(2)
        self.gain = nn.Parameter(torch.ones(1))
        scale = self.gain
        if how == "hook":
            self.head.register_forward_hook(lambda module, inputs, outputs: outputs * self.gain)
        elif how == "attribute":
            self.scaled = lambda outputs: outputs * scale
        else:
            self.steps = [lambda outputs: self.head(outputs)]


@pytest.mark.parametrize("how", ["hook", "attribute", "list"])
def test_functions_that_hold_the_original_are_refused(how: str) -> None:
    with pytest.raises(SpaceError, match=r"has a function .* that refers to ('gain'|the network itself)"):
        checked(Closing(how), 2)


# -- how the code uses its layers ----------------------------------------------------------------------------------


class Functional(Net):
    """Uses the weight of `second` by itself."""

    def features(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.first(inputs))
        outputs: Tensor = CONVOLVE[self.dimensions](hidden, self.second.weight, self.second.bias, padding=1)
        return outputs


class FunctionalInTraining(Net):
    """Does so in training only."""

    def features(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = super().features(inputs)
        return hidden + self.second.weight.square().mean() if self.training else hidden


class Flipped(Net):
    """Uses the layer, and its weight turned around, as tied autoencoders do."""

    def features(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = super().features(inputs)
        outputs: Tensor = CONVOLVE[self.dimensions](hidden, self.second.weight.flip(-1).detach(), padding=1)
        return outputs


class Private(Net):
    """Calls what only torch's class has."""

    def features(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.first(inputs))
        outputs: Tensor = self.second._conv_forward(hidden, self.second.weight, None)
        return outputs


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("kind", [Functional, FunctionalInTraining, Flipped, Private])
def test_functional_use_of_a_weight_is_refused_by_name(kind: type[Net], dimensions: int) -> None:
    network = kind(dimensions)
    with pytest.raises(SpaceError, match=r"uses the weight of 'second' other than by calling .*keep=\[\"second\"\]"):
        checked(network, dimensions)
    assert checked(network, dimensions, keep=("second",)).kernel_base().convolutions == ("first",)


class Reading(Net):
    """Asks for the size of the kernel."""

    def features(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = super().features(inputs)
        outputs: Tensor = hidden / self.second.kernel_size[0]
        return outputs


class Hidden(Net):
    """Holds `second` in a plain list, or a method of it."""

    def __init__(self, dimensions: int, bound: bool = False) -> None:
        super().__init__(dimensions)
        self.steps = [self.second.forward] if bound else [self.second]

    def features(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.steps[0](torch.relu(self.first(inputs)))
        return outputs


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_code_that_relies_on_the_layer_itself_is_refused_by_name(dimensions: int) -> None:
    with pytest.raises(SpaceError, match=r"does not run once 'second' is exchanged .*AttributeError.*kernel_size"):
        checked(Reading(dimensions), dimensions)
    with pytest.raises(SpaceError, match="holds 'second' in two places"):
        checked(Hidden(dimensions), dimensions)
    with pytest.raises(SpaceError, match="uses the weight of 'second' other than by calling the layer"):
        checked(Hidden(dimensions, bound=True), dimensions)


class Harmless(Net):
    """Asks only where the weight is."""

    def features(self, inputs: Tensor) -> Tensor:
        return super().features(inputs.to(self.first.weight.device, self.first.weight.dtype))


class Named(Net):
    """Calls a layer by keyword, and one sample at a time."""

    def features(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(torch.stack([self.first(input=each) for each in inputs]))
        outputs: Tensor = self.second(input=hidden)
        return outputs


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("kind", [Harmless, Named])
def test_harmless_code_is_searched(kind: type[Net], dimensions: int) -> None:
    space = checked(kind(dimensions), dimensions)
    assert space.kernel_base().convolutions == ("first", "second")


def test_one_sample_at_a_time_is_the_same_as_a_batch() -> None:
    mixtures = []
    for kind in (Net, Named):
        torch.manual_seed(0)
        network = kind(2)
        torch.manual_seed(0)
        mixtures.append(KernelMixture(network, ["first", "second"], sizes=(3, 5), dilations=(1,), depthwise=False))
    mixing = torch.full((2, 2), 0.5)
    first, second = (mixture(inputs_of(2), mixing) for mixture in mixtures)
    assert torch.allclose(first, second, atol=1e-6)


class TwoOutputs(Net):
    """Gives an auxiliary output in training."""

    def forward(self, inputs: Tensor) -> Any:
        outputs = super().forward(inputs)
        return (outputs, outputs) if self.training else outputs


def test_another_output_in_training_is_refused() -> None:
    with pytest.raises(SpaceError, match="two samples of own in training is tuple"):
        checked(TwoOutputs(2), 2)


def test_checking_leaves_network_and_generators_alone() -> None:
    network = nn.Sequential(Net(2), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    keys = {name: sorted(vars(module)) for name, module in network.named_modules()}
    state = torch.random.get_rng_state()
    checked(network, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert {name: sorted(vars(module)) for name, module in network.named_modules()} == keys


# -- other kinds of networks ---------------------------------------------------------------------------------------


class TwoSizes(Net):
    """Uses one layer at full and then at half size."""

    def features(self, inputs: Tensor) -> Tensor:
        hidden = self.second(self.first(inputs))
        outputs: Tensor = self.second(hidden[..., ::4] if self.dimensions == 1 else hidden[..., ::4, ::4])
        return outputs


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_a_layer_used_at_two_sizes_keeps_what_the_larger_one_needs(dimensions: int) -> None:
    network = TwoSizes(dimensions)
    checked(network, dimensions)
    mixture = KernelMixture(network, ["first", "second"], sizes=(3, 7), dilations=(1,), depthwise=False)
    mixture(inputs_of(dimensions), torch.full((2, 2), 0.5))
    assert mixture.live_kernel(1, (7, 1)) == (7, 1)
    assert mixture.choices()["second"]["lengths"] == [8] * dimensions


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_lazy_layers_take_their_shape_and_are_searched(dimensions: int) -> None:
    lazy: Any = {1: nn.LazyConv1d, 2: nn.LazyConv2d}[dimensions]
    norm: Any = {1: nn.LazyBatchNorm1d, 2: nn.LazyBatchNorm2d}[dimensions]
    pool: Any = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}[dimensions]
    network = nn.Sequential(lazy(4, 3, padding=1), norm(), pool(1), nn.Flatten(), nn.LazyLinear(3))
    space = checked(network, dimensions)
    assert space.kernel_base().convolutions == ("0",)
    assert type(network[0]) is lazy  # the user's own is not touched
    built: Any = space.build(space.kernel_base(), spec_of(dimensions), ModuleSize())
    assert type(built[0]) is CONV[dimensions]
    torch.manual_seed(5)
    again = ModuleSpace().given(network)
    other = again.build(again.kernel_base(spec_of(dimensions)), spec_of(dimensions), ModuleSize())
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), other.parameters(), strict=True))
    found = space.build(with_kernels(space.kernel_base(), [(5, 1)]), spec_of(dimensions), ModuleSize())
    assert found(inputs_of(dimensions)).shape == (2, 3)


def test_a_lazy_layer_without_a_part_in_the_forward_is_named() -> None:
    network: Any = Net(2)
    network.unused = nn.LazyLinear(3)
    with pytest.raises(SpaceError, match=r"'unused\.weight' is lazy and has no shape"):
        checked(network, 2)


def test_layers_in_channels_last_stay_right() -> None:
    network: Any = cast(Any, Net(2)).to(memory_format=torch.channels_last)
    space = checked(network, 2)
    built: Any = space.build(with_kernels(space.kernel_base(), [(5, 1), (3, 1)]), spec_of(2), ModuleSize())
    inputs = inputs_of(2)
    expected = F.conv2d(inputs, built.first.weight, built.first.bias, padding=2)
    assert torch.allclose(built.first(inputs.to(memory_format=torch.channels_last)), expected, atol=1e-6)
    assert torch.equal(built.second.weight, network.second.weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda net: torch.compile(nn.DataParallel(net))])
def test_wrapped_networks_are_unwrapped(wrap: Callable[[nn.Module], nn.Module]) -> None:
    space = checked(wrap(Net(2)), 2)
    assert space.kernel_base().name == "Net"
    assert space.kernel_base().convolutions == ("first", "second")


def test_errors_of_the_users_code_are_told() -> None:
    network = nn.Sequential(nn.Conv2d(5, 4, 3, padding=1))
    with pytest.raises(ArchscoutError, match=r"cannot take the inputs of own, \(2, 2, 8, 8\): RuntimeError"):
        checked(network, 2)


def test_partial_functions_are_copied_with_what_they_hold() -> None:
    network: Any = Net(2)
    network.scale = nn.Parameter(torch.ones(1))
    network.scaled = functools.partial(torch.mul, network.scale)
    space = checked(network, 2)
    built: Any = space.build(space.kernel_base(), spec_of(2), ModuleSize())
    assert built.scaled.args[0] is built.scale


# -- the whole way -------------------------------------------------------------------------------------------------


def digits_network(*, functional: bool = False) -> nn.Module:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = Standardised(1, 4, 3, padding=1)
            self.conv = nn.Conv2d(4, 4, 3, padding=1) if functional else nn.LazyConv2d(4, 3, padding=1)
            self.head = nn.LazyLinear(10)

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = torch.relu(self.stem(inputs))
            hidden = F.conv2d(hidden, self.conv.weight, padding=1) if functional else self.conv(hidden)
            outputs: Tensor = self.head(hidden.mean((2, 3)))
            return outputs

    return Own()


def test_a_search_keeps_what_is_more_than_a_plain_layer_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []

    class Listener:
        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: said.extend(arguments) if name == "message" else None

    quick = ["epochs=1", "batch_size=200", "fraction=0.01", "kernel_sizes=[3,5]", "dilations=[1]", "train.epochs=1"]
    run = archscout.search(
        "digits",
        method="dash",
        model=digits_network(),
        out=tmp_path / "run",
        overrides=quick,
        observers=[cast(Observer, Listener())],
    )
    assert any("stay as they are" in text and "'stem' is a Standardised" in text for text in said)
    assert run.search_facts["kernels"]["kept"] == {"stem": "is a Standardised, a subclass with code of its own"}
    assert run.search_facts["kernels"]["convolutions"] == ["conv"]
    found: Any = run.untrained()
    assert type(found.stem) is Standardised
    assert type(found.conv) is nn.Conv2d


def test_what_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="'conv'"):
        archscout.search("digits", method="dash", model=digits_network(functional=True), out=tmp_path / "run")
    only_odd = nn.Sequential(Standardised(1, 10, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SpaceError, match="no convolution whose kernel can be searched"):
        archscout.search("digits", method="dash", model=only_odd, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
