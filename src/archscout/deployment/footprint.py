"""What a network takes on a device: flash for its weights and its graph, RAM for its activations at batch size 1.

The network runs once on shapes alone, and the operations that ran are its graph. By convention, as runtimes of small
devices compute:

- A view (reshape, flatten, slice, ...) shares the memory of what it looks at.
- An elementwise operation on a single activation that nobody reads afterwards (ReLU, batch norm, a scaling) writes
  where it reads. All other operations write to memory of their own, while their inputs stay.
- What depends on weights alone is computed beforehand. A batch norm behind a convolution or a linear layer is part of
  its weights; elsewhere it keeps a factor and a summand for each channel.
- The network's input and its outputs are activations, too. Scratch memory inside an operation (im2col and the like) is
  not counted: it depends on the runtime's kernels.
- int8: a byte for each activation and for each weight of a convolution or a matrix product, with a scale of 4 bytes for
  each of its output channels; biases are 32 bit integers, all other constants as before.
- The graph without code: for each operation 8 bytes, and 4 for each tensor that it reads or writes and for each number
  among its arguments; for each tensor 8 bytes and 4 for each dimension. File formats add names and padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from archscout.counting import run_on_shapes, tensors_of
from archscout.deployment.memory import ALIGNMENT, Buffer, Plan, plan_memory
from archscout.errors import SpaceError

__all__ = ["Footprint", "describe_footprint", "footprint_facts", "kilobytes", "measure_footprint"]

_ATEN = torch.ops.aten
_NORMS = {
    _ATEN.native_batch_norm,
    _ATEN._native_batch_norm_legit_no_training,
    _ATEN.cudnn_batch_norm,
    _ATEN.miopen_batch_norm,
}
# Products with weights, and the positions of the factors that may be weights.
_PRODUCTS = {
    _ATEN.convolution: (1,),
    _ATEN.mm: (0, 1),
    _ATEN.bmm: (0, 1),
    _ATEN.mv: (0,),
    _ATEN.addmm: (1, 2),
    _ATEN.baddbmm: (1, 2),
    _ATEN.addmv: (1,),
}
_FUSING = {_ATEN.convolution, _ATEN.mm, _ATEN.addmm}  # a batch norm behind them becomes part of their weights
_BIASED = {_ATEN.convolution: 2, _ATEN.addmm: 0}


@dataclass(frozen=True)
class Footprint:
    """What a network takes on a device, in bytes, for one sample.

    Attributes:
        operators: that are left in the graph.
        weights, weights_int8: constants that the graph reads.
        graph: its description without code.
        ram, ram_int8: where the activations lie.
        worst: the operation at which most bytes are alive, with the shape that it writes.
    """

    operators: int
    weights: int
    weights_int8: int
    graph: int
    ram: Plan
    ram_int8: Plan
    worst: str

    def flash(self, *, int8: bool) -> int:
        """Weights and graph."""
        return (self.weights_int8 if int8 else self.weights) + self.graph

    def peak(self, *, int8: bool) -> int:
        """The planned RAM."""
        return (self.ram_int8 if int8 else self.ram).size

    def to_json(self) -> dict[str, Any]:
        """Plain data, all in bytes."""
        return {
            "batch_size": 1,
            "operators": self.operators,
            "graph": self.graph,
            "weights": {"float32": self.weights, "int8": self.weights_int8},
            "flash": {"float32": self.flash(int8=False), "int8": self.flash(int8=True)},
            "ram": {"float32": self.ram.size, "int8": self.ram_int8.size},
            "ram_lower_bound": {"float32": self.ram.lower_bound, "int8": self.ram_int8.lower_bound},
            "ram_peak_at": self.worst,
        }


def measure_footprint(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    alignment: int = ALIGNMENT,
) -> Footprint:
    """Flash and RAM of a network in evaluation mode; it stays as it is.

    Args:
        input_shape: of one sample, without the batch dimension.
        dtype: of the input; an integer type for networks that begin with an embedding.
        alignment: of buffers in RAM, in bytes.

    Raises:
        SpaceError: the network cannot run on shapes alone.
    """
    trace = _Trace()
    run_on_shapes(network, input_shape, trace, dtype=dtype, purpose="plan the memory")
    return trace.footprint(alignment)


def footprint_facts(network: nn.Module, input_shape: Sequence[int], *, dtype: torch.dtype) -> dict[str, Any]:
    """`Footprint.to_json`, or `{"unknown": why}` of a network that cannot be read."""
    try:
        return measure_footprint(network, input_shape, dtype=dtype).to_json()
    except SpaceError as error:
        return {"unknown": str(error)}


def describe_footprint(facts: Mapping[str, Any]) -> str:
    """The facts of `footprint_facts` in a line for people."""
    if "unknown" in facts:
        return f"flash and RAM are not known: {facts['unknown']}"
    parts = [
        f"{kind}: {kilobytes(facts['flash'][kind])} flash, {kilobytes(facts['ram'][kind])} RAM"
        for kind in ("float32", "int8")
    ]
    return f"on a device, one sample at a time, {'; '.join(parts)} (the most at {facts['ram_peak_at']})"


def kilobytes(count: int) -> str:
    """Bytes as people read them, in steps of 1024: "312.5 kB", "1.25 MB"."""
    return f"{count / 1024:,.1f} kB" if count < 1024**2 else f"{count / 1024**2:,.2f} MB"


@dataclass
class _Step:
    """An operation on data: what it reads and writes, by the numbers of storages, without constants."""

    operation: Any
    reads: list[int]
    writes: list[int]
    shape: tuple[int, ...]
    is_view: bool
    numbers: int = 0
    constants: int = 0
    dimensions: int = 0
    folded: bool = False


@dataclass
class _Weights:
    """A constant: its parts that are read (by place: elements, and output channels if a product reads it)."""

    itemsize: int
    whole: int
    parts: dict[Any, tuple[int, int]] = field(default_factory=dict)

    def bytes(self, *, int8: bool) -> int:
        """Of all parts; they may overlap, as views of one tensor."""
        elements = min(self.whole, sum(count for count, _ in self.parts.values()))
        channels = sum(each for _, each in self.parts.values())
        return elements + 4 * channels if int8 and channels else elements * self.itemsize


class _Trace:
    """The operations of a network on data, as `run_on_shapes` shows them."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.sizes: dict[int, tuple[int, int, bool]] = {}  # of an activation: elements, bytes each, real numbers
        self.weights: dict[int, _Weights] = {}
        self.bytes_of_norms = 0
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self._constants: set[int] = set()
        self._kept: list[Tensor] = []  # a storage's number is its address: none may be used twice
        self._producers: dict[int, tuple[int, Any, bool]] = {}  # of a storage: step, operation, whether it has a bias
        self._norms: list[tuple[int, int, int, bool]] = []  # step, producing step, channels, whether that has a bias

    # -- watching ------------------------------------------------------------------------------------------------

    def start(self, network: nn.Module, inputs: Tensor) -> None:
        self._constants = {_storage(tensor) for module in network.modules() for tensor in tensors_of(module)}
        self._enter(inputs)
        self.inputs = [_storage(inputs)]

    def saw(self, operation: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> None:
        name = operation.overloadpacket
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self._kept += written
        active = [tensor for tensor in read if _storage(tensor) in self.sizes]
        if not active:
            self._constants |= {_storage(tensor) for tensor in written}
            return
        before = {_storage(tensor) for tensor in read}
        step = _Step(
            name,
            list(dict.fromkeys(_storage(tensor) for tensor in active)),
            list(dict.fromkeys(_storage(tensor) for tensor in written)),
            tuple(written[0].shape) if written else (),
            is_view=bool(written) and all(_storage(each) in before for each in written) and not _writes(operation),
            numbers=sum(isinstance(leaf, int | float) for leaf in tree_leaves((args, kwargs))),
        )
        for tensor in written:
            self._constants.discard(_storage(tensor))  # memory that was made empty, and is filled with data now
            if _storage(tensor) not in self.sizes:
                self._enter(tensor)
                step.dimensions += tensor.dim()
        if name in _NORMS:
            self._norm(step, args)
        else:
            self._read_constants(step, name, args, read)
        for tensor in written[:1]:
            biased = name in _BIASED and args[_BIASED[name]] is not None
            self._producers[_storage(tensor)] = (len(self.steps), name, biased)
        self.steps.append(step)

    def end(self, outputs: Any) -> None:
        self.outputs = [_storage(leaf) for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]

    def _enter(self, tensor: Tensor) -> None:
        self._kept.append(tensor)
        self.sizes[_storage(tensor)] = (tensor.numel(), tensor.element_size(), tensor.is_floating_point())

    def _norm(self, step: _Step, args: Sequence[Any]) -> None:
        channels = int(args[0].shape[1])
        source = self._producers.get(_storage(args[0]))
        if source is not None and source[1] in _FUSING:
            self._norms.append((len(self.steps), source[0], channels, source[2]))
        else:
            self.bytes_of_norms += 8 * channels
            step.constants = 2

    def _read_constants(self, step: _Step, name: Any, args: Sequence[Any], read: Sequence[Tensor]) -> None:
        factors = [args[position] for position in _PRODUCTS.get(name, ())]
        for tensor in read:
            number = _storage(tensor)
            if number in self.sizes:
                continue
            step.constants += 1
            channels = 0
            if any(tensor is factor for factor in factors) and tensor.dim() > 1:
                transposed = name is _ATEN.convolution and args[6]
                channels = int(tensor.shape[1 if transposed or name is not _ATEN.convolution else 0])
            whole = tensor.untyped_storage().nbytes() // tensor.element_size()
            known = self.weights.setdefault(number, _Weights(tensor.element_size(), whole))
            # Its place, whatever its axes are called: a matrix and its transpose are one.
            place = (tensor.storage_offset(), *sorted(zip(tensor.shape, tensor.stride(), strict=True)))
            known.parts[place] = (tensor.numel(), max(channels, known.parts.get(place, (0, 0))[1]))

    # -- what follows --------------------------------------------------------------------------------------------

    def footprint(self, alignment: int) -> Footprint:
        """Everything together."""
        readers = self._readers()
        for position, producer, channels, biased in self._norms:
            self._fold(position, producer, channels, biased, readers)
        plans = {int8: plan_memory(list(self._buffers(readers, int8)), alignment=alignment) for int8 in (False, True)}
        left = [step for step in self.steps if not step.is_view and not step.folded]
        graph = sum(
            8 + 4 * (len(step.reads) + len(step.writes) + step.constants + step.numbers) for step in left
        ) + sum(8 * len(step.writes) + 4 * step.dimensions for step in left)
        return Footprint(
            operators=len(left),
            weights=sum(each.bytes(int8=False) for each in self.weights.values()) + self.bytes_of_norms,
            weights_int8=sum(each.bytes(int8=True) for each in self.weights.values()) + self.bytes_of_norms,
            graph=graph,
            ram=plans[False],
            ram_int8=plans[True],
            worst=self._told(plans[False].worst),
        )

    def _told(self, position: int) -> str:
        if not 0 <= position < len(self.steps):
            return "the input"
        step = self.steps[position]
        return f"{step.operation.__name__.strip('_')} to {' x '.join(map(str, step.shape))}"

    def _readers(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for position, step in enumerate(self.steps):
            for number in step.reads:
                found.setdefault(number, []).append(position)
        return found

    def _fold(
        self, position: int, producer: int, channels: int, biased: bool, readers: Mapping[int, list[int]]
    ) -> None:
        """A batch norm into the weights of what it follows, unless others read those outputs, too."""
        step = self.steps[position]
        if readers[step.reads[0]] == [position] and step.reads[0] not in self.outputs:
            step.folded = True
            self.bytes_of_norms += 0 if biased else 4 * channels
        else:
            step.constants = 2
            self.bytes_of_norms += 8 * channels

    def _buffers(self, readers: Mapping[int, list[int]], int8: bool) -> Iterator[Buffer]:
        """Storages with their lives; those that share memory as one."""
        first: dict[int, int] = dict.fromkeys(self.inputs, 0)
        for position, step in enumerate(self.steps):
            for number in step.writes:
                first.setdefault(number, position)
        end = len(self.steps)
        last = {
            number: end if number in self.outputs else max([start, *readers.get(number, ())])
            for number, start in first.items()
        }
        home: dict[int, int] = {}  # of a storage that is written where another one was read
        for position, step in enumerate(self.steps):
            if self._is_in_place(step, position, last):
                home[step.writes[0]] = home.get(step.reads[0], step.reads[0])
        lives: dict[int, list[int]] = {}
        for number in first:
            if number not in self.inputs and number not in self.outputs and not readers.get(number):
                continue  # nobody wants it: the indices of a pooling, the statistics of a batch norm
            lives.setdefault(home.get(number, number), []).append(number)
        for together in lives.values():
            size = max(self._bytes(number, int8) for number in together)
            yield Buffer(size, min(first[each] for each in together), max(last[each] for each in together))

    def _is_in_place(self, step: _Step, position: int, last: Mapping[int, int]) -> bool:
        if len(step.reads) != 1 or not step.writes or step.writes[0] in step.reads or step.is_view:
            return False
        source, target = step.reads[0], step.writes[0]
        return (
            (step.operation in _NORMS or _is_elementwise(step.operation))
            and source not in self.inputs
            and last[source] == position
            and self.sizes[source][:2] == self.sizes[target][:2]
        )

    def _bytes(self, number: int, int8: bool) -> int:
        elements, itemsize, is_real = self.sizes[number]
        return elements * (1 if int8 and is_real else itemsize)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _writes(operation: Any) -> bool:
    return bool(operation._schema.is_mutable)


def _is_elementwise(packet: Any) -> bool:
    return any(torch.Tag.pointwise in getattr(packet, name).tags for name in packet.overloads())
