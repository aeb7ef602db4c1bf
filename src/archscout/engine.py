"""The engine: device, mixed precision, processes and the optimiser step. Loops stay in the jobs, in plain sight.

Several processes are started with `torchrun`; each holds a replica and its own share of every batch. Gradients are
averaged by one all-reduce over a flat buffer of those parameters that have a gradient, running statistics likewise
after every unit of a job's work: wherever a checkpoint can be written, all processes have equal weights and statistics.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from archscout.errors import SettingsError
from archscout.seeds import derive_seed

__all__ = ["Engine", "Precision", "Stepper"]

Precision = Literal["float32", "bfloat16", "float16"]
M = TypeVar("M", bound=nn.Module)

# The other processes wait while the first one evaluates and exports; the default of some minutes is too short for that.
# A process that dies is noticed by `torchrun`, not by this limit.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Engine:
    """Where and how tensors are computed.

    Attributes:
        device: of networks and batches.
        precision: of convolutions and matrix products in training; losses, batch norms and rewards stay in float32.
        rank, world_size: this process among all.
    """

    device: torch.device
    precision: Precision = "float32"
    rank: int = 0
    world_size: int = 1

    @staticmethod
    def process_rank() -> int:
        """The rank of this process, known before an engine exists."""
        return int(os.environ.get("RANK", "0"))

    @classmethod
    def create(cls, device: str = "auto", precision: Precision = "float32", threads: int | None = None) -> Engine:
        """An engine for this process; joins the group if `torchrun` started it.

        Args:
            device: "auto" takes the first GPU if there is one; else "cpu", "cuda", "cuda:1", "mps".
            precision: see above. float16 needs a GPU.
            threads: of the CPU; None leaves torch's choice.

        Raises:
            SettingsError: the device is not there, or cannot do the precision.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        rank, world_size = cls.process_rank(), int(os.environ.get("WORLD_SIZE", "1"))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        try:
            place = torch.device(device)
            torch.empty(1, device=place)
        except (RuntimeError, AssertionError, NotImplementedError):
            raise SettingsError(
                f"device = '{device}' cannot be used here; choose auto, cpu"
                + (", cuda" * torch.cuda.is_available())
                + "."
            ) from None
        if precision == "float16" and place.type == "cpu":
            raise SettingsError("precision = 'float16' needs a GPU; on a CPU choose float32 or bfloat16.")
        if world_size > 1 and not dist.is_initialized():
            if place.type == "cuda":
                torch.cuda.set_device(place)
            dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
            atexit.register(dist.destroy_process_group)
        return cls(place, precision, rank, world_size)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def alone(self) -> Engine:
        """The same device without the other processes, for what one process does while they wait."""
        return replace(self, rank=0, world_size=1)

    def describe(self) -> str:
        """Device, precision and threads, for the first line of a run."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        processes = f", {self.world_size} processes" if self.world_size > 1 else ""
        return f"{name}, {self.precision}{threads}{processes}"

    def place(self, module: M) -> M:
        """The module on the device, with 4-D weights in channels_last; equal in all processes."""
        module.to(self.device)
        for parameter in module.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if self.world_size > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.data, 0)
        return module

    def arrange(self, inputs: Tensor) -> Tensor:
        """Images in channels_last, which convolutions prefer on every device."""
        return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a training forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))

    @contextmanager
    def seeded(self, seed: int, *purpose: str | int) -> Iterator[None]:
        """Seed torch's default generators for a purpose, and put them back afterwards.

        For what cannot take a generator: weight initialisation, dropout, drop path. The ranks draw differently.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(derive_seed(seed, *purpose, self.rank))
            yield

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.world_size > 1:
            self._average_in_place([parameter.grad for parameter in parameters if parameter.grad is not None])

    def average_buffers(self, module: nn.Module) -> None:
        """Replace the running statistics of a module by their mean over all processes.

        Each process has seen other samples. Called after every unit of work, so that evaluation and checkpoints are the
        same whichever process does them.
        """
        if self.world_size > 1:
            self._average_in_place([buffer for buffer in module.buffers() if buffer.is_floating_point()])

    def _average_in_place(self, tensors: Sequence[Tensor]) -> None:
        """By one all-reduce over a flat copy."""
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world_size
        with torch.no_grad():
            for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def average(self, value: float) -> float:
        """The mean of a number over all processes."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total) / self.world_size

    def gather(self, values: Sequence[float]) -> list[float]:
        """The numbers of all processes, in the order of their ranks; each may have another count, or none."""
        if self.world_size == 1:
            return list(values)
        found: list[list[float]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(found, list(values))
        return [value for part in found for value in part]

    def join_rows(self, states: Tensor | None) -> Tensor | None:
        """Hidden states `(..., N, d)` of all processes, `(..., world_size * N, d)`; None where there are none yet."""
        if self.world_size == 1 or states is None:
            return states
        parts = [torch.empty_like(states, memory_format=torch.contiguous_format) for _ in range(self.world_size)]
        dist.all_gather(parts, states.contiguous())
        return torch.cat(parts, dim=-2)

    def own_rows(self, states: Tensor | None) -> Tensor | None:
        """This process's part of what `join_rows` joined, on the device."""
        if states is None:
            return None
        return states.to(self.device).chunk(self.world_size, dim=-2)[self.rank]

    def wait(self) -> None:
        """Let all processes come to this point."""
        if self.world_size > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return self.average(float(flag)) > 0


class Stepper:
    """One optimiser with clipping and loss scaling; its state goes into checkpoints.

    Args:
        engine: for gradient averaging and precision.
        optimizer: any torch optimiser.
        clip: largest global L2 norm of the gradient; None clips nothing.
    """

    def __init__(self, engine: Engine, optimizer: torch.optim.Optimizer, clip: float | None) -> None:
        self._engine = engine
        self.optimizer = optimizer
        self._clip = clip
        self._scaler = torch.amp.GradScaler(engine.device.type, enabled=engine.precision == "float16")

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def step(
        self,
        loss: Tensor | Iterable[Tensor],
        parameters: Sequence[nn.Parameter],
        *,
        dense: bool = False,
        accumulate: bool = False,
        before_clip: Callable[[], None] | None = None,
    ) -> None:
        """Backward and one update of the parameters that the loss reached.

        Args:
            loss: scalar; or several, whose gradients add up. Each is asked for when the one before is done with, so
                that only one graph is held at a time.
            parameters: those that may have a gradient; the norm is over these.
            dense: treat missing gradients of the optimiser's parameters as zeros, so that momentum and weight decay
                move them too (what old versions of torch did).
            accumulate: add the gradients to those that the parameters have already.
            before_clip: changes gradients, which are averaged and unscaled by then.
        """
        if not accumulate:
            self.optimizer.zero_grad(set_to_none=True)
        for each in (loss,) if isinstance(loss, Tensor) else loss:
            self._scaler.scale(each).backward()
        self._engine.average_gradients(parameters)
        self._scaler.unscale_(self.optimizer)
        if before_clip is not None:
            before_clip()
        if self._clip is not None:
            nn.utils.clip_grad_norm_(parameters, self._clip)
        if dense:
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """State of optimiser and scaler."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; buffers take the memory format of their parameters."""
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, buffers in self.optimizer.state.items():
            for name, value in buffers.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    buffers[name] = torch.empty_like(parameter).copy_(value)
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
