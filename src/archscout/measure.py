"""What a network costs: parameters, multiply-adds, latency, memory.

**Parameters** are trainable ones, each counted once, however many modules share it.

**MAdds** (multiply-adds) follow one convention, because public counters disagree: one multiply-add for each multiply-
accumulate of a convolution (any number of dimensions, grouped, transposed), of a linear layer or other matrix
product, and of a recurrent layer; for one sample, in evaluation mode. Positions in zero padding count like any other.
Biases, normalisation, activations, pooling, additions and element-wise gates count nothing. A FLOP count by the usual
tools is twice this number. D-DARTS adds two for each element that a batch norm writes and one for each that an
average pool with a window does: `batch_norms=True`. `archscout.counting` does the counting.

**Latency** is the median wall time of a forward pass, with the number of CPU threads stated, as it decides the result.

**Peak memory** is what the tensors allocated by a step hold at its worst moment, above what was held before it.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from archscout.counting import MultiplyAdds, count_madds, count_multiply_adds, count_parameters
from archscout.errors import SettingsError
from archscout.seeds import generator

__all__ = [
    "Latency",
    "Measurements",
    "MultiplyAdds",
    "count_madds",
    "count_multiply_adds",
    "count_parameters",
    "input_type",
    "measure",
    "measure_latency",
    "peak_memory",
    "time_calls",
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


def time_calls(call: Callable[[], object], *, repeats: int = 50, budget_seconds: float = 2.0) -> float:
    """The median wall time of calls on the CPU in milliseconds, as `measure_latency` measures it."""
    times = _time_runs(call, torch.device("cpu"), repeats, 5, budget_seconds)
    return float(np.median(np.asarray(times))) * 1e3


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
