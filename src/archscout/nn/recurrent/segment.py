"""A segment of a recurrent cell with highway gates: forward and backward through time, written out.

Equal to `recurrent_reference.reference_segment` up to rounding, and faster for these reasons: the nodes that one node
feeds are one matrix product; gate, activation and blend work in place on its result; autograd sees one operation
instead of some thousand; the gradients of the matrices are one product over many time steps instead of one for each.
What is kept for the backward pass are gates, candidates and states: about half of what the plain loop keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archscout.nn.fast.layout import without_autocast
from archscout.nn.recurrent.plan import CellPlan, Group, plan_cell
from archscout.nn.recurrent.reference import reference_segment, scanned_segment

__all__ = ["recurrent_segment"]

CHUNK_STEPS = 8  # time steps whose gradients are held before the products for the matrices' gradients


def recurrent_segment(
    products: Tensor,
    hidden: Tensor,
    recurrent: Tensor,
    nodes: Tensor,
    cell: Sequence[tuple[str, int]],
    concat: Sequence[int],
    mask: Tensor | None = None,
) -> Tensor:
    """The outputs `(T, N, d)` of a segment; arguments as for `reference_segment`.

    Differentiable once. In float32 or float64, whatever autocast says. Under `torch.compile` the plain loop runs, which
    the compiler fuses in its own way; under `torch.export` one operation that loops over the time steps.
    """
    if torch.compiler.is_exporting() and products.shape[0] > 1:
        return scanned_segment(products, hidden, recurrent, nodes, cell, concat)
    if torch.compiler.is_compiling():
        return reference_segment(products, hidden, recurrent, nodes, cell, concat, mask)
    with without_autocast(hidden.device):
        plan = plan_cell(cell, concat)
        products = products.to(recurrent.dtype)
        if not torch.is_grad_enabled():
            return _forward(products, hidden, recurrent, _grouped(nodes, plan), plan, mask, keep=False)[0]
        outputs: Tensor = _Segment.apply(products, hidden, recurrent, nodes, plan, mask)  # type: ignore[no-untyped-call]
        return outputs


def _grouped(nodes: Tensor, plan: CellPlan) -> list[Tensor]:
    """The matrix of every group, `(d, 2kd)`: the gates of all its nodes, then their candidates."""
    width = nodes.shape[1]
    matrices = []
    for group in plan.groups:
        if len(group.nodes) == 1:
            matrices.append(nodes[group.nodes[0]])
            continue
        halves = [nodes[number].view(width, 2, width) for number in group.nodes]
        matrices.append(torch.stack(halves, dim=2).view(width, -1))
    return matrices


def _ungrouped(gradients: Sequence[Tensor], plan: CellPlan, like: Tensor) -> Tensor:
    """The inverse of `_grouped`."""
    result = torch.empty_like(like)
    width = like.shape[1]
    for group, gradient in zip(plan.groups, gradients, strict=True):
        parts = gradient.view(width, 2, len(group.nodes), width)
        for place, number in enumerate(group.nodes):
            result[number].view(width, 2, width).copy_(parts[:, :, place])
    return result


def _halves(gated: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Gates and candidates of a group at one time step, each `(k, N, d)`, as views of `(N, 2kd)`."""
    gate, candidate = gated.view(len(gated), 2, len(group.nodes), -1).permute(1, 2, 0, 3).unbind()
    return gate, candidate


def _masked(state: Tensor, mask: Tensor | None) -> Tensor:
    return state if mask is None else state * mask


def _activate(candidate: Tensor, group: Group) -> None:
    for activation, start, stop in group.spans:
        part = candidate[start:stop]
        if activation == "tanh":
            part.tanh_()
        elif activation == "relu":
            part.relu_()
        elif activation == "sigmoid":
            part.sigmoid_()


def _mean(states: Tensor, plan: CellPlan, out: Tensor) -> Tensor:
    if plan.all_output:
        return torch.mean(states[1:], 0, out=out)
    first, *others = plan.outputs
    out.copy_(states[first])
    for slot in others:
        out += states[slot]
    return out.div_(len(plan.outputs))


def _forward(
    products: Tensor,
    hidden: Tensor,
    recurrent: Tensor,
    matrices: Sequence[Tensor],
    plan: CellPlan,
    mask: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Outputs `(T, N, d)`; with `keep` also states `(slots, T, N, d)`, and gates with candidates of node 0
    `(T, N, 2d)` and of every group `(T, N, 2kd)`."""
    steps, rows, _ = products.shape
    width = hidden.shape[1]
    kept = steps if keep else min(1, steps)
    states = products.new_empty(plan.slots, kept, rows, width)
    first = products.new_empty(kept, rows, 2 * width)
    gated = [products.new_empty(kept, rows, matrix.shape[1]) for matrix in matrices]
    outputs = products.new_empty(steps, rows, width)
    for time in range(steps):
        place = time if keep else 0
        now = states[:, place]
        torch.addmm(products[time], _masked(hidden, mask), recurrent, out=first[place])
        gate, candidate = first[place].chunk(2, dim=1)
        torch.lerp(hidden, candidate.tanh_(), gate.sigmoid_(), out=now[0])
        for group, matrix, buffer in zip(plan.groups, matrices, gated, strict=True):
            source = now[group.source]
            torch.mm(_masked(source, mask), matrix, out=buffer[place])
            gate, candidate = _halves(buffer[place], group)
            _activate(candidate, group)
            torch.lerp(source.expand_as(gate), candidate, gate.sigmoid_(), out=now[group.first : group.stop])
        hidden = _mean(now, plan, out=outputs[time])
    return outputs, states, first, gated


def _through_activation(slope: Tensor, candidate: Tensor, group: Group, out: Tensor) -> None:
    """The gradient of the pre-activation, from that of the activation and its value."""
    for activation, start, stop in group.spans:
        part, value, target = slope[start:stop], candidate[start:stop], out[start:stop]
        if activation == "tanh":
            torch.ops.aten.tanh_backward.grad_input(part, value, grad_input=target)
        elif activation == "relu":
            torch.ops.aten.threshold_backward.grad_input(part, value, 0, grad_input=target)
        elif activation == "sigmoid":
            torch.ops.aten.sigmoid_backward.grad_input(part, value, grad_input=target)
        else:
            target.copy_(part)


def _blend_backward(
    slope: Tensor, state: Tensor, gate: Tensor, candidate: Tensor, out_gate: Tensor
) -> tuple[Tensor, Tensor]:
    """Through `state + gate * (candidate - state)`: the gradients of candidate and of state; that of the gate's
    pre-activation goes to `out_gate`."""
    torch.ops.aten.sigmoid_backward.grad_input((candidate - state).mul_(slope), gate, grad_input=out_gate)
    of_candidate = slope * gate
    return of_candidate, slope - of_candidate


class _Segment(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        products: Tensor,
        hidden: Tensor,
        recurrent: Tensor,
        nodes: Tensor,
        plan: CellPlan,
        mask: Tensor | None,
    ) -> Tensor:
        matrices = _grouped(nodes, plan)
        keep = any(ctx.needs_input_grad)
        outputs, states, first, gated = _forward(products, hidden, recurrent, matrices, plan, mask, keep=keep)
        ctx.plan = plan
        ctx.save_for_backward(hidden, recurrent, nodes, mask, outputs, states, first, *gated)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = slopes
        plan: CellPlan = ctx.plan
        hidden, recurrent, nodes, mask, outputs, states, first, *gated = ctx.saved_tensors
        before = torch.cat([hidden.unsqueeze(0), outputs[:-1]])
        matrices = _grouped(nodes, plan)
        of_products = torch.empty_like(first)
        of_matrices = [torch.zeros_like(matrix) for matrix in matrices]
        of_hidden = torch.zeros_like(hidden)
        share = 1 / len(plan.outputs)
        for stop in range(len(slope), 0, -CHUNK_STEPS):
            start = max(0, stop - CHUNK_STEPS)
            of_gated = [torch.empty_like(part[start:stop]) for part in gated]
            for time in range(stop - 1, start - 1, -1):
                of_states = _seed(slope[time].add(of_hidden).mul_(share), plan)
                for index in range(len(plan.groups) - 1, -1, -1):
                    group, matrix = plan.groups[index], matrices[index]
                    target = of_gated[index][time - start]
                    out_gate, out_candidate = _halves(target, group)
                    gate, candidate = _halves(gated[index][time], group)
                    of_candidate, of_source = _blend_backward(
                        of_states[group.first : group.stop], states[group.source, time], gate, candidate, out_gate
                    )
                    _through_activation(of_candidate, candidate, group, out_candidate)
                    _add_source(of_states[group.source], of_source.sum(0), target, matrix, mask)
                target = of_products[time]
                gate, candidate = first[time].chunk(2, dim=1)
                out_gate, out_candidate = target.chunk(2, dim=1)
                of_candidate, of_hidden = _blend_backward(of_states[0], before[time], gate, candidate, out_gate)
                torch.ops.aten.tanh_backward.grad_input(of_candidate, candidate, grad_input=out_candidate)
                _add_source(of_hidden, None, target, recurrent, mask)
            for group, gradient, part in zip(plan.groups, of_matrices, of_gated, strict=True):
                source = _masked(states[group.source, start:stop], mask).flatten(0, 1)
                gradient.addmm_(source.t(), part.flatten(0, 1))
        of_recurrent = _masked(before, mask).flatten(0, 1).t() @ of_products.flatten(0, 1)
        return of_products, of_hidden, of_recurrent, _ungrouped(of_matrices, plan, nodes), None, None


def _seed(slope: Tensor, plan: CellPlan) -> Tensor:
    """What the output's gradient gives to every state, `(slots, N, d)`."""
    seeds = slope.new_zeros(plan.slots, *slope.shape)
    if plan.all_output:
        seeds[1:] = slope
    else:
        for slot in plan.outputs:
            seeds[slot] = slope
    return seeds


def _add_source(total: Tensor, direct: Tensor | None, gated: Tensor, matrix: Tensor, mask: Tensor | None) -> None:
    """Add to a source's gradient what comes directly, and what comes through the product."""
    through = gated @ matrix.t()
    if mask is not None:
        through *= mask
    total += through
    if direct is not None:
        total += direct
