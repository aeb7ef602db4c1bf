"""Sums of values with a factor for each channel: what skip connections and pools contribute to mixed edges.

Plain formulas keep every product, for its derivative, and add the products up afterwards. Here products are added
where they are computed. May be differentiated twice: the sums are linear in values and factors, and the gradients of
either are bilinear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archscout.nn.fast.matrices import column_sums

__all__ = ["Term", "add_scaled"]


class Term(NamedTuple):
    """What is added to a total: values times rows of their factors, a row for each of the total's edges."""

    value: int
    start: int
    stop: int


Plan = Sequence[Sequence[Term]]  # of every total


def add_scaled(
    totals: Sequence[Tensor | None], plan: Plan, values: Sequence[Tensor], factors: Sequence[Tensor]
) -> Sequence[Tensor]:
    """The totals, with `values[k] * factors[k][g]` added to the G matrices that lie side by side in each.

    Args:
        totals: `(P, G C)`; None for zeros, where there is a term.
        plan: the terms of each total.
        values: `(P, C)` each.
        factors: `(J, C)` each.
    """
    given = [total for total in totals if total is not None]
    started = tuple(total is not None for total in totals)
    found: Sequence[Tensor] = _AddScaled.apply(plan, started, len(values), *given, *values, *factors)  # type: ignore[no-untyped-call]
    return found


class _AddScaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, started: Sequence[bool], count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.plan, ctx.started, ctx.count = plan, started, count
        ctx.save_for_backward(*tensors[-2 * count :])
        given = iter(tensors[: -2 * count])
        totals = [next(given) if start else None for start in started]
        return tuple(_combine(totals, plan, tensors[-2 * count : -count], tensors[-count:]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        passed = [gradient for gradient, start in zip(gradients, ctx.started, strict=True) if start]
        found = _AddScaledGradient.apply(ctx.plan, ctx.count, *gradients, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return None, None, None, *passed, *found


class _AddScaledGradient(torch.autograd.Function):
    """The gradients of values and factors."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.plan, ctx.count = plan, count
        ctx.save_for_backward(*tensors)
        gradients, values, factors = _parts(tensors, count)
        return *_into_values(gradients, plan, factors), *_into_factors(gradients, plan, values, factors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *ways: Tensor) -> tuple[Any, ...]:
        plan, count = ctx.plan, ctx.count
        gradients, values, factors = _parts(ctx.saved_tensors, count)
        value_ways, factor_ways = ways[:count], ways[count:]
        into_gradients = _combine([None] * len(plan), plan, value_ways, factors)
        into_gradients = _combine(into_gradients, plan, values, factor_ways, owned=True)
        into_values = _into_values(gradients, plan, factor_ways)
        return None, None, *into_gradients, *into_values, *_into_factors(gradients, plan, value_ways, factors)


def _parts(tensors: Sequence[Tensor], count: int) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    gradients = [gradient.contiguous() for gradient in tensors[: -2 * count]]
    return gradients, tensors[-2 * count : -count], tensors[-count:]


def _combine(
    totals: Sequence[Tensor | None],
    plan: Plan,
    values: Sequence[Tensor],
    factors: Sequence[Tensor],
    *,
    owned: bool = False,
) -> list[Tensor]:
    """`add_scaled`, in place where the totals are owned."""
    found = []
    for total, terms in zip(totals, plan, strict=True):
        mine = owned
        for term in terms:
            factor = factors[term.value][term.start : term.stop]
            value = values[term.value].unsqueeze(1)
            if total is None:
                total = (value * factor).flatten(1)
            elif mine:
                total.view(len(total), *factor.shape).addcmul_(value, factor)
            else:
                total = torch.addcmul(total.view(len(total), *factor.shape), value, factor).flatten(1)
            mine = True
        assert total is not None
        found.append(total)
    return found


def _into_values(gradients: Sequence[Tensor], plan: Plan, factors: Sequence[Tensor]) -> list[Tensor]:
    found: list[Tensor | None] = [None] * len(factors)
    for gradient, terms in zip(gradients, plan, strict=True):
        for term in terms:
            rows = factors[term.value][term.start : term.stop]
            # Edge by edge: faster than all products and their sum.
            for part, row in zip(gradient.view(len(gradient), *rows.shape).unbind(1), rows, strict=True):
                before = found[term.value]
                found[term.value] = part * row if before is None else before.addcmul_(part, row)
    return [each for each in found if each is not None]


def _into_factors(
    gradients: Sequence[Tensor], plan: Plan, values: Sequence[Tensor], factors: Sequence[Tensor]
) -> list[Tensor]:
    found = [torch.empty_like(factor) for factor in factors]
    for gradient, terms in zip(gradients, plan, strict=True):
        for term in terms:
            where = found[term.value][term.start : term.stop]
            if len(where) == 1:
                where.copy_(column_sums(gradient * values[term.value], 1))
            else:
                each = gradient.view(len(gradient), *where.shape) * values[term.value].unsqueeze(1)
                where.copy_(each.sum(0))
    return found
