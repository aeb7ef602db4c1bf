"""Flash and RAM of networks, against sums by hand and against what onnxruntime allocates."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archscout.deployment.footprint import footprint_facts, measure_footprint
from archscout.deployment.memory import Buffer, plan_memory


def test_buffers_whose_lives_do_not_overlap_share_bytes() -> None:
    plan = plan_memory([Buffer(64, 0, 1), Buffer(32, 1, 2), Buffer(64, 2, 3)])
    assert plan.offsets == (0, 64, 0)
    assert (plan.size, plan.lower_bound, plan.worst) == (96, 96, 1)


def test_the_largest_buffer_is_placed_first_and_others_fill_the_lowest_gap() -> None:
    buffers = [Buffer(16, 0, 3), Buffer(48, 0, 0), Buffer(32, 1, 1), Buffer(16, 1, 3)]
    plan = plan_memory(buffers)
    # 48 at 0; 32 at 0 too, as it begins later; the first 16 behind 48; the last 16 behind 32.
    assert plan.offsets == (48, 0, 0, 32)
    assert (plan.size, plan.lower_bound) == (64, 64)


def test_offsets_are_aligned() -> None:
    buffers = [Buffer(10, 0, 1), Buffer(5, 0, 1)]
    assert plan_memory(buffers, alignment=16).offsets == (0, 16)
    assert plan_memory(buffers, alignment=1).offsets == (0, 10)
    assert plan_memory(buffers, alignment=1).size == plan_memory(buffers, alignment=1).lower_bound == 15


def test_nothing_needs_nothing() -> None:
    assert plan_memory([]).size == 0


def test_plans_never_overlap_and_never_take_less_than_what_is_alive() -> None:
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        starts = torch.randint(12, (20,), generator=draw).tolist()
        spans = torch.randint(5, (20,), generator=draw).tolist()
        sizes = torch.randint(1, 100, (20,), generator=draw).tolist()
        buffers = [Buffer(size, first, first + span) for size, first, span in zip(sizes, starts, spans, strict=True)]
        plan = plan_memory(buffers, alignment=4)
        assert plan.size >= plan.lower_bound
        assert plan.lower_bound == max(sum(b.size for b in buffers if b.first <= t <= b.last) for t in range(17))
        for (i, one), (j, other) in itertools.combinations(enumerate(buffers), 2):
            if one.overlaps(other):
                assert plan.offsets[i] + one.size <= plan.offsets[j] or plan.offsets[j] + other.size <= plan.offsets[i]


def test_a_chain_needs_its_largest_neighbours() -> None:
    network = nn.Sequential(nn.Linear(8, 64, bias=False), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))
    found = measure_footprint(network, (8,), alignment=1)
    # ReLU writes where it reads: 8 -> 64 -> 16 -> 4 numbers; at the second product 64 and 16 are alive.
    assert found.ram.size == found.ram.lower_bound == 4 * (64 + 16)
    assert found.ram_int8.size == 64 + 16
    assert found.worst == "addmm to 1 x 16"
    assert found.weights == 4 * (8 * 64 + 64 * 16 + 16 + 16 * 4 + 4)
    # A byte for each weight, a scale for each output channel, 32 bits for each bias.
    assert found.weights_int8 == 8 * 64 + 64 * 16 + 16 * 4 + 4 * (64 + 16 + 4) + 4 * (16 + 4)
    assert found.operators == 5


class Residual(nn.Module):
    def __init__(self, ends_in_norm: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=True)
        self.lone = nn.BatchNorm2d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(inputs)))
        y = torch.relu_(self.second(x))
        total = x + y
        means: Tensor = self.lone(total).mean((2, 3))
        return means.view(-1, 2, 2)


def test_a_residual_connection_keeps_its_input_alive() -> None:
    found = measure_footprint(Residual(), (1, 8, 8), alignment=1)
    one = 4 * 4 * 8 * 8
    assert found.ram.lower_bound == found.ram.size == 3 * one  # x, y, x + y
    assert found.worst == "add to 1 x 4 x 8 x 8"
    # The first norm becomes a bias of the convolution; the one behind the sum keeps a factor and a summand.
    assert found.weights == 4 * (4 * 9 + 4 + 4 * 4 * 9 + 4 + 2 * 4)
    # conv, relu, conv, relu, add, norm, mean: neither the folded norm nor the view.
    assert found.operators == 7


def test_a_norm_whose_input_others_read_is_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)

        def forward(self, inputs: Tensor) -> Tensor:
            x = self.layer(inputs)
            total: Tensor = self.norm(x) + x
            return total

    found = measure_footprint(Twice(), (1, 4, 4), alignment=1)
    assert found.weights == 4 * (2 + 2 + 2 * 2)
    assert found.ram.size == 3 * 4 * 2 * 16


def test_what_depends_on_weights_alone_is_computed_beforehand() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 8))
            self.mask = nn.Parameter(torch.zeros(4, 8))

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.nn.functional.linear(inputs, self.weight * torch.sigmoid(self.mask))

    found = measure_footprint(Masked(), (8,), alignment=1)
    assert (found.weights, found.operators, found.ram.size) == (4 * 32, 1, 4 * (8 + 4))


def test_parts_of_one_tensor_count_once_each() -> None:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 4, 4))

        def forward(self, inputs: Tensor) -> Tensor:
            for matrix in (self.weight[0], self.weight[1], self.weight[0]):
                inputs = inputs @ matrix
            return inputs

    found = measure_footprint(Stacked(), (4,), alignment=1)
    assert found.weights == 4 * 2 * 16  # nobody reads the third
    assert found.weights_int8 == 2 * (16 + 4 * 4)


def test_memory_that_is_made_empty_and_filled_is_an_activation() -> None:
    class Padded(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            room = inputs.new_zeros(1, 6)
            room[:, 1:5] = inputs
            return room * 2

    # 4 numbers are copied into 6, and scaled where they lie.
    assert measure_footprint(Padded(), (4,), alignment=1).ram.size == 4 * (4 + 6)


def test_pooling_keeps_no_indices_and_embeddings_take_words() -> None:
    pool = measure_footprint(nn.MaxPool2d(2), (1, 4, 4), alignment=1)
    assert pool.ram.size == 4 * (16 + 4)
    words = measure_footprint(nn.Embedding(10, 3), (5,), dtype=torch.long, alignment=1)
    assert words.weights == words.weights_int8 == 4 * 30
    assert words.ram.size == 8 * 5 + 4 * 15
    assert words.ram_int8.size == 8 * 5 + 15


def test_the_network_stays_as_it_is() -> None:
    network = Residual().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure_footprint(network, (1, 8, 8))
    assert network.training and network.lone.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_network_that_reads_values_is_said_to_be_unknown() -> None:
    class Reads(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs * 2 if float(inputs.sum()) > 0 else inputs

    facts = footprint_facts(Reads(), (4,), dtype=torch.float32)
    assert list(facts) == ["unknown"]
    assert "cannot plan the memory of Reads" in facts["unknown"]


def test_activations_are_those_that_onnxruntime_allocates(tmp_path: Path) -> None:
    """onnxruntime notes the bytes that each node writes: they are the sizes of the planner's buffers."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from archscout.exporting import export_model

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
            self.c, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 5)

        def forward(self, inputs: Tensor) -> Tensor:
            x = self.b(self.a(inputs))
            y = torch.cat([x, self.c(x)], 1)[:, :6]
            logits: Tensor = self.head(nn.functional.max_pool2d(y, 4).flatten(1))
            return logits

    network = Plain().eval()
    (report,) = export_model(network, (3, 8, 8), tmp_path, formats=["onnx"])
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(report.path, options, providers=["CPUExecutionProvider"])
    session.run(None, {"input": torch.zeros(1, 3, 8, 8).numpy()})
    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    written = {int(node["output_size"]) for node in nodes if node["op_name"] in ("Conv", "Concat", "MaxPool", "Gemm")}
    kept = {4 * 8 * 64, 4 * 8 * 16, 4 * 6 * 16, 4 * 14 * 16, 4 * 6, 4 * 5}
    assert written == kept
    parameters = sum(int(node["parameter_size"]) for node in nodes if node["op_name"] == "Conv")
    found = measure_footprint(network, (3, 8, 8), alignment=1)
    assert found.weights == parameters + 4 * (6 * 5 + 5)
    alive = max(int(node["activation_size"]) + int(node["output_size"]) for node in nodes)
    assert found.ram.lower_bound == alive  # a chain: what an operation reads and writes
