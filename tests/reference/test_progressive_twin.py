"""The benchmark's twin of P-DARTS has the networks of the library; that these are right is tested with the space."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from archscout.spaces import get_space
from archscout.spaces.cells.diverse import diverse_reductions
from archscout.tasks.spec import TaskSpec
from benchmarks.plain_progressive import PlainProgressiveStep


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 16)])
@pytest.mark.parametrize("subsets", [False, True])
def test_both_sides_have_equal_sizes(shape: tuple[int, ...], subsets: bool) -> None:
    space: Any = get_space("diverse-cells", {"nodes": 3})
    spec = TaskSpec("noise", "classification", shape, 3)
    relaxation = space.relaxation(spec, space.size_model(init_channels=4, layers=3))
    live = torch.ones(relaxation.shape, dtype=torch.bool)
    if subsets:
        live[:, ::2, 1] = live[:, 1::2, 2] = False
    names = relaxation.operations
    left = [[["none", *(n for n, kept in zip(names, row, strict=True) if kept)] for row in cell] for cell in live]
    step = PlainProgressiveStep((left[0], left[1]), diverse_reductions(3, spec), 3, 4, shape, 3)
    ours = sum(weight.numel() for weight in relaxation.supernet(live).parameters())
    assert ours == sum(weight.numel() for weight in step.weights)
    batch = (torch.randn(6, *shape), torch.arange(6) % 3)
    before = step.alphas[0][0].detach().clone()
    step(batch, batch)
    assert not torch.equal(step.alphas[0][0], before)
