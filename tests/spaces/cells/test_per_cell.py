"""Networks whose cells may all differ, against published sizes and wirings."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
import torch
from torch import nn

from archscout.errors import ArchitectureError, ArchscoutError, SettingsError, SpaceError
from archscout.measure import count_madds, count_parameters
from archscout.nn.operations import make_operation
from archscout.spaces import PerCellGenotype, PerCellSpace, architecture_from_json, architecture_to_json
from archscout.spaces.cells.derivation import derive, derived_genes
from archscout.spaces.cells.distance import OPERATION_WEIGHTS, distance, distance_matrix
from archscout.spaces.cells.genotype import HANDCRAFTED_OPERATIONS, OPERATIONS, Cell, Input
from archscout.spaces.cells.layout import CellLayout
from archscout.spaces.cells.network import CellNetwork, EvaluationCell
from archscout.spaces.cells.per_cell import PerCellOptions, PerCellSize
from archscout.tasks import TaskSpec
from archscout.zoo import load_zoo

CIFAR = TaskSpec("cifar10", "classification", (3, 32, 32), 10)
IMAGENET = TaskSpec("imagenet", "classification", (3, 224, 224), 1000)
SPACE = PerCellSpace()
CELL = Cell(((Input("skip_connect", 0), Input("sep_conv_3x3", 1)), (Input("max_pool_3x3", 2),)), (2, 3))
OTHER = Cell(((Input("dil_conv_3x3", 1),),), (2,))


def zoo(name: str) -> PerCellGenotype:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, PerCellGenotype)
    return architecture


def on_meta(architecture: PerCellGenotype, spec: TaskSpec = CIFAR, **size: Any) -> CellNetwork:
    with torch.device("meta"):
        return SPACE.build(architecture, spec, PerCellSize(**size))


# -- the genotype ------------------------------------------------------------------------------------------------


def test_a_genotype_says_which_cell_has_which_wiring() -> None:
    genotype = PerCellGenotype((CELL, OTHER), (0, 1, 0), (1,))
    assert genotype.cells == (CELL, OTHER, CELL)
    assert genotype.positions(0) == (0, 2)
    assert genotype == PerCellGenotype.of_cells([CELL, OTHER, CELL], [1])
    assert architecture_from_json(architecture_to_json(genotype)) == genotype
    assert genotype.describe().splitlines()[0] == "3 cells with gene: 0 1* 0 (* halves height and width)"


@pytest.mark.parametrize(
    ("genes", "sequence", "reductions", "message"),
    [
        ((), (0,), (), "genes: there is no cell"),
        ((CELL,), (), (), "sequence: the network has no cell"),
        ((CELL,), (0, 1), (), "sequence: cell 1 has gene 1, which does not exist; allowed: 0 to 0"),
        ((CELL,), (-1,), (), "sequence: cell 0 has gene -1"),
        ((CELL, OTHER), (0, 0), (), "genes: no cell has gene 1"),
        ((CELL,), (0, 0), (1, 1), r"reductions: \[1, 1\] must ascend"),
        ((CELL,), (0, 0), (1, 0), r"reductions: \[1, 0\] must ascend"),
        ((CELL,), (0, 0), (2,), "reductions: there is no cell 2; allowed: 0 to 1"),
        ((Cell((), ()),), (0,), (), r"genes\[0\]: the cell has no node"),
        ((Cell(((Input("sep_conv_9x9", 0),),), (2,)),), (0,), (), r"genes\[0\], node 2, input 0: unknown operation"),
        ((Cell(((Input("skip_connect", 0),),), (3,)),), (0,), (), r"genes\[0\], concat: node 3 does not exist"),
    ],
)
def test_contradictions_are_refused_by_field(genes: Any, sequence: Any, reductions: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        PerCellGenotype(genes, sequence, reductions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genes": 3}, "genes: must be a list of cells; got a int"),
        ({"sequence": "00"}, "sequence: must be a list of gene numbers"),
        ({"sequence": [0, 0.0]}, "sequence: 0.0 is not a gene number"),
        ({"reductions": [True]}, "reductions: True is not a cell number"),
        ({"more": 1}, "has the fields genes, sequence, reductions; got"),
    ],
)
def test_wrong_json_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    content = json.loads(architecture_to_json(PerCellGenotype((CELL,), (0, 0), (1,))))
    with pytest.raises(ArchitectureError, match=message):
        architecture_from_json(json.dumps({**content, **change}))


# -- pruning -----------------------------------------------------------------------------------------------------


def test_pruning_follows_missing_nodes_and_dead_ends() -> None:
    cell = Cell(
        (
            (Input("skip_connect", 0),),
            (),
            (Input("sep_conv_3x3", 3), Input("sep_conv_5x5", 2)),  # 3 does not exist
            (Input("max_pool_3x3", 3),),  # nothing left
            (Input("max_pool_3x3", 5), Input("skip_connect", 1)),  # 5 vanished
            (Input("dil_conv_3x3", 4),),  # leads nowhere
        ),
        (5, 6),
    )
    cell.check("cell")
    assert cell.pruned() == Cell(((), (), (), (), (Input("skip_connect", 1),), ()), (6,))
    assert CELL.pruned() == CELL


def test_a_cell_of_which_nothing_is_left_says_why_and_what_to_change() -> None:
    genotype = zoo("do.xception.cifar100.edge")
    assert genotype.genes[2].nodes[0] == ()
    with pytest.raises(ArchitectureError) as caught:
        on_meta(genotype)
    for part in ("cell 12 cannot be built", "node 3 reads only node 2", "Give node 2 an input", "node 3 read node 0"):
        assert part in str(caught.value)


# -- docs/methods/ddarts.md#operations-of-handcrafted-networks ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("simple_conv_1x1", lambda c: c * c + 2 * c),
        ("simple_conv_3x3", lambda c: 9 * c * c + 2 * c),
        ("conv_3x1_1x3", lambda c: 6 * c * c + 2 * c),
        ("conv_7x1_1x7", lambda c: 14 * c * c + 2 * c),
        ("bottleneck_1x3x1", lambda c: 18 * c * c + 14 * c),
    ],
)
def test_handcrafted_operations_have_the_published_size(name: str, parameters: Any) -> None:
    assert count_parameters(make_operation(name, 12, 2, search=False)) == parameters(12)
    searched = make_operation(name, 12, 1, search=True)
    assert all(not module.affine for module in searched.modules() if isinstance(module, nn.BatchNorm2d))
    assert sum(isinstance(module, nn.ReLU) for module in searched.modules()) == 1 + name.startswith("bottleneck")


# -- docs/methods/ddarts.md#published-sizes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels", "layers", "parameters", "mmadds", "with_norms"),
    [
        ("dd.cifar100.edge", 36, 14, 6_280_822, 928.0, 947.8),  # DD-4
        ("dd.cifar100.sparse moved", 36, None, 1_711_630, 254.5, 259.0),  # DD-1
        ("do.resnet18.cifar10.sparse", 64, 4, 36_318_538, 1922.1, 1931.7),
        ("do.resnet50.cifar10.sparse", 64, None, 71_237_450, 3461.7, 3482.1),
        ("dd.cifar10.sparse", 36, 8, 1_244_242, 255.3, None),
        ("dd.cifar10.sparse moved", 36, None, 1_604_602, 251.3, None),
        ("dd.cifar10.edge", 36, None, 2_520_298, None, None),
        ("dd.cifar100.edge moved", 36, None, 3_880_342, None, None),
        ("dd.cifar10.sparse", 36, 20, 3_822_130, None, None),
        ("do.xception.cifar10.sparse", 36, None, 35_781_814, None, None),
    ],
)
def test_cifar_networks_have_the_published_counts(
    name: str, channels: int, layers: int | None, parameters: int, mmadds: float | None, with_norms: float | None
) -> None:
    """`moved`: reductions at 2 and 5 as searched, instead of 2 and 6 as in the published files."""
    genotype = derive(zoo(name.split()[0]), 8) if name.endswith("moved") else zoo(name)
    network = on_meta(genotype, init_channels=channels, layers=layers)
    assert count_parameters(network) == parameters
    assert mmadds is None or round(count_madds(network, CIFAR.input_shape) / 1e6, 1) == mmadds
    if with_norms is not None:
        assert round(count_madds(network, CIFAR.input_shape, batch_norms=True) / 1e6, 1) == with_norms


@pytest.mark.parametrize(
    ("name", "parameters", "mmadds", "with_norms"),
    [
        ("do.resnet18.cifar100.sparse", 53_384_072, 8567.7, 8619.4),
        ("do.resnet50.cifar100.sparse", 73_227_400, 9968.8, 10029.4),
    ],
)
def test_imagenet_networks_have_the_published_counts(
    name: str, parameters: int, mmadds: float, with_norms: float
) -> None:
    network = on_meta(zoo(name), IMAGENET, init_channels=64)
    assert count_parameters(network) == parameters
    assert round(count_madds(network, IMAGENET.input_shape) / 1e6, 1) == mmadds
    assert round(count_madds(network, IMAGENET.input_shape, batch_norms=True) / 1e6, 1) == with_norms


@pytest.mark.parametrize("name", ["resnet18", "xception", "do.resnet18.cifar10.sparse"])
def test_any_map_size_and_number_of_reductions_work_with_the_auxiliary_head(name: str) -> None:
    for size in (8, 33, 96):  # 96: the ImageNet stem
        spec = TaskSpec("t", "classification", (1, size, size), 3)
        network = SPACE.build(zoo(name), spec, PerCellSize(init_channels=4, auxiliary=True))
        outputs = network(torch.randn(2, 1, size, size))
        assert [part.shape for part in outputs] == [(2, 3), (2, 3)]


def test_the_imagenet_stem_leaves_a_quarter_of_the_size() -> None:
    network = SPACE.build(zoo("resnet18"), IMAGENET, PerCellSize(init_channels=4))
    before, last = network.stem(torch.randn(1, 3, 64, 64))
    assert (before.shape[-1], last.shape[-1]) == (32, 16)
    darts = SPACE.build(zoo("resnet18"), IMAGENET, PerCellSize(init_channels=4, stem="imagenet"))
    before, last = darts.stem(torch.randn(1, 3, 64, 64))
    assert (before.shape[-1], last.shape[-1]) == (16, 8)


def test_every_cell_of_a_baseline_learns_and_every_other_published_one_does_not() -> None:
    for name, dead in (("resnet18", set()), ("resnet18.published", {0, 2})):
        network = SPACE.build(zoo(name), CIFAR, PerCellSize(init_channels=4))
        network(torch.randn(2, 3, 16, 16)).sum().backward()
        reached = [
            any(parameter.grad is not None for parameter in cell.operations.parameters())  # type: ignore[union-attr]
            for cell in network.cells
        ]
        assert {index for index, found in enumerate(reached) if not found} == dead


def test_drop_path_drops_whole_nodes_with_their_skips() -> None:
    skips = Cell(((Input("skip_connect", 0), Input("skip_connect", 1)),), (2,))
    layout = CellLayout((4, 4), 4, reduces=False, previous_reduces=False, outputs=4)
    cell = EvaluationCell(skips, layout, drop_nodes=True)
    states = torch.randn(64, 4, 6, 6), torch.randn(64, 4, 6, 6)
    torch.manual_seed(0)
    dropped, whole = cell(*states, 0.25), cell(*states, 0.0)
    kept = dropped.flatten(1).abs().sum(1) > 0
    assert 0 < int(kept.sum()) < 64
    assert torch.allclose(dropped[kept], whole[kept] / 0.75, atol=1e-5)


# -- docs/architectures.md#deeper-networks-derive -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "genes"),
    [
        (14, "0 0 0 1 2 4 3 4 3 5 6 7 6 7"),
        (20, "0 0 0 1 1 1 2 4 3 4 3 4 3 5 6 7 6 7 6 7"),
        (10, "0 0 0 2 3 4 5 7 6 7"),
        (8, "0 1 2 3 4 5 6 7"),
        (5, "0 1 2 3 4"),
    ],
)
def test_deeper_networks_repeat_genes_as_the_authors_ran_it(layers: int, genes: str) -> None:
    assert " ".join(map(str, derived_genes(8, layers))) == genes


def test_a_derived_network_reduces_at_thirds_and_keeps_the_genes_it_uses() -> None:
    genotype = zoo("dd.cifar10.edge")
    derived = derive(genotype, 10)
    assert derived.reductions == (3, 6)
    assert derived.cells == tuple(genotype.genes[gene] for gene in derived_genes(8, 10))
    assert len(derived.genes) == 7
    assert derive(genotype, 8).reductions == (2, 5)


@pytest.mark.parametrize(
    ("genes", "layers", "message"),
    [
        (8, 21, "its cell 6, which does not reduce, would get gene 2.* Numbers that work: 1 to 20"),
        (4, 9, "no cell was searched between the reductions 1 and 2. Numbers that work: 1 to 4"),
        (3, 5, "no cell was searched between"),
        (8, 0, "layers: 0 is out of range"),
        (8, 10**9, "layers: 1000000000 is out of range"),
    ],
)
def test_numbers_of_cells_that_the_rule_cannot_serve(genes: int, layers: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        derived_genes(genes, layers)


def test_handcrafted_and_derived_networks_are_not_derived() -> None:
    for genotype in (zoo("do.resnet18.cifar10.edge"), derive(zoo("dd.cifar10.edge"), 14)):
        with pytest.raises(ArchitectureError, match=r"searched one by one.*leave the number of layers out"):
            derive(genotype, 20)
    with pytest.raises(ArchitectureError, match=r"network\.layers"):
        derive(load_zoo("darts_v2").architecture, 20)


# -- docs/architectures.md#comparing-distance ---------------------------------------------------------------------


@pytest.mark.parametrize("form", ["", ".published"])
def test_distances_have_the_published_values(form: str) -> None:
    for first, second, value in (
        (f"resnet18{form}", f"resnet50{form}", 0.083630),
        (f"resnet18{form}", f"xception{form}", 0.084156),
        (f"resnet50{form}", f"xception{form}", 0.138527),
        (f"resnet18{form}", "do.resnet18.cifar10.edge", 0.167564),
        (f"resnet18{form}", "do.resnet50.cifar100.edge", 0.166512),
        (f"resnet50{form}", "do.resnet50.cifar100.edge", 0.166855),
        (f"resnet18{form}", f"resnet18{form}", 0.0),
    ):
        assert round(distance(zoo(first), zoo(second)), 6) == value


def test_distances_are_symmetric_and_between_nothing_and_everything() -> None:
    space = PerCellSpace(PerCellOptions(cells=3, nodes=3))
    draw = Random(0)
    found = [space.random(draw) for _ in range(6)]
    matrix = distance_matrix(found)
    for row in range(6):
        assert matrix[row][row] == 0
        for column in range(6):
            assert matrix[row][column] == matrix[column][row] == pytest.approx(distance(found[column], found[row]))
            assert 0 <= matrix[row][column] <= 1
    assert set(OPERATION_WEIGHTS) == set(HANDCRAFTED_OPERATIONS)


def test_cells_are_compared_with_cells_only() -> None:
    assert distance(load_zoo("darts_v1").architecture, load_zoo("darts_v2").architecture) > 0
    with pytest.raises(SpaceError, match="'cells' and one of 'per-cell' cannot be compared"):
        distance(load_zoo("darts_v1").architecture, zoo("resnet18"))
    with pytest.raises(SpaceError, match="'sep_conv_7x7' has no weight"):
        distance(load_zoo("nasnet").architecture, load_zoo("darts_v1").architecture)


# -- the space ---------------------------------------------------------------------------------------------------


def test_the_space_follows_its_options() -> None:
    assert (SPACE.operations, SPACE.nodes, SPACE.reductions) == (OPERATIONS, 4, (2, 5))
    small = PerCellSpace(PerCellOptions(cells=5, nodes=2, operations="handcrafted"))
    found = small.random(Random(0))
    assert (found.sequence, found.reductions) == ((0, 1, 2, 3, 4), (1, 3))
    assert {len(cell.nodes) for cell in found.genes} == {2}
    assert small.operations == HANDCRAFTED_OPERATIONS


@pytest.mark.parametrize(("name", "nodes"), [("resnet18", 4), ("resnet50", 6), ("xception", 4)])
def test_a_baseline_sets_the_row_of_cells(name: str, nodes: int) -> None:
    space = PerCellSpace(PerCellOptions(baseline=name))
    assert space.baseline == zoo(name)
    assert space.operations == HANDCRAFTED_OPERATIONS
    found = space.random(Random(0))
    assert (found.sequence, found.reductions) == (zoo(name).sequence, zoo(name).reductions)
    assert {len(cell.nodes) for cell in found.genes} == {nodes}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "darts_v2"}, "'darts_v2' is an architecture of the space 'cells'"),
        ({"baseline": "resnet19"}, "Did you mean resnet18"),
        ({"baseline": "resnet18", "operations": "darts"}, "'simple_conv_3x3', which is not searched"),
    ],
)
def test_a_wrong_baseline_is_refused_before_anything_is_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchscoutError, match=message):
        PerCellSpace(PerCellOptions(**options)).check(CIFAR)


def test_a_mutation_changes_one_input_of_one_node() -> None:
    draw = Random(0)
    for genotype in (SPACE.random(draw), zoo("dd.cifar100.edge")):
        for _ in range(20):
            changed = SPACE.mutate(genotype, draw)
            differing = [
                (before, after)
                for old, new in zip(genotype.genes, changed.genes, strict=True)
                for inputs, others in zip(old.nodes, new.nodes, strict=True)
                for before, after in zip(inputs, others, strict=True)
                if before != after
            ]
            ((before, after),) = differing
            assert (before.operation == after.operation) != (before.source == after.source)
            genotype = changed


@pytest.mark.parametrize("channels", [2, 4])
def test_no_network_is_larger_than_the_largest(channels: int) -> None:
    space = PerCellSpace(PerCellOptions(cells=3, nodes=2, operations="handcrafted"))
    size = PerCellSize(init_channels=channels)
    low, high = (count_parameters(space.build(each, CIFAR, size)) for each in space.extremes(CIFAR, size))
    draw = Random(1)
    counts = [count_parameters(space.build(space.random(draw), CIFAR, size)) for _ in range(15)]
    assert low <= min(counts) and max(counts) <= high


def test_tasks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpaceError, match="archscout list spaces"):
        SPACE.check(TaskSpec("series", "classification", (1, 128), 3))
    with pytest.raises(SpaceError, match="too small"):
        SPACE.check(TaskSpec("tiny", "classification", (1, 3, 3), 3))
