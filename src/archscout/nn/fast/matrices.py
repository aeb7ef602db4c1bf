"""Products of tall matrices: a row for each pixel, a column for each channel.

Plain products without derivatives, for the functions that bring their own. Large ones in float32 on a CPU with AVX-512
are computed by oneDNN's kernels for linear layers and pointwise convolutions, which take half of the time of `torch.mm`
there; with AVX2 alone they take twice its time (torch 2.13 on AMD EPYC of two generations, 16 to 64 channels, 2,048 to
32,768 pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor

__all__ = ["add_product", "as_matrix", "column_sums", "from_matrix", "gram", "product"]

# From how many multiplications on oneDNN is ahead: its calls cost more.
LARGE_PRODUCT = 2**17
LARGE_CONVOLUTION = 2**22

WIDE = 64  # sums over the rows of a matrix with so many columns are three times as fast as with 16

BLOCKS = (64, 128, 32, 16)  # with at least sixteen blocks of rows its weight gradients are fast


def as_matrix(pixels: Tensor) -> Tensor:
    """`(N, C, H, W)` to `(N H W, C)`, or `(N, C, L)` to `(N L, C)`; a view where the channels are last in memory."""
    return pixels.movedim(1, -1).reshape(-1, pixels.shape[1])


def from_matrix(matrix: Tensor, count: int, size: Sequence[int]) -> Tensor:
    """The inverse of `as_matrix`: `(N, C, *size)` with the channels last in memory."""
    return matrix.view(count, *size, -1).movedim(-1, 1)


def product(inputs: Tensor, kernels: Tensor, shifts: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """`inputs @ kernel^T + shift` for each of G groups of columns, or the positive part of that.

    Args:
        inputs: `(P, G C)`.
        kernels: `(G, D, C)`.
        shifts: `(G, D)`.
        relu: take the positive part.

    Returns:
        `(P, G D)`.
    """
    kernels = kernels.to(inputs.dtype)
    shifts = None if shifts is None else shifts.to(inputs.dtype).flatten()
    if not _by_onednn(inputs, kernels.shape[1], LARGE_PRODUCT):
        total = _plain_product(inputs, kernels, shifts)
        return total.relu_() if relu else total
    groups, name = len(kernels), "relu" if relu else "none"
    if groups == 1:
        found = torch.ops.mkldnn._linear_pointwise(inputs, kernels[0].contiguous(), shifts, name, [], "")
        return cast(Tensor, found)
    rows, weight = _row(inputs, _blocks(inputs)), kernels.flatten(0, 1)[:, :, None, None].contiguous()
    found = torch.ops.mkldnn._convolution_pointwise(rows, weight, shifts, [0, 0], [1, 1], [1, 1], groups, name, [], "")
    return cast(Tensor, found).permute(0, 2, 3, 1).reshape(len(inputs), -1)


def add_product(total: Tensor, inputs: Tensor, kernels: Tensor, shifts: Tensor | None = None) -> None:
    """Add `product(inputs, kernels, shifts)` to a contiguous `(P, G D)` in place."""
    kernels = kernels.to(inputs.dtype)
    shifts = None if shifts is None else shifts.to(inputs.dtype).flatten()
    if _by_onednn(inputs, kernels.shape[1], LARGE_CONVOLUTION):
        blocks = _blocks(inputs)
        weight = kernels.flatten(0, 1)[:, :, None, None].contiguous()
        where, rows, groups = _row(total, blocks), _row(inputs, blocks), len(kernels)
        torch.ops.mkldnn._convolution_pointwise_.binary(
            where, rows, weight, shifts, [0, 0], [1, 1], [1, 1], groups, "add", None, None, [], ""
        )
        return
    if shifts is not None:
        total += shifts
    if len(kernels) == 1:
        total.addmm_(inputs, kernels[0].t())
    else:
        _columns(total, len(kernels)).baddbmm_(_columns(inputs, len(kernels)), kernels.transpose(1, 2))


def gram(left: Tensor, right: Tensor, groups: int) -> Tensor:
    """`left^T @ right` of `(P, G D)` and `(P, G C)` for each of G groups of columns.

    Returns:
        `(G, D, C)`; in float32 for inputs of half precision.
    """
    if left.dtype in (torch.float16, torch.bfloat16):
        left, right = left.float(), right.float()
    high, wide = left.shape[1] // groups, right.shape[1] // groups
    blocks = _blocks(left)
    if blocks == 1 or not _by_onednn(right, high, LARGE_CONVOLUTION):
        if groups == 1:
            return (left.t() @ right).unsqueeze(0)
        return torch.bmm(_columns(left, groups).transpose(1, 2), _columns(right, groups))
    # The weight gradient of a pointwise convolution, of which only the shape is read.
    weight = left.new_empty((groups * high, wide, 1, 1))
    images = (_row(each.contiguous(), blocks) for each in (left, right))
    found = torch.ops.aten.convolution_backward(
        *images, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], groups, [False, True, False]
    )
    return cast(Tensor, found[1]).view(groups, high, wide)


def column_sums(matrix: Tensor, groups: int) -> Tensor:
    """`(P, G C)` to `(G, C)`; in float32 for inputs of half precision."""
    half = matrix.dtype in (torch.float16, torch.bfloat16)
    rows, columns = matrix.shape
    wide = next((factor for factor in (8, 4, 2) if factor * columns <= WIDE and rows % factor == 0), 1)
    if wide == 1 or half or not matrix.is_contiguous():
        return matrix.sum(0, dtype=torch.float32 if half else None).view(groups, -1)
    return matrix.view(rows // wide, wide * columns).sum(0).view(wide, columns).sum(0).view(groups, -1)


def _plain_product(inputs: Tensor, kernels: Tensor, shifts: Tensor | None) -> Tensor:
    groups, high, _ = kernels.shape
    if groups == 1:
        kernel = kernels[0].t()
        return inputs @ kernel if shifts is None else torch.addmm(shifts, inputs, kernel)
    found = inputs.new_empty(len(inputs), groups * high)
    where, factors = _columns(found, groups), (_columns(inputs, groups), kernels.transpose(1, 2))
    if shifts is None:
        torch.bmm(*factors, out=where)
    else:
        found.copy_(shifts)
        where.baddbmm_(*factors)
    return found


def _columns(matrix: Tensor, groups: int) -> Tensor:
    """`(P, G C)` as G matrices `(P, C)` that lie side by side."""
    wide = matrix.shape[1] // groups
    return matrix.as_strided((groups, len(matrix), wide), (wide, matrix.stride(0), 1))


def _blocks(matrix: Tensor) -> int:
    """Into how many images of one row a matrix may be cut."""
    return next((blocks for blocks in BLOCKS if len(matrix) % blocks == 0), 1)


def _by_onednn(inputs: Tensor, outputs: int, least: int) -> bool:
    """Whether oneDNN computes products with so many outputs in each group, of so many multiplications at least."""
    return (
        inputs.device.type == "cpu"
        and inputs.dtype == torch.float32
        and inputs.numel() * outputs >= least
        and _has_wide_kernels()
    )


@cache
def _has_wide_kernels() -> bool:
    """Whether oneDNN has its kernels for AVX-512 on this machine."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


def _row(matrix: Tensor, count: int) -> Tensor:
    """As images of one row with the channels last: `(count, C, 1, P / count)`."""
    return matrix.view(count, 1, len(matrix) // count, -1).permute(0, 3, 1, 2)
