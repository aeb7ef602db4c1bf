"""What hand-written derivatives ask the autograd engine."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["wanted_gradients"]


def wanted_gradients(ctx: Any, start: int = 0) -> list[bool]:
    """Which gradients of a function's tensors the backward pass at hand goes on with.

    `needs_input_grad` alone says what could be asked for: the second derivative for the architecture would compute all
    weight gradients only to drop them. (torch itself prunes its own operations so.)

    Args:
        start: how many arguments come before the tensors; the tensors follow without anything between them.
    """
    nodes = [node for node, _ in ctx.next_functions]  # of the tensors only
    needs = ctx.needs_input_grad[start : start + len(nodes)]
    return [
        needed and (_is_leaf(node) or torch._C._will_engine_execute_node(node))
        for needed, node in zip(needs, nodes, strict=True)
    ]


def _is_leaf(node: Any) -> bool:
    return hasattr(node, "variable")  # the engine answers for inner nodes only
