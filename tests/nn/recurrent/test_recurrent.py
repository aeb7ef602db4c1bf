from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.nn.recurrent import segment as segment_module
from archscout.nn.recurrent.batch import batched_segment, encode_cells
from archscout.nn.recurrent.plan import plan_cell
from archscout.nn.recurrent.reference import ACTIVATIONS, reference_segment
from archscout.nn.recurrent.segment import recurrent_segment

Cell = list[tuple[str, int]]
DARTS_V2: Cell = [
    ("sigmoid", 0),
    ("relu", 1),
    ("relu", 1),
    ("identity", 1),
    ("tanh", 2),
    ("sigmoid", 5),
    ("tanh", 3),
    ("relu", 5),
]
EIGHT = tuple(range(1, 9))
SYNCHRONISING = ("_local_scalar_dense", "nonzero", "is_nonzero", "item", "equal", "unique")


class Problem(NamedTuple):
    products: Tensor
    hidden: Tensor
    recurrent: Tensor
    nodes: Tensor
    mask: Tensor


def problem(steps: int = 11, rows: int = 3, width: int = 5, nodes: int = 8, dtype: Any = torch.float64) -> Problem:
    draw = torch.Generator().manual_seed(0)

    def tensor(*shape: int) -> Tensor:
        return (0.7 * torch.randn(*shape, generator=draw, dtype=torch.float64)).to(dtype).requires_grad_()

    mask = (torch.rand(rows, width, generator=draw) < 0.75).to(dtype) / 0.75
    return Problem(
        tensor(steps, rows, 2 * width),
        tensor(rows, width),
        tensor(width, 2 * width),
        tensor(nodes, width, 2 * width),
        mask,
    )


def random_cell(seed: int, nodes: int = 8) -> Cell:
    draw = Random(seed)
    return [(draw.choice(ACTIVATIONS), draw.randrange(node)) for node in range(1, nodes + 1)]


def equations(given: Problem, cell: Cell, concat: Sequence[int]) -> Tensor:
    """The highway equations, element by element (docs/methods/darts_recurrent.md#the-cell); also their order."""
    functions = (torch.tanh, torch.relu, torch.sigmoid, lambda value: value)
    width, state, outputs = given.hidden.shape[1], given.hidden, []
    for product in given.products:
        both = product + (state * given.mask) @ given.recurrent
        c, h = both[:, :width], both[:, width:]
        states = [state + torch.sigmoid(c) * (torch.tanh(h) - state)]
        for node, (name, source) in enumerate(cell):
            before = states[source]
            both = (before * given.mask) @ given.nodes[node]
            c, h = both[:, :width], both[:, width:]
            function = functions[("tanh", "relu", "sigmoid", "identity").index(name)]
            states.append(before + torch.sigmoid(c) * (function(h) - before))
        state = sum(states[number] for number in concat) / len(concat)  # type: ignore[assignment]
        outputs.append(state)
    return torch.stack(outputs)


@pytest.mark.parametrize("run", [reference_segment, recurrent_segment])
@pytest.mark.parametrize("concat", [EIGHT, (2, 5, 8), (3,)])
def test_the_highway_equations(run: Any, concat: tuple[int, ...]) -> None:
    given = problem()
    for cell in (DARTS_V2, *(random_cell(seed) for seed in range(4))):
        expected = equations(given, cell, concat)
        found = run(*given[:4], cell, concat, given.mask)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-11)
        with torch.no_grad():
            torch.testing.assert_close(run(*given[:4], cell, concat, given.mask), expected, atol=1e-12, rtol=1e-11)


def test_activations_have_the_published_order() -> None:
    assert ACTIVATIONS == ("tanh", "relu", "sigmoid", "identity")


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize(("steps", "masked", "concat"), [(11, True, EIGHT), (1, False, EIGHT), (5, True, (2, 4, 8))])
def test_gradients_equal_those_of_the_plain_loop(
    chunk: int, steps: int, masked: bool, concat: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_module, "CHUNK_STEPS", chunk)
    given = problem(steps=steps)
    mask = given.mask if masked else None
    slope = torch.randn(given.products.shape[0], *given.hidden.shape, dtype=torch.float64)
    for cell in (DARTS_V2, *(random_cell(seed) for seed in range(4))):
        found, expected = (
            torch.autograd.grad(run(*given[:4], cell, concat, mask), given[:4], slope)
            for run in (recurrent_segment, reference_segment)
        )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


def test_the_backward_pass_can_be_repeated_and_saved_values_stay() -> None:
    given = problem()
    outputs = recurrent_segment(*given[:4], DARTS_V2, EIGHT, given.mask)
    first = torch.autograd.grad(outputs.sum(), given[:4], retain_graph=True)
    second = torch.autograd.grad(outputs.sum(), given[:4])
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_autocast_leaves_the_recurrence_in_float32() -> None:
    given = problem(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = recurrent_segment(given.products.bfloat16(), *given[1:4], DARTS_V2, EIGHT)
    assert outputs.dtype == torch.float32
    outputs.sum().backward()  # type: ignore[no-untyped-call]


def test_nodes_of_one_source_are_one_group() -> None:
    plan = plan_cell(DARTS_V2, EIGHT)
    assert [(group.source, group.nodes) for group in plan.groups] == [
        (0, (0,)),
        (1, (1, 2, 3)),
        (2, (4,)),
        (3, (6,)),
        (5, (7, 5)),
    ]
    assert plan.groups[1].spans == (("relu", 0, 2), ("identity", 2, 3))
    assert plan.all_output and plan.slots == 9
    assert plan_cell(DARTS_V2, (2, 6)).outputs == (2, 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_architectures_as_data_equal_separate_runs(dtype: torch.dtype) -> None:
    given = problem(dtype=dtype)
    cells = [random_cell(seed) for seed in range(7)]
    concats = [EIGHT, EIGHT, (2, 4), EIGHT, (1,), EIGHT, EIGHT]
    hidden = torch.randn(7, *given.hidden.shape, dtype=dtype)
    batch = encode_cells(cells, concats, given.nodes)
    together = batched_segment(given.products, hidden, given.recurrent, given.nodes, batch)
    with torch.no_grad():
        for number, (cell, concat) in enumerate(zip(cells, concats, strict=True)):
            alone = recurrent_segment(given.products, hidden[number], given.recurrent, given.nodes, cell, concat)
            torch.testing.assert_close(together[:, number], alone, atol=1e-6, rtol=0)
    assert not together.requires_grad


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operations(run: Any) -> list[str]:
    with _Recorder() as recorder:
        run()
    names: list[str] = recorder.names
    return names


def test_a_segment_reads_nothing_back_from_the_device() -> None:
    given = problem()
    batch = encode_cells([random_cell(0), random_cell(1)], [EIGHT, EIGHT], given.nodes)
    hidden = given.hidden.detach().expand(2, -1, -1)
    runs = [
        lambda: recurrent_segment(*given[:4], DARTS_V2, EIGHT, given.mask).sum().backward(),  # type: ignore[no-untyped-call]
        lambda: batched_segment(given.products, hidden, given.recurrent, given.nodes, batch),
    ]
    for run in runs:
        names = operations(run)
        assert len(names) > 100
        assert not set(names) & set(SYNCHRONISING)


def test_one_graph_serves_all_architectures() -> None:
    given = problem()
    hidden = given.hidden.detach().expand(2, -1, -1)
    graphs = []
    for seed in (0, 10):
        batch = encode_cells([random_cell(seed), random_cell(seed + 1)], [EIGHT, EIGHT], given.nodes)
        graphs.append(operations(lambda batch=batch: batched_segment(given.products, hidden, *given[2:4], batch)))
    assert graphs[0] == graphs[1]


def test_the_forward_pass_needs_no_values() -> None:
    given = Problem(*(tensor.detach().to("meta") for tensor in problem()))
    with torch.no_grad():
        assert recurrent_segment(*given[:4], DARTS_V2, EIGHT, given.mask).shape == (11, 3, 5)
