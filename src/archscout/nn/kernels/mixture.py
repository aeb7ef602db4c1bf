"""A network in which chosen convolutions hold all candidate kernels at once (docs/methods/dash.md#kernel-search)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from archscout.nn.kernels.aggregated import AggregatedConv
from archscout.nn.kernels.candidates import Candidates, live_size
from archscout.nn.kernels.choice import BackendSetting, choose_backend
from archscout.nn.kernels.layers import Convolution, Kernel, exchange

__all__ = ["KernelMixture", "gumbel_mixing"]


def gumbel_mixing(alphas: Tensor, draw: torch.Generator | None) -> Tensor:
    """Mixing weights `(L, M)` of architecture parameters `(L, M)`: softmax(log softmax(alphas) + noise).

    Args:
        draw: of Gumbel noise for all layers at once, on the CPU; None draws none, for evaluation.
    """
    logits = alphas.log_softmax(1)
    if draw is not None:
        # -log of an exponential variable is a Gumbel variable; the bound keeps the logarithm finite.
        waiting = torch.empty(alphas.shape).exponential_(generator=draw).clamp_min(1e-30)
        logits = logits - waiting.log().to(alphas.device, non_blocking=True)
    return logits.softmax(1)


class KernelMixture(nn.Module):
    """A network whose named convolutions are replaced by aggregated ones.

    Args:
        network: changed in place.
        names: of the convolutions, from `kernel_layers`.
        sizes, dilations: the candidates are all pairs.
        depthwise: whether convolutions with as many outputs as inputs become depthwise ones, as published; else they
            keep their groups.
        backend: how they are computed; see `archscout.nn.kernels.choice`.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str],
        *,
        sizes: Sequence[int],
        dilations: Sequence[int],
        depthwise: bool,
        backend: BackendSetting = "auto",
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self._backend = backend

        def make(position: int, old: Convolution) -> AggregatedConv:
            same = old.in_channels == old.out_channels
            return AggregatedConv(
                old.in_channels,
                old.out_channels,
                Candidates.of(sizes, dilations, len(old.kernel_size)),
                stride=old.stride,
                groups=old.in_channels if depthwise and same else old.groups,
                bias=old.bias is not None,
            ).to(device=old.weight.device, dtype=old.weight.dtype)

        made = exchange(network, names, make)
        self.network = network
        self._layers = [cast(AggregatedConv, made[name]) for name in names]
        for layer in self._layers:
            layer.register_forward_pre_hook(self._prepare, with_kwargs=True)
        self._lengths: dict[int, tuple[int, ...]] = {}
        self._chosen: set[int] = set()

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The candidates, in the order of the mixing weights."""
        return self._layers[0].candidates.kernels

    def _prepare(self, layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Remember how large a layer's inputs are at most; choose its back-end for that size."""
        found, inputs = cast(AggregatedConv, layer), args[0] if args else named["input"]
        dimensions = found.candidates.dimensions
        lengths, known = tuple(inputs.shape[-dimensions:]), self._lengths.get(id(layer))
        if known is not None:
            lengths = tuple(map(max, lengths, known))  # a layer that is used twice may see two sizes
        if id(layer) not in self._chosen or lengths != known:
            batch = inputs if inputs.dim() == dimensions + 2 else inputs.unsqueeze(0)
            found.backend = choose_backend(self._backend, found, batch)
            self._chosen.add(id(layer))
        self._lengths[id(layer)] = lengths

    def forward(self, inputs: Tensor, mixing: Tensor) -> Any:
        """Outputs of the network for mixing weights `(L, M)`."""
        for layer, row in zip(self._layers, mixing.unbind(), strict=True):
            layer.mixing = row
        try:
            return self.network(inputs)
        finally:
            for layer in self._layers:
                layer.mixing = None

    def live_kernel(self, position: int, kernel: Kernel) -> Kernel:
        """The part of a kernel that can touch the inputs that a layer has seen: the same function, fewer weights."""
        lengths = self._lengths.get(id(self._layers[position]))
        if lengths is None:
            return kernel
        size, dilation = kernel
        live = max(live_size(size, dilation, length) for length in lengths)
        return live, 1 if live == 1 else dilation

    def choices(self) -> dict[str, dict[str, Any]]:
        """Back-end and input size of each layer that has run, for a job's state."""
        return {
            name: {"backend": layer.backend, "lengths": list(self._lengths[id(layer)])}
            for name, layer in zip(self.names, self._layers, strict=True)
            if id(layer) in self._lengths
        }

    def load_choices(self, choices: Mapping[str, Mapping[str, Any]]) -> None:
        """Compute as before, without measuring again."""
        for name, layer in zip(self.names, self._layers, strict=True):
            if name in choices:
                layer.backend = choices[name]["backend"]
                self._lengths[id(layer)] = tuple(choices[name]["lengths"])
                self._chosen.add(id(layer))
