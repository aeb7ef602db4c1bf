"""The convolutions of a network whose kernels may be chosen, and the same network with other kernels.

A convolution is a candidate if every size of its kernel is above one and it keeps the size of its input at stride 1
("same" padding with zeros): then any other odd kernel with any dilation fits in its place. Pointwise convolutions,
transposed ones and those with other paddings stay as they are. So does a convolution that is more than its kernel: one
of a class that is not known exactly, or one with hooks, parametrizations, frozen or shared weights, or attributes of
its own (`odd_layers`). A plain convolution in its place would drop all that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from torch import nn
from torch.nn.utils import parametrize

from archscout.errors import ArchitectureError, SettingsError
from archscout.nn.fast.depthwise import DepthwiseConv1d, DepthwiseConv2d
from archscout.nn.fast.sequences import SequenceConv

__all__ = [
    "Convolution",
    "Kernel",
    "exchange",
    "exchangeable",
    "kernel_layers",
    "kept_layers",
    "odd_layers",
    "set_kernels",
]

Convolution = nn.Conv1d | nn.Conv2d
Kernel = tuple[int, int]
"""Size and dilation of a kernel, the same along all dimensions."""

# The classes of which all is known that another kernel must keep. A subclass may compute anything.
_KNOWN: set[type[nn.Module]] = {nn.Conv1d, nn.Conv2d, SequenceConv, DepthwiseConv1d, DepthwiseConv2d}
_PLAIN = nn.Conv1d(1, 1, 1, device="meta")
_COMPILED = "_compiled_call_impl"  # of Module.compile: torch itself drops it when it copies
K = TypeVar("K", bound=type[nn.Module])


def exchangeable(kind: K) -> K:
    """Class decorator: a convolution of exactly this class may be exchanged for a plain one with another kernel."""
    _KNOWN.add(kind)
    return kind


def keeps_size(convolution: Convolution) -> bool:
    """Whether a kernel of another size and dilation fits in place of this convolution's."""
    if convolution.padding_mode != "zeros" or min(convolution.kernel_size) < 2:
        return False
    if isinstance(convolution.padding, str):
        return convolution.padding == "same"
    sizes = zip(convolution.kernel_size, convolution.dilation, convolution.padding, strict=True)
    return all(size % 2 == 1 and 2 * padding == dilation * (size - 1) for size, dilation, padding in sizes)


def kernel_layers(network: nn.Module, *, keep: Sequence[str] = ()) -> list[str]:
    """The names of the convolutions whose kernels may be chosen, in the order of the modules.

    Args:
        network: any; the same module at several places counts once, under its first name.
        keep: shell patterns of names (`"stem.*"`); what matches is left out, and all below it.

    Raises:
        SettingsError: a pattern matches no module.
    """
    names = [name for name, _ in network.named_modules() if name]
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SettingsError(
                f"keep: '{pattern}' matches no layer of the network. Its layers: {', '.join(names[:20])}"
                + (", ..." if len(names) > 20 else ".")
            )
    odd = odd_layers(network)
    return [name for name, _ in _sized(network) if name not in odd and not _is_kept(name, keep)]


def odd_layers(network: nn.Module, *, keep: Sequence[str] = ()) -> dict[str, str]:
    """The convolutions that keep the size but are more than their kernel, and in which way: they stay as they are.

    Args:
        network: any.
        keep: as of `kernel_layers`; what matches is left out.
    """
    owners: dict[int, set[str]] = {}
    for name, module in network.named_modules():
        for key, parameter in module._parameters.items():
            owners.setdefault(id(parameter), set()).add(f"{name}.{key}".lstrip("."))
    found = {}
    for name, layer in _sized(network):
        if _is_kept(name, keep):
            continue
        own = {f"{name}.{key}".lstrip(".") for key in layer._parameters}
        shared = [
            other
            for parameter in layer._parameters.values()
            if parameter is not None
            for other in sorted(owners[id(parameter)] - own)
        ]
        reason = f"shares a weight with {shared[0]}" if shared else _oddity(layer)
        if reason is not None:
            found[name] = reason
    return found


def _sized(network: nn.Module) -> list[tuple[str, Convolution]]:
    """The convolutions that keep the size, by name."""
    return [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, Convolution) and keeps_size(module)
    ]


def _oddity(layer: Convolution) -> str | None:
    """What a convolution has beyond its kernel, as the end of the sentence "this layer ..."; None: nothing."""
    if parametrize.is_parametrized(layer):
        return f"has a parametrization of its {' and '.join(map(str, cast(Any, layer.parametrizations)))}"
    if type(layer) not in _KNOWN:
        return f"is a {type(layer).__name__}, a subclass with code of its own"
    hooks = [key for key, value in vars(layer).items() if key in vars(_PLAIN) and "hook" in key and _filled(value)]
    if hooks:
        return f"has hooks ({hooks[0].removeprefix('_')})"
    own = {**layer._buffers, **layer._modules, **layer._parameters}
    extra = [name for name in own if name not in ("weight", "bias")]
    extra += [key for key in vars(layer) if key not in vars(_PLAIN) and key != _COMPILED]
    if extra:
        return f"carries {', '.join(map(repr, extra[:3]))} of its own" + (", ..." if len(extra) > 3 else "")
    for name, parameter in layer._parameters.items():
        reason = None if parameter is None else _parameter_oddity(name, parameter)
        if reason is not None:
            return reason
    wanted = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    if tuple(layer.weight.shape) != wanted:
        return f"has a weight of shape {tuple(layer.weight.shape)} where {wanted} follows from its settings"
    return None


def _parameter_oddity(name: str, parameter: nn.Parameter) -> str | None:
    if type(parameter) is not nn.Parameter:
        return f"has a {name} that is a {type(parameter).__name__}"
    if not parameter.requires_grad:
        return f"is frozen (its {name} takes no gradient)"
    if not parameter.is_floating_point():
        return f"has a {name} of {parameter.dtype}"
    if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
        return f"has a hook on its {name}"
    if vars(parameter):
        return f"has a {name} with the attribute {next(iter(vars(parameter)))!r}"
    return None


def _filled(value: object) -> bool:
    return bool(value) and isinstance(value, Mapping)


def kept_layers(network: nn.Module, names: Sequence[str]) -> list[str]:
    """The names of the convolutions with kernels above one that are not among `names`, for messages."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, Convolution) and max(module.kernel_size) > 1 and name not in names
    ]


def _is_kept(name: str, keep: Sequence[str]) -> bool:
    parts = name.split(".")
    above = [".".join(parts[: length + 1]) for length in range(len(parts))]
    return any(fnmatchcase(prefix, pattern) for prefix in above for pattern in keep)


def exchange(
    network: nn.Module, names: Sequence[str], make: Callable[[int, Convolution], nn.Module]
) -> dict[str, nn.Module]:
    """Put `make(position, convolution)` in place of each named convolution, wherever the network holds it.

    Returns:
        The new modules by name.
    """
    made: dict[int, tuple[str, nn.Module]] = {}
    for position, name in enumerate(names):
        old = network.get_submodule(name)
        made[id(old)] = (name, make(position, cast(Convolution, old)))
    for parent in list(network.modules()):
        for child, module in list(parent._modules.items()):  # named_children leaves repeated modules out
            if id(module) in made:
                parent._modules[child] = made[id(module)][1]
    return dict(made.values())


def set_kernels(network: nn.Module, names: Sequence[str], kernels: Sequence[Kernel]) -> None:
    """Give each named convolution another kernel, freshly initialised as torch does; other layers are not touched.

    Channels, groups, stride and bias stay. A convolution that has its kernel already keeps its weights.

    Args:
        network: changed in place.
        names: from `kernel_layers`.
        kernels: size (odd) and dilation for each name.

    Raises:
        ArchitectureError: as many kernels as convolutions are needed.
    """
    if len(names) != len(kernels):
        raise ArchitectureError(
            f"kernels: the pattern has {len(kernels)} kernels, but the network has {len(names)} convolutions that take "
            "one. The pattern belongs to another network, or to another number of layers: give the size that it was "
            "searched with."
        )
    exchange(network, names, lambda position, old: _with_kernel(old, *kernels[position]))


def _with_kernel(old: Convolution, size: int, dilation: int) -> nn.Module:
    dimensions = len(old.kernel_size)
    if old.kernel_size == (size,) * dimensions and (old.dilation == (dilation,) * dimensions or size == 1):
        return old
    place: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
    plain = old.groups == old.in_channels == old.out_channels and old.bias is None and len(set(old.stride)) == 1
    if isinstance(old, DepthwiseConv1d | DepthwiseConv2d) and plain and old.stride[0] <= 2:
        return type(old)(old.in_channels, size, stride=old.stride[0], dilation=dilation).to(**place)
    kinds: tuple[type[Any], ...] = (SequenceConv, nn.Conv1d, nn.Conv2d)
    kind = next(each for each in kinds if isinstance(old, each))
    made: nn.Module = kind(
        old.in_channels,
        old.out_channels,
        size,
        stride=old.stride,
        padding=dilation * (size - 1) // 2,
        dilation=dilation,
        groups=old.groups,
        bias=old.bias is not None,
        **place,
    )
    return made
