"""P-DARTS: schedules, what is kept from stage to stage, supernets of what is left, resuming between stages."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import SettingsError, SpaceError
from archscout.methods.base import SearchContext
from archscout.methods.differentiable.pdarts import (
    PdartsSettings,
    ProgressiveSearch,
    ProgressiveStage,
    check_stages,
    skip_dropout_rate,
)
from archscout.spaces import get_space
from archscout.state import pack, unpack
from archscout.tasks import Split, Task, load_task
from tests.methods.differentiable.mixture_toys import toy_context


def small_digits() -> Task:
    task = load_task("digits")
    parts = {name: Split(task.split(name).source, task.split(name).indices[:20]) for name in ("train", "validation")}
    return Task(**{**vars(task), **parts})


def context(space: str = "diverse-cells", seed: int = 0, **settings: Any) -> SearchContext:
    made = get_space(space, {"nodes": 2})
    chosen: dict[str, Any] = {
        "stages": [{"layers": 2}, {"layers": 3}],
        "epochs": 2,
        "warmup_epochs": 1,
        "batch_size": 10,
        "validation_fraction": None,
    }
    return SearchContext(
        task=small_digits(),
        space=made,
        settings=PdartsSettings.read({**chosen, **settings}),
        supernet_size=made.size_model.read({"init_channels": 4}),
        network_size=made.size_model.read({"init_channels": 4}),
        engine=Engine(torch.device("cpu")),
        seed=seed,
    )


def test_dropout_falls_begins_anew_with_the_architecture_and_falls_again() -> None:
    rates = [skip_dropout_rate(0.3, epoch, 25, 10) for epoch in range(25)]
    assert rates[0] == pytest.approx(0.3 * 24 / 25)
    assert rates[9] == pytest.approx(0.3 * 15 / 25)
    assert rates[10] == 0.3
    assert rates[24] == pytest.approx(0.3 * math.exp(-0.2 * 14))


def rates(**settings: Any) -> list[tuple[float, float]]:
    stage = ProgressiveStage(context(epochs=25, warmup_epochs=10, alphas={"lr": 0.05, "lr_min": 0.0}, **settings), 0)
    found = []
    for epoch in range(25):
        stage.set_rates(epoch)
        found.append((stage.stepper.optimizer.param_groups[0]["lr"], stage.adam.param_groups[0]["lr"]))
    return found


def test_the_rates_of_the_tensors_fall_only_where_they_learn_and_never_to_zero() -> None:
    weights, tensors = zip(*rates(optimizer={"lr": 0.1}), strict=True)
    assert weights[0] == 0.1 and weights[24] == pytest.approx(0.05 * (1 + math.cos(math.pi * 24 / 25)))
    assert tensors[:11] == (0.05,) * 11
    assert tensors[24] == pytest.approx(0.025 * (1 + math.cos(math.pi * 14 / 15)))
    assert min(weights) > 0 and min(tensors) > 0


def test_the_published_schedule_wastes_the_last_epoch() -> None:
    weights, tensors = zip(*rates(optimizer={"lr": 0.1}, legacy_schedule=True), strict=True)
    assert weights[0] == pytest.approx(0.05 * (1 + math.cos(math.pi / 25)))
    assert tensors[:10] == (0.05,) * 10
    assert weights[24] == pytest.approx(0, abs=1e-12) and tensors[24] == pytest.approx(0, abs=1e-12)


def test_tensors_stand_still_in_the_first_epochs() -> None:
    stage = ProgressiveStage(context(), 0)
    before = stage.alphas.detach().clone()
    while stage.stream.epoch == 0:
        next(stage.run())
    assert torch.equal(stage.alphas, before)
    next(stage.run())
    assert not torch.equal(stage.alphas, before)


def test_each_edge_keeps_its_most_probable_operations_none_among_them() -> None:
    stage = ProgressiveStage(context(), 0)  # none, skip_connect, avg_pool_3x3, sep_conv_3x3, dil_conv_5x5
    with torch.no_grad():
        stage.alphas.zero_()
        stage.alphas[0, 0] = torch.tensor([3.0, 2, 1, 0, 2.5])
        stage.alphas[1, 4] = torch.tensor([0.0, -1, 5, 4, 1])
    kept = stage.kept()
    assert kept.sum(2).eq(3).all()
    assert kept[0, 0].tolist() == [True, True, False, False, True]
    assert kept[1, 4].tolist() == [False, False, True, True, True]
    assert kept[0, 1].tolist() == [True, True, True, False, False]  # of equal ones the first


def test_the_next_stage_has_a_new_supernet_of_what_is_left() -> None:
    live = torch.zeros(2, 5, 5, dtype=torch.bool)
    live[..., [0, 1, 3]] = True
    live[0, 2] = torch.tensor([False, True, True, False, True])
    stage = ProgressiveStage(context(), 1, live)
    assert len(stage.network.cells) == 3  # type: ignore[arg-type]
    mixing = stage.mixing(stage.alphas)
    assert mixing[0, 2].tolist()[2] == 0 and mixing[1, 0].tolist()[1] == 0
    assert torch.allclose(mixing[0, 2].sum(), torch.tensor(1.0))
    assert mixing[1, 0].sum() < 0.7  # none has its share
    whole = stage.relaxation.supernet()
    ours, all_weights = (sum(p.numel() for p in each.parameters()) for each in (stage.network, whole))
    assert ours < all_weights
    stage.network.train()
    _, loss = stage.evaluate_batch(stage.stream.next_batch(), mixing)
    (gradient,) = torch.autograd.grad(loss, stage.alphas)
    assert torch.isfinite(gradient).all() and not gradient[~live].any() and gradient[live].any()


def test_a_search_goes_through_its_stages_and_repeats() -> None:
    def run() -> tuple[Any, list[float]]:
        search = ProgressiveSearch(context(stages=[{"skip_dropout": 0.3}, {"layers": 3}, {"init_channels": 5}]))
        seen = [metrics["search_stage"] for metrics in search.run()]
        return search.result(), seen

    (first, seen), (second, _) = run(), run()
    assert sorted(set(seen)) == [1, 2, 3] and seen == sorted(seen)
    assert first.architecture == second.architecture
    assert first.candidates[0].score == second.candidates[0].score
    operations = [stage["operations"] for stage in first.facts["stages"]]
    assert [len(each[0][0]) for each in operations] == [5, 3, 3]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_search_resumes_in_any_stage(steps: int) -> None:
    reference, other = ProgressiveSearch(context()), ProgressiveSearch(context())
    for _ in range(steps):
        next(reference.run())
    other.load_state_dict(unpack(*pack(reference.state_dict())))
    assert other.stage.number == reference.stage.number
    assert list(reference.run()) == list(other.run())
    assert other.result() == reference.result()


def test_settings_may_come_from_a_larger_method() -> None:
    given = context()
    search = ProgressiveSearch(replace(given, settings=None), given.settings)
    assert search.stage.settings is given.settings


def test_no_skip_connection_is_left_where_none_is_allowed() -> None:
    stage = ProgressiveStage(context(skip_limit=0), 0)
    with torch.no_grad():
        stage.alphas[..., 1] = 5.0
    found: Any = stage.architecture()
    normal = [item.operation for node in found.normal.nodes for item in node]
    assert "skip_connect" not in normal and "none" not in normal
    assert {item.operation for node in found.reduce.nodes for item in node} == {"skip_connect"}


def test_wrong_stages_are_refused_before_the_first_step() -> None:
    with pytest.raises(SettingsError, match="must exceed warmup_epochs"):
        context(epochs=3, warmup_epochs=3)
    with pytest.raises(SettingsError, match=r"stages\.0\.keep"):
        context(stages=[{"keep": 2}])
    with pytest.raises(SpaceError, match=r"layers=2"):
        check_stages(context(stages=[{"layers": 1}]))
    toy = toy_context(PdartsSettings.read({"stages": [{"layers": 2}]}))
    with pytest.raises(SettingsError, match="have no layers"):
        check_stages(replace(toy, supernet_size=toy.space.size_model()))


def test_a_space_without_dropout_is_searched_without_it_or_not_at_all() -> None:
    toy = toy_context(PdartsSettings.read({"stages": [{"skip_dropout": 0.1}], "batch_size": 8}))
    with pytest.raises(SpaceError, match="skip_dropout: 0"):
        ProgressiveStage(replace(toy, supernet_size=toy.space.size_model()), 0)


def series_task() -> Task:
    draw = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(60, 2, 12, generator=draw), torch.arange(60) % 3
    return Task.from_arrays(inputs, targets, inputs[:12], targets[:12], validation_fraction=1 / 3, augment="none")


@pytest.mark.parametrize("kind", ["series", "dense"])
def test_series_and_dense_tasks_are_searched(kind: str) -> None:
    task = series_task() if kind == "series" else load_task("darcy-generated:resolution=8,samples=60")
    given = replace(context(), task=task)
    search = ProgressiveSearch(given)
    for _ in search.run():
        pass
    found: Any = search.result().architecture
    assert found.reduces == (kind == "series")
    network = given.space.build(found, task.spec, given.network_size)
    outputs = network(torch.randn(2, *task.spec.input_shape))
    assert outputs.shape == ((2, 3) if kind == "series" else (2, 1, 8, 8))
