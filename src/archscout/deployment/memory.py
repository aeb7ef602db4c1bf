"""Where the activations of a network lie in one block of memory: the arena of a small device.

A buffer must stay from the operation that writes it to the last one that reads it; two buffers may share bytes if
their lives do not overlap. The planner places the largest buffer first, each at the lowest offset that is free during
its life: "greedy by size" (Pisarchyk and Lee, 2020, docs/sources.md), which TensorFlow Lite Micro uses too. No plan can
take less than the bytes that are alive at the worst operation, the lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ALIGNMENT", "Buffer", "Plan", "plan_memory"]

ALIGNMENT = 16  # bytes, as TensorFlow Lite Micro aligns its buffers


@dataclass(frozen=True)
class Buffer:
    """Bytes that are needed from operation `first` to operation `last`, both included."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are needed at some operation."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Offsets of buffers in one block of memory.

    Attributes:
        offsets: of each buffer, in the order that they were given.
        size: of the block, in bytes.
        lower_bound: bytes alive at the worst operation.
        worst: that operation; the first, if several need as much.
    """

    offsets: tuple[int, ...]
    size: int
    lower_bound: int
    worst: int


def plan_memory(buffers: Sequence[Buffer], *, alignment: int = ALIGNMENT) -> Plan:
    """Place buffers in one block of memory, greedy by size.

    Args:
        alignment: offsets are multiples of it.
    """
    order = sorted(range(len(buffers)), key=lambda index: (-buffers[index].size, buffers[index].first, index))
    offsets: dict[int, int] = {}
    for index in order:
        taken = sorted(
            (offsets[other], offsets[other] + buffers[other].size)
            for other in offsets
            if buffers[index].overlaps(buffers[other])
        )
        offset = 0
        for begin, end in taken:
            if offset + buffers[index].size <= begin:
                break
            offset = max(offset, -(-end // alignment) * alignment)
        offsets[index] = offset
    size = max((offset + buffers[index].size for index, offset in offsets.items()), default=0)
    worst, bound = _worst(buffers)
    return Plan(tuple(offsets[index] for index in range(len(buffers))), size, bound, worst)


def _worst(buffers: Sequence[Buffer]) -> tuple[int, int]:
    """The operation that needs most bytes, and how many."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.size
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.size
    worst = alive = bound = 0
    for step in sorted(changes):
        alive += changes[step]
        if alive > bound:
            worst, bound = step, alive
    return worst, bound
