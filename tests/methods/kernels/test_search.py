"""The kernel search: gradients, schedule, early end, resuming; facts of docs/methods/dash.md#kernel-search."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import SettingsError, SpaceError
from archscout.methods.base import SearchContext
from archscout.methods.kernels.search import KernelSearch, KernelSearchSettings, transform_gradients
from archscout.nn.kernels.mixture import gumbel_mixing
from archscout.seeds import generator
from archscout.spaces.cells.genotype import CellGenotype
from archscout.spaces.cells.space import CellSize, CellSpace
from archscout.spaces.kernels.backbones import Backbone, BackboneOptions, BackboneSize, BackboneSpace
from archscout.spaces.kernels.pattern import KernelPattern, with_kernels
from archscout.state import pack, unpack
from archscout.tasks import Split, Task, load_task
from archscout.zoo import ZOO

QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 10, "kernel_sizes": [3, 5], "dilations": [1, 3], "fraction": 0.5}


def small_task() -> Task:
    task = load_task("digits")
    parts = {name: Split(task.split(name).source, task.split(name).indices[:30]) for name in ("train", "validation")}
    return Task(**{**vars(task), **parts})


def make(settings: dict[str, Any] | None = None, base: Any = None) -> KernelSearch:
    size = BackboneSize(width=1)
    context = SearchContext(
        small_task(),
        BackboneSpace(BackboneOptions(blocks=1)),
        KernelSearchSettings.read({**QUICK, **(settings or {})}),
        size,
        size,
        Engine(torch.device("cpu")),
        seed=0,
    )
    return KernelSearch(context, base)


def finish(job: KernelSearch) -> KernelSearch:
    for _ in job.run():
        assert 0 <= job.progress <= 1
    return job


def test_fields_are_those_of_the_penalty() -> None:
    images = KernelSearchSettings()
    assert images.fields(dense=False).tolist()[:5] == [3, 7, 15, 31, 5]
    assert images.fields(dense=True).tolist()[::4] == [30, 50, 70, 90]
    # The norms of 1e-5 f in docs/methods/dash.md#kernel-search.
    assert abs(1e-5 * float(images.fields(dense=False).norm()) - 1.9e-3) < 1e-4
    assert abs(1e-5 * float(images.fields(dense=True).norm()) - 2.6e-3) < 1e-4
    sequences = KernelSearchSettings(kernel_sizes=(3, 5, 7, 11, 15, 19))
    assert abs(1e-5 * float(sequences.fields(dense=False).norm()) - 4.4e-3) < 1e-4


def test_gradients_are_normalised_layer_by_layer() -> None:
    gradient = torch.randn(3, 4, dtype=torch.float64)
    fields = torch.tensor([3.0, 7, 5, 13], dtype=torch.float64)
    found = transform_gradients(gradient, 500.0, fields)
    for row, wanted in zip(found, gradient, strict=True):
        assert torch.allclose(row, wanted / (500 * (wanted.norm() + 1e-8)) + 1e-5 * fields, rtol=1e-12)
    assert torch.allclose(transform_gradients(torch.zeros(1, 4), 500.0, fields.float()), 1e-5 * fields.float())


def test_noise_is_drawn_for_all_layers_and_left_out_in_evaluation() -> None:
    alphas = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(gumbel_mixing(alphas, None), alphas.softmax(1))
    first = gumbel_mixing(alphas, generator(0, "noise", 0, 1))
    assert torch.equal(first, gumbel_mixing(alphas, generator(0, "noise", 0, 1)))
    assert not torch.allclose(first, gumbel_mixing(alphas, generator(0, "noise", 0, 2)))
    assert torch.allclose(first.sum(1), torch.ones(5, dtype=torch.float64))
    torch.autograd.gradcheck(lambda values: gumbel_mixing(values, generator(0, "noise", 0, 1)), (alphas,))
    draws = torch.stack([gumbel_mixing(torch.zeros(1, 4), generator(0, "many", n))[0].argmax() for n in range(2000)])
    assert (torch.bincount(draws, minlength=4) / 2000 - 0.25).abs().max() < 0.04


def test_weights_and_parameters_step_together() -> None:
    job = make({"optimizer": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "clip": None}, "alpha_lr": 0.02})
    before = job.alphas.detach().clone()
    mixing = gumbel_mixing(job.alphas, generator(0, "noise", 0, 1))
    batch = job._stream().next_batch()
    job.network.train()
    loss = job.context.task.loss(job.network(batch.inputs, mixing), batch.targets)
    gradient = torch.autograd.grad(loss, job.alphas)[0]
    expected = before - 0.02 * transform_gradients(gradient, job.settings.grad_scale, job.fields)
    job.steps_per_epoch = 1
    next(job.run())
    assert torch.allclose(job.alphas.detach(), expected, atol=1e-7)


def test_an_epoch_is_a_part_of_the_batches() -> None:
    job = make()
    assert job.stream.batches_per_epoch == 6  # of 60 development samples
    assert job.steps_per_epoch == 4
    assert make({"fraction": 0.2}).steps_per_epoch == 2
    assert make({"fraction": 1.0}).steps_per_epoch == 6
    assert make({"split": "train"}).stream.batches_per_epoch == 3
    next(job.run())
    assert (job.stream.epoch, job.stream.position) == (1, 0)


def test_both_rates_follow_the_schedule() -> None:
    schedule = {"kind": "steps", "milestones": [1, 2], "factors": [0.2, 0.04]}
    job = make({"optimizer": {"schedule": schedule}})
    rates = [[group["lr"] for group in job.stepper.optimizer.param_groups] for _ in job.run()]
    assert torch.allclose(torch.tensor(rates), torch.tensor([[0.1, 0.05], [0.02, 0.01], [0.004, 0.002]]))


def test_the_search_ends_when_the_pattern_stays() -> None:
    job = make({"epochs": 50, "patience": 2, "alpha_lr": 1e-9})
    finish(job)
    assert job.stream.epoch == 3
    assert any("has not changed for 2 epochs" in notice for notice in job.said())
    assert job.result().facts["epochs"] == 3


def test_a_held_out_split_gives_the_score() -> None:
    job = finish(make({"split": "train", "epochs": 1}))
    candidate = job.result().candidates[0]
    assert candidate.score == job.context.task.metric.score(job._evaluate()[job.context.task.metric.name])


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("backend", ["auto", "measured"])
def test_resuming_is_bit_equal(stop: int, backend: str) -> None:
    first, second = make({"backend": backend}), make({"backend": backend})
    for _ in range(stop):
        next(first.run())
    tree, tensors = pack(first.state_dict())
    second.load_state_dict(unpack(tree, tensors))
    assert second.network.choices() == first.network.choices()
    finish(first)
    finish(second)
    assert torch.equal(first.alphas, second.alphas)
    weights = second.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in first.network.state_dict().items())
    assert first.result().architecture == second.result().architecture


def test_the_result_is_a_pattern_of_the_strongest_kernels() -> None:
    job = make({"epochs": 1})
    finish(job)
    with torch.no_grad():
        job.alphas.zero_()
        for position in range(len(job.alphas)):
            job.alphas[position, position % 4] = 1
    kernels = [(3, 1), (3, 3), (5, 1), (5, 3)]
    found = job.result().facts["chosen"]
    assert [tuple(each) for each in found] == [kernels[position % 4] for position in range(7)]


def test_taps_beyond_the_input_are_left_out_of_the_result() -> None:
    # Digits have 8 x 8, 4 x 4 and 2 x 2 pixels: kernels of size 5 and dilation 3 reach 6 pixels far.
    job = finish(make({"epochs": 1}))
    with torch.no_grad():
        job.alphas.zero_()
        job.alphas[:, 3] = 1
    found = job.result().architecture
    assert isinstance(found, KernelPattern)
    # stem, two convolutions at 8 x 8, then one before and one after each stride
    assert found.kernels == ((5, 3), (5, 3), (5, 3), (5, 3), (5, 3), (3, 3), (3, 3))
    spec, size = job.context.task.spec, BackboneSize(width=1)
    assert job.context.space.build(found, spec, size)(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    full = make({"epochs": 1, "live_kernels": False})
    assert all(kernel in ((3, 1), (3, 3), (5, 1), (5, 3)) for kernel in full.architecture().kernels)


def cell_search(layers: tuple[int, int], name: str = "darts_v2") -> KernelSearch:
    searched, final = (CellSize(init_channels=4, layers=count) for count in layers)
    settings, engine = KernelSearchSettings.read(QUICK), Engine(torch.device("cpu"))
    context = SearchContext(small_task(), CellSpace(), settings, searched, final, engine, seed=0)
    return KernelSearch(context, ZOO.get(name).architecture)


def test_cells_that_were_found_get_kernels() -> None:
    job = cell_search((2, 2))
    next(job.run())
    found = job.result().architecture
    assert isinstance(found, KernelPattern)
    assert isinstance(found.base, CellGenotype)
    space, spec = CellSpace(), job.context.task.spec
    network = space.build(found.base, spec, CellSize(init_channels=4, layers=2))
    depthwise = [module for module in network.modules() if getattr(module, "groups", 1) > 1]
    assert len(found.kernels) == 1 + len(depthwise)  # the stem is dense
    built = space.build(found, spec, CellSize(init_channels=4, layers=2, auxiliary=True))
    assert built.eval()(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_networks_of_two_depths_are_refused_before_the_search() -> None:
    with pytest.raises(SettingsError, match="same depth"):
        cell_search((2, 3))


def test_a_space_without_a_network_asks_for_one() -> None:
    size = CellSize(init_channels=4, layers=2)
    context = SearchContext(
        small_task(), CellSpace(), KernelSearchSettings.read(QUICK), size, size, Engine(torch.device("cpu")), seed=0
    )
    with pytest.raises(SpaceError, match="--architecture"):
        KernelSearch(context)


def test_a_pattern_as_base_is_searched_anew() -> None:
    job = make(base=with_kernels(Backbone("wide_resnet", 1), [(3, 1)] * 7))
    assert job.base == Backbone("wide_resnet", 1)


@pytest.mark.parametrize(
    "wrong",
    [{"kernel_sizes": [3, 4]}, {"kernel_sizes": []}, {"dilations": [0]}, {"dilations": [1, 1]}, {"fraction": 0}],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        make(wrong)
