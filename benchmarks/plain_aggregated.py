"""The published structure of DASH's convolution and of its search step, as a plain twin to measure against.

Written from docs/methods/dash.md#what-the-code-rests-on: each candidate kernel is a parameter of its own, which a
Kronecker product dilates and a padding brings to the largest field; inputs are padded by half of that field on both
sides, whatever their size; kernels are flipped and rolled on the whole grid; strides pick from full-size outputs;
numbers are checked on the host in every pass; noise and gradients are handled layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.kernels.aggregated import AggregatedConv
from archscout.nn.kernels.candidates import Candidates

__all__ = ["PlainAggregatedConv", "PlainSearchStep", "replace_aggregated"]

SIZE_PENALTY = 1e-5


class PlainAggregatedConv(nn.Module):
    """A convolution with all candidate kernels, as published.

    Attributes:
        alphas: `(M,)`, its own architecture parameters.
        noisy: whether Gumbel noise is added; off for comparisons, `mixing` is then used as given.
    """

    def __init__(
        self, inputs: int, outputs: int, candidates: Candidates, stride: Sequence[int], groups: int, bias: bool
    ) -> None:
        super().__init__()
        self.candidates, self.stride, self.depthwise = candidates, tuple(stride), groups == inputs == outputs
        if groups != 1 and not self.depthwise:
            raise ValueError("the published convolution is depthwise or dense")
        width = 1 if self.depthwise else inputs
        self.kernels = nn.ParameterList(
            nn.Parameter(0.01 * torch.randn(outputs, width, *(size,) * candidates.dimensions))
            for size, _ in candidates.kernels
        )
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.alphas = nn.Parameter(1e-3 * torch.randn(len(candidates.kernels)))
        self.mixing: Tensor | None = None
        dilation = max(dilation for _, dilation in candidates.kernels)
        size = max(size for size, _ in candidates.kernels)
        self.field = dilation * (size - 1) + 1

    @classmethod
    def like(cls, module: AggregatedConv) -> PlainAggregatedConv:
        """With the same weights."""
        twin = cls(
            module.weight.shape[1] * module.groups,
            module.weight.shape[0],
            module.candidates,
            module.stride,
            module.groups,
            module.bias is not None,
        ).to(module.weight.dtype)
        with torch.no_grad():
            parts = torch.split(module.weight, list(module.candidates.taps), dim=2)
            for kernel, part in zip(twin.kernels, parts, strict=True):
                kernel.copy_(part.reshape(kernel.shape))
            if twin.bias is not None and module.bias is not None:
                twin.bias.copy_(module.bias)
        return twin

    def _sampled(self) -> Tensor:
        if self.mixing is not None:
            return self.mixing
        logits = F.log_softmax(self.alphas, dim=0)
        while True:
            noise = -torch.empty_like(logits).exponential_().log()
            mixing = F.softmax(logits + noise, dim=0)
            # Three questions that the host has to wait for.
            if torch.isinf(noise).any() or torch.isinf(mixing).any() or torch.isnan(mixing).any():
                continue
            return mixing

    def _kernel(self) -> Tensor:
        """All candidates in the largest field."""
        dimensions = self.candidates.dimensions
        total: Tensor | None = None
        for kernel, (size, dilation), share in zip(self.kernels, self.candidates.kernels, self._sampled(), strict=True):
            wide: Tensor = kernel
            if dilation > 1:
                unit = torch.zeros((1, 1, *(dilation,) * dimensions), dtype=kernel.dtype, device=kernel.device)
                unit.view(-1)[0] = 1
                wide = torch.kron(kernel, unit)
                for axis in range(2, 2 + dimensions):
                    wide = wide.narrow(axis, 0, dilation * (size - 1) + 1)
            margin = (self.field - wide.shape[-1]) // 2
            placed = share * F.pad(wide, (margin, margin) * dimensions)
            total = placed if total is None else total + placed
        return cast(Tensor, total)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, in, ...)` to `(N, out, ...)`."""
        dimensions, half = self.candidates.dimensions, self.field // 2
        axes = tuple(range(-dimensions, 0))
        padded = F.pad(inputs, (half, half) * dimensions)
        grid = padded.shape[2:]
        kernel = self._kernel()
        behind: list[int] = []
        for length in reversed(grid):
            behind += [0, length - self.field]
        kernel = torch.flip(F.pad(kernel, behind), axes)
        kernel = torch.roll(kernel, [half + 1 - length for length in grid], axes)
        data = torch.fft.rfftn(padded, dim=axes, norm="ortho")
        factors = torch.fft.rfftn(kernel, dim=axes)
        letters = "xyz"[:dimensions]
        product = (
            data * factors.squeeze(1)
            if self.depthwise
            else torch.einsum(f"ni{letters},oi{letters}->no{letters}", data, factors)
        )
        outputs: Tensor = torch.fft.irfftn(product, s=grid, dim=axes, norm="ortho")
        for axis, length in enumerate(inputs.shape[2:], start=2):
            outputs = outputs.narrow(axis, half, length)
        if max(self.stride) > 1:
            pool = F.avg_pool2d if dimensions == 2 else F.avg_pool1d
            outputs = pool(outputs, 1, self.stride)
        return outputs if self.bias is None else outputs + self.bias.view(-1, *(1,) * dimensions)


def replace_aggregated(network: nn.Module) -> list[PlainAggregatedConv]:
    """Put a twin in place of each aggregated convolution of a network; they are returned."""
    twins = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AggregatedConv):
                twin = PlainAggregatedConv.like(child)
                setattr(parent, name, twin)
                twins.append(twin)
    return twins


class PlainSearchStep:
    """One step of the published search: two optimisers, gradients changed layer by layer.

    Args:
        network: with twins in it.
        twins: from `replace_aggregated`.
        grad_scale: S.
        clip: largest global gradient norm.
    """

    def __init__(
        self, network: nn.Module, twins: Sequence[PlainAggregatedConv], *, grad_scale: float, clip: float
    ) -> None:
        self._network, self._twins, self._scale, self._clip = network, twins, grad_scale, clip
        own = {id(twin.alphas) for twin in twins}
        weights = [parameter for parameter in network.parameters() if id(parameter) not in own]
        options = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
        self._optimizers = [
            torch.optim.SGD(weights, lr=0.1, **options),  # type: ignore[arg-type]
            torch.optim.SGD([twin.alphas for twin in twins], lr=0.05, **options),  # type: ignore[arg-type]
        ]

    def __call__(self, inputs: Tensor, targets: Tensor) -> float:
        """The loss."""
        self._network.train()
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss = F.cross_entropy(self._network(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        for twin in self._twins:
            fields = [dilation * (size - 1) + 1 for size, dilation in twin.candidates.kernels]
            gradient = cast(Tensor, twin.alphas.grad)
            gradient /= self._scale * (gradient.norm() + 1e-8)
            gradient += SIZE_PENALTY * torch.tensor(fields, dtype=gradient.dtype)
        nn.utils.clip_grad_norm_(list(self._network.parameters()), self._clip)
        for optimizer in self._optimizers:
            optimizer.step()
        return float(loss.detach())
