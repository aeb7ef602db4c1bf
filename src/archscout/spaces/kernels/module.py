"""A network of the user's own as a space: its architectures are the network itself with other kernels."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, ClassVar, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from archscout.errors import ArchitectureError, ArchscoutError, SpaceError
from archscout.nn.kernels.given import bare, copied, has_lazy_layers, materialised
from archscout.nn.kernels.layers import kernel_layers
from archscout.nn.kernels.trial import check_exchange, watched_forward
from archscout.settings import Settings
from archscout.spaces.architecture import ARCHITECTURES
from archscout.spaces.base import SPACES
from archscout.spaces.kernels.pattern import KernelPattern, build_with_kernels
from archscout.tasks.spec import TaskSpec

__all__ = ["GivenModule", "ModuleOptions", "ModuleSize", "ModuleSpace"]

SHOWN = 6
R = TypeVar("R")


@ARCHITECTURES.register("archscout.given_module")
@dataclass(frozen=True)
class GivenModule:
    """A network that was given from Python, known by its class and by the convolutions whose kernels may be chosen.

    Its weights and its code are not part of it: what builds it is given again wherever it is needed.
    """

    format: ClassVar[str] = "archscout.given_module"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "module"

    name: str
    convolutions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArchitectureError(f"name: must be the name of a class; got {self.name!r}.")
        if not all(isinstance(name, str) for name in self.convolutions):
            raise ArchitectureError(f"convolutions: must be names; got {reprlib.repr(self.convolutions)}.")

    def to_fields(self) -> dict[str, Any]:
        """Name and convolutions."""
        return {"name": self.name, "convolutions": list(self.convolutions)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types. Raises ArchitectureError."""
        if set(fields) != {"name", "convolutions"}:
            raise ArchitectureError(
                f"a given module has the fields 'name' and 'convolutions'; got {reprlib.repr(sorted(fields))}."
            )
        names = fields["convolutions"]
        if not isinstance(names, Sequence) or isinstance(names, str):
            raise ArchitectureError(f"convolutions: must be a list of names; got {reprlib.repr(names)}.")
        return cls(fields["name"], tuple(names))

    def describe(self) -> str:
        """One line."""
        return f"{self.name}, given from Python, with {len(self.convolutions)} convolutions that take a kernel"


class ModuleOptions(Settings):
    """Settings of the space."""

    keep: tuple[str, ...] = Field(
        default=(), description='shell patterns of layers that stay as they are, for example ["stem.*", "head"]'
    )


class ModuleSize(Settings):
    """The size is the module's own."""


@SPACES.register("module")
class ModuleSpace:
    """A network of your own, given from Python (`model=...`) or as `--model module:name`, with chosen kernels."""

    name: ClassVar[str] = "module"
    options_model: ClassVar[type[Settings]] = ModuleOptions
    size_model: ClassVar[type[Settings]] = ModuleSize
    searched_depthwise: ClassVar[bool] = False  # its groups stay in the search

    def __init__(self, options: ModuleOptions | None = None, module: nn.Module | None = None) -> None:
        self.options = options or ModuleOptions()
        self._module = None if module is None else bare(module)
        self._shaped: nn.Module | None = None  # a copy with the shapes of its lazy layers

    def given(self, module: nn.Module) -> ModuleSpace:
        """The space of a module, which is copied wherever a network is built."""
        return ModuleSpace(self.options, module)

    @property
    def module(self) -> nn.Module:
        """The module. Raises SpaceError where none was given."""
        if self._module is None:
            raise SpaceError(
                "this run is about a network of the user's own, which no file holds. Give it again: model=... in "
                "Python (run, search, resume, load_run, load_network), or --model MODULE:NAME at the command line."
            )
        return self._module

    def _ready(self, spec: TaskSpec | None = None) -> nn.Module:
        """The module, or a copy whose lazy layers have taken their shapes from the task's inputs."""
        if not has_lazy_layers(self.module):
            return self.module
        if self._shaped is None:
            if spec is None:
                raise SpaceError("the model has lazy layers, whose shapes are not known before there is a task.")
            self._shaped = self._tried(spec, lambda inputs: materialised(self.module, inputs))
        return self._shaped

    def _tried(self, spec: TaskSpec, what: Callable[[Tensor], R], where: str = "") -> R:
        """What a function gives for two samples of the task. Raises SpaceError for whatever the user's code raises."""
        found = next((tensor for tensor in self.module.parameters() if not is_lazy(tensor)), None)
        inputs = torch.zeros((2, *spec.input_shape), device=None if found is None else found.device)
        try:
            return what(inputs)
        except ArchscoutError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise SpaceError(
                f"the model cannot take the inputs of {spec.name}, {tuple(inputs.shape)}{where}: "
                f"{type(error).__name__}: {error}"
            ) from None

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the module maps inputs of the task to its outputs, with whatever kernels."""
        if spec.vocabulary is not None or not 2 <= len(spec.input_shape) <= 3:
            raise SpaceError(
                f"the space 'module' serves images (C, H, W) and sequences (C, L); {spec.name} is {spec.describe()}."
            )
        wanted = (2, spec.outputs, *(spec.input_shape[1:] if spec.kind == "dense" else ()))
        network = self._ready(spec)
        names = self.kernel_layers(network)

        for training in (False, True):
            where = " in training" if training else ""
            outputs = self._tried(spec, partial(watched_forward, network, names, training=training), where)
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            if shape != wanted:
                raise SpaceError(
                    f"the model's output for two samples of {spec.name}{where} is {shape}; {spec.describe()} needs "
                    f"{wanted}."
                )
        if names:
            self._tried(spec, partial(check_exchange, network, names))

    def kernel_base(self, spec: TaskSpec | None = None) -> GivenModule:
        """The module with its own kernels."""
        return GivenModule(type(self.module).__name__, tuple(self.kernel_layers(self._ready(spec))))

    def kernel_layers(self, network: nn.Module) -> Sequence[str]:
        """All convolutions that take another kernel, but those to keep. Raises SettingsError for unknown names."""
        return kernel_layers(network, keep=self.options.keep)

    def build(self, architecture: GivenModule | KernelPattern, spec: TaskSpec, size: ModuleSize) -> nn.Module:
        """A copy of the module in training mode; convolutions that get another kernel start afresh, the rest stays."""
        if isinstance(architecture, KernelPattern):
            return build_with_kernels(self, architecture, spec, size)
        found = self.kernel_base(spec)
        if architecture != found:
            raise ArchitectureError(
                f"the architecture belongs to another network: {_brief(architecture)}; the given one is "
                f"{_brief(found)}. Give the network, and the setting keep, that it was searched with."
            )
        return copied(self._ready(spec)).train()

    def random(self, draw: Random) -> GivenModule:
        """The module itself: without a method there is nothing to draw."""
        return self.kernel_base()

    def extremes(self, spec: TaskSpec, size: ModuleSize) -> tuple[GivenModule, GivenModule]:
        """The module itself, twice."""
        return self.kernel_base(spec), self.kernel_base(spec)


def _brief(architecture: GivenModule) -> str:
    names = architecture.convolutions
    more = f", ... ({len(names)})" if len(names) > SHOWN else ""
    return f"{architecture.name} with {', '.join(names[:SHOWN]) or 'no convolution'}{more}"
