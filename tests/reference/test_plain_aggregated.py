"""The plain twin of the aggregated convolution computes what the library computes."""

from __future__ import annotations

import pytest
import torch

from archscout.nn.kernels.aggregated import AggregatedConv
from archscout.nn.kernels.candidates import Candidates
from benchmarks.plain_aggregated import PlainAggregatedConv


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("lengths", [(8, 8), (7, 10), (23,), (40,)], ids=str)
@pytest.mark.parametrize(("inputs", "groups"), [(4, 4), (3, 1)])
def test_outputs_and_gradients_are_equal(stride: int, lengths: tuple[int, ...], inputs: int, groups: int) -> None:
    torch.manual_seed(0)
    candidates = Candidates.of((3, 5, 9), (1, 3, 7), len(lengths))
    library = AggregatedConv(inputs, 4, candidates, stride=(stride,) * 2, groups=groups, bias=True).double()
    twin = PlainAggregatedConv.like(library)
    data = torch.randn(2, inputs, *lengths, dtype=torch.float64)
    mixing = torch.randn(9, dtype=torch.float64)
    found = []
    for module in (library, twin):
        leaves = [data.clone().requires_grad_(), mixing.clone().requires_grad_()]
        module.mixing = leaves[1]
        outputs = module(leaves[0])
        (outputs * torch.arange(outputs.numel(), dtype=torch.float64).view_as(outputs).cos()).sum().backward()
        found.append([outputs.detach(), *(leaf.grad for leaf in leaves)])
    weights = torch.cat([kernel.grad.flatten(2) for kernel in twin.kernels], dim=2)
    for mine, theirs in zip([*found[0], library.weight.grad], [*found[1], weights], strict=True):
        assert mine is not None
        assert theirs is not None
        assert float((mine - theirs).abs().max()) <= 1e-12 * max(1.0, float(theirs.abs().max()))
