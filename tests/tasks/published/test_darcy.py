from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from archscout.errors import DataError
from archscout.seeds import generator
from archscout.tasks import load_task, task_spec
from archscout.tasks.published.darcy.solver import HIGH, LOW, random_permeability, solve_darcy

CPU = torch.device("cpu")


def manufactured_error(nodes: int) -> float:
    """Largest error for u = sin(pi x) sin(2 pi y) and a smooth permeability, whose right-hand side is known."""
    x, y = np.meshgrid(*(2 * [np.linspace(0, 1, nodes)]), indexing="ij")
    pi = np.pi
    a = 1 + x + 0.5 * np.sin(pi * x) * np.cos(pi * y)
    u = np.sin(pi * x) * np.sin(2 * pi * y)
    a_x = 1 + 0.5 * pi * np.cos(pi * x) * np.cos(pi * y)
    a_y = -0.5 * pi * np.sin(pi * x) * np.sin(pi * y)
    u_x = pi * np.cos(pi * x) * np.sin(2 * pi * y)
    u_y = 2 * pi * np.sin(pi * x) * np.cos(2 * pi * y)
    force = -(-5 * pi**2 * a * u + a_x * u_x + a_y * u_y)
    return float(np.abs(solve_darcy(a, force) - u).max())


def test_the_solution_converges_with_second_order() -> None:
    errors = [manufactured_error(nodes) for nodes in (9, 17, 33, 65)]
    orders = [np.log2(errors[i] / errors[i + 1]) for i in range(3)]
    assert all(1.9 < order < 2.2 for order in orders)
    assert errors[-1] < 1e-3


def test_constant_permeability_gives_the_known_pressure() -> None:
    middle = solve_darcy(np.full((65, 65), 2.0))[32, 32]
    assert middle == pytest.approx(0.0736713 / 2, rel=5e-4)  # the torsion of a square bar


def test_what_flows_out_of_every_cell_is_what_springs_in_it() -> None:
    permeability = np.where(np.arange(9) < 4, 3.0, 12.0)[:, None] * np.ones(9)
    pressure = solve_darcy(permeability)
    inner = pressure[1:-1, 1:-1]
    flows = []
    for (i, j), _ in np.ndenumerate(inner):
        own, total = (i + 1, j + 1), 0.0
        for other in ((i, j + 1), (i + 2, j + 1), (i + 1, j), (i + 1, j + 2)):
            a, b = permeability[own], permeability[other]
            total += 2 * a * b / (a + b) * (pressure[own] - pressure[other])
        flows.append(total)
    assert np.allclose(flows, 1 / 64)


def test_fields_have_two_values_and_do_not_depend_on_the_grid() -> None:
    coarse, fine = (random_permeability(nodes, generator(3)) for nodes in (17, 33))
    assert set(np.unique(fine)) == {LOW, HIGH}
    assert np.array_equal(coarse, fine[::2, ::2])
    shares = [float((random_permeability(17, generator(seed)) == HIGH).mean()) for seed in range(40)]
    assert 0.4 < np.mean(shares) < 0.6


def test_a_generated_task_is_made_once_and_more_samples_begin_alike(tmp_path: Path) -> None:
    few = load_task("darcy-generated:resolution=9,samples=20", tmp_path)
    assert few.spec == task_spec("darcy-generated:resolution=9,samples=20")
    assert (few.spec.kind, few.spec.input_shape, few.spec.outputs) == ("dense", (3, 9, 9), 1)
    assert [len(few.split(name)) for name in ("train", "validation", "test")] == [18, 2, 2]
    folders = list((tmp_path / "prepared").iterdir())
    made = [file.stat().st_mtime_ns for file in folders[0].iterdir()]
    many = load_task("darcy-generated:samples=30,resolution=9", tmp_path)
    again = load_task(few.name, tmp_path)
    assert [file.stat().st_mtime_ns for file in folders[0].iterdir()] == made
    old, new, third = (next(iter(task.train.source.batches([torch.arange(18)], CPU))) for task in (few, many, again))
    assert torch.equal(old[0], new[0])
    assert torch.equal(old[1], new[1])
    assert torch.equal(old[1], third[1])
    assert few.name == "darcy-generated:resolution=9,samples=20"
    other = load_task("darcy-generated:resolution=9,samples=20,seed=1", tmp_path)
    assert not torch.equal(next(iter(other.train.source.batches([torch.arange(18)], CPU)))[0], old[0])
    assert few.provenance["seed"] == 0


def test_refinement_takes_the_nodes_of_a_finer_solution(tmp_path: Path) -> None:
    plain, fine = (
        load_task(f"darcy-generated:resolution=9,samples=2,refinement={factor}", tmp_path) for factor in (1, 4)
    )
    (a, u), (b, v) = (next(iter(task.train.source.batches([torch.tensor([0])], CPU))) for task in (plain, fine))
    assert torch.equal(a, b)
    assert not torch.equal(u, v)
    assert torch.allclose(u, v, atol=0.2 * float(u.max()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resolution", "'resolution' in darcy-generated:resolution is no option"),
        ("resolutoin=8", r"darcy-generated\.resolutoin: unknown setting; did you mean resolution"),
        ("resolution=2", r"darcy-generated\.resolution = 2: .*greater than or equal to 4"),
    ],
)
def test_wrong_options_are_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_task(f"darcy-generated:{text}", tmp_path)
