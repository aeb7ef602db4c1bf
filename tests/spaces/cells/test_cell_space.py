"""The cell space against published sizes and formulas."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from archscout.errors import ArchitectureError, SpaceError
from archscout.measure import count_madds, count_parameters
from archscout.nn.drop_path import drop_path
from archscout.nn.operations import FactorizedReduce, make_operation
from archscout.spaces import CellGenotype, CellSpace, get_space
from archscout.spaces.cells.choices import pairs
from archscout.spaces.cells.genotype import KNOWN_OPERATIONS, Cell, Input
from archscout.spaces.cells.layout import CellLayout, reduction_indices
from archscout.spaces.cells.network import EvaluationCell
from archscout.spaces.cells.space import CellOptions, CellSize
from archscout.spaces.cells.supernet import CellSupernet, SearchCell, edge_index
from archscout.tasks import TaskSpec
from archscout.zoo import load_zoo, zoo_names

CIFAR = TaskSpec("cifar10", "classification", (3, 32, 32), 10)
IMAGENET = TaskSpec("imagenet", "classification", (3, 224, 224), 1000)
SPACE = CellSpace()


def genotype(name: str) -> CellGenotype:
    architecture = load_zoo(name).architecture
    assert isinstance(architecture, CellGenotype)
    return architecture


def supernet(spec: TaskSpec = CIFAR, channels: int = 4, layers: int = 3, nodes: int = 4) -> CellSupernet:
    torch.manual_seed(0)
    network = CellSpace(CellOptions(nodes=nodes)).supernet(spec, CellSize(init_channels=channels, layers=layers))
    assert isinstance(network, CellSupernet)
    return network


# -- exact counts: docs/methods/darts.md#sizes-of-published-networks ----------------------------------------------


@pytest.mark.parametrize(
    ("spec", "channels", "nodes", "parameters", "tensors"),
    [(CIFAR, 16, 4, 1_930_618, 1399), (IMAGENET, 48, 4, 15_385_072, None), (IMAGENET, 48, 5, 21_608_944, None)],
)
def test_supernet_has_the_published_number_of_weights(
    spec: TaskSpec, channels: int, nodes: int, parameters: int, tensors: int | None
) -> None:
    with torch.device("meta"):
        network = CellSpace(CellOptions(nodes=nodes)).supernet(spec, CellSize(init_channels=channels, layers=8))
    assert count_parameters(network) == parameters
    assert tensors is None or len(list(network.parameters())) == tensors


def swapped(cells: CellGenotype) -> CellGenotype:
    return CellGenotype(cells.reduce, cells.normal)


@pytest.mark.parametrize(
    ("name", "without", "with_auxiliary", "mmadds"),
    [
        ("ednas.cifar10", 3_717_622, 4_194_048, 596.0),
        ("ednas.cifar10 swapped", 2_657_062, 3_133_488, 412.0),
        ("darts_v1", 3_169_414, 3_645_840, 501.0),
        ("darts_v2", 3_349_342, 3_825_768, 528.4),
        ("nasnet", 3_830_950, 4_288_944, 603.5),
        ("amoebanet", 3_145_078, 3_603_072, 488.9),
        ("pdarts", 3_433_798, None, 532.2),
        ("pcdarts.cifar10", 3_634_678, None, 556.7),
        ("fairdarts.a", 2_360_782, 2_837_208, 371.5),
    ],
)
def test_cifar_networks_have_the_published_counts(
    name: str, without: int, with_auxiliary: int | None, mmadds: float
) -> None:
    cells = swapped(genotype(name.split()[0])) if name.endswith("swapped") else genotype(name)
    with torch.device("meta"):
        plain = SPACE.build(cells, CIFAR, CellSize(init_channels=36, layers=20))
        full = SPACE.build(cells, CIFAR, CellSize(init_channels=36, layers=20, auxiliary=True))
    assert count_parameters(plain) == without
    assert with_auxiliary is None or count_parameters(full) == with_auxiliary
    assert round(count_madds(plain, CIFAR.input_shape) / 1e6, 1) == mmadds


@pytest.mark.parametrize(
    ("name", "without", "with_auxiliary", "mmadds"),
    [
        ("ednas.imagenet", 4_707_616, 5_968_392, 518.9),
        ("darts_v1", 4_510_432, 5_771_208, 505.9),
        ("darts_v2", 4_718_752, 5_979_528, 529.9),
        ("pdarts", 4_944_352, None, 542.8),
        ("pcdarts.cifar10", 5_270_560, None, 571.1),
    ],
)
def test_imagenet_networks_have_the_published_counts(
    name: str, without: int, with_auxiliary: int | None, mmadds: float
) -> None:
    with torch.device("meta"):
        plain = SPACE.build(genotype(name), IMAGENET, CellSize(init_channels=48, layers=14))
        full = SPACE.build(genotype(name), IMAGENET, CellSize(init_channels=48, layers=14, auxiliary=True))
    assert count_parameters(plain) == without
    assert with_auxiliary is None or count_parameters(full) == with_auxiliary
    assert round(count_madds(plain, IMAGENET.input_shape) / 1e6, 1) == mmadds


def test_the_zoo_states_the_counts_that_its_networks_have() -> None:
    for name in zoo_names():
        entry = load_zoo(name)
        if entry.architecture.space not in ("cells", "per-cell"):
            continue
        for task, recounted in entry.recounted.items():
            assert task in ("cifar10", "imagenet")
            spec = {"cifar10": CIFAR, "imagenet": IMAGENET}[task]
            space = get_space(entry.architecture.space)
            size = {"init_channels": recounted.init_channels, "layers": recounted.layers}
            with torch.device("meta"):
                network = space.build(entry.architecture, spec, space.size_model.read(size))
            assert count_parameters(network) == recounted.parameters, (name, task)


def test_mean_multiply_adds_of_a_uniform_path() -> None:
    """About 43.5 M at 16 channels and 8 cells (docs/methods/ednas.md#work-of-a-step, a sample mean); exactly 43.35 M.

    An edge from a source to node n is in `n - 1` of the `n (n - 1) / 2` pairs: it is used with probability `2 / n`.
    """
    with torch.device("meta"):
        network = SPACE.supernet(CIFAR, CellSize(init_channels=16, layers=8))
    assert isinstance(network, CellSupernet)
    fixed = count_madds(network.stem.conv, (3, 32, 32)) + 256 * 10  # type: ignore[arg-type]
    side, total = 32, 0.0
    for cell, halved in zip(network.cells, [False, *(cell.reduces for cell in network.cells)], strict=False):
        assert isinstance(cell, SearchCell)
        wide = side * 2 if halved else side
        channels = 16 * (32 // side) * (2 if cell.reduces else 1)
        first, second = (
            next(m for m in part.modules() if isinstance(m, nn.Conv2d)) for part in (cell.preprocess0, cell.preprocess1)
        )
        fixed += count_madds(cell.preprocess0, (first.in_channels, wide, wide))
        fixed += count_madds(cell.preprocess1, (second.in_channels, side, side))
        inner = side // 2 if cell.reduces else side
        for node in range(2, 6):
            for source in range(node):
                size = side if source < 2 else inner
                for name in SPACE.operations:
                    total += 2 / node / 7 * count_madds(cell.operation(node, source, name), (channels, size, size))
        side = inner
    assert round((fixed + total) / 1e6, 2) == 43.35


# -- structure ---------------------------------------------------------------------------------------------------


def test_reductions_sit_at_a_third_and_two_thirds() -> None:
    assert [reduction_indices(layers) for layers in (8, 20, 14)] == [(2, 5), (6, 13), (4, 9)]


def test_pairs_and_edges_are_in_the_published_order() -> None:
    assert pairs(4) == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    assert [edge_index(node, 0) for node in (2, 3, 4, 5)] == [0, 2, 5, 9]


def test_the_decoupled_view_has_the_published_sizes() -> None:
    choices = SPACE.factorization
    assert choices.structure == (3, 6, 10, 3, 6, 10)
    assert [len(names) for names in choices.operations] == [7] * 28
    assert sum(choices.structure) // 2 + 14 * 7 == 117
    five = CellSpace(CellOptions(nodes=5)).factorization
    assert (sum(five.structure), sum(len(names) for names in five.operations)) == (68, 280)


def test_choices_and_genotypes_translate_both_ways() -> None:
    draw = random.Random(0)
    for _ in range(50):
        cells = SPACE.random(draw)
        assert SPACE.factorization.assemble(*SPACE.factorization.disassemble(cells)) == cells
    assert SPACE.factorization.disassemble(genotype("ednas.cifar10"))[0] == (0, 3, 0, 1, 3, 6)


def test_a_genotype_outside_the_space_is_refused_with_its_node() -> None:
    with pytest.raises(ArchitectureError, match="5 nodes, but the space has 4"):
        SPACE.factorization.disassemble(genotype("nasnet"))
    twice = Cell(((Input("skip_connect", 0), Input("skip_connect", 0)),) * 4, (2, 3, 4, 5))
    with pytest.raises(ArchitectureError, match="normal, node 2: sources"):
        SPACE.factorization.disassemble(CellGenotype(twice, twice))


def test_a_mutation_changes_exactly_one_choice() -> None:
    draw = random.Random(0)
    for _ in range(40):
        cells = SPACE.random(draw)
        before, after = (SPACE.factorization.disassemble(each) for each in (cells, SPACE.mutate(cells, draw)))
        changed = sum(a != b for a, b in zip(before[0] + before[1], after[0] + after[1], strict=True))
        assert changed == 1


def test_random_covers_every_choice() -> None:
    draw = random.Random(0)
    seen = {
        item for _ in range(300) for item in enumerate(sum(SPACE.factorization.disassemble(SPACE.random(draw)), ()))
    }
    assert len({value for position, value in seen if position == 2}) == 10
    assert len({value for position, value in seen if position == 8}) == 7


def test_tasks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpaceError, match="archscout list spaces"):
        SPACE.check(TaskSpec("series", "classification", (1, 128), 3))
    with pytest.raises(SpaceError, match="too small"):
        SPACE.check(TaskSpec("tiny", "classification", (1, 3, 3), 3))


# -- operations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", KNOWN_OPERATIONS)
@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_every_operation_keeps_channels_and_halves_rounding_up(
    name: str, stride: int, search: bool, size: tuple[int, int]
) -> None:
    operation = make_operation(name, 4, stride, search=search)
    outputs = operation(torch.randn(2, 4, *size))
    assert outputs.shape == (2, 4, *((side + stride - 1) // stride for side in size))


def test_search_pools_are_normalised_and_evaluation_pools_are_not() -> None:
    assert isinstance(make_operation("max_pool_3x3", 4, 1, search=True), nn.Sequential)
    assert isinstance(make_operation("max_pool_3x3", 4, 1, search=False), nn.MaxPool2d)


def test_factorized_reduce_on_even_sizes_is_the_published_formula() -> None:
    torch.manual_seed(0)
    module = FactorizedReduce(4, 6, affine=True).double()
    inputs = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    active = inputs.relu()
    plain = torch.cat([module.even(active), module.odd(active[:, :, 1:, 1:])], dim=1)  # stride 2
    assert torch.allclose(module(inputs), module.norm(plain), atol=1e-12)


def test_unknown_operation_lists_the_known() -> None:
    with pytest.raises(ArchitectureError, match="known: none, max_pool_3x3"):
        make_operation("sep_conv_9x9", 4, 1, search=True)


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    torch.manual_seed(0)
    outputs = drop_path(torch.ones(4000, 2, 3, 3), 0.25)
    values = outputs.flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert sorted(set(values[:, 0].tolist())) == pytest.approx([0, 4 / 3])
    assert outputs.mean().item() == pytest.approx(1, abs=0.05)


# -- supernet ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_grouped_evaluation_equals_one_at_a_time(size: tuple[int, int]) -> None:
    network = supernet(TaskSpec("t", "classification", (3, *size), 5)).double()
    draw = random.Random(0)
    inputs = torch.randn(6, 3, *size, dtype=torch.float64)
    for _ in range(3):  # running statistics that are not the initial ones
        network(inputs, SPACE.random(draw))
    network.eval()
    cells = [SPACE.random(draw) for _ in range(7)]
    cells.append(cells[0])
    with torch.inference_mode():
        together = network.grouped(inputs, cells)
        one_by_one = torch.stack([network(inputs, each) for each in cells])
    assert together.shape == (8, 6, 5)
    assert (together - one_by_one).abs().max() < 1e-12


def test_grouped_evaluation_computes_common_parts_once() -> None:
    network = supernet(layers=1).eval()
    cells = SPACE.random(random.Random(0))
    calls = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        network(torch.randn(2, 3, 8, 8), cells)
        alone = len(calls)
        network.grouped(torch.randn(2, 3, 8, 8), [cells] * 5)
    assert len(calls) == 2 * alone


def test_grouped_evaluation_refuses_training_mode() -> None:
    with pytest.raises(RuntimeError, match="evaluation mode"):
        supernet().grouped(torch.randn(2, 3, 8, 8), [SPACE.random(random.Random(0))])


def test_a_step_reaches_exactly_the_parameters_of_the_path() -> None:
    network = supernet()
    cells = SPACE.random(random.Random(1))
    network(torch.randn(4, 3, 8, 8), cells).sum().backward()
    reached = {id(parameter) for parameter in network.parameters() if parameter.grad is not None}
    assert reached == {id(parameter) for parameter in network.path_parameters(cells)}


def test_swapped_cells_run_the_other_sample() -> None:
    network, other = supernet(), CellSpace(CellOptions(legacy_swapped_cells=True))
    published = other.supernet(CIFAR, CellSize(init_channels=4, layers=3))
    published.load_state_dict(network.state_dict())
    cells = SPACE.random(random.Random(2))
    inputs = torch.randn(4, 3, 8, 8)
    assert torch.equal(published(inputs, cells), network(inputs, swapped(cells)))
    assert not torch.equal(published(inputs, cells), network(inputs, cells))


def test_equal_weights_give_the_network_of_the_path() -> None:
    """A path of the supernet computes what a plain network of the same operations computes."""
    network = supernet(layers=3).double()
    names = ["skip_connect", "sep_conv_3x3", "dil_conv_5x5", "avg_pool_3x3"]
    nodes = tuple((Input(names[i], 0), Input(names[-1 - i], 1)) for i in range(4))
    cells = CellGenotype(Cell(nodes, (2, 3, 4, 5)), Cell(nodes, (2, 3, 4, 5)))
    inputs = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    before, last = network.stem(inputs)
    for cell in network.cells:
        assert isinstance(cell, SearchCell)
        states = [cell.preprocess0(before), cell.preprocess1(last)]
        for node, ((first, _), (second, _)) in enumerate(nodes, start=2):
            one = cell.operation(node, 0, first)(states[0])
            two = cell.operation(node, 1, second)(states[1])
            states.append(one + two)
        before, last = last, torch.cat(states[2:], dim=1)
    plain = network.classifier(last.mean((2, 3)))
    assert torch.allclose(network(inputs, cells), plain, atol=1e-12)


# -- evaluation networks -----------------------------------------------------------------------------------------


def test_the_auxiliary_head_speaks_in_training_only() -> None:
    network = SPACE.build(genotype("darts_v2"), CIFAR, CellSize(init_channels=4, layers=5, auxiliary=True))
    inputs = torch.randn(2, 3, 32, 32)
    outputs = network(inputs)
    assert isinstance(outputs, tuple)
    assert [part.shape for part in outputs] == [(2, 10), (2, 10)]
    network.eval()
    assert network(inputs).shape == (2, 10)


@pytest.mark.parametrize("size", [8, 28, 33, 96])
def test_any_image_size_works_with_the_auxiliary_head(size: int) -> None:
    spec = TaskSpec("t", "classification", (1, size, size), 3)
    network = SPACE.build(genotype("pdarts"), spec, CellSize(init_channels=4, layers=3, auxiliary=True))
    assert network(torch.randn(2, 1, size, size))[0].shape == (2, 3)


def test_drop_path_acts_in_training_mode_only() -> None:
    network = SPACE.build(genotype("darts_v2"), CIFAR, CellSize(init_channels=4, layers=3))
    network.drop_path_rate = 0.5
    inputs = torch.randn(16, 3, 8, 8)
    network.eval()
    assert torch.equal(network(inputs), network(inputs))
    network.train()
    torch.manual_seed(0)
    first = network(inputs)
    assert isinstance(first, torch.Tensor)
    assert not torch.equal(first, network(inputs))


def test_drop_path_spares_plain_identities() -> None:
    nodes = tuple((Input("skip_connect", 0), Input("skip_connect", 1)) for _ in range(4))
    skips = Cell(nodes, (2, 3, 4, 5))
    pools = Cell(tuple((Input("max_pool_3x3", 0), Input("max_pool_3x3", 1)) for _ in range(4)), (2, 3, 4, 5))
    inputs = torch.randn(16, 3, 8, 8)
    for cell, spared in ((skips, True), (pools, False)):
        layout = CellLayout((6, 6), 4, reduces=False, previous_reduces=False, outputs=16)
        module = EvaluationCell(cell, layout)
        states = (torch.randn(16, 6, 8, 8), inputs[:, :1].expand(-1, 6, -1, -1))
        assert torch.equal(module(*states, 0.0), module(*states, 0.5)) == spared
