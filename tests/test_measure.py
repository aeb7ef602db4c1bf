"""Sizes, latency and memory of a network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from archscout.errors import SettingsError
from archscout.measure import Measurements, measure, measure_latency, peak_memory


def test_measure_gives_both_numbers() -> None:
    model = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16))
    assert measure(model, (16, 8, 8)) == Measurements(256 + 32, 256 * 64)
    assert measure(model, (16, 8, 8), exclude=("1",)).parameters == 256


class Recorder(nn.Module):
    """Keeps, over copies, what it was called with."""

    seen: list[tuple[torch.Size, bool, bool, bool, int]] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        channels_last = inputs.is_contiguous(memory_format=torch.channels_last)
        mode = torch.is_inference_mode_enabled()
        self.seen.append((inputs.shape, channels_last, mode, self.training, torch.get_num_threads()))
        return self.conv(inputs)  # type: ignore[no-any-return]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    Recorder.seen = []
    yield Recorder()
    Recorder.seen = []


def test_latency_runs_each_batch_size_in_inference_mode_and_channels_last(recorder: Recorder) -> None:
    threads = torch.get_num_threads()
    rows = measure_latency(recorder, (3, 8, 8), batch_sizes=(1, 5), repeats=4, warmup=2, threads=1)

    assert [(row.batch_size, row.runs, row.threads, row.device) for row in rows] == [(1, 4, 1, "cpu"), (5, 4, 1, "cpu")]
    assert all(0 < row.p10_ms <= row.median_ms <= row.p90_ms for row in rows)
    assert [call[0][0] for call in Recorder.seen] == [1] * 6 + [5] * 6
    assert {call[1:] for call in Recorder.seen} == {(True, True, False, 1)}
    assert torch.get_num_threads() == threads
    assert recorder.training and recorder.conv.weight.is_contiguous()


def test_latency_stops_at_its_budget_after_three_runs(recorder: Recorder) -> None:
    (row,) = measure_latency(recorder, (3, 8, 8), batch_sizes=(2,), repeats=1000, warmup=1000, budget_seconds=0.0)
    assert row.runs == 3
    assert len(Recorder.seen) == 4


@pytest.mark.parametrize("wrong", [{"batch_sizes": (1, 0)}, {"repeats": 0}, {"warmup": -1}, {"threads": 0}])
def test_latency_refuses_numbers_below_one(wrong: dict[str, tuple[int, ...] | int]) -> None:
    (name,) = wrong
    with pytest.raises(SettingsError, match=f"{name}: (0|-1) is out of range"):
        measure_latency(nn.Identity(), (3,), **wrong)  # type: ignore[arg-type]


def test_peak_memory_is_the_worst_moment_and_not_the_sum() -> None:
    def step() -> None:
        first = torch.empty(250_000)
        del first
        second, third = torch.empty(250_000), torch.empty(500_000)
        del second
        assert len(torch.empty(125_000)) and len(third)

    assert peak_memory(step) == 4 * (250_000 + 500_000)


def test_peak_memory_of_a_training_step_contains_activations_and_gradients() -> None:
    model = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))
    inputs = torch.zeros(500, 1000)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(inputs).sum().backward()

    activations = 4 * 2 * 500 * 1000
    peak = peak_memory(step)
    assert activations < peak
    assert weights < peak < 3 * (weights + activations)


def test_memory_of_other_devices_is_refused() -> None:
    with pytest.raises(SettingsError, match="cpu and cuda; got meta"):
        peak_memory(lambda: None, "meta")


def test_measuring_memory_keeps_the_profiler_silent_and_the_step_audible(capfd: pytest.CaptureFixture[str]) -> None:
    held = [torch.zeros(1000)]

    def step() -> None:
        held.clear()  # a release of what was allocated before, which the profiler's code remarks upon
        os.write(2, b"the step speaks\n")
        print("and so does Python", file=sys.stderr)

    assert peak_memory(step) == 0
    assert sorted(capfd.readouterr().err.splitlines()) == ["and so does Python", "the step speaks"]


def test_a_step_that_fails_fails_as_itself(capfd: pytest.CaptureFixture[str]) -> None:
    def step() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        peak_memory(step)
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
