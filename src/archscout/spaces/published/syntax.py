"""Published genotypes are Python expressions. This reads them as syntax trees: nothing is ever evaluated.

`PublishedReader` has what the text forms have in common; each form is a subclass that names its function and fields.
"""

from __future__ import annotations

import ast
import warnings
from typing import ClassVar, NoReturn, Self

from archscout.errors import ArchitectureError, closest
from archscout.spaces.excerpts import Excerpt
from archscout.spaces.published.finding import called, typed_plainly

__all__ = ["MAX_NODE", "PublishedReader"]

MAX_NODE = 99
# What prints or wraps plain values, and changes nothing of them.
RANGES = ("range", "xrange")
CONTAINERS = ("list", "tuple", "array")
SCALARS = ("int", "int8", "int16", "int32", "int64", "uint8", "intp", "str", "str_")

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


class PublishedReader:
    """Reads one text; every method takes a node of its syntax tree and returns its meaning, or raises.

    Attributes:
        function: what the expression calls.
        fields: its arguments, all of them needed, in the order in which they may be given without their names.
        unused: arguments that some versions of the function have, and that must be None.
        example: shown in messages.
        max_characters: a longer text is refused unread.
    """

    function: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    unused: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str]
    max_characters: ClassVar[int]

    def __init__(self, text: str, line: int = 1, column: int = 0) -> None:
        if len(text) > self.max_characters:
            raise ArchitectureError(
                f"a published genotype has at most {self.max_characters} characters; this text has {len(text)}."
            )
        self._text = typed_plainly(text).strip()
        self._line, self._column = line, column

    @classmethod
    def of(cls, excerpt: Excerpt) -> Self:
        """The reader of a part of a text, whose messages tell places in the whole one."""
        return cls(excerpt.text, excerpt.line, excerpt.column)

    def read_fields(self) -> dict[str, ast.expr]:
        """The values of the keyword arguments."""
        return self._fields(self._expression(self._parse()))

    def _parse(self) -> ast.Module:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in strings
                return ast.parse(self._text)
        except SyntaxError as error:
            where = self._place(error.lineno or 1, error.offset or 1)
            reason = error.msg
        except (ValueError, RecursionError, MemoryError) as error:
            where, reason = "somewhere", str(error) or "nested too deeply"
        raise ArchitectureError(
            f"this is no published genotype ({where}: {reason}). It looks like {self.example}."
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
        line, offset = 1, 0
        if isinstance(node, ast.stmt | ast.expr | ast.keyword):  # the others have no place
            line, offset = node.lineno, node.col_offset
        # The syntax tree counts UTF-8 bytes.
        before = self._text.split("\n")[line - 1].encode()[:offset]
        return self._place(line, len(before.decode(errors="replace")) + 1)

    def _place(self, line: int, column: int) -> str:
        return f"line {self._line - 1 + line}, column {column + (self._column if line == 1 else 0)}"

    def _expression(self, module: ast.Module) -> ast.expr:
        """The one expression of the text, with or without `NAME =` before it."""
        if len(module.body) != 1:
            raise ArchitectureError(
                f"a published genotype is one expression; this text has {len(module.body)}. "
                f"It looks like {self.example}."
            )
        statement = module.body[0]
        if isinstance(statement, ast.Assign):
            if len(statement.targets) != 1 or not isinstance(statement.targets[0], ast.Name):
                self._refuse(statement.targets[-1], "one name before the equals sign")
        elif not isinstance(statement, ast.Expr):
            self._refuse(statement, self.example)
        return statement.value

    def fields_of(self, call: ast.Call) -> tuple[str, ...]:
        """The keyword arguments that this call needs; for forms with more than one set of them."""
        return self.fields

    def _fields(self, call: ast.expr) -> dict[str, ast.expr]:
        """The arguments of the call."""
        if not isinstance(call, ast.Call) or called(call) != self.function:
            self._refuse(call, f"{self.function}(...), as in {self.example}")
        allowed = self.fields_of(call)
        if len(call.args) > len(allowed):
            self._refuse(call.args[len(allowed)], f"only {', '.join(allowed)}")
        fields: dict[str, ast.expr] = dict(zip(allowed, call.args, strict=False))
        for keyword in call.keywords:
            if keyword.arg in self.unused and isinstance(keyword.value, ast.Constant) and keyword.value.value is None:
                continue
            if keyword.arg is None or keyword.arg not in allowed:
                near = closest(keyword.arg or "**", allowed) or allowed
                raise ArchitectureError(
                    f"{self._position(keyword)}: unknown field {(keyword.arg or '**')[:40]!r} of {self.function}. "
                    f"Allowed: {', '.join(near)}."
                )
            if keyword.arg in fields:
                raise ArchitectureError(f"{self._position(keyword)}: the field {keyword.arg} is given twice.")
            fields[keyword.arg] = keyword.value
        missing = [name for name in allowed if name not in fields]
        if missing:
            raise ArchitectureError(
                f"{self.function}(...) lacks the field {', '.join(missing)}; it has {', '.join(allowed)}."
            )
        return fields

    def integer(self, value: ast.expr, field: str, noun: str = "node number") -> int:
        """A small number that is not negative, also as numpy prints it: `np.int64(2)`."""
        value = _unwrapped(value)
        if not isinstance(value, ast.Constant) or type(value.value) is not int:
            self._refuse(value, f"a {noun} in {field}")
        if value.value > MAX_NODE:
            raise ArchitectureError(
                f"{self._position(value)}: a number in {field} is too large; allowed: 0 to {MAX_NODE}."
            )
        return value.value

    def integers(self, value: ast.expr, field: str, noun: str = "node number") -> tuple[int, ...]:
        """`[2, 3, 4]`, `(2, 3, 4)`, `range(2, 5)`, `list(range(2, 5))`, `[*range(2, 5)]` or `array([2, 3, 4])`."""
        if called(value) in CONTAINERS and isinstance(value, ast.Call) and len(value.args) == 1 and not value.keywords:
            return self.integers(value.args[0], field, noun)
        if called(value) in RANGES and isinstance(value, ast.Call):
            if value.keywords or not 1 <= len(value.args) <= 3:
                self._refuse(value, f"range(first, last + 1) in {field}")
            bounds = [self.integer(bound, field, noun) for bound in value.args]
            if len(bounds) == 3 and bounds[2] == 0:
                self._refuse(value.args[2], f"a step above 0 in {field}")
            return tuple(range(*bounds))
        if not isinstance(value, ast.List | ast.Tuple):
            self._refuse(value, f"a list of {noun}s or range(first, last + 1) in {field}")
        found: list[int] = []
        for item in value.elts:
            if isinstance(item, ast.Starred) and called(item.value) in RANGES:
                found.extend(self.integers(item.value, field, noun))
            else:
                found.append(self.integer(item, field, noun))
        return tuple(found)

    def parts(self, value: ast.expr, count: int, form: str, field: str) -> list[ast.expr]:
        """The parts of a tuple of that many; `form` shows it in messages."""
        if not isinstance(value, ast.Tuple | ast.List):
            self._refuse(value, f"{form} in {field}")
        if len(value.elts) != count:
            raise ArchitectureError(
                f"{self._position(value)}: an item of {field} is {form}; got {len(value.elts)} parts."
            )
        return value.elts

    def operation(self, value: ast.expr, field: str) -> str:
        """A name in quotes, also as numpy prints it: `np.str_('...')`."""
        value = _unwrapped(value)
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
            self._refuse(value, f"the name of an operation in quotes in {field}")
        return value.value

    def listed(self, value: ast.expr, what: str, field: str) -> list[ast.expr]:
        """The items of a list or a tuple."""
        if not isinstance(value, ast.List | ast.Tuple):
            self._refuse(value, f"a list of {what} in {field}")
        return value.elts


def _unwrapped(value: ast.expr) -> ast.expr:
    """What stands in a number or a name as numpy 2 prints it."""
    plain = isinstance(value, ast.Call) and called(value) in SCALARS and len(value.args) == 1 and not value.keywords
    return value.args[0] if plain and isinstance(value, ast.Call) and isinstance(value.args[0], ast.Constant) else value
