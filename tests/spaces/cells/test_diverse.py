"""The cells of D2NAS: published sizes of networks and supernets, shapes, kernel patterns, refusals."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from torch import nn

from archscout.errors import ArchitectureError, SpaceError
from archscout.measure import measure, measure_latency
from archscout.spaces import get_space
from archscout.spaces.cells.diverse import DiverseGenotype, diverse_reductions, unused_cell
from archscout.spaces.kernels.pattern import with_kernels
from archscout.tasks.spec import TaskSpec
from archscout.viz import draw
from archscout.zoo import load_zoo

SPECS = {
    spec.name: spec
    for spec in (
        TaskSpec("cifar100", "classification", (3, 32, 32), 100),
        TaskSpec("spherical", "classification", (3, 60, 60), 100),
        TaskSpec("ninapro", "classification", (1, 16, 52), 18),
        TaskSpec("fsd50k", "multilabel", (1, 96, 102), 200),
        TaskSpec("darcy", "dense", (3, 85, 85), 1),
        TaskSpec("psicov", "dense", (57, 128, 128), 1),
        TaskSpec("cosmic", "dense", (1, 128, 128), 1),
        TaskSpec("ecg", "classification", (1, 1000), 4),
        TaskSpec("satellite", "classification", (1, 46), 24),
        TaskSpec("deepsea", "multilabel", (4, 1000), 36),
    )
}
# docs/methods/d2nas.md#sizes-of-the-published-cells.
# Genotype, channels, cells; searchable convolutions; millions of parameters and of multiply-adds
# with all kernels at 3 and at the largest size (9, for sequences 19). The multiply-adds are rounded there.
ROWS: list[tuple[str, int, int, int, tuple[float, float], tuple[float, float]]] = [
    ("cifar100.common", 48, 2, 28, (0.378, 0.575), (94, 152)),
    ("spherical.common", 48, 2, 24, (0.337, 0.506), (292, 473)),
    ("ninapro.common", 48, 2, 13, (0.201, 0.287), (46, 66)),
    ("fsd50k.common", 48, 2, 22, (0.364, 0.512), (759, 1149)),
    ("darcy.common", 48, 4, 29, (0.135, 0.242), (947, 1721)),
    ("psicov.common", 48, 4, 45, (0.203, 0.552), (3247, 8966)),
    ("cosmic.common", 48, 4, 17, (0.100, 0.159), (1596, 2558)),
    ("ecg.common", 48, 3, 18, (0.198, 0.220), (116, 129)),
    ("satellite.common", 48, 3, 29, (0.280, 0.317), (7.2, 8.2)),
    ("deepsea.common", 48, 3, 17, (0.217, 0.240), (120, 136)),
    ("cifar100.custom", 32, 11, 116, (1.596, 2.246), (238, 395)),
    ("spherical.custom", 48, 2, 29, (0.379, 0.583), (329, 541)),
    ("ninapro.custom", 48, 2, 13, (0.220, 0.306), (50, 70)),
    ("fsd50k.custom", 64, 2, 20, (0.566, 0.745), (1243, 1716)),
    ("darcy.common", 48, 4, 29, (0.135, 0.242), (947, 1721)),
    ("psicov.common", 48, 4, 45, (0.203, 0.552), (3247, 8966)),
    ("cosmic.custom", 32, 4, 33, (0.069, 0.145), (1081, 2326)),
    ("ecg.custom", 4, 3, 17, (0.002, 0.004), (1, 2)),
    ("satellite.common", 64, 3, 29, (0.489, 0.538), (13, 14)),
    ("deepsea.common", 48, 3, 17, (0.217, 0.240), (120, 136)),
]


def genotype(name: str) -> DiverseGenotype:
    found = load_zoo(f"d2nas.{name}").architecture
    assert isinstance(found, DiverseGenotype)
    return found


def build(architecture: Any, spec: TaskSpec, **size: int) -> nn.Module:
    space: Any = get_space("diverse-cells")
    network: nn.Module = space.build(architecture, spec, space.size_model(**size))
    return network


@pytest.mark.parametrize(("name", "channels", "layers", "convolutions", "parameters", "madds"), ROWS)
def test_networks_have_the_published_sizes(
    name: str,
    channels: int,
    layers: int,
    convolutions: int,
    parameters: tuple[float, float],
    madds: tuple[float, float],
) -> None:
    space, spec = get_space("diverse-cells"), SPECS[name.split(".")[0]]
    largest = 9 if len(spec.input_shape) == 3 else 19
    for kernel, millions, work in zip((3, largest), parameters, madds, strict=True):
        pattern = with_kernels(genotype(name), [(kernel, 1)] * convolutions)
        with torch.device("meta"):
            network = build(pattern, spec, init_channels=channels, layers=layers)
        assert len(space.kernel_layers(network)) == convolutions  # type: ignore[attr-defined]
        cost = measure(network, spec.input_shape)
        assert round(cost.parameters / 1e6, 3) == millions
        assert cost.madds / 1e6 == pytest.approx(work, abs=0.6, rel=1e-3)


@pytest.mark.parametrize(
    ("task", "options", "layers", "channels", "operations", "millions"),
    [  # docs/methods/pdarts.md#operations-and-networks-of-d2nas; second stage: the three largest operations
        ("cifar100", {}, 2, 8, None, 0.051),
        ("cifar100", {}, 2, 16, ("avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5"), 0.144),
        ("cifar100", {}, 5, 8, None, 0.209),
        ("cifar100", {}, 11, 16, ("avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5"), 1.316),
        ("psicov", {}, 3, 8, None, 0.028),
        ("psicov", {}, 4, 16, ("avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5"), 0.096),
        ("deepsea", {"nodes": 3, "pooling": False}, 2, 8, None, 0.022),
        ("deepsea", {"nodes": 3, "pooling": False}, 3, 16, ("skip_connect", "sep_conv_3x3", "dil_conv_5x5"), 0.087),
    ],
)
def test_supernets_have_the_published_sizes(
    task: str,
    options: dict[str, Any],
    layers: int,
    channels: int,
    operations: tuple[str, ...] | None,
    millions: float,
) -> None:
    space: Any = get_space("diverse-cells", options)
    relaxation = space.relaxation(SPECS[task], space.size_model(init_channels=channels, layers=layers))
    assert relaxation.shape[0] == (1 if task == "psicov" else 2)
    live = None
    if operations is not None:
        live = torch.tensor([name in operations for name in relaxation.operations]).expand(relaxation.shape)
    network = relaxation.supernet(live)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 3) == millions


@pytest.mark.parametrize(
    ("layers", "expected"), [(1, (0,)), (2, (0,)), (3, (1,)), (4, (1, 3)), (5, (1, 3)), (11, (3, 7))]
)
def test_cells_reduce_at_a_third_and_at_two_thirds(layers: int, expected: tuple[int, ...]) -> None:
    assert diverse_reductions(layers, SPECS["ecg"]) == expected
    assert diverse_reductions(layers, SPECS["darcy"]) == ()


@pytest.mark.parametrize(
    ("spec", "inside"), [(SPECS["spherical"], (30, 30)), (SPECS["satellite"], (23,)), (SPECS["ninapro"], (8, 26))]
)
def test_reductions_halve_the_sides(spec: TaskSpec, inside: tuple[int, ...]) -> None:
    network: Any = build(get_space("diverse-cells").random(Random(0)), spec, init_channels=4, layers=3).eval()
    seen: list[torch.Size] = []
    network.cells[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    assert network(torch.randn(1, *spec.input_shape)).shape == (1, spec.outputs)
    assert seen[0][2:] == inside


@pytest.mark.parametrize("size", [(9,), (7, 5), (2, 3)])
def test_odd_sides_use_both_convolutions_of_a_reduction(size: tuple[int, ...]) -> None:
    architecture = DiverseGenotype(unused_cell(2), unused_cell(2))
    spec = TaskSpec("odd", "classification", (3, *(max(side, 4) for side in size)), 4)
    network = build(architecture, spec, init_channels=4, layers=2)
    network(torch.randn(5, 3, *size)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_dense_networks_take_any_size() -> None:
    network = build(genotype("darcy.common"), SPECS["darcy"], init_channels=4, layers=4).eval()
    assert network(torch.randn(2, 3, 11, 8)).shape == (2, 1, 11, 8)
    sequences = TaskSpec("sequences", "dense", (2, 30), 3)
    assert build(genotype("ecg.common"), sequences, init_channels=4)(torch.randn(2, 2, 17)).shape == (2, 3, 17)


def test_a_pattern_with_too_few_or_too_many_kernels_is_refused() -> None:
    for count in (27, 29):
        with pytest.raises(ArchitectureError, match=f"{count} kernels, but the network has 28 convolutions"):
            build(with_kernels(genotype("cifar100.common"), [(3, 1)] * count), SPECS["cifar100"], layers=2)


def test_kernels_go_to_stem_and_operations_in_order() -> None:
    kernels = [(3 + 2 * (position % 4), 1 + position % 2) for position in range(18)]
    space: Any = get_space("diverse-cells")
    network = build(with_kernels(genotype("ecg.common"), kernels), SPECS["ecg"], init_channels=4, layers=3)
    layers = space.kernel_layers(network)
    assert layers[0] == "stem.conv"
    found = [network.get_submodule(name) for name in layers]
    assert all(isinstance(module, nn.Conv1d) for module in found)
    assert [(module.kernel_size[0], module.dilation[0]) for module in found] == kernels  # type: ignore[index]
    assert network(torch.randn(2, 1, 40)).shape == (2, 4)


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("spec", [SPECS["cifar100"], SPECS["ecg"], SPECS["darcy"]], ids=lambda spec: spec.name)
def test_nothing_drawn_is_smaller_or_larger_than_the_extremes(spec: TaskSpec, pooling: bool) -> None:
    space: Any = get_space("diverse-cells", {"pooling": pooling, "nodes": 3})
    for channels in (4, 16):
        size = space.size_model(init_channels=channels, layers=3)
        counts = []
        for architecture in (*space.extremes(spec, size), *(space.random(Random(seed)) for seed in range(20))):
            with torch.device("meta"):
                network = space.build(architecture, spec, size)
            counts.append(sum(parameter.numel() for parameter in network.parameters()))
        assert counts[0] <= min(counts[2:]) and max(counts[2:]) <= counts[1]


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec("text", "language", (1,), 50),
        TaskSpec("vectors", "classification", (20,), 2),
        TaskSpec("volumes", "classification", (1, 8, 8, 8), 2),
        TaskSpec("short", "classification", (1, 3), 2),
    ],
    ids=lambda spec: spec.name,
)
def test_other_tasks_are_refused(spec: TaskSpec) -> None:
    with pytest.raises(SpaceError, match=r"diverse-cells|too small"):
        get_space("diverse-cells").check(spec)


def test_a_supernet_of_one_cell_is_refused_where_it_would_reduce() -> None:
    space: Any = get_space("diverse-cells")
    with pytest.raises(SpaceError, match=r"supernet\.layers=2"):
        space.relaxation(SPECS["ecg"], space.size_model(layers=1))


def test_a_kernel_search_without_an_architecture_is_refused() -> None:
    space: Any = get_space("diverse-cells")
    with pytest.raises(SpaceError, match="--method d2nas"):
        space.kernel_base(SPECS["ecg"])


def test_dense_genotypes_show_one_cell() -> None:
    dense, both = genotype("darcy.common"), genotype("ecg.common")
    assert "reduce" not in dense.describe() and "reduce cell" in both.describe()
    assert draw(dense).count('class="as-title"') == 1 and draw(both).count('class="as-title"') == 2


def test_sequences_can_be_timed() -> None:
    network = build(genotype("ecg.custom"), SPECS["ecg"], init_channels=4, layers=3)
    (found,) = measure_latency(network, (1, 100), batch_sizes=(1,), repeats=3, warmup=1)
    assert found.median_ms > 0
