"""The aggregated convolution: all kernel sizes and dilations of DASH in one operation (DASH, arXiv 2204.07554).

For candidates i with kernels w_i, dilations d_i and mixing weights c_i it is, at any stride,

    sum_i c_i conv(x, w_i, dilation d_i, padding d_i (k_i - 1) / 2)

in one or two dimensions and for any number of groups. Four back-ends compute it, equal up to rounding:

* `direct` is the plain sum, one convolution for each candidate: the others' reference.
* `grouped` adds up the kernels of equal dilation, which nest, and runs one convolution for each dilation.
* `matrix` writes all kernels as one matrix from input to output positions, for small maps and short series.
* `fft` adds up all kernels in one grid and multiplies spectra, on the smallest grid that does not wrap data into data.

Source: docs/methods/dash.md#kernel-search and docs/methods/dash.md#exact-ways-to-compute-the-mixture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from archscout.nn.kernels.candidates import Candidates, assemble, grid_plan, group_plan, live_size, matrix_plan

__all__ = ["BACKENDS", "AggregatedConv", "Backend", "aggregated_conv"]

Backend = Literal["direct", "grouped", "matrix", "fft"]
BACKENDS: tuple[Backend, ...] = ("direct", "grouped", "matrix", "fft")
INITIAL_DEVIATION = 0.01  # of every tap; docs/methods/dash.md#kernel-search
_CONVOLVE = {1: F.conv1d, 2: F.conv2d}


def aggregated_conv(
    inputs: Tensor,
    weight: Tensor,
    mixing: Tensor,
    candidates: Candidates,
    *,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    groups: int = 1,
    backend: Backend = "fft",
) -> Tensor:
    """The mixture of convolutions of the module's docstring.

    Args:
        inputs: `(N, in, L)` or `(N, in, H, W)`.
        weight: `(out, in / groups, taps)`, the candidates' kernels one after the other in row-major order.
        mixing: `(M,)`, a weight for each candidate.
        candidates: what the taps belong to.
        bias: `(out,)`.
        stride: along each dimension.
        groups: of input and output channels, as of a convolution.
        backend: how to compute it.

    Returns:
        `(N, out, ...)` with sizes `(n - 1) // stride + 1`.
    """
    compute = {"direct": _direct, "grouped": _grouped, "matrix": _matrix, "fft": _fourier}[backend]
    steps = tuple(stride[: candidates.dimensions])
    total = compute(inputs, weight, mixing, candidates, steps, groups)
    return total if bias is None else total + bias.view(-1, *(1 for _ in steps))


def _direct(
    inputs: Tensor, weight: Tensor, mixing: Tensor, candidates: Candidates, stride: tuple[int, ...], groups: int
) -> Tensor:
    total: Tensor | None = None
    lengths = inputs.shape[2:]
    kernels = torch.split(weight, list(candidates.taps), dim=2)
    for (size, dilation), taps, share in zip(candidates.kernels, kernels, mixing.unbind(), strict=True):
        kernel = taps.reshape(*taps.shape[:2], *(size for _ in lengths))
        for axis, length in enumerate(lengths, start=2):
            live = live_size(size, dilation, length)
            kernel = kernel.narrow(axis, (size - live) // 2, live)
        part = share * _convolve(inputs, kernel, stride, dilation, groups)
        total = part if total is None else total + part
    assert total is not None
    return total


def _convolve(inputs: Tensor, kernel: Tensor, stride: tuple[int, ...], dilation: int, groups: int) -> Tensor:
    padding = [dilation * (size - 1) // 2 for size in kernel.shape[2:]]
    convolve = _CONVOLVE[len(padding)]
    result: Tensor = convolve(inputs, kernel, None, stride, padding, dilation, groups)
    return result


def _grouped(
    inputs: Tensor, weight: Tensor, mixing: Tensor, candidates: Candidates, stride: tuple[int, ...], groups: int
) -> Tensor:
    plan = group_plan(candidates, tuple(inputs.shape[2:]), str(inputs.device))
    kernels = assemble(weight, mixing, plan.scatter)
    total: Tensor | None = None
    for dilation, sizes, start in plan.groups:
        kernel = kernels.narrow(2, start, math.prod(sizes)).reshape(*kernels.shape[:2], *sizes)
        part = _convolve(inputs, kernel, stride, dilation, groups)
        total = part if total is None else total + part
    assert total is not None
    return total


def _matrix(
    inputs: Tensor, weight: Tensor, mixing: Tensor, candidates: Candidates, stride: tuple[int, ...], groups: int
) -> Tensor:
    plan = matrix_plan(candidates, tuple(inputs.shape[2:]), stride, str(inputs.device))
    count, outputs, width = len(inputs), weight.shape[0], weight.shape[1]
    entries = assemble(weight, mixing, plan.scatter).index_select(2, plan.offsets)
    entries = entries.reshape(groups, outputs // groups, width, math.prod(plan.positions), -1)
    matrix = entries.permute(0, 2, 4, 1, 3).flatten(3).flatten(1, 2)
    vectors = inputs.reshape(count, groups, -1).transpose(0, 1)
    return (vectors @ matrix).transpose(0, 1).reshape(count, outputs, *plan.positions)


def _fourier(
    inputs: Tensor, weight: Tensor, mixing: Tensor, candidates: Candidates, stride: tuple[int, ...], groups: int
) -> Tensor:
    if inputs.dtype in (torch.float16, torch.bfloat16):  # transforms of half precision take few sizes, and lose much
        inputs = inputs.float()
    plan = grid_plan(candidates, tuple(inputs.shape[2:]), str(inputs.device))
    grid = assemble(weight, mixing, plan.scatter).reshape(*weight.shape[:2], *plan.lengths)
    total: Tensor = _Circular.apply(inputs, grid, stride, groups)  # type: ignore[no-untyped-call]
    return total


class _Circular(torch.autograd.Function):
    """Cross-correlation by spectra: `y[p] = sum_t grid[t] x[p + t]`, with negative offsets at the grid's end.

    Torch's own derivative of a real transform is a complex transform of full size; here all are real ones.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, grid: Tensor, stride: tuple[int, ...], groups: int) -> Tensor:
        lengths, ctx.lengths = tuple(grid.shape[2:]), tuple(inputs.shape[2:])
        ctx.grid, ctx.stride, ctx.groups = lengths, stride, groups
        data, kernels = _spectrum(inputs, lengths), _spectrum(grid, lengths)
        ctx.save_for_backward(data, kernels)
        whole = _from_spectrum(_apply_kernels(data, kernels.conj(), groups), lengths, ctx.lengths)
        return _every(whole, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        data, kernels = ctx.saved_tensors
        gradient = _spectrum(_spread(gradients[0], ctx.stride, ctx.lengths), ctx.grid)
        into_inputs = into_grid = None
        if ctx.needs_input_grad[0]:
            turned = _turned(kernels, ctx.groups)
            into_inputs = _from_spectrum(_apply_kernels(gradient, turned, ctx.groups), ctx.grid, ctx.lengths)
        if ctx.needs_input_grad[1]:
            into_grid = _from_spectrum(_correlate(gradient, data, ctx.groups), ctx.grid, ctx.grid)
        return into_inputs, into_grid, None, None


def _spectrum(values: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Of values `(..., n_1, n_2)`, filled up with zeros behind: rows of zeros are not transformed."""
    found: Tensor = torch.fft.rfft(values, n=lengths[-1])
    for axis, length in zip(range(-2, -len(lengths) - 1, -1), reversed(lengths[:-1]), strict=True):
        found = torch.fft.fft(found, n=length, dim=axis)
    return found


def _from_spectrum(spectrum: Tensor, lengths: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """The first `wanted` values along each dimension; rows that are not wanted are not transformed back."""
    for axis, size in zip(range(-len(lengths), -1), wanted[:-1], strict=True):
        spectrum = torch.fft.ifft(spectrum, dim=axis).narrow(axis, 0, size)
    values: Tensor = torch.fft.irfft(spectrum, n=lengths[-1])
    return values[..., : wanted[-1]]


def _apply_kernels(data: Tensor, kernels: Tensor, groups: int) -> Tensor:
    """`(N, in, ...)` and `(out, in / groups, ...)` to `(N, out, ...)`, at every frequency."""
    count, channels, *shape = data.shape
    outputs, width = kernels.shape[:2]
    if width == 1 and outputs == channels:
        return data * kernels.squeeze(1)
    left = data.reshape(count, groups, width, -1).permute(3, 1, 0, 2)
    right = kernels.reshape(groups, outputs // groups, width, -1).permute(3, 0, 2, 1)
    return (left @ right).permute(2, 1, 3, 0).reshape(count, outputs, *shape)


def _turned(kernels: Tensor, groups: int) -> Tensor:
    """`(out, in / groups, ...)` as `(in, out / groups, ...)`."""
    outputs, width, *shape = kernels.shape
    return (
        kernels.reshape(groups, outputs // groups, width, *shape).transpose(1, 2).reshape(-1, outputs // groups, *shape)
    )


def _correlate(gradient: Tensor, data: Tensor, groups: int) -> Tensor:
    """`(N, out, ...)` and `(N, in, ...)` to `(out, in / groups, ...)`: the sum over N of conj(gradient) data."""
    count, outputs, *shape = gradient.shape
    width = data.shape[1] // groups
    if width == 1 and outputs == groups:
        return (gradient.conj() * data).sum(0).unsqueeze(1)
    left = gradient.conj().reshape(count, groups, outputs // groups, -1).permute(3, 1, 2, 0)
    right = data.reshape(count, groups, width, -1).permute(3, 1, 0, 2)
    return (left @ right).permute(1, 2, 3, 0).reshape(outputs, width, *shape)


def _every(values: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Every `stride`-th value."""
    for axis, step in zip(range(-len(stride), 0), stride, strict=True):
        if step > 1:
            index = [slice(None)] * values.dim()
            index[axis] = slice(None, None, step)
            values = values[tuple(index)]
    return values


def _spread(values: Tensor, stride: tuple[int, ...], lengths: tuple[int, ...]) -> Tensor:
    """The transpose of `_every`: zeros in between."""
    if max(stride) == 1:
        return values
    whole = values.new_zeros((*values.shape[:2], *lengths))
    _every(whole, stride).copy_(values)
    return whole


class AggregatedConv(nn.Module):
    """A convolution that holds all candidate kernels, mixed by `mixing`, in place of one with a single kernel.

    Args:
        inputs, outputs: channels.
        candidates: the kernels.
        stride: along each dimension.
        groups: as of a convolution; as many as channels: depthwise.
        bias: whether it has one.

    Attributes:
        weight: `(outputs, inputs / groups, taps)`, drawn from N(0, 0.01^2).
        mixing: `(M,)`, set from outside before every forward pass.
        backend: how it is computed; may be changed at any time.
    """

    mixing: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        candidates: Candidates,
        *,
        stride: Sequence[int] = (1, 1),
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.candidates, self.stride, self.groups = candidates, tuple(stride)[: candidates.dimensions], groups
        shape = (outputs, inputs // groups, sum(candidates.taps))
        self.weight = nn.Parameter(INITIAL_DEVIATION * torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.mixing = None
        self.backend: Backend = "fft"

    def forward(self, input: Tensor) -> Tensor:
        """`(N, inputs, ...)` to `(N, outputs, ...)`, or both without N; sizes are divided by the stride, rounding up.

        The argument is called as that of torch's convolutions, in whose place this one stands.
        """
        if self.mixing is None:
            raise RuntimeError("the convolution's attribute `mixing` must be set before it is called")
        if input.dim() == self.candidates.dimensions + 1:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        return aggregated_conv(
            input,
            self.weight,
            self.mixing,
            self.candidates,
            bias=self.bias,
            stride=self.stride,
            groups=self.groups,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """For `print`."""
        channels = f"{self.weight.shape[1] * self.groups}, {self.weight.shape[0]}"
        return f"{channels}, {len(self.candidates.kernels)} kernels, stride={self.stride}, groups={self.groups}"
