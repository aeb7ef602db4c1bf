"""Where published genotypes stand in a text: a Python file, the line of a log, anything that was pasted.

A Python file is parsed to its syntax tree, never executed; in any other text the calls are found by their name and
their brackets.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

from archscout.errors import ArchitectureError
from archscout.spaces.excerpts import Excerpt

__all__ = ["FUNCTIONS", "called", "find_genotypes", "looks_like_genotype", "typed_plainly"]

FUNCTIONS = ("Genotype", "Genotype_nested")
LONGEST_FILE = 1_000_000  # characters of a text that is parsed as a whole
LONGEST = 100_000  # characters of a genotype
_CALL = re.compile(r"(?<![\w.])(?:\w+\.)*(?:Genotype_nested|Genotype)\s*\(")
_CHANGED = re.compile(r"\s*(\.\s*[A-Za-z_]\w*\s*\(|\[)")  # a method of what was made, or a part of it
_EDGE = re.compile(r"\|[^|~+\s]+~\d+\|")  # of an arch string of NAS-Bench-201
_NAME = re.compile(r"^\s*(\w+)\s*=\s*$")
_TOKEN = re.compile(r"\\.|'''|\"\"\"|['\"()]", re.DOTALL)
# What editors and web pages make of plain characters.
_TYPED = str.maketrans("\u2018\u2019\u201c\u201d\u00a0\u200b\ufeff", "''\"\"   ")


def looks_like_genotype(text: str) -> bool:
    """Whether a text calls a function of published genotypes, or calls something and is no other form."""
    if text.startswith("{"):
        return False
    other = text.startswith(("|", "[", "(")) or _EDGE.search(text)
    return bool(_CALL.search(text)) or ("(" in text and not other)


def typed_plainly(text: str) -> str:
    """The text with plain quotes, blanks and line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_TYPED)


def called(call: ast.expr) -> str | None:
    """The name of a function that is called, without the modules before it."""
    if not isinstance(call, ast.Call):
        return None
    function, name = call.func, None
    while isinstance(function, ast.Attribute):
        name, function = name or function.attr, function.value
    return (name or function.id) if isinstance(function, ast.Name) else None


def find_genotypes(text: str) -> list[Excerpt]:
    """All calls of the functions of published genotypes, in order, under the names that a Python text gives them.

    Raises:
        ArchitectureError: a call has no end, or what it makes is changed at once (`Genotype(...)._replace(...)`).
    """
    if len(text) <= LONGEST_FILE:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in strings
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
        else:
            return list(_in_tree(tree, text))
    return list(_in_text(text))


def _in_tree(tree: ast.Module, text: str) -> Iterator[Excerpt]:
    lines = text.encode().split(b"\n")
    named: dict[str, Excerpt] = {}
    for statement in ast.walk(tree):
        value: ast.expr | None = None
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign):
            targets, value = [statement.target], statement.value
        if value is None:
            continue
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(value, ast.Name) and value.id in named:  # NAME = OTHER_NAME
            known = named[value.id]
            named |= {name: Excerpt(known.text, known.line, known.column, name) for name in names}
        elif isinstance(value, ast.Dict):
            for key, each in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant) and called(each) in FUNCTIONS:
                    named[str(key.value)] = _excerpt(each, lines, str(key.value))
        elif called(value) in FUNCTIONS:
            named |= {name: _excerpt(value, lines, name) for name in names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Subscript) and called(node.value) in FUNCTIONS:
            raise _changed(node.value.lineno)
    places = {(each.line, each.column) for each in named.values()}
    found = [*named.values()]
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and called(call) in FUNCTIONS:
            excerpt = _excerpt(call, lines, None)
            if (excerpt.line, excerpt.column) not in places:
                found.append(excerpt)
    yield from sorted(found, key=lambda each: (each.line, each.column))


def _changed(line: int) -> ArchitectureError:
    return ArchitectureError(
        f"the genotype in line {line} is changed by what follows it, and nothing is executed here. Give the one that "
        "comes out, as print(genotype) writes it."
    )


def _excerpt(node: ast.expr, lines: Sequence[bytes], name: str | None) -> Excerpt:
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    part = list(lines[first : last + 1])
    part[-1] = part[-1][: node.end_col_offset]  # the syntax tree counts bytes of UTF-8
    before = part[0][: node.col_offset].decode(errors="replace")
    part[0] = part[0][node.col_offset :]
    return Excerpt(b"\n".join(part).decode(errors="replace"), node.lineno, len(before), name)


def _in_text(text: str) -> Iterator[Excerpt]:
    end = line = place = 0
    for match in _CALL.finditer(text):
        start = match.start()
        if start < end:
            continue  # inside of the one before
        line += text.count("\n", place, start)
        place = start
        end = _end(text, match.end(), line + 1)
        if _CHANGED.match(text, end):
            raise _changed(line + 1)
        begin = text.rfind("\n", 0, start) + 1
        named = _NAME.match(text[begin:start])
        yield Excerpt(text[start:end], line + 1, start - begin, named[1] if named else None)


def _end(text: str, start: int, line: int) -> int:
    """The place after the bracket that closes the one before `start`."""
    depth, quote = 1, ""
    for token in _TOKEN.finditer(text, start, start + LONGEST):
        what = token[0]
        if quote:
            quote = "" if what == quote else quote
        elif what in ("'", '"', "'''", '"""'):
            quote = what
        elif what == "(":
            depth += 1
        elif what == ")":
            depth -= 1
            if not depth:
                return token.end()
    raise ArchitectureError(
        f"the genotype that begins in line {line} has no end, so this is no published genotype: a closing "
        "bracket ')' is missing. Paste all of it."
    )
