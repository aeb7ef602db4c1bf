"""What a network costs: parameters, multiply-adds, latency, memory.

**Parameters** are trainable ones, each counted once, however many modules share it.

**MAdds** (multiply-adds) follow one convention, because public counters disagree: one multiply-add for each multiply-
accumulate of a convolution (any number of dimensions, grouped, transposed), of a linear layer or other matrix
product, and of a recurrent layer; for one sample, in evaluation mode. Positions in zero padding count like any other.
Biases, normalisation, activations, pooling, additions and element-wise gates count nothing. A FLOP count by the usual
tools is twice this number. D-DARTS adds two for each element that a batch norm writes and one for each that an
average pool with a window does: `batch_norms=True`. They are counted by watching which operations run on shapes alone
(torch's meta device), so a product written as `a @ b` inside a forward pass counts as much as an `nn.Linear`, and
nothing is allocated.

**Latency** is the median wall time of a forward pass, with the number of CPU threads stated, as it decides the result.

**Peak memory** is what the tensors allocated by a step hold at its worst moment, above what was held before it.
"""

from __future__ import annotations

import copy
import math
import os
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.errors import SettingsError, SpaceError
from archscout.seeds import generator

__all__ = [
    "Latency",
    "Measurements",
    "count_madds",
    "count_parameters",
    "input_type",
    "measure",
    "measure_latency",
    "peak_memory",
]


@dataclass(frozen=True)
class Measurements:
    """The size of a network: trainable parameters, and multiply-adds for one sample."""

    parameters: int
    madds: int


@dataclass(frozen=True)
class Latency:
    """Wall time of a forward pass of `batch_size` samples: median, 10th and 90th percentile of `runs` runs.

    `threads` is the number of CPU threads that torch used inside an operation.
    """

    batch_size: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    threads: int
    device: str


def measure(
    model: nn.Module, input_shape: Sequence[int], *, exclude: Sequence[str] = (), vocabulary: int | None = None
) -> Measurements:
    """Parameters and multiply-adds; see `count_parameters` (which reads `exclude`) and `count_madds`.

    Args:
        vocabulary: as in `TaskSpec`; None for inputs that are real numbers.
    """
    madds = count_madds(model, input_shape, dtype=input_type(vocabulary))
    return Measurements(count_parameters(model, exclude=exclude), madds)


def input_type(vocabulary: int | None) -> torch.dtype:
    """Of a network's inputs: integers where there is a vocabulary (as in `TaskSpec`), else real numbers."""
    return torch.float32 if vocabulary is None else torch.long


def count_parameters(model: nn.Module, *, exclude: Sequence[str] = ()) -> int:
    """The number of trainable parameters; a shared one counts once.

    Args:
        exclude: names of submodules to leave out with all below them, for example `("auxiliary_head",)`.
    """
    counted = {
        id(parameter): parameter.numel()
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.requires_grad and not any(name.startswith(f"{prefix}.") for prefix in exclude)
    }
    return sum(counted.values())


def _matrix_product(first: int) -> Callable[[Sequence[Any], Tensor], int]:
    """Counts `(..., n, k) @ (..., k, m)`, or a product with a vector, whose left factor is argument number `first`."""

    def count(args: Sequence[Any], output: Tensor) -> int:
        left, right = args[first], args[first + 1]
        return int(left.numel() * (right.shape[-1] if right.dim() > 1 else 1))

    return count


def _convolution(args: Sequence[Any], output: Tensor) -> int:
    inputs, weight, transposed = args[0], args[1], args[6]
    # A weight is (out, in / groups, *kernel): the work for each output; transposed (in, out / groups, *kernel): for
    # each input.
    return int((inputs if transposed else output).numel() * math.prod(weight.shape[1:]))


_COUNTED: dict[Any, Callable[[Sequence[Any], Tensor], int]] = {
    torch.ops.aten.mm: _matrix_product(0),
    torch.ops.aten.bmm: _matrix_product(0),
    torch.ops.aten.mv: _matrix_product(0),
    torch.ops.aten.dot: _matrix_product(0),
    torch.ops.aten.addmm: _matrix_product(1),
    torch.ops.aten.addbmm: _matrix_product(1),
    torch.ops.aten.baddbmm: _matrix_product(1),
    torch.ops.aten.addmv: _matrix_product(1),
    torch.ops.aten.convolution: _convolution,
}


def _batch_norm(args: Sequence[Any], output: Any) -> int:
    return 2 * int(args[0].numel())


def _average_pool(args: Sequence[Any], output: Any) -> int:
    return int(output.numel())


# The further operations that the authors of D-DARTS count (docs/methods/ddarts.md#published-sizes).
_COUNTED_NORMS: dict[Any, Callable[[Sequence[Any], Any], int]] = {
    torch.ops.aten.native_batch_norm: _batch_norm,
    torch.ops.aten._native_batch_norm_legit_no_training: _batch_norm,
    torch.ops.aten.cudnn_batch_norm: _batch_norm,
    torch.ops.aten.miopen_batch_norm: _batch_norm,
    torch.ops.aten.avg_pool2d: _average_pool,
}


class _MultiplyAddCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the multiply-adds of the operations that run inside the context."""

    def __init__(self, counted: Mapping[Any, Callable[[Sequence[Any], Any], int]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted = counted
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # saves torch the import of its compiler, a second

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        count = self.counted.get(func.overloadpacket)
        if count is not None:
            self.total += count(args, output)
        return output


def _skeleton(model: nn.Module) -> nn.Module:
    """A copy of the model with tensors on the meta device and without hooks; allocates no tensor memory."""
    replacements: dict[int, Any] = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, OrderedDict) and "_hooks" in name:
                replacements[id(value)] = OrderedDict()
        attributes = [value for value in vars(module).values() if isinstance(value, Tensor)]
        for tensor in (*module._parameters.values(), *module._buffers.values(), *attributes):
            if tensor is not None:
                empty = torch.empty_like(tensor, device="meta", requires_grad=False)
                is_parameter = isinstance(tensor, nn.Parameter)
                replacements[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(model, replacements)


def count_madds(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    batch_norms: bool = False,
) -> int:
    """Multiply-adds of one sample in evaluation mode, by the convention in this module's docstring.

    The model itself is neither run nor changed.

    Args:
        input_shape: of one sample, without the batch dimension.
        dtype: of the input; an integer type for networks that begin with an embedding.
        batch_norms: add batch norms and average pools, as in this module's docstring.

    Raises:
        SpaceError: the network cannot run on such inputs.
    """
    counter = _MultiplyAddCounter({**_COUNTED, **_COUNTED_NORMS} if batch_norms else _COUNTED)
    try:
        # Without gradients, and never in inference mode, not even the caller's: only then do composite operations
        # (recurrent layers, attention) reach the counter as the matrix products that they consist of.
        with torch.inference_mode(False), torch.no_grad():
            skeleton = _skeleton(model).eval()
            with torch.device("meta"), counter:
                skeleton(torch.empty(1, *input_shape, dtype=dtype))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SpaceError(
            f"cannot count the multiply-adds of {type(model).__name__} for one input of shape {tuple(input_shape)}: "
            f"{reason} Counting runs the network on shapes alone, so its forward pass must not read values."
        ) from error
    return counter.total


def measure_latency(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    batch_sizes: Sequence[int] = (1, 64),
    repeats: int = 50,
    warmup: int = 5,
    threads: int | None = None,
    device: torch.device | str = "cpu",
    budget_seconds: float = 5.0,
    vocabulary: int | None = None,
) -> list[Latency]:
    """The time of a forward pass of a copy of the model, in evaluation mode, one entry for each batch size.

    Convolutional networks over images run in the channels-last memory format, the fast one.

    Args:
        input_shape: of one sample, without the batch dimension.
        repeats: timed runs for each batch size; fewer, but at least 3, once the budget is spent.
        warmup: untimed runs before; fewer, but at least 1, once half of the budget is spent.
        threads: CPU threads inside an operation; None keeps torch's present number.
        budget_seconds: wall time for each batch size that is not exceeded by more than a few runs.
        vocabulary: for networks that take integers, how many different ones; None: real numbers.

    Raises:
        SettingsError: a number is out of range.
    """
    numbers = {"repeats": repeats, "warmup": warmup, "threads": 1 if threads is None else threads}
    for name, number in (*numbers.items(), *(("batch_sizes", size) for size in batch_sizes)):
        if number < 1:
            raise SettingsError(f"{name}: {number} is out of range; it must be at least 1.")
    device = torch.device(device)
    layout = torch.channels_last if len(input_shape) == 3 else torch.contiguous_format
    subject = copy.deepcopy(model).to(device).eval()
    if layout is torch.channels_last:
        subject.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    results = []
    with _threads(threads) as used, torch.inference_mode():
        for size in batch_sizes:
            draw = generator(0, "latency")
            if vocabulary is None:
                inputs = torch.randn(size, *input_shape, generator=draw).to(device).contiguous(memory_format=layout)
            else:
                inputs = torch.randint(vocabulary, (size, *input_shape), generator=draw).to(device)
            times = _time_runs(partial(subject, inputs), device, repeats, warmup, budget_seconds)
            p10, median, p90 = np.percentile(np.asarray(times) * 1e3, [10, 50, 90]).tolist()
            results.append(Latency(size, median, p10, p90, len(times), used, str(device)))
    return results


@contextmanager
def _threads(count: int | None) -> Iterator[int]:
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _time_runs(
    run: Callable[[], object], device: torch.device, repeats: int, warmup: int, budget_seconds: float
) -> list[float]:
    """Seconds of each timed run."""

    def timed() -> float:
        begin = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - begin

    spent = timed()
    for _ in range(warmup - 1):
        if spent > budget_seconds / 2:
            break
        spent += timed()
    times: list[float] = []
    while len(times) < repeats and (len(times) < 3 or spent < budget_seconds):
        times.append(timed())
        spent += times[-1]
    return times


def peak_memory(step: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Bytes that the tensors allocated while `step` runs hold at its worst moment, above what was held before.

    A step that builds the network and its optimiser inside itself is measured with them; one that uses existing ones
    is measured without: then add their parameters and buffers. What the step frees but did not allocate is not
    subtracted on the CPU. Not counted: the interpreter, the libraries, and what they allocate for themselves outside of
    torch's allocator; on CUDA also the allocator's unused reserve.

    CUDA: torch's allocation counters. CPU: the allocations and releases that torch's profiler records, added up in
    their order. The profiler keeps some kilobytes for every operation that runs: give it one training step, or a few,
    and no epoch. It ends a profiling session of the caller's, and must not run inside one.

    Raises:
        SettingsError: another kind of device.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return max(0, torch.cuda.max_memory_allocated(device) - before)
    if device.type != "cpu":
        raise SettingsError(f"device: peak memory can be measured on cpu and cuda; got {device}.")
    held = peak = 0
    for change in _allocation_changes(step):
        held += change
        peak = max(peak, held)
    return peak


def _allocation_changes(step: Callable[[], object]) -> list[int]:
    """Bytes allocated (positive) and released (negative) by torch on the CPU while the step runs, in order."""
    with (
        _quiet_profiler(),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile,
    ):
        step()
    recorded = profile.profiler.kineto_results.events() if profile.profiler is not None else []
    memory = [event for event in recorded if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(memory, key=lambda event: event.start_ns())]


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """Keeps two notes of the profiler's C++ code from standard error, where no logger of Python can stop them."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            written.seek(0)
            for line in written:
                if not (line.startswith(b"USDT:") or b"CPUAllocator.cpp" in line):
                    os.write(2, line)
