"""Architectures of the MobileNet space: kernel and expansion of each block, depth of each stage.

Source: docs/methods/once-for-all.md#codes.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from archscout.errors import ArchitectureError
from archscout.spaces.architecture import ARCHITECTURES
from archscout.spaces.resolve import register_text_form

__all__ = [
    "CODES",
    "DEPTHS",
    "EXPANSIONS",
    "KERNELS",
    "RESOLUTIONS",
    "SLOTS",
    "STAGES",
    "Block",
    "MobileNetConfig",
]

STAGES = 5
SLOTS = 4  # of a stage: the largest depth
DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
RESOLUTIONS = (192, 208, 224, 240, 256)  # pixels
CODES = 1 + len(KERNELS) * len(EXPANSIONS)  # of a slot: 0 is no block


class Block(NamedTuple):
    """A block: side of the depthwise kernel in pixels, and by how much the first convolution multiplies channels."""

    kernel: int
    expansion: int

    @property
    def code(self) -> int:
        """1 to 9: (3, 3), (3, 4), (3, 6), (5, 3), ..., (7, 6)."""
        return 1 + len(EXPANSIONS) * KERNELS.index(self.kernel) + EXPANSIONS.index(self.expansion)

    @classmethod
    def from_code(cls, code: int) -> Self:
        """The inverse of `code`."""
        kernel, expansion = divmod(code - 1, len(EXPANSIONS))
        return cls(KERNELS[kernel], EXPANSIONS[expansion])


def _seen(value: object) -> str:
    return reprlib.repr(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@ARCHITECTURES.register("archscout.mobilenet")
@dataclass(frozen=True)
class MobileNetConfig:
    """Five stages of two to four blocks each.

    Attributes:
        stages: the blocks of each stage in order.
        resolution: side in pixels to which the network brings its images; None leaves them as the task has them.

    Raises:
        ArchitectureError: a wrong number of stages or blocks, or an unknown kernel, expansion or resolution.
    """

    format: ClassVar[str] = "archscout.mobilenet"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "mobilenet"

    stages: tuple[tuple[Block, ...], ...]
    resolution: int | None = None

    def __post_init__(self) -> None:
        if len(self.stages) != STAGES:
            raise ArchitectureError(f"stages: there are {len(self.stages)}; a network of this space has {STAGES}.")
        for number, stage in enumerate(self.stages, start=1):
            if len(stage) not in DEPTHS:
                raise ArchitectureError(f"stage {number}: {len(stage)} blocks; allowed: {DEPTHS[0]} to {DEPTHS[-1]}.")
            for place, block in enumerate(stage, start=1):
                if block[0] not in KERNELS or block[1] not in EXPANSIONS:
                    raise ArchitectureError(
                        f"stage {number}, block {place}: kernel {_seen(block[0])} and expansion {_seen(block[1])}; "
                        f"allowed kernels: {_list(KERNELS)}; allowed expansions: {_list(EXPANSIONS)}."
                    )
        if self.resolution is not None and self.resolution not in RESOLUTIONS:
            raise ArchitectureError(
                f"resolution: {_seen(self.resolution)} pixels; allowed: {_list(RESOLUTIONS)}, or none."
            )

    # -- the compact code ----------------------------------------------------------------------------------------

    @property
    def code(self) -> tuple[int, ...]:
        """20 integers, four for each stage: 0 for no block, else the block's code."""
        return tuple(
            code for stage in self.stages for code in (*(block.code for block in stage), *(0,) * (SLOTS - len(stage)))
        )

    @classmethod
    def from_code(cls, code: Sequence[int], resolution: int | None = None) -> Self:
        """From 20 integers; a last block after an absent one moves up, so that equal networks have equal codes.

        Raises:
            ArchitectureError: not 20 integers from 0 to 9, or one of a stage's first two blocks is absent.
        """
        if len(code) != STAGES * SLOTS:
            raise ArchitectureError(f"the code has {len(code)} numbers; {STAGES * SLOTS} are needed, 4 for each stage.")
        for place, number in enumerate(code):
            if not _is_integer(number) or not 0 <= number < CODES:
                raise ArchitectureError(
                    f"number {place + 1} of the code is {_seen(number)}; allowed: 0 (no block) to {CODES - 1}."
                )
            if number == 0 and place % SLOTS < DEPTHS[0]:
                raise ArchitectureError(
                    f"number {place + 1} of the code is 0, but the first two blocks of a stage cannot be absent; "
                    f"allowed: 1 to {CODES - 1}."
                )
        stages = [code[start : start + SLOTS] for start in range(0, len(code), SLOTS)]
        return cls(tuple(tuple(Block.from_code(number) for number in stage if number) for stage in stages), resolution)

    # -- texts ---------------------------------------------------------------------------------------------------

    @property
    def compact(self) -> str:
        """The code with commas; where a resolution is set, its index comes first."""
        first = () if self.resolution is None else (RESOLUTIONS.index(self.resolution),)
        return ",".join(map(str, (*first, *self.code)))

    @property
    def legacy(self) -> str:
        """The published text `depths:kernels:ratios`, with zeros for absent blocks; it holds no resolution."""
        rows = [
            [len(stage) for stage in self.stages],
            [Block.from_code(code).kernel if code else 0 for code in self.code],
            [Block.from_code(code).expansion if code else 0 for code in self.code],
        ]
        return ":".join(",".join(map(str, row)) for row in rows)

    @staticmethod
    def looks_like(text: str) -> bool:
        """Whether a text can only be meant as one of the two."""
        return bool(re.fullmatch(r"[\d\s,:\-]*\d\s*,[\d\s,:\-]*", text))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The architecture in a compact or a legacy text.

        Raises:
            ArchitectureError: neither of the two, or a wrong number in it.
        """
        rows = [_integers(row) for row in text.strip().split(":")]
        if len(rows) == 3:
            return cls._from_legacy(*rows)
        if len(rows) != 1:
            raise ArchitectureError(
                f"{_seen(text)} has {len(rows)} parts; give depths:kernels:ratios, or the compact code of 20 numbers."
            )
        code = rows[0]
        if len(code) != STAGES * SLOTS + 1:
            return cls.from_code(code)
        if not 0 <= code[0] < len(RESOLUTIONS):
            raise ArchitectureError(
                f"the code begins with the resolution index {code[0]}; allowed: 0 to {len(RESOLUTIONS) - 1}, which "
                f"stand for {_list(RESOLUTIONS)} pixels."
            )
        return cls.from_code(code[1:], RESOLUTIONS[code[0]])

    @classmethod
    def _from_legacy(cls, depths: list[int], kernels: list[int], ratios: list[int]) -> Self:
        for name, row, count in (
            ("depths", depths, STAGES),
            ("kernels", kernels, STAGES * SLOTS),
            ("ratios", ratios, STAGES * SLOTS),
        ):
            if len(row) != count:
                raise ArchitectureError(f"there are {len(row)} {name}; {count} are needed.")
        stages = []
        for number, depth in enumerate(depths):
            start = number * SLOTS
            blocks = list(zip(kernels[start : start + SLOTS], ratios[start : start + SLOTS], strict=True))
            present = sum(block != (0, 0) for block in blocks)
            if depth != present or (0, 0) in blocks[:depth]:
                raise ArchitectureError(
                    f"stage {number + 1}: depth {depth}, but kernels and ratios are {_seen(blocks)}; the first blocks "
                    "of that number must be there, and zeros for the others."
                )
            stages.append(tuple(Block(*block) for block in blocks[:depth]))
        return cls(tuple(stages))

    # -- JSON ----------------------------------------------------------------------------------------------------

    def to_fields(self) -> dict[str, Any]:
        """Blocks as [kernel, expansion], and the resolution."""
        return {"stages": [[list(block) for block in stage] for stage in self.stages], "resolution": self.resolution}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types. Raises ArchitectureError."""
        if set(fields) != {"stages", "resolution"}:
            raise ArchitectureError(
                f"a MobileNet has the fields 'stages' and 'resolution'; got {_seen(sorted(map(str, fields)))}."
            )
        stages = fields["stages"]
        if not isinstance(stages, list) or not all(isinstance(stage, list) for stage in stages):
            raise ArchitectureError(f"stages: must be a list of lists of blocks; got {_seen(stages)}.")
        for number, stage in enumerate(stages, start=1):
            for place, block in enumerate(stage, start=1):
                if not isinstance(block, list) or len(block) != 2 or not all(map(_is_integer, block)):
                    raise ArchitectureError(
                        f"stage {number}, block {place}: a block is [kernel, expansion]; got {_seen(block)}."
                    )
        resolution = fields["resolution"]
        if resolution is not None and not _is_integer(resolution):
            raise ArchitectureError(f"resolution: {_seen(resolution)}; must be a number of pixels or null.")
        return cls(tuple(tuple(Block(*block) for block in stage) for stage in stages), resolution)

    def describe(self) -> str:
        """A line for each stage, and the compact code."""
        lines = [
            f"stage {number}: " + "  ".join(f"MB{block.expansion} {block.kernel}x{block.kernel}" for block in stage)
            for number, stage in enumerate(self.stages, start=1)
        ]
        if self.resolution is not None:
            lines.append(f"resolution {self.resolution}")
        return "\n".join([*lines, f"code {self.compact}"])


register_text_form("mobilenet", MobileNetConfig.looks_like)(MobileNetConfig.parse)


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _integers(row: str) -> list[int]:
    """The numbers of a list with commas."""
    numbers = []
    for item in row.split(","):
        if not re.fullmatch(r"\s*-?\d{1,9}\s*", item, flags=re.ASCII):
            raise ArchitectureError(
                f"{_seen(item)} is no whole number; give depths:kernels:ratios, or the compact code of 20 numbers, "
                "with commas between."
            )
        numbers.append(int(item))
    return numbers
