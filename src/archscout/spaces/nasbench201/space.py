"""The search space of NAS-Bench-201: 15,625 cells of six edges with five operations each."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from archscout.errors import SpaceError
from archscout.settings import Settings
from archscout.spaces.base import SPACES, LayerCode
from archscout.spaces.nasbench201.cell import EDGES, OPERATIONS, NasBench201Cell
from archscout.spaces.nasbench201.network import NasBench201Network
from archscout.spaces.nasbench201.supernet import NasBench201Supernet
from archscout.tasks.spec import TaskSpec

__all__ = ["NasBench201Choices", "NasBench201Options", "NasBench201Size", "NasBench201Space"]

# As published: six one-hot columns for an edge, of which the last stays zero, since there are five operations.
PUBLISHED_COLUMNS = 6


class NasBench201Options(Settings):
    """The space has no options."""


class NasBench201Size(Settings):
    """Size of a network or a supernet; the defaults are the published ones."""

    init_channels: int = Field(default=16, ge=2, description="channels of the first stage; doubled at each reduction")
    cells: int = Field(default=5, ge=1, description="cells in each of the three stages")


class NasBench201Choices:
    """A `Factorization` without structure: every edge has an operation.

    Attributes:
        structure: none.
        operations: the five operations for each of the six edges.
    """

    structure: Sequence[int] = ()
    operations: Sequence[Sequence[str]] = (OPERATIONS,) * len(EDGES)

    def active(self, structure: Sequence[int]) -> Sequence[int]:
        """All edges."""
        return range(len(EDGES))

    def assemble(self, structure: Sequence[int], operations: Sequence[int]) -> NasBench201Cell:
        """The cell of one operation for each edge."""
        return NasBench201Cell(tuple(operations))

    def disassemble(self, architecture: NasBench201Cell) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inverse of `assemble`."""
        return (), architecture.code


@SPACES.register("nasbench201")
class NasBench201Space:
    """Cells of NAS-Bench-201: six edges, five operations, 15,625 cells; for images, or searched by table."""

    name: ClassVar[str] = "nasbench201"
    options_model: ClassVar[type[Settings]] = NasBench201Options
    size_model: ClassVar[type[Settings]] = NasBench201Size
    operations: ClassVar[tuple[str, ...]] = OPERATIONS

    def __init__(self, options: NasBench201Options | None = None) -> None:
        self.options = options or NasBench201Options()

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the task asks for classes, labels or numbers of images of at least 4 x 4 pixels."""
        if not spec.answers_once or len(spec.input_shape) != 3 or min(spec.input_shape[1:]) < 4:
            raise SpaceError(
                "the space 'nasbench201' serves classification, multilabel and regression of images (C, H, W) of at "
                f"least 4 x 4 pixels; {spec.name} is {spec.describe()}. Choose another space: archscout list spaces"
            )

    # -- cells ---------------------------------------------------------------------------------------------------

    def random(self, draw: Random) -> NasBench201Cell:
        """A cell drawn uniformly."""
        return NasBench201Cell(tuple(draw.randrange(len(OPERATIONS)) for _ in EDGES))

    def mutate(self, architecture: NasBench201Cell, draw: Random) -> NasBench201Cell:
        """The cell with another operation on one edge."""
        code = list(architecture.code)
        edge = draw.randrange(len(EDGES))
        code[edge] = (code[edge] + draw.randrange(1, len(OPERATIONS))) % len(OPERATIONS)
        return NasBench201Cell(tuple(code))

    def neighbours(self, architecture: NasBench201Cell) -> list[NasBench201Cell]:
        """The 24 cells that differ on one edge."""
        code = architecture.code
        return [
            NasBench201Cell((*code[:edge], number, *code[edge + 1 :]))
            for edge in range(len(EDGES))
            for number in range(len(OPERATIONS))
            if number != code[edge]
        ]

    def distance(self, first: NasBench201Cell, second: NasBench201Cell) -> int:
        """On how many edges two cells differ."""
        return sum(a != b for a, b in zip(first.code, second.code, strict=True))

    @property
    def layer_code(self) -> LayerCode:
        """A layer is an edge; every operation is allowed on each."""
        allowed = ((True,) * len(OPERATIONS),) * len(EDGES)
        return LayerCode(allowed, PUBLISHED_COLUMNS)

    def encode(self, architecture: NasBench201Cell) -> tuple[int, ...]:
        """The operation number of each edge."""
        return architecture.code

    def decode(self, code: Sequence[int]) -> NasBench201Cell:
        """The cell of operation numbers."""
        return NasBench201Cell(tuple(int(number) for number in code))

    def canonical(self, codes: Tensor) -> Tensor:
        """Every code stands for a cell of its own: nothing changes."""
        return codes

    @property
    def factorization(self) -> NasBench201Choices:
        """Six operation choices and no choice of structure."""
        return NasBench201Choices()

    # -- networks ------------------------------------------------------------------------------------------------

    def build(self, architecture: NasBench201Cell, spec: TaskSpec, size: NasBench201Size) -> NasBench201Network:
        """The network of a cell."""
        self.check(spec)
        return NasBench201Network(architecture, spec, init_channels=size.init_channels, cells=size.cells)

    def supernet(self, spec: TaskSpec, size: NasBench201Size) -> nn.Module:
        """The shared weights of all cells, a `NasBench201Supernet`."""
        self.check(spec)
        return NasBench201Supernet(spec, init_channels=size.init_channels, cells=size.cells)

    def extremes(self, spec: TaskSpec, size: NasBench201Size) -> tuple[NasBench201Cell, NasBench201Cell]:
        """The cells with the fewest and with the most parameters."""
        return NasBench201Cell((1,) * len(EDGES)), NasBench201Cell((3,) * len(EDGES))
