"""Genotypes as the published code of the DARTS family writes them: a Python expression in a text.

    NAME = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ...], normal_concat=range(2, 6),
                    reduce=[...], reduce_concat=[2, 3, 4, 5])
    NAME = Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ...], concat=range(1, 9))

The items of a cell belong to its nodes 2, 3, 4, ... in order, two to a node; those of a recurrent cell to its nodes 1,
2, 3, ..., one to a node. The text is parsed to a syntax tree, and
only the forms above are read from it; nothing is evaluated.
"""

from __future__ import annotations

import ast
import warnings
from typing import NoReturn

from archscout.errors import ArchitectureError, closest
from archscout.spaces.genotype import Cell, CellGenotype, Input
from archscout.spaces.recurrent_genotype import Node, RecurrentGenotype

__all__ = ["format_published", "parse_published", "parse_published_genotype"]

MAX_CHARACTERS = 10_000  # a published genotype has about 600
MAX_NODE = 99
INPUTS_PER_NODE = 2
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
RECURRENT_FIELDS = ("recurrent", "concat")

_EXAMPLE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=[2, 3, 4, 5], reduce=[...], "
    "reduce_concat=range(2, 6))"
)
_NAMES: dict[type[ast.AST], str] = {
    ast.Attribute: "attribute access",
    ast.Await: "await",
    ast.BinOp: "arithmetic",
    ast.BoolOp: "a boolean expression",
    ast.Call: "a call",
    ast.Compare: "a comparison",
    ast.Constant: "this constant",
    ast.Dict: "a dictionary",
    ast.DictComp: "a comprehension",
    ast.FormattedValue: "a format string",
    ast.GeneratorExp: "a comprehension",
    ast.IfExp: "a conditional expression",
    ast.JoinedStr: "a format string",
    ast.Lambda: "a lambda",
    ast.List: "a list",
    ast.ListComp: "a comprehension",
    ast.Name: "a variable",
    ast.NamedExpr: "an assignment expression",
    ast.Set: "a set",
    ast.SetComp: "a comprehension",
    ast.Starred: "unpacking with *",
    ast.Subscript: "indexing",
    ast.Tuple: "a tuple",
    ast.UnaryOp: "a sign or 'not'",
    ast.Import: "an import",
    ast.ImportFrom: "an import",
}


def parse_published_genotype(text: str) -> CellGenotype:
    """The genotype of a normal and a reduction cell in a published text. Raises ArchitectureError."""
    found = parse_published(text)
    if not isinstance(found, CellGenotype):
        raise ArchitectureError("this is the genotype of a recurrent cell, not of a normal and a reduction cell.")
    return found


def parse_published(text: str) -> CellGenotype | RecurrentGenotype:
    """The genotype in a published text.

    Raises:
        ArchitectureError: the text is something else; the message has the line and the column where it can.
    """
    if len(text) > MAX_CHARACTERS:
        raise ArchitectureError(
            f"a published genotype has at most {MAX_CHARACTERS} characters; this text has {len(text)}."
        )
    return _Reader(text.strip()).genotype()


def format_published(genotype: CellGenotype | RecurrentGenotype) -> str:
    """The genotype as published code writes it, on one line; the inverse of `parse_published`.

    Raises:
        ArchitectureError: a node has another number of inputs than two, which that form cannot express.
    """
    if isinstance(genotype, RecurrentGenotype):
        items = ", ".join(f"({activation!r}, {source})" for activation, source in genotype.nodes)
        return f"Genotype(recurrent=[{items}], concat={list(genotype.concat)})"
    parts = []
    for name, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        for number, inputs in enumerate(cell.nodes, start=2):
            if len(inputs) != INPUTS_PER_NODE:
                raise ArchitectureError(
                    f"{name}, node {number}: has {len(inputs)} inputs; the published text form needs exactly "
                    f"{INPUTS_PER_NODE} for each node. Write the genotype as JSON."
                )
        items = ", ".join(f"({operation!r}, {source})" for inputs in cell.nodes for operation, source in inputs)
        parts.append(f"{name}=[{items}], {name}_concat={list(cell.concat)}")
    return f"Genotype({', '.join(parts)})"


class _Reader:
    """Reads one text; every method takes a node of its syntax tree and returns its meaning, or raises."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n").replace("\r", "\n")

    def genotype(self) -> CellGenotype | RecurrentGenotype:
        fields = self._fields(self._expression(self._parse()))
        if "recurrent" in fields:
            inputs = self._inputs(fields["recurrent"], "recurrent")
            return RecurrentGenotype(tuple(Node(*item) for item in inputs), self._concat(fields["concat"], "concat"))
        cells = {
            name: Cell(self._nodes(fields[name], name), self._concat(fields[f"{name}_concat"], f"{name}_concat"))
            for name in ("normal", "reduce")
        }
        return CellGenotype(**cells)

    def _parse(self) -> ast.Module:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in strings
                return ast.parse(self._text)
        except SyntaxError as error:
            where = f"line {error.lineno or 1}, column {error.offset or 1}"
            reason = error.msg
        except (ValueError, RecursionError, MemoryError) as error:
            where, reason = "somewhere", str(error) or "nested too deeply"
        raise ArchitectureError(
            f"this is no published genotype ({where}: {reason}). It looks like {_EXAMPLE}."
        ) from None

    def _refuse(self, node: ast.AST, wanted: str) -> NoReturn:
        what = _NAMES.get(type(node), type(node).__name__.lower())
        if isinstance(node, ast.Name | ast.Constant):
            value = node.id if isinstance(node, ast.Name) else repr(node.value)
            what += f" {value if len(value) <= 40 else value[:37] + '...'}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            what += f" of {node.func.id[:40]}"
        raise ArchitectureError(
            f"{self._position(node)}: {what} is not allowed here in a published genotype; expected {wanted}."
        )

    def _position(self, node: ast.AST) -> str:
        line, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        # The syntax tree counts UTF-8 bytes.
        before = self._text.split("\n")[line - 1].encode()[:offset]
        return f"line {line}, column {len(before.decode(errors='replace')) + 1}"

    def _expression(self, module: ast.Module) -> ast.expr:
        """The one expression of the text, with or without `NAME =` before it."""
        if len(module.body) != 1:
            raise ArchitectureError(
                f"a published genotype is one expression; this text has {len(module.body)}. It looks like {_EXAMPLE}."
            )
        statement = module.body[0]
        if isinstance(statement, ast.Assign):
            if len(statement.targets) != 1 or not isinstance(statement.targets[0], ast.Name):
                self._refuse(statement.targets[-1], "one name before the equals sign")
        elif not isinstance(statement, ast.Expr):
            self._refuse(statement, _EXAMPLE)
        return statement.value

    def _fields(self, call: ast.expr) -> dict[str, ast.expr]:
        """The keyword arguments of `Genotype(...)`."""
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "Genotype":
            self._refuse(call, f"Genotype(...), as in {_EXAMPLE}")
        recurrent = any(keyword.arg in RECURRENT_FIELDS for keyword in call.keywords)
        allowed = RECURRENT_FIELDS if recurrent else FIELDS
        if call.args:
            self._refuse(call.args[0], f"the keywords {', '.join(allowed)}")
        fields: dict[str, ast.expr] = {}
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg not in allowed:
                near = closest(keyword.arg or "**", allowed) or allowed
                raise ArchitectureError(
                    f"{self._position(keyword)}: unknown field {(keyword.arg or '**')[:40]!r} of Genotype. "
                    f"Allowed: {', '.join(near)}."
                )
            if keyword.arg in fields:
                raise ArchitectureError(f"{self._position(keyword)}: the field {keyword.arg} is given twice.")
            fields[keyword.arg] = keyword.value
        missing = [name for name in allowed if name not in fields]
        if missing:
            raise ArchitectureError(f"Genotype(...) lacks the field {', '.join(missing)}; it has {', '.join(allowed)}.")
        return fields

    def _inputs(self, value: ast.expr, field: str) -> list[Input]:
        if not isinstance(value, ast.List | ast.Tuple):
            self._refuse(value, f"a list of ('operation', source) in {field}")
        return [self._input(item, field) for item in value.elts]

    def _nodes(self, value: ast.expr, field: str) -> tuple[tuple[Input, ...], ...]:
        inputs = self._inputs(value, field)
        if len(inputs) % INPUTS_PER_NODE:
            raise ArchitectureError(
                f"{field}: has {len(inputs)} items, {INPUTS_PER_NODE} belong to each node; one is missing or too many."
            )
        return tuple(tuple(inputs[i : i + INPUTS_PER_NODE]) for i in range(0, len(inputs), INPUTS_PER_NODE))

    def _input(self, item: ast.expr, field: str) -> Input:
        if not isinstance(item, ast.Tuple | ast.List):
            self._refuse(item, f"('operation', source) in {field}")
        if len(item.elts) != 2:
            raise ArchitectureError(
                f"{self._position(item)}: an item of {field} is ('operation', source); got {len(item.elts)} parts."
            )
        operation, source = item.elts
        if not isinstance(operation, ast.Constant) or not isinstance(operation.value, str):
            self._refuse(operation, f"the name of an operation in quotes in {field}")
        return Input(operation.value, self._integer(source, field))

    def _integer(self, value: ast.expr, field: str) -> int:
        if not isinstance(value, ast.Constant) or type(value.value) is not int:
            self._refuse(value, f"a node number in {field}")
        if value.value > MAX_NODE:
            raise ArchitectureError(
                f"{self._position(value)}: a number in {field} is too large; allowed: 0 to {MAX_NODE}."
            )
        return value.value

    def _concat(self, value: ast.expr, field: str) -> tuple[int, ...]:
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "range":
            if value.keywords or not 1 <= len(value.args) <= 2:
                self._refuse(value, f"range(first, last + 1) in {field}")
            return tuple(range(*(self._integer(bound, field) for bound in value.args)))
        if not isinstance(value, ast.List | ast.Tuple):
            self._refuse(value, f"a list of node numbers or range(first, last + 1) in {field}")
        return tuple(self._integer(item, field) for item in value.elts)
