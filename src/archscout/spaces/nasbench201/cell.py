"""The cell of NAS-Bench-201: one operation on each of the six edges between four nodes (arXiv 2001.00326)."""

from __future__ import annotations

import ast
import random
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

from archscout.errors import ArchitectureError, closest
from archscout.spaces.architecture import ARCHITECTURES
from archscout.spaces.excerpts import Excerpt, choose
from archscout.spaces.resolve import register_text_form

__all__ = [
    "EDGES",
    "NODES",
    "NasBench201Cell",
    "OPERATIONS",
    "SPACE_SIZE",
    "cell_at",
    "official_index",
    "official_keys",
]

# Index order of the codes (docs/nasbench201.md#cells).
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 4
# (source, target) in the order of the arch string.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
SPACE_SIZE = len(OPERATIONS) ** len(EDGES)
MAX_CHARACTERS = 1000  # the longest arch string has 109
# An arch string in a longer text.
_ARCH = re.compile(r"\|(?:[^|~+\s]+~\d+\|)+(?:\s*\+\s*\|(?:[^|~+\s]+~\d+\|)+)*")
_EDGE = re.compile(r"([^~|+]*)~([^~|+]*)")


def _seen(value: object) -> str:
    return reprlib.repr(value)


@ARCHITECTURES.register("archscout.nasbench201_cell")
@dataclass(frozen=True)
class NasBench201Cell:
    """One of the 15,625 cells.

    Node 0 is the input; nodes 1 to 3 are the sum of their incoming edges; node 3 is the output.

    Attributes:
        code: the index in `OPERATIONS` of the operation on each edge, in the order of `EDGES`.
    """

    format: ClassVar[str] = "archscout.nasbench201_cell"
    version: ClassVar[int] = 1
    space: ClassVar[str] = "nasbench201"

    code: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.code, tuple) or len(self.code) != len(EDGES):
            raise ArchitectureError(f"code: {_seen(self.code)} must be a tuple of {len(EDGES)} operation numbers.")
        for (source, target), number in zip(EDGES, self.code, strict=True):
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(OPERATIONS):
                raise ArchitectureError(
                    f"code, edge {source} to {target}: {_seen(number)} is no operation number; allowed: 0 to "
                    f"{len(OPERATIONS) - 1} for {', '.join(OPERATIONS)}."
                )

    # -- the forms of a cell -----------------------------------------------------------------------------------

    @property
    def operations(self) -> tuple[str, ...]:
        """The operation on each edge, in the order of `EDGES`."""
        return tuple(OPERATIONS[number] for number in self.code)

    @property
    def key(self) -> int:
        """The code read as a number of base 5: a perfect hash, from 0 to 15,624."""
        key = 0
        for number in self.code:
            key = key * len(OPERATIONS) + number
        return key

    @classmethod
    def from_key(cls, key: int) -> Self:
        """The inverse of `key`."""
        if not isinstance(key, int) or not 0 <= key < SPACE_SIZE:
            raise ArchitectureError(f"key: {_seen(key)} is no cell; allowed: 0 to {SPACE_SIZE - 1}.")
        digits = []
        for _ in EDGES:
            key, digit = divmod(key, len(OPERATIONS))
            digits.append(digit)
        return cls(tuple(reversed(digits)))

    @classmethod
    def from_operations(cls, operations: Sequence[str]) -> Self:
        """From operation names in the order of `EDGES`. Raises ArchitectureError."""
        if isinstance(operations, str) or not isinstance(operations, Sequence) or len(operations) != len(EDGES):
            raise ArchitectureError(f"operations: {_seen(operations)} must be a list of {len(EDGES)} names.")
        return cls(
            tuple(
                _number(name, f"edge {source} to {target}")
                for (source, target), name in zip(EDGES, operations, strict=True)
            )
        )

    @property
    def text(self) -> str:
        """The arch string of the official files: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
        nodes: dict[int, list[str]] = {}
        for (source, target), name in zip(EDGES, self.operations, strict=True):
            nodes.setdefault(target, []).append(f"{name}~{source}")
        return "+".join(f"|{'|'.join(edges)}|" for edges in nodes.values())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The inverse of `text`. Raises ArchitectureError that names the node and edge."""
        text = text.strip()
        if len(text) > MAX_CHARACTERS:
            raise ArchitectureError(f"an arch string has at most 109 characters; got {len(text)}.")
        nodes = text.split("+")
        if len(nodes) != NODES - 1:
            raise ArchitectureError(
                f"the arch string {_seen(text)} has {len(nodes)} nodes joined by '+'; {NODES - 1} are needed, as in "
                "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|."
            )
        code: list[int] = []
        for target, node in enumerate(nodes, start=1):
            edges = [edge for edge in node.strip().split("|") if edge]
            if len(edges) != target:
                raise ArchitectureError(
                    f"arch string, node {target}: {_seen(node)} has {len(edges)} edges; it has one from each of the "
                    f"{target} nodes before it."
                )
            for source, edge in enumerate(edges):
                where = f"arch string, node {target}, edge {source}"
                match = _EDGE.fullmatch(edge)
                if match is None or match[2] != str(source):
                    raise ArchitectureError(f"{where}: {_seen(edge)} must read operation~{source}.")
                code.append(_number(match[1], where))
        return cls(tuple(code))

    @classmethod
    def from_lists(cls, nodes: object) -> Self:
        """From the lists that the official tools print: `[[(op, 0)], [(op, 0), (op, 1)], [...]]`, or tuples.

        Raises:
            ArchitectureError: other lists; the message names the node and edge.
        """
        if not isinstance(nodes, list | tuple) or len(nodes) != NODES - 1:
            raise ArchitectureError(f"{_seen(nodes)} must be a list of {NODES - 1} nodes.")
        code: list[int] = []
        for target, edges in enumerate(nodes, start=1):
            each = edges if isinstance(edges, list | tuple) else ()
            pairs = [edge for edge in each if isinstance(edge, list | tuple) and len(edge) == 2]
            if len(pairs) != target or sorted(repr(source) for _, source in pairs) != [str(n) for n in range(target)]:
                raise ArchitectureError(
                    f"node {target}: {_seen(edges)} must be a pair (operation, source) for each of the {target} nodes "
                    "before it."
                )
            for name, source in sorted(pairs, key=lambda pair: int(pair[1])):
                code.append(_number(name, f"node {target}, edge {source}"))
        return cls(tuple(code))

    # -- the cell as a graph -------------------------------------------------------------------------------------

    def canonical(self) -> str:
        """The string by which NAS-Bench-201 counts 6,466 different cells (docs/nasbench201.md#equal-cells).

        A skip connection is written as its source. `#` is written for an edge of `none`, and for any edge from a node
        that is itself `#`. The terms of a node are sorted. Cells with equal strings compute the same, but some cells
        that compute the same have different strings: a node with two empty edges is written `#+#`, not `#`.
        """
        nodes = ["0"]
        for target in range(1, NODES):
            terms = []
            for (source, end), name in zip(EDGES, self.operations, strict=True):
                if end != target:
                    continue
                if name == "none" or nodes[source] == "#":
                    terms.append("#")
                else:
                    terms.append(nodes[source] if name == "skip_connect" else f"({nodes[source]})@{name}")
            nodes.append("+".join(sorted(terms)))
        return nodes[-1]

    @property
    def dead(self) -> bool:
        """Whether no path leads from input to output: the network then guesses. True for 341 cells."""
        reached = {0}
        for (source, target), name in zip(EDGES, self.operations, strict=True):  # sources come in ascending order
            if name != "none" and source in reached:
                reached.add(target)
        return NODES - 1 not in reached

    # -- what every architecture can -----------------------------------------------------------------------------

    def to_fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {"operations": list(self.operations)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], version: int) -> Self:
        """From JSON types, checked."""
        if set(fields) != {"operations"}:
            raise ArchitectureError(
                f"a NAS-Bench-201 cell has the one field 'operations'; got {', '.join(map(str, fields)) or 'none'}."
            )
        return cls.from_operations(fields["operations"])

    def describe(self) -> str:
        """The arch string, then a line for each node."""
        lines = [self.text]
        for target in range(1, NODES):
            terms = [
                f"{name}({source})"
                for (source, end), name in zip(EDGES, self.operations, strict=True)
                if end == target and name != "none"
            ]
            name = "output" if target == NODES - 1 else f"node {target}"
            lines.append(f"{name} = {' + '.join(terms) or '0'}")
        return "\n".join(lines)


def _in_text(text: str, name: str | None = None) -> NasBench201Cell:
    """The cell in a text: an arch string by itself, or in what the official tools print and log."""
    if not _ARCH.search(text) or len(text.split()) == 1:
        return NasBench201Cell.from_text(text)
    found = [
        Excerpt(re.sub(r"\s", "", match[0]), text.count("\n", 0, match.start()) + 1) for match in _ARCH.finditer(text)
    ]
    return choose(found, "arch string", lambda excerpt: NasBench201Cell.from_text(excerpt.text), name)


register_text_form("nasbench201", lambda text: text.startswith("|") or bool(_ARCH.search(text)), choose=_in_text)(
    _in_text
)


def _lists(text: str) -> object:
    """What a short text of lists, tuples, texts and numbers stands for; None: it is something else."""
    if not text.startswith(("[", "(")) or len(text) > MAX_CHARACTERS:
        return None
    try:
        return ast.literal_eval(text)  # literals only: nothing is run
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


@register_text_form("nasbench201 lists", lambda text: _lists(text) is not None)
def _from_lists(text: str) -> NasBench201Cell:
    return NasBench201Cell.from_lists(_lists(text))


def _number(name: object, where: str) -> int:
    """The index of an operation's name."""
    if not isinstance(name, str) or name not in OPERATIONS:
        near = closest(name, OPERATIONS) if isinstance(name, str) else []
        raise ArchitectureError(f"{where}: unknown operation {_seen(name)}. Closest: {', '.join(near or OPERATIONS)}.")
    return OPERATIONS.index(name)


# The official order of the cells, in which files of NAS-Bench-201 and NATS-Bench number them.
SHUFFLE_SEED = 88  # docs/nasbench201.md#cells


@cache
def official_keys() -> tuple[int, ...]:
    """The key of each cell in official order: all codes in product order, shuffled by Python's generator."""
    keys = list(range(SPACE_SIZE))  # a key counts in the order of the product
    random.Random(SHUFFLE_SEED).shuffle(keys)
    return tuple(keys)


@cache
def _indices() -> dict[int, int]:
    return {key: index for index, key in enumerate(official_keys())}


def official_index(cell: NasBench201Cell) -> int:
    """The number of a cell in official files."""
    return _indices()[cell.key]


def cell_at(index: int) -> NasBench201Cell:
    """The cell of an official number. Raises ArchitectureError."""
    if not 0 <= index < SPACE_SIZE:
        raise ArchitectureError(f"NAS-Bench-201 has no cell #{index}; allowed: 0 to {SPACE_SIZE - 1}.")
    return NasBench201Cell.from_key(official_keys()[index])
