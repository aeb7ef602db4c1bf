"""Networks that users give: copies of them, and lazy layers that take their shape.

A copy has to be the same network. What Python's copy cannot carry over is refused by name: tensors that a layer
computes once and keeps (the old `weight_norm`, `prune`), hooks of parameters, and functions that hold on to a part of
the network itself and would go on using that of the original.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from archscout.errors import SpaceError
from archscout.seeds import derive_seed

__all__ = ["bare", "copied", "has_lazy_layers", "materialised", "seeded_apart"]


def bare(network: nn.Module) -> nn.Module:
    """The network inside `torch.compile` and data-parallel wrappers, whose parameters it has."""
    while True:
        inner = getattr(network, "_orig_mod", None)  # of torch.compile
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = network.module
        if not isinstance(inner, nn.Module):
            return network
        network = inner


def copied(network: nn.Module) -> nn.Module:
    """A copy that computes and learns as the network does.

    Raises:
        SpaceError: there can be no such copy; the message names the layer.
    """
    for name, parameter in network.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise SpaceError(
                f"the model's parameter '{name}' has a hook on its gradient, which a copy of the network would lose; "
                "the search works on copies. Remove the hook, or do its work in the layer's forward (a parametrization "
                "of torch.nn.utils.parametrize)."
            )
    _refuse_ties(network)
    try:
        made = copy.deepcopy(network, _without_shape(network))
    except Exception as error:  # whatever the layers' own code raises
        place = _uncopied(network)
        raise SpaceError(
            f"the model cannot be copied, and the search works on copies: {place} fails with "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}. A layer that keeps a tensor which it has "
            "computed cannot be copied: use torch.nn.utils.parametrizations (weight_norm, spectral_norm) in place of "
            "torch.nn.utils.weight_norm and spectral_norm, and prune.remove(...) after pruning."
        ) from None
    for old, new in zip(network.parameters(), made.parameters(), strict=True):
        for key, value in vars(old).items():  # torch copies a parameter without them
            new.__dict__.setdefault(key, copy.deepcopy(value))
    return made


def _without_shape(network: nn.Module) -> dict[int, Any]:
    """The copies of lazy buffers, which torch cannot copy, for the memory of a copy."""
    make: Any = UninitializedBuffer
    lazy = (buffer for buffer in network.buffers() if is_lazy(buffer))
    return {id(buffer): make(device=buffer.device, dtype=buffer.dtype) for buffer in lazy}


def _uncopied(network: nn.Module) -> str:
    """The innermost layer that fails to be copied, as a phrase."""
    found = None
    for name, module in network.named_modules():
        if found is not None and not name.startswith(f"{found}." if found else ""):
            continue
        try:
            copy.deepcopy(module, _without_shape(module))
        except Exception:  # as above
            found = name
    return f"the layer '{found}' ({type(network.get_submodule(found)).__name__})" if found else "it"


def _refuse_ties(network: nn.Module) -> None:
    """Raise SpaceError if a function in the network holds a part of it: copies share functions."""
    parts: dict[int, str] = {id(module): f"'{name}'" for name, module in network.named_modules() if name}
    parts |= {id(tensor): f"'{name}'" for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    parts[id(network)] = "the network itself"
    for name, module in network.named_modules():
        for function in _functions(module):
            held = [*(cell.cell_contents for cell in function.__closure__ or () if _is_set(cell))]
            held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
            for value in held:
                if id(value) in parts:
                    where = f"the layer '{name}'" if name else "the model"
                    raise SpaceError(
                        f"{where} has a function ({function.__qualname__}) that refers to {parts[id(value)]}. The "
                        "search works on copies of the network, and a copy of a function would still use the "
                        "original. Make it a method, or use the arguments that a hook is given."
                    )


def _functions(module: nn.Module) -> Iterator[types.FunctionType]:
    """The plain functions among a module's hooks and attributes, lists and dictionaries of them included."""
    for value in vars(module).values():
        inner: Any = value.values() if isinstance(value, Mapping) else value
        inner = inner if isinstance(value, Mapping | list | tuple) else (value,)
        yield from (each for each in inner if isinstance(each, types.FunctionType))


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # empty
        return False


@contextmanager
def seeded_apart(network: nn.Module, seed: int) -> Iterator[None]:
    """Seed global draws; the caller's generators are put back."""
    devices = {tensor.device for tensor in network.parameters() if tensor.device.type == "cuda"}
    with torch.random.fork_rng(devices=[device.index for device in devices]):
        torch.manual_seed(seed)
        yield


def has_lazy_layers(network: nn.Module) -> bool:
    """Whether a parameter or a buffer waits for its shape."""
    return bool(_lazy_names(network))


def _lazy_names(network: nn.Module) -> list[str]:
    tensors: list[tuple[str, Tensor]] = [*network.named_parameters(), *network.named_buffers()]
    return [name for name, tensor in tensors if is_lazy(tensor)]


def materialised(network: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy whose lazy layers have taken their shape from one forward pass, with draws of a fixed seed.

    Raises:
        SpaceError: a lazy layer does not take part in the forward pass, or as for `copied`.
        Exception: whatever the network's forward raises.
    """
    made, training = copied(network), network.training
    with seeded_apart(network, derive_seed(0, "lazy layers")), torch.no_grad():
        made.eval()(inputs)
    waiting = _lazy_names(made)
    if waiting:
        raise SpaceError(
            f"the model's '{waiting[0]}' is lazy and has no shape after a forward pass: its layer takes no part in it. "
            "Give that layer its sizes, or remove it."
        )
    return made.train(training)
