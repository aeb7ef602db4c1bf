"""Schedules, the optimiser step, evaluation, and the training job."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from archscout.engine import Engine, Stepper
from archscout.errors import SettingsError
from archscout.spaces import CellGenotype, CellSpace
from archscout.spaces.cells.space import CellSize
from archscout.tasks import Split, Task, load_task
from archscout.training.augmentation import augmented
from archscout.training.evaluation import evaluate_network
from archscout.training.job import TrainingJob, TrainSettings
from archscout.training.optimizers import ScheduleSettings, SgdSettings
from archscout.zoo import load_zoo

CPU = Engine(torch.device("cpu"))
SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 16, "cutout": 2, "drop_path": 0.3}


def small_digits() -> Task:
    task = load_task("digits")
    source = task.train.source
    parts = {"train": task.train.indices[:40], "validation": task.validation.indices[:20]}
    return Task(**{**vars(task), **{name: Split(source, indices) for name, indices in parts.items()}})


def network(auxiliary: bool = True) -> nn.Module:
    cells = load_zoo("darts_v2").architecture
    assert isinstance(cells, CellGenotype)
    torch.manual_seed(0)
    size = CellSize(init_channels=4, layers=3, auxiliary=auxiliary)
    return CellSpace().build(cells, load_task("digits").spec, size)


def job(**changes: Any) -> TrainingJob:
    return TrainingJob(network(), small_digits(), TrainSettings.read({**SMALL, **changes}), CPU, seed=0)


def finish(training: TrainingJob) -> dict[str, torch.Tensor]:
    for _ in training.run():
        pass
    return training.result().state_dict()


# -- schedules ---------------------------------------------------------------------------------------------------


def test_cosine_runs_from_the_first_to_the_last_rate() -> None:
    schedule = ScheduleSettings(kind="cosine", lr_min=0.001)
    assert schedule.rate(0.05, 0, 300) == pytest.approx(0.05)
    assert schedule.rate(0.05, 150, 300) == pytest.approx((0.05 + 0.001) / 2)
    assert schedule.rate(0.05, 299, 300) == pytest.approx(0.001 + 0.049 * (1 + math.cos(math.pi * 299 / 300)) / 2)


def test_cosine_equals_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.001)
    schedule = ScheduleSettings(kind="cosine", lr_min=0.001)
    for epoch in range(20):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(schedule.rate(0.05, epoch, 20), abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("milestones", "lr", "expected"),
    [
        ((61, 121, 161), 0.1, {0: 0, 60: 0, 61: 1, 120: 1, 121: 2, 160: 2, 161: 3, 199: 3}),
        ((31, 61, 91, 121, 161), 0.1, {30: 0, 31: 1, 61: 2, 91: 3, 121: 4, 161: 5}),
        ((31, 61, 91, 121, 161), 1e-3, {91: 3, 121: 4, 161: 4}),  # 1e-3 * 0.2^4 is below 5e-6
        ((61, 121, 161), 1e-4, {121: 2, 161: 2}),  # 4e-6 stays
    ],
)
def test_steps_end_at_the_lowest_rate_as_published_for_d2nas(
    milestones: tuple[int, ...], lr: float, expected: dict[int, int]
) -> None:
    factors = tuple(0.2**j for j in range(1, len(milestones) + 1))
    schedule = ScheduleSettings(kind="steps", milestones=milestones, factors=factors, lr_min=5e-6)
    for epoch, passed in expected.items():
        assert schedule.rate(lr, epoch, 200) == pytest.approx(lr * 0.2**passed)


def test_steps_and_warm_up_follow_the_published_imagenet_search() -> None:
    schedule = ScheduleSettings(
        kind="steps", warmup_epochs=5, milestones=(10, 20, 30, 40), factors=(0.5, 0.1, 0.01, 0.001)
    )
    rates = [schedule.rate(0.05, epoch, 50, world_size=4) for epoch in (0, 5, 9, 10, 20, 30, 49)]
    assert rates == pytest.approx([0.05, 0.2, 0.2, 0.1, 0.02, 0.002, 0.0002])
    assert schedule.rate(0.05, 2.5, 50, world_size=4) == pytest.approx(0.125)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "steps", "milestones": [10], "factors": []},
        {"kind": "steps", "milestones": [10, 5], "factors": [1, 1]},
        {"kind": "cosine", "milestones": [10], "factors": [1]},
        {"kind": "steps"},
    ],
)
def test_schedules_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        SgdSettings.read({"schedule": wrong})


# -- the step ----------------------------------------------------------------------------------------------------


def test_a_step_is_clipped_sgd() -> None:
    weight, plain = (nn.Parameter(torch.tensor([3.0, 4.0])) for _ in range(2))
    stepper = Stepper(CPU, torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.01), clip=1.0)
    optimizer = torch.optim.SGD([plain], lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        stepper.step(weight.square().sum(), [weight])
        optimizer.zero_grad()
        plain.square().sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([plain], 1.0)
        optimizer.step()
    assert torch.allclose(weight, plain, atol=1e-6)


def test_restored_momentum_keeps_the_memory_format() -> None:
    conv = CPU.place(nn.Conv2d(4, 4, 3))
    stepper = Stepper(CPU, torch.optim.SGD(conv.parameters(), lr=0.1, momentum=0.9), clip=None)
    stepper.step(conv(torch.randn(1, 4, 5, 5)).sum(), list(conv.parameters()))
    state = stepper.state_dict()
    state["optimizer"]["state"][0]["momentum_buffer"] = state["optimizer"]["state"][0]["momentum_buffer"].contiguous()
    stepper.load_state_dict(state)
    buffer = stepper.optimizer.state[conv.weight]["momentum_buffer"]
    assert buffer.is_contiguous(memory_format=torch.channels_last)


def test_seeding_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with CPU.seeded(0, "a"):
        first = torch.rand(3)
    assert torch.equal(torch.rand(1), expected)
    with CPU.seeded(0, "a"):
        assert torch.equal(torch.rand(3), first)
    with CPU.seeded(0, "b"):
        assert not torch.equal(torch.rand(3), first)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="choose auto, cpu"):
        Engine.create("cuda:77")
    with pytest.raises(SettingsError, match="needs a GPU"):
        Engine.create("cpu", "float16")


# -- evaluation --------------------------------------------------------------------------------------------------


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    task, net = small_digits(), network(auxiliary=False)
    values = [evaluate_network(net, task, task.train, CPU, size) for size in (3, 7, 40)]
    for other in values[1:]:
        assert other["accuracy"] == values[0]["accuracy"]
        assert other["loss"] == pytest.approx(values[0]["loss"], rel=1e-6)
    assert net.training


def test_evaluation_equals_the_plain_formula() -> None:
    task, net = small_digits(), network(auxiliary=False).eval()
    inputs = task.prepare(task.train.source.inputs[task.train.indices])  # type: ignore[attr-defined]
    targets = task.train.source.targets[task.train.indices]  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = (net(inputs).argmax(1) == targets).double().mean().item()
    assert evaluate_network(net, task, task.train, CPU)["accuracy"] == pytest.approx(expected)


# -- the job -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"average_decay": 0.9}, {"split": "train", "label_smoothing": 0.1}])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_training_resumed_anywhere_ends_bit_equal(changes: dict[str, Any], stop: int) -> None:
    reference = finish(job(batch_size=2, **changes))
    first, second = job(batch_size=2, **changes), job(batch_size=2, **changes)
    for _ in range(stop):
        next(first.run())
    second.load_state_dict(first.state_dict())
    for name, tensor in finish(second).items():
        assert torch.equal(tensor, reference[name]), name


def test_training_lowers_the_loss() -> None:
    training = job(epochs=15, cutout=0, drop_path=0, optimizer={"lr": 0.1})
    losses = [metrics["loss"] for metrics in training.run()]
    assert losses[-1] < 0.7 * losses[0]


def test_drop_path_rises_linearly_to_its_rate() -> None:
    training = job(epochs=3)
    rates = [training.network.drop_path_rate for _ in training.run()]
    assert rates == pytest.approx([0, 0.1, 0.2])


def test_validation_is_reported_only_where_it_is_held_out() -> None:
    held_out, development = job(split="train"), job()
    assert "validation_accuracy" in next(held_out.run())
    assert "validation_accuracy" not in next(development.run())
    assert development.stream.batches_per_epoch == 60 // 16


def test_averaged_weights_differ_from_the_last_and_are_the_result() -> None:
    training = job(average_decay=0.9)
    averaged = finish(training)
    last = training.network.state_dict()
    assert any(not torch.equal(averaged[name], last[name]) for name in last)


def test_bfloat16_trains() -> None:
    engine = Engine(torch.device("cpu"), "bfloat16")
    training = TrainingJob(network(), small_digits(), TrainSettings.read(SMALL), engine, seed=0)
    metrics = next(training.run())
    assert math.isfinite(metrics["loss"])
    assert all(parameter.dtype == torch.float32 for parameter in training.network.parameters())


def test_settings_of_augmentation_are_of_the_published_kinds_only() -> None:
    for wrong in ({"auto_augment": "svnh"}, {"color_jitter": {"hue": 0.6}}, {"color_jitter": {"colour": 1}}):
        with pytest.raises(SettingsError):
            TrainSettings.read({**SMALL, **wrong})


@pytest.mark.parametrize(
    "wanted", [{"auto_augment": "svhn"}, {"color_jitter": {"brightness": 0.4, "contrast": 0.4, "hue": 0.2}}]
)
def test_colour_augmentation_changes_training_batches_and_nothing_else(wanted: dict[str, Any]) -> None:
    pytest.importorskip("kornia")
    images = torch.randint(256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.arange(12) % 3
    task = Task.from_arrays(images, labels, images, labels, augment="none")
    plain, changed = (augmented(task, TrainSettings.read({**SMALL, **more}), "train") for more in ({}, wanted))
    assert plain is task
    raw = images[:6]
    again = changed.prepare(raw, seed=5)
    assert torch.equal(changed.prepare(raw, seed=5), again)
    assert not torch.allclose(again, plain.prepare(raw, seed=5))
    assert torch.equal(changed.prepare(raw), plain.prepare(raw))


def test_colour_augmentation_of_grey_images_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"train.auto_augment: only for colour .*--set train.auto_augment=null"):
        job(auto_augment="svhn")


def test_dropout_is_set_where_the_network_has_it_and_refused_where_not() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    settings = {"epochs": 1, "batch_size": 16, "cutout": 0}
    TrainingJob(plain, small_digits(), TrainSettings.read(settings), CPU, seed=0)
    assert plain[1].p == 0.5
    TrainingJob(plain, small_digits(), TrainSettings.read({**settings, "dropout": 0.05}), CPU, seed=0)
    assert plain[1].p == 0.05
    with pytest.raises(SettingsError, match="no dropout layers"):
        job(dropout=0.1)
    job(dropout=0.0)


def test_validation_while_training_may_be_rare() -> None:
    for every, expected in ((1, [0, 1]), (2, [1]), (0, [])):
        training = job(split="train", validation_epochs=every)
        seen = []
        for metrics in training.run():
            seen += [int(metrics["epoch"])] if "validation_accuracy" in metrics else []
        assert seen == expected
