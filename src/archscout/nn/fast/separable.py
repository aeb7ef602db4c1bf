"""The inside of separable convolutions of a cell: product with a folded norm, ReLU, depthwise convolution.

One function for all of an operation's that leave a node, with derivatives of its own: only its inputs are kept for
them, and what is between the products and the depthwise convolutions is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archscout.nn.fast.depthwise import depthwise_conv, depthwise_gradients
from archscout.nn.fast.differentiation import wanted_gradients
from archscout.nn.fast.layout import on_plain_cpu, relu, without_autocast
from archscout.nn.fast.matrices import add_product, as_matrix, column_sums, from_matrix, gram, product
from archscout.nn.fast.pointwise_norm import products
from archscout.nn.fast.stacked import all_sums, apart, both_apart, grams, group_counts

__all__ = ["separable_middle"]


def separable_middle(
    factors: Tensor,
    shifts: Tensor,
    inputs: Sequence[Tensor],
    kernels: Sequence[Tensor],
    count: int,
    size: Sequence[int],
) -> list[Tensor]:
    """`depthwise_k(relu(input_k @ factors[k]^T + shifts[k]))`.

    Args:
        factors, shifts: `(K, D, C)`, `(K, D)`.
        inputs: stacked matrices `(P, G C)`.
        kernels: of the depthwise convolutions, for each of these `(G D, 1, k, k)` or `(G D, 1, k)`.
        count, size: of the images or sequences, `P = count * prod(size)`.

    Returns:
        Stacked matrices `(P, G D)`.
    """
    kernels = [kernel.to(inputs[0].dtype) for kernel in kernels]
    with without_autocast(inputs[0].device):
        if on_plain_cpu(inputs[0]):
            return list(_Middle.apply((count, *size), factors, shifts, *inputs, *kernels))  # type: ignore[no-untyped-call]
        found, rows = products(factors, inputs, range(len(inputs))), apart(shifts, inputs, factors.shape[2])
        shifted = [each + row.flatten().to(each.dtype) for each, row in zip(found, rows, strict=True)]
        pixels = [from_matrix(relu(each), count, size) for each in shifted]
        return [as_matrix(depthwise_conv(*pair)) for pair in zip(pixels, kernels, strict=True)]


class _Middle(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, shape: tuple[int, ...], factors: Tensor, shifts: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.shape = shape
        ctx.save_for_backward(factors, shifts, *tensors)
        inputs, kernels = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        values = _values(inputs, factors, shifts, shape)
        return tuple(as_matrix(depthwise_conv(each, kernel)) for each, kernel in zip(values, kernels, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        count, needed = len(gradients), wanted_gradients(ctx, 1)[2:]
        wanted = any(needed[:count]), any(needed[count:])
        into_factors, into_shifts, *others = _MiddleGradient.apply(  # type: ignore[no-untyped-call]
            ctx.shape, wanted, *ctx.saved_tensors, *gradients
        )
        into_inputs = others[:count] if wanted[0] else [None] * count
        into_kernels = others[-count:] if wanted[1] else [None] * count
        return None, into_factors, into_shifts, *into_inputs, *into_kernels


class _MiddleGradient(torch.autograd.Function):
    """Gradients of factors, shifts and, if wanted, of all inputs and of all kernels."""

    @staticmethod
    def forward(
        ctx: Any, shape: tuple[int, ...], wanted: tuple[bool, bool], factors: Tensor, shifts: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.shape, ctx.wanted = shape, wanted
        ctx.save_for_backward(factors, shifts, *tensors)
        inputs, kernels, gradients = _thirds(tensors)
        into_products, into_kernels = [], []
        values = _values(inputs, factors, shifts, shape)
        for each, kernel, gradient in zip(values, kernels, gradients, strict=True):
            found = depthwise_gradients(_pixels(gradient, shape), each, kernel, (True, wanted[1]))
            into_products.append(_masked(cast(Tensor, found[0]), each))
            into_kernels.append(found[1])
        groups = group_counts(inputs, factors.shape[2])
        into_factors, into_shifts = grams(into_products, inputs, groups), all_sums(into_products, groups)
        turned = apart(factors.transpose(1, 2), inputs, factors.shape[2])
        into_inputs = map(product, into_products, turned) if wanted[0] else ()
        return into_factors, into_shifts, *into_inputs, *(into_kernels if wanted[1] else ())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor_ways: Tensor, shift_ways: Tensor, *directions: Tensor) -> tuple[Any, ...]:
        factors, shifts, *tensors = ctx.saved_tensors
        shape, count = ctx.shape, len(tensors) // 3
        inputs, kernels, gradients = _thirds(tensors)
        ways = directions[:count] if ctx.wanted[0] else [None] * count
        kernel_ways = directions[-count:] if ctx.wanted[1] else [None] * count
        needed = wanted_gradients(ctx, 2)[2:]
        wanted = any(needed[:count]), any(needed[count : 2 * count])
        found = [
            _second_gradients(shape, wanted, *parts)
            for parts in zip(
                _values(inputs, factors, shifts, shape),
                inputs,
                kernels,
                gradients,
                apart(factors, inputs),
                ways,
                kernel_ways,
                *both_apart(factor_ways, shift_ways, inputs),
                strict=True,
            )
        ]
        into_factors, into_shifts, *others = zip(*found, strict=True)
        return None, None, torch.cat(into_factors), torch.cat(into_shifts), *chain(*others)


def _second_gradients(
    shape: tuple[int, ...],
    wanted: tuple[bool, bool],
    values: Tensor,
    matrix: Tensor,
    kernel: Tensor,
    gradient: Tensor,
    factor: Tensor,
    way: Tensor | None,
    kernel_way: Tensor | None,
    factor_way: Tensor,
    shift_way: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor]:
    """What a stacked matrix contributes to the gradients of `_MiddleGradient`'s arguments.

    Args:
        shape: of the images.
        wanted: whether those of the input and of the kernel are.
        values: what the depthwise convolution has read.
        matrix, kernel, gradient, factor: `_MiddleGradient`'s input, depthwise kernel, gradient and factors.
        way, kernel_way, factor_way, shift_way: gradients of what it returned for the input, ...; None: it did not.

    Returns:
        For factors, shifts, input, kernel and gradient.
    """
    outer = _pixels(gradient, shape)
    into_product = _into_product(outer, values, kernel)
    way_through = product(matrix, factor_way, shift_way)
    into_factor, into_shift = torch.zeros_like(factor), torch.zeros_like(shift_way)
    if way is not None:
        add_product(way_through, way, factor)
        into_factor += gram(into_product, way, len(factor))
    masked = _pixels(_masked(_pixels(way_through, shape), values), shape)
    into_matrix = product(into_product, factor_way.transpose(1, 2)) if wanted[0] else None
    into_gradient = depthwise_conv(masked, kernel)
    if kernel_way is not None:  # the gradient of the kernel has read the product once more
        again = _into_product(outer, values, kernel_way)
        into_factor += gram(again, matrix, len(factor))
        into_shift += column_sums(again, len(factor))
        if into_matrix is not None:
            add_product(into_matrix, again, factor.transpose(1, 2))
        into_gradient.add_(depthwise_conv(values, kernel_way))
    into_kernel = depthwise_gradients(outer, masked, kernel, (False, True))[1] if wanted[1] else None
    return into_factor, into_shift, into_matrix, into_kernel, as_matrix(into_gradient)


def _thirds(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    count = len(tensors) // 3
    return tensors[:count], tensors[count : 2 * count], tensors[2 * count :]


def _pixels(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    return from_matrix(matrix, shape[0], shape[1:])


def _values(inputs: Sequence[Tensor], factors: Tensor, shifts: Tensor, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """What the depthwise convolutions read, one after the other."""
    for parts in zip(inputs, *both_apart(factors, shifts, inputs), strict=True):
        yield _pixels(product(*parts, relu=True), shape)


def _masked(gradient: Tensor, values: Tensor) -> Tensor:
    """Through the ReLU, as a matrix."""
    return as_matrix(torch.ops.aten.threshold_backward(gradient, values, 0))


def _into_product(outer: Tensor, values: Tensor, kernel: Tensor) -> Tensor:
    """The gradient of the product from that of the depthwise convolution."""
    return _masked(cast(Tensor, depthwise_gradients(outer, values, kernel, (True, False))[0]), values)
