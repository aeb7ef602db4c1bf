"""Relaxed cell spaces: sizes of the supernets, discretization rules, prefixes of ablated passes."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from archscout.errors import SpaceError
from archscout.spaces import get_space
from archscout.spaces.cells.discretization import DiscretizationRule, discretize_cell, present_operations
from archscout.spaces.cells.genotype import Cell, Input
from archscout.spaces.cells.mixture import MixtureSupernet
from archscout.spaces.cells.per_cell_genotype import PerCellGenotype
from archscout.tasks.spec import TaskSpec
from archscout.zoo import load_zoo

CIFAR = TaskSpec("cifar10", "classification", (3, 32, 32), 10)


def supernet(name: str, options: dict[str, Any], **size: Any) -> nn.Module:
    space: Any = get_space(name, options)
    with torch.device("meta"):
        network: nn.Module = space.relaxation(CIFAR, space.size_model(**size)).supernet()
    return network


@pytest.mark.parametrize(
    ("name", "options", "channels", "weights"),
    [  # docs/methods/ddarts.md#supernet
        ("cells", {}, 16, 1_930_618),
        ("per-cell", {}, 16, 1_930_618),
        ("per-cell", {}, 32, 6_800_618),
        ("per-cell", {"baseline": "resnet18"}, 16, 17_038_394),
        ("per-cell", {"baseline": "resnet18"}, 32, 67_455_082),
        ("per-cell", {"baseline": "resnet50"}, 16, 32_718_170),
        ("per-cell", {"baseline": "xception"}, 16, 93_449_274),
    ],
)
def test_supernets_have_the_published_sizes(name: str, options: dict[str, Any], channels: int, weights: int) -> None:
    network = supernet(name, options, init_channels=channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights


@pytest.mark.parametrize(
    ("baseline", "tensors", "edges"),
    [("resnet18", 1, 14), ("resnet50", 3, 27), ("xception", 3, 14), ("resnet18.published", 1, 14)],
)
def test_a_fresh_baseline_thresholded_on_its_edges_is_the_baseline(baseline: str, tensors: int, edges: int) -> None:
    space: Any = get_space("per-cell", {"baseline": baseline})
    relaxation = space.relaxation(CIFAR, space.size_model())
    assert relaxation.shape == (tensors, edges, 12)
    start = (10.0 * relaxation.start.double()).sigmoid()
    found = relaxation.discretize(start, "edge", 0.85)
    reference = cast(PerCellGenotype, load_zoo(baseline).architecture)
    assert [{frozenset(node) for node in cell.nodes if node} for cell in found.genes] == [
        {frozenset(node) for node in cell.nodes if node} for cell in reference.genes
    ]
    assert (found.sequence, found.reductions) == (reference.sequence, reference.reductions)


def test_a_supernet_of_two_cells_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"supernet\.layers=3"):
        supernet("cells", {}, layers=2)


def test_another_number_of_layers_than_cells_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"space_options\.cells"):
        supernet("per-cell", {"cells": 5}, layers=8)


# -- discretization ----------------------------------------------------------------------------------------------

NAMES = ("max_pool_3x3", "skip_connect", "sep_conv_3x3")
# Node 2 from 0 and 1; node 3 from 0, 1, 2.
WEIGHTS = [[0.1, 0.9, 0.95], [0.86, 0.2, 0.3], [0.5, 0.6, 0.1], [0.7, 0.87, 0.87], [0.9, 0.89, 0.99]]


@pytest.mark.parametrize(
    ("rule", "second", "third"),
    [
        ("two_edges", (("sep_conv_3x3", 0), ("max_pool_3x3", 1)), (("sep_conv_3x3", 2), ("skip_connect", 1))),
        ("sparse", (("sep_conv_3x3", 0), ("max_pool_3x3", 1)), (("sep_conv_3x3", 2), ("skip_connect", 1))),
        (
            "edge",
            (("skip_connect", 0), ("sep_conv_3x3", 0), ("max_pool_3x3", 1)),
            (("skip_connect", 1), ("sep_conv_3x3", 1), ("max_pool_3x3", 2), ("sep_conv_3x3", 2)),
        ),
        (
            "complete",
            (("skip_connect", 0), ("sep_conv_3x3", 0), ("max_pool_3x3", 1)),
            (("skip_connect", 1), ("sep_conv_3x3", 1), ("max_pool_3x3", 2), ("skip_connect", 2), ("sep_conv_3x3", 2)),
        ),
    ],
)
def test_rules_keep_what_they_say(rule: DiscretizationRule, second: Any, third: Any) -> None:
    cell = discretize_cell(WEIGHTS, NAMES, 2, rule, 0.85)
    assert cell.nodes == (second, third)
    assert cell.concat == (2, 3)


def test_sparse_drops_the_best_operation_of_an_edge_below_the_threshold() -> None:
    weights = [[0.1, 0.2, 0.84], [0.9, 0.1, 0.1], [0.3, 0.3, 0.3], [0.3, 0.3, 0.3], [0.1, 0.1, 0.1]]
    cell = discretize_cell(weights, NAMES, 2, "sparse", 0.85)
    assert cell == Cell(((Input("max_pool_3x3", 1),), ()), (2,))


def test_items_from_nodes_that_do_not_exist_go_and_a_cell_never_ends_empty() -> None:
    weights = [[0.1, 0.2, 0.3], [0.1, 0.1, 0.1], [0.3, 0.4, 0.3], [0.3, 0.3, 0.3], [0.1, 0.1, 0.99]]
    cell = discretize_cell(weights, NAMES, 2, "sparse", 0.85)  # only node 3 from node 2, which has no input
    assert cell == Cell(((), (Input("skip_connect", 0),)), (3,))


PROGRESSIVE = ("skip_connect", "sep_conv_3x3")


def progressive(weights: list[list[float]], skip_limit: int | None = None) -> list[list[tuple[str, int]]]:
    nodes = {2: 1, 5: 2, 9: 3}[len(weights)]
    cell = discretize_cell(weights, PROGRESSIVE, nodes, "progressive", 0.0, skip_limit=skip_limit)
    return [[(item.operation[:4], item.source) for item in node] for node in cell.nodes]


def test_progressive_keeps_both_edges_of_the_first_node_and_the_two_strongest_of_later_ones() -> None:
    weights = [[0.1, 0.0], [0.0, 0.2], [0.3, 0.9], [0.8, 0.1], [0.2, 0.85]]
    assert progressive(weights) == [[("skip", 0), ("sep_", 1)], [("sep_", 0), ("sep_", 2)]]


def test_progressive_takes_the_later_of_equal_edges() -> None:
    assert progressive([[0.5, 0.1]] * 5)[1] == [("skip", 1), ("skip", 2)]
    assert progressive([[0.5, 0.1]] * 2 + [[0.5, 0.1], [0.1, 0.4], [0.5, 0.1]])[1] == [("skip", 0), ("skip", 2)]


def test_the_limit_leaves_the_strongest_skip_connections() -> None:
    weights = [[0.6, 0.3], [0.7, 0.2], [0.8, 0.1], [0.5, 0.4], [0.9, 0.05]]
    assert progressive(weights) == [[("skip", 0), ("skip", 1)], [("skip", 0), ("skip", 2)]]
    # Four are too many: the best three edges keep theirs (3.2, 3.0, 2.1). Then three are: the best two (3.2, 3.0).
    assert progressive(weights, 3) == [[("sep_", 0), ("skip", 1)], [("skip", 0), ("skip", 2)]]
    assert progressive(weights, 2) == [[("sep_", 0), ("sep_", 1)], [("skip", 0), ("skip", 2)]]
    assert progressive(weights, 0) == [[("sep_", 0), ("sep_", 1)], [("sep_", 0), ("sep_", 1)]]


@pytest.mark.parametrize("limit", range(7))
def test_the_limit_on_skip_connections_is_kept_whatever_the_weights(limit: int) -> None:
    for seed in range(30):
        draw = torch.Generator().manual_seed(seed)
        weights = torch.rand(9, 2, generator=draw) * torch.tensor([4.0, 1.0])
        found = progressive(weights.tolist(), limit)
        assert sum(item[0] == "skip" for node in found for item in node) <= limit
        assert [len(node) for node in found] == [2, 2, 2]


def test_present_operations_are_the_inverse() -> None:
    cell = discretize_cell(WEIGHTS, NAMES, 2, "complete", 0.85)
    table = [[weight >= 0.85 for weight in row] for row in WEIGHTS]
    assert present_operations(cell, NAMES, 2) == table


# -- ablated passes ----------------------------------------------------------------------------------------------


def test_a_pass_without_a_cell_equals_the_whole_pass_with_its_weights_replaced() -> None:
    space: Any = get_space("per-cell", {"cells": 4})
    spec = TaskSpec("digits", "classification", (1, 8, 8), 10)
    torch.manual_seed(0)
    network: MixtureSupernet = space.relaxation(spec, space.size_model(init_channels=4)).supernet()
    inputs, mixing, instead = torch.randn(6, 1, 8, 8), torch.rand(4, 14, 7), torch.rand(14, 7)
    with torch.no_grad():
        states = network.states(inputs, mixing)
        for owner in range(4):
            replaced: Tensor = torch.stack([instead if row == owner else mixing[row] for row in range(4)])
            assert torch.equal(network.without(owner, mixing, states, instead), network(inputs, replaced))
