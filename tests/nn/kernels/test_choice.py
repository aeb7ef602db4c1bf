"""Which back-end computes an aggregated convolution."""

from __future__ import annotations

import pytest
import torch

from archscout.nn.kernels import choice as convolution_choice
from archscout.nn.kernels.aggregated import BACKENDS, AggregatedConv, Backend
from archscout.nn.kernels.candidates import Candidates
from archscout.nn.kernels.choice import choose_backend, measure_backends
from archscout.nn.kernels.layers import kernel_layers
from archscout.nn.kernels.mixture import KernelMixture


def layer() -> AggregatedConv:
    return AggregatedConv(4, 4, Candidates.of((3, 5), (1, 3), 2), groups=4)


def mixture(**options: object) -> KernelMixture:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, 2, 1, groups=2))
    names = kernel_layers(network)
    settings: dict[str, object] = {"sizes": (3, 5), "dilations": (1, 3), "depthwise": False, **options}
    return KernelMixture(network, names, **settings)  # type: ignore[arg-type]


def test_a_cpu_has_a_fixed_rule() -> None:
    assert choose_backend("auto", layer(), torch.randn(2, 4, 8, 8)) == "matrix"
    assert choose_backend("auto", layer(), torch.randn(2, 4, 8, 9)) == "fft"
    dense = AggregatedConv(4, 4, Candidates.of((3, 5), (1, 3), 1))
    assert choose_backend("auto", dense, torch.randn(2, 4, 16)) == "matrix"
    assert choose_backend("auto", dense, torch.randn(2, 4, 17)) == "fft"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_named_backend_is_taken(backend: Backend) -> None:
    assert choose_backend(backend, layer(), torch.randn(2, 4, 8, 8)) == backend


def test_each_shape_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measured(found: AggregatedConv, inputs: torch.Tensor) -> dict[Backend, float]:
        calls.append(tuple(inputs.shape))
        return {"grouped": 1.0, "fft": 2.0}

    monkeypatch.setattr(convolution_choice, "measure_backends", measured)
    monkeypatch.setattr(convolution_choice, "_measured", {})
    for size in (8, 8, 9):
        assert choose_backend("measured", layer(), torch.randn(2, 4, size, size)) == "grouped"
    assert calls == [(2, 4, 8, 8), (2, 4, 9, 9)]


def test_measuring_changes_nothing() -> None:
    module = layer()
    before = module.weight.detach().clone()
    seconds = measure_backends(module, torch.randn(2, 4, 8, 8))
    assert set(seconds) == {"grouped", "matrix", "fft"}
    assert torch.equal(module.weight, before)
    assert module.weight.grad is None


def test_large_maps_are_not_tried_as_matrices() -> None:
    module = AggregatedConv(1, 1, Candidates.of((3,), (1,), 1))
    assert set(measure_backends(module, torch.randn(1, 1, 2100))) == {"grouped", "fft"}


def test_a_mixture_keeps_its_choices() -> None:
    first, second = mixture(backend="measured"), mixture(backend="direct")
    inputs, mixing = torch.randn(2, 3, 9, 9), torch.full((2, 4), 0.25)
    assert first.choices() == {}
    first(inputs, mixing)
    choices = first.choices()
    assert [choice["lengths"] for choice in choices.values()] == [[9, 9], [9, 9]]
    second.load_choices(choices)
    assert torch.equal(second(inputs, mixing), first(inputs, mixing))
    assert second.choices() == choices


@pytest.mark.parametrize(("depthwise", "groups"), [(False, [1, 2]), (True, [1, 4])])
def test_published_searches_are_depthwise_where_channels_stay(depthwise: bool, groups: list[int]) -> None:
    network = mixture(depthwise=depthwise).network
    assert [module.groups for module in network.modules() if isinstance(module, AggregatedConv)] == groups
