"""Counting parameters and multiply-adds (MAdds) of a network, by the convention in `archscout.measure`.

Multiply-adds are counted by watching which operations run when the network runs on shapes alone (torch's meta device).
So a product written as `a @ b` inside a forward pass counts as much as an `nn.Linear`, and nothing is allocated.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.errors import SpaceError

__all__ = [
    "MultiplyAdds",
    "Watcher",
    "count_madds",
    "count_multiply_adds",
    "count_parameters",
    "run_on_shapes",
    "tensors_of",
]


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds for one sample.

    Attributes:
        products: of convolutions, linear and recurrent layers, and other matrix products.
        norms: what the authors of D-DARTS add: two for each element that a batch norm writes, one for each that an
            average pool with a window does.
    """

    products: int
    norms: int


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


def count_madds(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    batch_norms: bool = False,
) -> int:
    """Multiply-adds of one sample; see `count_multiply_adds`.

    Args:
        batch_norms: add batch norms and average pools.
    """
    counted = count_multiply_adds(model, input_shape, dtype=dtype)
    return counted.products + (counted.norms if batch_norms else 0)


def count_multiply_adds(
    model: nn.Module, input_shape: Sequence[int], *, dtype: torch.dtype = torch.float32
) -> MultiplyAdds:
    """Multiply-adds of one sample in evaluation mode, in one forward pass on shapes alone.

    The pass is a copy's, and the network stays as it is; only one that lies on the meta device already, without hooks,
    runs itself.

    Args:
        input_shape: of one sample, without the batch dimension.
        dtype: of the input; an integer type for networks that begin with an embedding.

    Raises:
        SpaceError: the network cannot run on such inputs.
    """
    counter = _Counter()
    run_on_shapes(model, input_shape, counter, dtype=dtype, purpose="count the multiply-adds")
    return MultiplyAdds(counter.products, counter.norms)


class Watcher(Protocol):
    """Sees every operation of a network that runs on shapes alone."""

    def start(self, network: nn.Module, inputs: Tensor) -> None:
        """What runs, and on which input; all tensors are on the meta device."""

    def saw(self, operation: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> None:
        """An operation of ATen has run."""

    def end(self, outputs: Any) -> None:
        """What the network returned."""


def run_on_shapes(
    model: nn.Module,
    input_shape: Sequence[int],
    watcher: Watcher,
    *,
    dtype: torch.dtype = torch.float32,
    purpose: str,
) -> None:
    """Run a network on one sample in evaluation mode, on shapes alone, while a watcher sees its operations.

    Args:
        purpose: what for, in a message: "count the multiply-adds".

    Raises:
        SpaceError: the network cannot run on such inputs.
    """
    try:
        # Without gradients, and never in inference mode, not even the caller's: only then do composite operations
        # (recurrent layers, attention) reach the watcher as the matrix products that they consist of.
        with torch.inference_mode(False), torch.no_grad():
            skeleton = model if _is_skeleton(model) else _skeleton(model)
            with _evaluating(skeleton), torch.device("meta"):
                inputs = torch.empty(1, *input_shape, dtype=dtype)
                watcher.start(skeleton, inputs)
                with _Mode(watcher):
                    outputs = skeleton(inputs)
                watcher.end(outputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SpaceError(
            f"cannot {purpose} of {type(model).__name__} for one input of shape {tuple(input_shape)}: "
            f"{reason} Counting runs the network on shapes alone, so its forward pass must not read values."
        ) from error


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters, buffers and plain attributes of a module, without those of its children."""
    held = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
    return [each for each in held if isinstance(each, Tensor)]


def _hooks(module: nn.Module) -> list[Any]:
    return [value for name, value in vars(module).items() if isinstance(value, OrderedDict) and "_hooks" in name]


def _is_skeleton(model: nn.Module) -> bool:
    return all(
        not any(_hooks(module)) and all(tensor.is_meta for tensor in tensors_of(module)) for module in model.modules()
    )


def _skeleton(model: nn.Module) -> nn.Module:
    """A copy of the model with tensors on the meta device and without hooks; allocates no tensor memory."""
    replacements: dict[int, Any] = {}
    for module in model.modules():
        replacements |= {id(hooks): OrderedDict() for hooks in _hooks(module)}
        for tensor in tensors_of(module):
            empty = _empty_like(tensor)
            is_parameter = isinstance(tensor, nn.Parameter)
            replacements[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(model, replacements)


def _empty_like(tensor: Tensor) -> Tensor:
    """Of the same shape, layout and type on the meta device. (`torch.empty_like` takes ten times as long there.)"""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _empty(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")


# -- what counts ------------------------------------------------------------------------------------------------------


def _matrix_product(first: int) -> Callable[[Sequence[Any], Any], int]:
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


_PRODUCTS: dict[Any, Callable[[Sequence[Any], Any], int]] = {
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
_NORMS: dict[Any, Callable[[Sequence[Any], Any], int]] = {
    torch.ops.aten.native_batch_norm: _batch_norm,
    torch.ops.aten._native_batch_norm_legit_no_training: _batch_norm,
    torch.ops.aten.cudnn_batch_norm: _batch_norm,
    torch.ops.aten.miopen_batch_norm: _batch_norm,
    torch.ops.aten.avg_pool2d: _average_pool,
}


# -- shapes -----------------------------------------------------------------------------------------------------------


def _filled(args: Sequence[Any], *defaults: Any) -> tuple[Any, ...]:
    """The first arguments of an operation, as many as there are defaults: torch leaves out those at the end."""
    return (*args, *defaults[len(args) :])[: len(defaults)]


def _windows(sides: Sequence[int], *window: Sequence[int]) -> list[int] | None:
    """How many windows (kernel, stride, padding, dilation) fit on each side; None where torch shall decide."""
    if any(len(each) != len(sides) for each in window):
        return None
    fitting = [
        (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for side, kernel, stride, padding, dilation in zip(sides, *window, strict=True)
    ]
    return fitting if min(fitting) > 0 else None


def _convolved(args: Sequence[Any]) -> Tensor | None:
    inputs, weight, _, stride, padding, dilation, transposed, _, groups = args
    if transposed or inputs.dim() != weight.dim() or inputs.shape[1] != groups * weight.shape[1]:
        return None
    sides = _windows(inputs.shape[2:], weight.shape[2:], stride, padding, dilation)
    return None if sides is None else _empty(inputs, inputs.shape[0], weight.shape[0], *sides)


def _average_pooled(args: Sequence[Any]) -> Tensor | None:
    inputs, kernel, stride, padding, rounds_up = _filled(args, None, None, [], [0, 0], False)
    sides = None if rounds_up else _windows(inputs.shape[-2:], kernel, stride or kernel, padding, [1, 1])
    return None if sides is None else _empty(inputs, *inputs.shape[:-2], *sides)


def _max_pooled(args: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
    inputs, kernel, stride, padding, dilation, rounds_up = _filled(args, None, None, [], [0, 0], [1, 1], False)
    sides = None if rounds_up else _windows(inputs.shape[-2:], kernel, stride or kernel, padding, dilation)
    if sides is None:
        return None
    output = _empty(inputs, *inputs.shape[:-2], *sides)
    return output, torch.empty(output.shape, dtype=torch.long, device="meta")


def _concatenated(args: Sequence[Any]) -> Tensor | None:
    tensors, dim = _filled(args, None, 0)
    alike = {(each.dtype, each.dim(), *each.shape[:dim], *each.shape[dim + 1 :]) for each in tensors}
    if len(alike) > 1 or not 0 <= dim < tensors[0].dim():
        return None
    shape = list(tensors[0].shape)
    shape[dim] = sum(each.shape[dim] for each in tensors)
    return _empty(tensors[0], *shape)


def _normalised(args: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    nothing = _empty(args[0], 0)  # statistics of the batch, in evaluation
    return _empty_like(args[0]), nothing, nothing


def _linear(args: Sequence[Any]) -> Tensor | None:
    bias, left, right = args
    if left.shape[1] != right.shape[0] or bias.shape != right.shape[1:]:
        return None
    return _empty(left, left.shape[0], right.shape[1])


def _elementwise(args: Sequence[Any]) -> Tensor | None:
    first, *others = args
    if not first.is_floating_point():
        return None
    if not others:
        return _empty_like(first)
    second = others[0]
    if not isinstance(second, Tensor) or (first.dim(), first.dtype) != (second.dim(), second.dtype):
        return None
    larger, smaller = (first, second) if first.numel() >= second.numel() else (second, first)
    fits = all(small in (1, large) for large, small in zip(larger.shape, smaller.shape, strict=True))
    return _empty_like(larger) if fits else None


def _in_place(args: Sequence[Any]) -> Any:
    return args[0]


def _mean(args: Sequence[Any]) -> Tensor | None:
    inputs, dims, keep = _filled(args, None, None, False)
    if not dims or not inputs.is_floating_point() or any(not -inputs.dim() <= dim < inputs.dim() for dim in dims):
        return None
    gone = {dim % inputs.dim() for dim in dims}
    sides = [1 if dim in gone else size for dim, size in enumerate(inputs.shape) if keep or dim not in gone]
    return _empty(inputs, *sides)


# torch works out these shapes in Python, a millisecond for each, and imports its compiler and sympy for it, a second.
# None of a rule leaves the case, and the message if it is an error, to torch.
_SHAPES: dict[Any, Callable[[Sequence[Any]], Any]] = {
    torch.ops.aten.convolution: _convolved,
    torch.ops.aten.native_batch_norm: _normalised,
    torch.ops.aten.avg_pool2d: _average_pooled,
    torch.ops.aten.max_pool2d_with_indices: _max_pooled,
    torch.ops.aten.cat: _concatenated,
    torch.ops.aten.addmm: _linear,
    torch.ops.aten.mean: _mean,
    **dict.fromkeys((torch.ops.aten.add, torch.ops.aten.mul), _elementwise),
    **dict.fromkeys((torch.ops.aten.relu, torch.ops.aten.sigmoid, torch.ops.aten.tanh), _elementwise),
    **dict.fromkeys((torch.ops.aten.relu_, torch.ops.aten.sigmoid_, torch.ops.aten.tanh_), _in_place),
    **dict.fromkeys((torch.ops.aten.hardswish_, torch.ops.aten.hardsigmoid_, torch.ops.aten.hardtanh_), _in_place),
}


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows the operations that run inside the context to a watcher."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watcher = watcher

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # saves torch the import of its compiler, a second

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket
        output = _SHAPES[name](args) if name in _SHAPES and not kwargs else None
        if output is None:
            output = func(*args, **(kwargs or {}))
        self.watcher.saw(func, args, kwargs or {}, output)
        return output


class _Counter:
    """Adds up the multiply-adds of the operations that it sees."""

    def __init__(self) -> None:
        self.products = 0
        self.norms = 0

    def start(self, network: nn.Module, inputs: Tensor) -> None:
        pass

    def saw(self, operation: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> None:
        name = operation.overloadpacket
        if name in _PRODUCTS:
            self.products += _PRODUCTS[name](args, output)
        elif name in _NORMS:
            self.norms += _NORMS[name](args, output)

    def end(self, outputs: Any) -> None:
        pass
