"""A kernel pattern: an architecture of any space with other kernels in its convolutions (docs/methods/dash.md)."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Self

from torch import nn

from archscout.errors import ArchitectureError
from archscout.nn.kernels.layers import Kernel, set_kernels
from archscout.spaces.architecture import ARCHITECTURES, Architecture, architecture_from_json, architecture_to_json
from archscout.spaces.base import KernelPatterned
from archscout.tasks.spec import TaskSpec

__all__ = ["KernelPattern", "build_with_kernels", "with_kernels"]


@ARCHITECTURES.register("archscout.kernel_pattern")
@dataclass(frozen=True)
class KernelPattern:
    """An architecture, and a kernel for each convolution of its network that takes one.

    It belongs to the space of its base, whose `build` builds it (see `build_with_kernels`).

    Attributes:
        base: an architecture of a space that is `KernelPatterned`; no kernel pattern itself.
        kernels: size (odd) and dilation for each convolution, in the order of the space's `kernel_layers`.
    """

    format: ClassVar[str] = "archscout.kernel_pattern"
    version: ClassVar[int] = 1

    base: Architecture
    kernels: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        if isinstance(self.base, KernelPattern):
            raise ArchitectureError("base: a kernel pattern's base is an architecture with kernels of its own already.")
        if not self.kernels:
            raise ArchitectureError("kernels: the pattern has no kernel; it needs one for each convolution.")
        for position, kernel in enumerate(self.kernels):
            _check_kernel(kernel, f"kernels, number {position}")

    @property
    def space(self) -> str:
        """The base's space."""
        return self.base.space

    def to_fields(self) -> dict[str, Any]:
        """Base and kernels as JSON types."""
        return {"base": json.loads(architecture_to_json(self.base)), "kernels": [list(each) for each in self.kernels]}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types. Raises ArchitectureError."""
        if set(fields) != {"base", "kernels"}:
            raise ArchitectureError(f"a kernel pattern has the fields 'base' and 'kernels'; got {sorted(fields)}.")
        base, kernels = fields["base"], fields["kernels"]
        if not isinstance(base, Mapping) or base.get("format") == cls.format:
            raise ArchitectureError(
                f"base: must be an architecture that is no kernel pattern itself; got {reprlib.repr(base)}."
            )
        if not isinstance(kernels, Sequence) or isinstance(kernels, str):
            raise ArchitectureError(f"kernels: must be a list of [size, dilation]; got {reprlib.repr(kernels)}.")
        for position, kernel in enumerate(kernels):
            _check_kernel(kernel, f"kernels, number {position}")
        return cls(architecture_from_json(json.dumps(base)), tuple((size, dilation) for size, dilation in kernels))

    def describe(self) -> str:
        """The base, and a line for each run of equal kernels."""
        lines, first = [], 0
        for (size, dilation), run in groupby(self.kernels):
            last = first + len(list(run)) - 1
            where = f"convolution {first}" if first == last else f"convolutions {first} to {last}"
            lines.append(f"  {where}: size {size}, dilation {dilation} (field {dilation * (size - 1) + 1})")
            first = last + 1
        return "\n".join([self.base.describe(), f"kernels of {len(self.kernels)} convolutions", *lines])


def _check_kernel(kernel: object, where: str) -> None:
    if not isinstance(kernel, Sequence) or isinstance(kernel, str) or len(kernel) != 2:
        raise ArchitectureError(f"{where}: a kernel is [size, dilation]; got {reprlib.repr(kernel)}.")
    for value in kernel:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ArchitectureError(f"{where}: size and dilation are integers; got {reprlib.repr(list(kernel))}.")
    size, dilation = kernel
    if size < 1 or size % 2 == 0:
        raise ArchitectureError(f"{where}: size {size} must be odd, so that the kernel has a centre: 1, 3, 5, ...")
    if dilation < 1:
        raise ArchitectureError(f"{where}: dilation {dilation} must be at least 1.")


def with_kernels(architecture: Architecture, kernels: Sequence[Kernel]) -> KernelPattern:
    """The architecture with these kernels; those of a pattern are replaced."""
    base = architecture.base if isinstance(architecture, KernelPattern) else architecture
    return KernelPattern(base, tuple((size, dilation) for size, dilation in kernels))


def build_with_kernels(space: KernelPatterned, pattern: KernelPattern, spec: TaskSpec, size: Any) -> nn.Module:
    """The base's network with the pattern's kernels: what a `KernelPatterned` space's `build` does with a pattern.

    Raises:
        ArchitectureError: the network has another number of convolutions.
    """
    network = space.build(pattern.base, spec, size)
    set_kernels(network, space.kernel_layers(network), pattern.kernels)
    return network
