"""Cells of NAS-Bench-201 against the official numbers (docs/nasbench201.md)."""

from __future__ import annotations

import json
from random import Random

import pytest
import torch

from archscout.errors import ArchitectureError
from archscout.measure import measure
from archscout.spaces import NasBench201Cell, NasBench201Space, architecture_from_json
from archscout.spaces.base import Enumerable, Factorized, LayerCoded, Mutable, WeightSharing
from archscout.spaces.nasbench201 import SPACE_SIZE, NasBench201Size, cell_at, official_index
from archscout.tasks import TaskSpec, task_spec
from archscout.zoo import resolve_architecture

ANCHORS = {
    0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    9: "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    123: "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
}


@pytest.mark.parametrize("index", ANCHORS)
def test_the_official_order_has_its_anchors(index: int) -> None:
    cell = NasBench201Cell.from_text(ANCHORS[index])
    assert cell_at(index) == cell
    assert cell.text == ANCHORS[index]
    assert official_index(cell) == index


def test_every_cell_has_one_number_one_key_and_one_text() -> None:
    cells = [cell_at(index) for index in range(SPACE_SIZE)]
    assert SPACE_SIZE == 15_625 == len(set(cells)) == len({cell.text for cell in cells})
    assert {cell.key for cell in cells} == set(range(SPACE_SIZE))
    assert all(NasBench201Cell.from_key(cell.key) == cell for cell in cells[::100])
    assert all(NasBench201Cell.from_text(cell.text) == cell for cell in cells[::100])


def test_isomorphic_and_dead_cells_are_counted() -> None:
    cells = [NasBench201Cell.from_key(key) for key in range(SPACE_SIZE)]
    assert len({cell.canonical() for cell in cells}) == 6_466
    assert sum(cell.dead for cell in cells) == 341


def test_isomorphic_cells_compute_the_same() -> None:
    space, spec = NasBench201Space(), TaskSpec("small", "classification", (3, 8, 8), 4)
    first = NasBench201Cell.from_operations(
        ["none", "nor_conv_3x3", "avg_pool_3x3", "avg_pool_3x3", "avg_pool_3x3", "skip_connect"]
    )
    second = NasBench201Cell.from_operations(
        ["none", "nor_conv_3x3", "none", "avg_pool_3x3", "avg_pool_3x3", "skip_connect"]
    )
    assert first.canonical() == second.canonical()
    outputs = []
    for cell in (first, second):
        torch.manual_seed(0)
        network = space.build(cell, spec, NasBench201Size(init_channels=4, cells=1)).eval()
        outputs.append(network(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))))
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("index", "parameters", "madds"), [(0, 129_306, 15.65), (11, 802_426, 113.95), (284, 101_306, 11.7152)]
)
def test_official_networks_have_the_official_size(index: int, parameters: int, madds: float) -> None:
    space = NasBench201Space()
    with torch.device("meta"):
        network = space.build(cell_at(index), task_spec("cifar10"), NasBench201Size())
        wider = space.build(cell_at(index), task_spec("cifar100"), NasBench201Size())
    cost = measure(network, (3, 32, 32))
    assert cost.parameters == parameters
    assert cost.madds == pytest.approx(madds * 1e6, abs=0.005e6)
    assert measure(wider, (3, 32, 32)).parameters == parameters + 5_850
    if index == 284:
        assert cost.madds == 11_715_200


def test_half_sized_images_take_a_quarter_of_the_work() -> None:
    space, size = NasBench201Space(), NasBench201Size()
    with torch.device("meta"):
        network = space.build(cell_at(11), TaskSpec("small", "classification", (3, 16, 16), 120), size)
        larger = space.build(cell_at(11), TaskSpec("large", "classification", (3, 32, 32), 120), size)
    classifier = 64 * 120
    assert 4 * (measure(network, (3, 16, 16)).madds - classifier) == measure(larger, (3, 32, 32)).madds - classifier


def test_the_space_moves_in_single_edges() -> None:
    space, draw = NasBench201Space(), Random(0)
    cell = space.random(draw)
    neighbours = space.neighbours(cell)
    assert len(set(neighbours)) == 24
    assert {space.distance(cell, other) for other in neighbours} == {1}
    assert {space.mutate(cell, draw) for _ in range(500)} == set(neighbours)
    assert space.distance(cell, cell) == 0
    assert space.decode(space.encode(cell)) == cell
    for protocol in (LayerCoded, Mutable, Enumerable, WeightSharing, Factorized):
        assert isinstance(space, protocol)


def test_shared_weights_compute_what_the_network_computes() -> None:
    space, spec = NasBench201Space(), TaskSpec("small", "classification", (3, 8, 8), 4)
    size, cell = NasBench201Size(init_channels=4, cells=1), cell_at(11)
    supernet, network = space.supernet(spec, size).eval(), space.build(cell, spec, size).eval()
    path = supernet.path_parameters(cell)  # type: ignore[operator]
    assert sum(p.numel() for p in path) == sum(p.numel() for p in network.parameters())
    state = network.state_dict()
    numbers = [edge for edge, name in enumerate(cell.operations) if name != "none"]
    for name, value in supernet.state_dict().items():
        parts = name.split(".")
        if "edges" in parts:
            edge, operation = int(parts[3]), parts[4]
            if cell.operations[edge] != operation:
                continue
            name = ".".join([*parts[:2], "operations", str(numbers.index(edge)), *parts[5:]])
        state[name] = value
    network.load_state_dict(state)
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.allclose(network(inputs), supernet(inputs, cell), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("|nor_conv_3x3~0|", "1 nodes"),
        ("|nor_conv_3x3~0|+|none~0|+|none~0|none~1|none~2|", "node 2"),
        ("|nor_conv_3x3~0|+|none~0|none~0|+|none~0|none~1|none~2|", "edge 1"),
        ("|nor_conv_3~0|+|none~0|none~1|+|none~0|none~1|none~2|", "nor_conv_3x3"),
        ("|" * 2000, "at most"),
        ("|~0|+|none~0|none~1|+|none~0|none~1|none~2|", "unknown operation"),
    ],
)
def test_malformed_arch_strings_are_refused(text: str, says: str) -> None:
    with pytest.raises(ArchitectureError, match=says):
        NasBench201Cell.from_text(text)


@pytest.mark.parametrize("code", [(0,) * 5, (0, 0, 0, 0, 0, 5), (0, 0, 0, 0, 0, -1), (True,) * 6, [0] * 6, "000000"])
def test_malformed_codes_are_refused(code: object) -> None:
    with pytest.raises(ArchitectureError, match="code"):
        NasBench201Cell(code)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields", [{}, {"operations": ["none"] * 5}, {"operations": "none"}, {"operations": ["none"] * 5 + ["nun"]}]
)
def test_malformed_json_is_refused(fields: dict[str, object]) -> None:
    content = {"format": "archscout.nasbench201_cell", "version": 1, **fields}
    with pytest.raises(ArchitectureError):
        architecture_from_json(json.dumps(content))


@pytest.mark.parametrize("number", [-1, SPACE_SIZE])
def test_numbers_outside_the_space_are_refused(number: int) -> None:
    with pytest.raises(ArchitectureError, match="allowed"):
        cell_at(number)
    with pytest.raises(ArchitectureError, match="allowed"):
        NasBench201Cell.from_key(number)


def test_an_arch_string_names_an_architecture() -> None:
    assert resolve_architecture(ANCHORS[9]) == cell_at(9)
