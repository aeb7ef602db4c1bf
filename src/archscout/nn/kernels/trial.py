"""Whether convolutions of a network that a user wrote can be exchanged: it is tried, on copies, before anything starts.

A layer is more than its place in the network if the code around it reads its weight (`F.conv2d(x, self.conv.weight)`),
holds it in a plain list, or asks for attributes that only the original class has. Exchanged all the same, it would be
bypassed in silence, or fail in the middle of a search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from archscout.errors import SpaceError
from archscout.nn.kernels.given import copied, seeded_apart
from archscout.nn.kernels.layers import Convolution, set_kernels
from archscout.nn.kernels.mixture import KernelMixture

__all__ = ["check_exchange", "watched_forward"]

# What code may ask of a layer's weight without using it.
_HARMLESS = {"device", "dtype", "is_cuda", "is_cpu", "layout", "requires_grad", "is_meta"}
_HARMLESS_CALLS = {"is_floating_point", "is_complex", "get_device"}
_SIZES, _DILATIONS = (3, 5), (1, 2)  # of the mixture that is tried


class _Watch(TorchFunctionMode):
    """Notes which layers' weights torch's functions get while none of these layers runs.

    Args:
        layers: by name; their `forward` is wrapped.
        always: whether a layer's own forward is noted, too.
    """

    def __init__(self, layers: Mapping[str, Convolution], *, always: bool = False) -> None:
        super().__init__()
        self.used: dict[str, str] = {}  # name of the layer: of the function
        self._inside = 0
        self._layers = dict(layers)  # kept alive: the storage of one that is gone could be given to another tensor
        self._names: dict[int, str] = {}
        for name, layer in layers.items():
            for parameter in layer.parameters(recurse=False):
                self._names[parameter.untyped_storage().data_ptr()] = name
            vars(layer)["forward"] = self._wrapped(name, layer.forward, always)

    def _wrapped(self, name: str, forward: Callable[..., Any], always: bool) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            if always:
                self.used.setdefault(name, "forward")
            self._inside += 1
            try:
                return forward(*args, **named)
            finally:
                self._inside -= 1

        return wrapped

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        called = getattr(func, "__name__", str(func))
        what = getattr(getattr(func, "__self__", None), "__name__", called) if called == "__get__" else called
        if not self._inside and what not in (_HARMLESS if called == "__get__" else _HARMLESS_CALLS):
            for tensor in _tensors((args, kwargs)):
                name = self._names.get(_place(tensor))
                if name is not None:
                    self.used.setdefault(name, what)
        return func(*args, **kwargs)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)


def _place(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # a tensor without storage
        return 0


def watched_forward(network: nn.Module, names: Sequence[str], inputs: Tensor, *, training: bool) -> Any:
    """The outputs of a copy of the network.

    Raises:
        SpaceError: it uses the weight of one of the layers other than by calling the layer.
        Exception: whatever the network's forward raises.
    """
    trial = copied(network).train(training)
    watch = _Watch({name: cast(Convolution, trial.get_submodule(name)) for name in names})
    with seeded_apart(network, 0), torch.no_grad(), watch:
        outputs = trial(inputs)
    if watch.used:
        function = next(iter(watch.used.values()))
        raise SpaceError(
            f"the model uses the weight of {_listed(watch.used)} other than by calling the layer (in {function}), so "
            "another kernel in its place would break or change what the model computes. "
            f"{_advice(watch.used)}, or let the model call the layer."
        )
    return outputs


def check_exchange(network: nn.Module, names: Sequence[str], inputs: Tensor) -> None:
    """Raise SpaceError, naming the layers, unless the network runs with other layers in place of the named ones.

    Args:
        network: one whose own forward works; not changed.
        names: from `kernel_layers`.
        inputs: a batch for it.
    """
    for exchanged in (_with_mixtures, _with_other_kernels):
        try:
            held = exchanged(network, names, inputs)
        except Exception as error:  # whatever the user's code raises
            failing = [name for name in names if _fails(exchanged, network, name, inputs)]
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise SpaceError(
                f"the model does not run once {_listed(failing or names)} is exchanged for a convolution with other "
                f"kernels ({reason}): its code relies on more than calling the layer. {_advice(failing or names)}."
            ) from None
        if held:
            raise SpaceError(
                f"the model holds {_listed(held)} in two places, of which one is hidden from torch (a plain list, a "
                "dictionary or a bound method): after an exchange it would go on using the old layer. Use "
                f"nn.ModuleList or nn.ModuleDict. {_advice(held)}."
            )


def _with_mixtures(network: nn.Module, names: Sequence[str], inputs: Tensor) -> list[str]:
    trial = copied(network).train()
    watch = _Watch({name: cast(Convolution, trial.get_submodule(name)) for name in names}, always=True)
    with seeded_apart(network, 0), torch.no_grad():
        mixture = KernelMixture(trial, names, sizes=_SIZES, dilations=_DILATIONS, depthwise=False, backend="direct")
        mixing = inputs.new_full((len(names), len(mixture.kernels)), 1 / len(mixture.kernels))
        with watch:  # whose layers are outside of the network now
            mixture(inputs, mixing)
    return list(watch.used)


def _with_other_kernels(network: nn.Module, names: Sequence[str], inputs: Tensor) -> list[str]:
    trial = copied(network).eval()
    watch = _Watch({name: cast(Convolution, trial.get_submodule(name)) for name in names}, always=True)
    sizes = [max(cast(Convolution, trial.get_submodule(name)).kernel_size) // 2 * 2 + 3 for name in names]
    with seeded_apart(network, 0), torch.no_grad():
        set_kernels(trial, names, [(size, 1) for size in sizes])
        with watch:
            trial(inputs)
    return list(watch.used)


def _fails(exchanged: Callable[..., Any], network: nn.Module, name: str, inputs: Tensor) -> bool:
    try:
        exchanged(network, [name], inputs)
    except Exception:  # whatever the user's code raises
        return True
    return False


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    shown = [f"'{name}'" for name in names]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _advice(names: Sequence[str] | Mapping[str, object]) -> str:
    """How to keep layers as they are."""
    listed = ", ".join(f'"{name}"' for name in names)
    return f"To keep the layer as it is, set keep=[{listed}] (--set 'keep=[{listed}]')"
