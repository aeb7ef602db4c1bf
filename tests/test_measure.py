from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archscout.errors import SettingsError, SpaceError
from archscout.measure import Measurements, count_madds, count_parameters, measure, measure_latency, peak_memory


def separable(channels: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


class Branches(nn.Module):
    """Convolutions, pools, concatenation, normalisation, a linear layer: what cell networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=4)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.reduce = nn.Conv2d(8, 4, 1, stride=2)
        self.head = nn.Linear(12, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(inputs)))
        x = torch.cat([self.pool(x + self.wide(x)), self.reduce(x)], dim=1)
        return self.head(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def test_a_separable_convolution_counts_depthwise_plus_pointwise() -> None:
    assert count_madds(separable(), (16, 32, 32)) == 9 * 16 * 32 * 32 + 16 * 16 * 32 * 32 == 409_600


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv1d(4, 6, 5, stride=2, groups=2), (4, 21), 6 * 9 * 2 * 5),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 9, 11), 8 * 5 * 6 * 3 * 9),
        (nn.Conv3d(2, 4, 3), (2, 5, 6, 7), 4 * 3 * 4 * 5 * 2 * 27),
        (nn.ConvTranspose1d(4, 6, 3, stride=2), (4, 10), 4 * 10 * 6 * 3),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5), 4 * 25 * 3 * 9),
        (nn.Linear(7, 11), (7,), 77),
        (nn.Linear(7, 11, bias=False), (5, 7), 5 * 77),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(2)), (3, 8, 8), 0),
    ],
)
def test_layers_count_as_worked_out_by_hand(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert count_madds(layer, shape) == expected


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.RNN(5, 7, batch_first=True), (3, 5), 3 * (5 + 7) * 7),
        (nn.GRU(5, 7, batch_first=True), (3, 5), 3 * 3 * (5 + 7) * 7),
        (nn.LSTM(5, 7, batch_first=True), (3, 5), 3 * 4 * (5 + 7) * 7),
        (nn.LSTM(5, 7, batch_first=True, bias=False), (3, 5), 3 * 4 * (5 + 7) * 7),
        (nn.LSTM(5, 7, proj_size=2, batch_first=True), (3, 5), 3 * (4 * (5 + 2) * 7 + 7 * 2)),
        (
            nn.LSTM(5, 7, num_layers=2, bidirectional=True, batch_first=True),
            (3, 5),
            2 * 3 * 4 * ((5 + 7) * 7 + (14 + 7) * 7),
        ),
        (nn.RNNCell(5, 7), (5,), (5 + 7) * 7),
        (nn.GRUCell(5, 7), (5,), 3 * (5 + 7) * 7),
        (nn.LSTMCell(5, 7), (5,), 4 * (5 + 7) * 7),
    ],
)
def test_recurrent_layers_count_every_step_layer_and_direction(
    layer: nn.Module, shape: tuple[int, ...], expected: int
) -> None:
    assert count_madds(layer, shape) == expected


def test_products_written_in_forward_count_like_layers() -> None:
    class Functional(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            weight = torch.ones(6, 4)
            scores = inputs @ inputs.transpose(1, 2)
            return (scores.softmax(-1) @ inputs) @ weight.t()

    assert count_madds(Functional(), (3, 4)) == 3 * 3 * 4 + 3 * 3 * 4 + 3 * 4 * 6


def test_attention_counts_projections_and_both_products() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    projections, products, feed_forward = 4 * 8 * 8, 2 * 5 * 8, 2 * 8 * 16
    assert count_madds(layer, (5, 8)) == 5 * (projections + products + feed_forward)


@pytest.mark.parametrize("model", [Branches(), nn.Sequential(nn.Conv2d(3, 8, 3), separable(8), nn.Conv2d(8, 2, 1))])
def test_madds_are_half_of_the_flops_that_torch_counts(model: nn.Module) -> None:
    model.eval()
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(torch.zeros(1, 3, 17, 16))
    assert 2 * count_madds(model, (3, 17, 16)) == flops.get_total_flops() > 0


def test_counting_inside_inference_mode_gives_the_same() -> None:
    layer = nn.LSTM(5, 7, batch_first=True)
    with torch.inference_mode():
        assert count_madds(layer, (3, 5)) == count_madds(nn.LSTM(5, 7, batch_first=True), (3, 5)) == 1008


def test_integer_inputs_reach_an_embedding() -> None:
    model = nn.Sequential(nn.Embedding(100, 6), nn.Linear(6, 3))
    assert count_madds(model, (9,), dtype=torch.long) == 9 * 18


def test_counting_leaves_the_model_alone() -> None:
    model = Branches().train()
    model.norm.eval()
    calls: list[str] = []
    model.stem.register_forward_hook(lambda *_: calls.append("forward"))
    before = copy.deepcopy(model.state_dict())
    storage = model.stem.weight.data_ptr()

    count_madds(model, (3, 8, 8))

    assert calls == []
    assert model.training and model.stem.training and not model.norm.training
    assert model.stem.weight.data_ptr() == storage and model.stem.weight.device.type == "cpu"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(torch.zeros(2, 3, 8, 8))
    assert calls == ["forward"]


def test_counting_allocates_no_weights() -> None:
    model = nn.Linear(1000, 1000)
    assert peak_memory(lambda: count_madds(model, (1000,))) < 100_000


def test_a_network_that_does_not_take_the_input_is_named() -> None:
    with pytest.raises(SpaceError, match=r"Branches for one input of shape \(5, 8, 8\)"):
        count_madds(Branches(), (5, 8, 8))


def test_a_network_that_reads_values_is_refused_with_the_reason() -> None:
    class Reads(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs if inputs.sum().item() > 0 else -inputs

    with pytest.raises(SpaceError, match="must not read values"):
        count_madds(Reads(), (3,))


def test_parameters_are_the_trainable_ones_without_excluded_modules() -> None:
    model = nn.ModuleDict({"body": nn.Linear(3, 4), "body_norm": nn.BatchNorm1d(4), "auxiliary": nn.Linear(4, 2)})
    assert count_parameters(model) == 16 + 8 + 10
    assert count_parameters(model, exclude=("auxiliary",)) == 16 + 8
    assert count_parameters(model, exclude=("body",)) == 8 + 10, "a prefix is a module's name, not its first letters"
    model["body"].weight.requires_grad_(False)
    assert count_parameters(model) == 4 + 8 + 10


def test_shared_parameters_count_once_even_if_one_owner_is_excluded() -> None:
    embedding, decoder = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    decoder.weight = embedding.weight
    model = nn.ModuleDict({"embedding": embedding, "decoder": decoder})
    assert count_parameters(model) == 40
    assert count_parameters(model, exclude=("embedding",)) == 40
    assert count_parameters(model, exclude=("embedding", "decoder")) == 0


def test_measure_gives_both_numbers() -> None:
    assert measure(separable(), (16, 8, 8)) == Measurements(144 + 256 + 32, 25_600)
    assert measure(separable(), (16, 8, 8), exclude=("3",)).parameters == 400


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
