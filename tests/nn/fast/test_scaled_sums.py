"""Scaled values that are added to totals, against the plain formula: values, and first and second derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from archscout.nn.fast.scaled_sums import Term, add_scaled

# Two values with factors for three edges: side by side, one by one, and a total that has one of them only.
PLANS = {
    "side by side": [[Term(0, 0, 3), Term(1, 0, 3)]],
    "one by one": [[Term(0, 0, 1), Term(1, 2, 3)], [Term(0, 1, 3), Term(1, 0, 2)]],
    "apart": [[Term(0, 0, 3)], [Term(1, 0, 1)], [Term(1, 1, 3)]],
}


def plain(totals: Sequence[Tensor | None], plan: Sequence[Sequence[Term]], *tensors: Tensor) -> list[Tensor]:
    values, factors = tensors[:2], tensors[2:]
    found = []
    for total, terms in zip(totals, plan, strict=True):
        for value, start, stop in terms:
            product = torch.cat([values[value] * factor for factor in factors[value][start:stop]], dim=1)
            total = product if total is None else total + product
        assert total is not None
        found.append(total)
    return found


@pytest.mark.parametrize("started", [True, False], ids=["totals", "zeros"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_values_and_both_derivatives_equal_the_plain_formula(plan: list[list[Term]], started: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 2), (7, 2), (3, 2), (3, 2), *((7, 2 * (terms[0].stop - terms[0].start)) for terms in plan)]
    leaves = [torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
    used = leaves if started else leaves[:4]

    def ours(*tensors: Tensor) -> tuple[Tensor, ...]:
        totals = list(tensors[4:]) if started else [None] * len(plan)
        return tuple(add_scaled(totals, plan, tensors[:2], tensors[2:4]))

    expected = plain(leaves[4:] if started else [None] * len(plan), plan, *leaves[:4])
    for found, reference in zip(ours(*used), expected, strict=True):
        assert (found - reference).abs().max() < 1e-12
    assert torch.autograd.gradcheck(ours, used)
    assert torch.autograd.gradgradcheck(ours, used)


def test_totals_are_not_changed() -> None:
    total = torch.ones(4, 2)
    before = total.clone()
    add_scaled([total], [[Term(0, 0, 1)]], [torch.ones(4, 2)], [torch.ones(1, 2)])
    assert torch.equal(total, before)
