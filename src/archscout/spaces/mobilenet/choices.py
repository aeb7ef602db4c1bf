"""The decoupled view of the MobileNet space: depths of the stages, and a block for each place."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.errors import ArchitectureError
from archscout.spaces.mobilenet.config import (
    DEPTHS,
    EXPANSIONS,
    KERNELS,
    RESOLUTIONS,
    SLOTS,
    STAGES,
    Block,
    MobileNetConfig,
)

__all__ = ["MobileNetChoices"]

_BLOCKS = tuple(f"mb{expansion}_{kernel}x{kernel}" for kernel in KERNELS for expansion in EXPANSIONS)


class MobileNetChoices:
    """Structure: the depth of each stage. Operations: the block at each of the 20 places, and the resolution if
    searched."""

    def __init__(self, resolution: bool) -> None:
        self._resolution = resolution

    @property
    def structure(self) -> Sequence[int]:
        """Three depths for each stage."""
        return (len(DEPTHS),) * STAGES

    @property
    def operations(self) -> Sequence[Sequence[str]]:
        """Nine blocks for each place; five resolutions in the last row where they are searched."""
        rows = (_BLOCKS,) * (STAGES * SLOTS)
        return (*rows, tuple(map(str, RESOLUTIONS))) if self._resolution else rows

    def active(self, structure: Sequence[int]) -> Sequence[int]:
        """The places that the depths leave, and the row of the resolution."""
        places = [stage * SLOTS + slot for stage, option in enumerate(structure) for slot in range(DEPTHS[option])]
        return [*places, STAGES * SLOTS] if self._resolution else places

    def assemble(self, structure: Sequence[int], operations: Sequence[int]) -> MobileNetConfig:
        """The architecture of the choices."""
        remaining = iter(operations)
        stages = tuple(
            tuple(Block.from_code(1 + next(remaining)) for _ in range(DEPTHS[option])) for option in structure
        )
        return MobileNetConfig(stages, RESOLUTIONS[next(remaining)] if self._resolution else None)

    def disassemble(self, architecture: MobileNetConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inverse of `assemble`. Raises ArchitectureError where a searched resolution is missing."""
        operations = [block.code - 1 for stage in architecture.stages for block in stage]
        if self._resolution:
            if architecture.resolution is None:
                raise ArchitectureError("resolution: none, but the resolution is searched.")
            operations.append(RESOLUTIONS.index(architecture.resolution))
        return tuple(DEPTHS.index(len(stage)) for stage in architecture.stages), tuple(operations)
