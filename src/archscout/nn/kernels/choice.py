"""Which back-end computes an aggregated convolution: a fixed rule, or a measurement.

On a CPU the rule decides, so that a repeated or resumed run computes with the same operations and ends with the same
bits. Other devices are measured once for each shape and process; a job stores what was chosen in its state.
"""

from __future__ import annotations

import math
import time
from typing import Literal

import torch
from torch import Tensor

from archscout.nn.kernels.aggregated import AggregatedConv, Backend, aggregated_conv

__all__ = ["BackendSetting", "choose_backend", "measure_backends"]

BackendSetting = Backend | Literal["auto", "measured"]
MEASURED: tuple[Backend, ...] = ("grouped", "matrix", "fft")  # the plain sum is never the fastest
LARGEST_MATRIX = 2**22  # entries; a larger one is not worth its memory
# Up to how many positions of the input a matrix was faster on a CPU than transforms, depthwise and else.
MATRIX_UP_TO = {True: 64, False: 16}
ROUNDS = 3
_measured: dict[tuple[object, ...], Backend] = {}


def choose_backend(setting: BackendSetting, layer: AggregatedConv, inputs: Tensor) -> Backend:
    """The back-end for a layer and inputs of this shape.

    `auto` takes `matrix` for small maps and short series and else `fft` on a CPU, as measurements there said, and
    measures on other devices.
    """
    if setting == "auto":
        setting = _rule(layer, inputs) if inputs.device.type == "cpu" else "measured"
    if setting != "measured":
        return setting
    key = (tuple(inputs.shape), tuple(layer.weight.shape), layer.candidates, layer.stride, layer.groups, inputs.device)
    if key not in _measured:
        seconds = measure_backends(layer, inputs)
        _measured[key] = min(seconds, key=seconds.__getitem__)
    return _measured[key]


def _rule(layer: AggregatedConv, inputs: Tensor) -> Backend:
    depthwise = layer.weight.shape[1] == 1
    return "matrix" if math.prod(inputs.shape[2:]) <= MATRIX_UP_TO[depthwise] else "fft"


def measure_backends(layer: AggregatedConv, inputs: Tensor) -> dict[Backend, float]:
    """Seconds of a forward and a backward pass by each back-end, the best of some rounds; random data."""
    data = torch.randn_like(inputs, dtype=torch.float32).requires_grad_()
    weight = layer.weight.detach().float().requires_grad_()
    count = len(layer.candidates.kernels)
    mixing = torch.full((count,), 1 / count, device=inputs.device, requires_grad=True)

    def once(backend: Backend) -> float:
        _synchronise(inputs.device)
        start = time.perf_counter()
        outputs = aggregated_conv(
            data, weight, mixing, layer.candidates, stride=layer.stride, groups=layer.groups, backend=backend
        )
        torch.autograd.grad(outputs, (data, weight, mixing), torch.ones_like(outputs))
        _synchronise(inputs.device)
        return time.perf_counter() - start

    with torch.enable_grad():
        return {
            backend: min(once(backend) for _ in range(ROUNDS + 1))
            for backend in MEASURED
            if backend != "matrix" or _matrix_entries(layer, inputs) <= LARGEST_MATRIX
        }


def _matrix_entries(layer: AggregatedConv, inputs: Tensor) -> int:
    positions = math.prod(inputs.shape[2:])
    return layer.weight.shape[0] * layer.weight.shape[1] * positions * positions


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
