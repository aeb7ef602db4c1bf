"""Parameters and multiply-adds, counted on shapes."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archscout.counting import _SHAPES, MultiplyAdds, count_madds, count_multiply_adds, count_parameters
from archscout.errors import SpaceError
from archscout.measure import peak_memory


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


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


IMAGE = meta(2, 6, 9, 7)
ATEN = torch.ops.aten


@pytest.mark.parametrize(
    ("operation", "args", "has_rule"),
    [
        *(
            (ATEN.convolution, (IMAGE, meta(4, 6 // g, 3, 5), None, [s, s], [2, 1], [d, d], False, [0, 0], g), True)
            for s, d, g in [(1, 1, 1), (2, 1, 2), (1, 2, 1)]
        ),
        (ATEN.convolution, (meta(2, 6, 9), meta(6, 1, 3), None, [2], [1], [1], False, [0], 6), True),
        (ATEN.convolution, (IMAGE, meta(6, 4, 3, 3), None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1), False),
        (ATEN.native_batch_norm, (IMAGE, *(meta(6) for _ in range(4)), False, 0.1, 1e-5), True),
        (ATEN.avg_pool2d, (IMAGE, [3, 3]), True),
        (ATEN.avg_pool2d, (IMAGE, [3, 3], [2, 2], [1, 1], False, False), True),
        (ATEN.avg_pool2d, (IMAGE, [2, 2], [2, 2], [0, 0], True), False),
        (ATEN.max_pool2d_with_indices, (IMAGE, [3, 3], [2, 1], [1, 1]), True),
        (ATEN.max_pool2d_with_indices, (IMAGE, [2, 2], [2, 2], [0, 0], [1, 1], True), False),
        (ATEN.cat, ([IMAGE, meta(2, 3, 9, 7)], 1), True),
        (ATEN.cat, ([IMAGE, IMAGE],), True),
        (ATEN.cat, ([IMAGE, IMAGE], -1), False),
        (ATEN.addmm, (meta(5), meta(3, 4), meta(4, 5)), True),
        (ATEN.addmm, (meta(1), meta(3, 4), meta(4, 5)), False),
        (ATEN.mean, (IMAGE, [2, 3]), True),
        (ATEN.mean, (IMAGE, [-1, -2], True), True),
        (ATEN.mean, (IMAGE,), False),
        (ATEN.add, (IMAGE, IMAGE), True),
        (ATEN.mul, (meta(2, 6, 1, 1), IMAGE), True),
        (ATEN.mul, (meta(2, 1), meta(1, 5)), False),
        (ATEN.add, (IMAGE, 2), False),
        (ATEN.relu, (IMAGE,), True),
        (ATEN.sigmoid, (meta(3, dtype=torch.long),), False),
        (ATEN.relu_, (IMAGE,), True),
    ],
)
def test_shapes_that_are_worked_out_here_are_those_of_torch(operation: Any, args: Any, has_rule: bool) -> None:
    found = _SHAPES[operation](args)
    assert (found is not None) == has_rule
    if found is not None:
        ours, theirs = (each[0] if isinstance(each, tuple) else each for each in (found, operation(*args)))
        assert (ours.shape, ours.dtype, ours.stride()) == (theirs.shape, theirs.dtype, theirs.stride())


def test_counting_a_usual_network_imports_neither_the_compiler_of_torch_nor_sympy() -> None:
    program = """
import sys
from archscout.spaces import get_space
from archscout.tasks.spec import TaskSpec
from archscout.measure import count_madds

for name in ("cells", "per-cell", "diverse-cells", "mobilenet", "backbones"):
    space, spec = get_space(name), TaskSpec("images", "classification", (3, 32, 32), 10)
    size = space.size_model()
    count_madds(space.build(space.extremes(spec, size)[1], spec, size), spec.input_shape)
print({"torch._dynamo", "sympy"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_both_conventions_are_counted_in_one_pass() -> None:
    passes: list[object] = []
    model = Branches()
    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, args: passes.append(module) if isinstance(module, Branches) else None
    )
    try:
        counted = count_multiply_adds(model, (3, 8, 8))
    finally:
        handle.remove()
    assert counted == MultiplyAdds(count_madds(model, (3, 8, 8)), 2 * 8 * 8 * 8)
    assert len(passes) == 1


def test_a_network_on_the_meta_device_is_not_copied_and_keeps_its_modes() -> None:
    with torch.device("meta"):
        model = Branches()
    model.norm.eval()
    assert count_madds(model, (3, 8, 8)) == count_madds(Branches(), (3, 8, 8))
    assert model.training and not model.norm.training and model.stem.training


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
