"""Architectures as dictionaries, in JSON or as Python prints them.

    {"normal": [["sep_conv_3x3", 0], ...], "normal_concat": [2, 3, 4, 5], "reduce": ..., "reduce_concat": ...}
    {"normal_n2_p0": "sepconv3x3", "normal_n2_p1": [], "normal_n2_switch": ["normal_n2_p0", ...], ...}     NNI's DARTS
    {"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": 0, ...}                                          NNI's hub
    {"arch_str": "|nor_conv_3x3~0|+...", ...}, {"genotype": "Genotype(...)", ...}           any text form as a value

Of NNI's, an operation may be a number in the order of its DARTS, and an absent one is an empty list; the switch names
or numbers the inputs that a node keeps. Its cells concatenate all nodes; the hub has cells that do not, with other
numbers of nodes than four, so there only four are read.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from archscout.errors import ArchitectureError
from archscout.spaces.architecture import Architecture
from archscout.spaces.cells.genotype import OPERATIONS, Cell, CellGenotype, Input
from archscout.spaces.excerpts import Excerpt, choose
from archscout.spaces.published.darts import parse_published
from archscout.spaces.published.finding import FUNCTIONS, called
from archscout.spaces.resolve import TEXT_FORMS, register_text_form

__all__ = ["parse_mapping"]

NAME = "mapping"
LONGEST = 1_000_000  # characters
DEEPEST = 3
HUB_NODES = (2, 3, 4, 5)
CELLS = ("normal", "reduce")
# NNI's names of operations, in its order, which is ours.
_NAMES = ("maxpool", "avgpool", "skipconnect", "sepconv3x3", "sepconv5x5", "dilconv3x3", "dilconv5x5")
_OPERATIONS = dict(zip(_NAMES, OPERATIONS, strict=True))
_DARTS_KEY = re.compile(r"(normal|reduce)_n(\d{1,2})_(?:p(\d{1,2})|switch)")
_HUB_KEY = re.compile(r"(normal|reduce)/(op|input)_(\d{1,2})_(\d{1,2})")


def parse_mapping(text: str, name: str | None = None) -> Architecture:
    """The architecture in a dictionary; `name` chooses among several by their keys.

    Raises:
        ArchitectureError: there is none, several and none is named, or it is wrong.
    """
    content = _content(text)
    found = [] if content is None else list(_found(content))
    if not found:
        raise ArchitectureError("this dictionary holds no architecture in a form that is known.")
    values = {excerpt.label: value for excerpt, value in found}
    return choose([excerpt for excerpt, _ in found], "architecture", lambda each: _parse(values[each.label]), name)


def _matches(text: str) -> bool:
    if not text.startswith("{"):
        return False
    content = _content(text)
    return content is not None and "format" not in content and any(True for _ in _found(content))


register_text_form(NAME, _matches, choose=parse_mapping)(parse_mapping)


def _content(text: str) -> dict[str, Any] | None:
    """The dictionary: JSON's values, or syntax trees of Python's that are no literals."""
    text = text.strip()
    if len(text) > LONGEST:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        if not isinstance(tree, ast.Dict):
            return None
        content = _plain(tree)
    return content if isinstance(content, dict) else None


def _plain(node: ast.expr) -> Any:
    """Literals as values; anything else, such as range(2, 6), as the syntax tree that it is."""
    if isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        return {str(key): _plain(value) for key, value in zip(keys, node.values, strict=True)}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return node


def _found(content: Mapping[str, Any], place: str = "") -> Iterator[tuple[Excerpt, Any]]:
    """The values that are architectures, with the keys that lead to them."""
    if _is_genotype(content) or _keys(content, _DARTS_KEY) or _keys(content, _HUB_KEY):
        yield Excerpt(repr(content), 1, name=place or None), content
        return
    for key, value in content.items():
        where = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping) and where.count(".") < DEEPEST:
            yield from _found(value, where)
        elif isinstance(value, str) and _form_name(value) is not None:
            yield Excerpt(value, 1, name=where), value
        elif isinstance(value, ast.expr) and called(value) in FUNCTIONS:
            yield Excerpt(ast.unparse(value), 1, name=where), ast.unparse(value)


def _form_name(text: str) -> str | None:
    forms = ("genotype", "nasbench201")
    return next((name for name in forms if name in TEXT_FORMS and TEXT_FORMS.get(name).matches(text)), None)


def _is_genotype(content: Mapping[str, Any]) -> bool:
    return set(CELLS) <= set(content) or "recurrent" in content or "genes" in content


def _keys(content: Mapping[str, Any], pattern: re.Pattern[str]) -> dict[str, re.Match[str]]:
    matches = {key: pattern.fullmatch(key) for key in content if isinstance(key, str)}
    return {key: match for key, match in matches.items() if match is not None}


def _parse(value: Any) -> Architecture:
    if isinstance(value, str):
        found: Architecture = TEXT_FORMS.get(_form_name(value) or "genotype").parse(value)
        return found
    if _is_genotype(value) and not any(isinstance(each, Mapping) for each in value.values()):
        return _from_fields(value)
    if _keys(value, _HUB_KEY):
        return _from_hub(value)
    if _keys(value, _DARTS_KEY):
        return _from_darts(value)
    raise ArchitectureError("normal and reduce are dictionaries; lists of (operation, source) are needed.")


def _from_fields(content: Mapping[str, Any]) -> Architecture:
    wrong = next((key for key in content if not key.isidentifier()), None)
    if wrong is not None:
        raise ArchitectureError(f"unknown field {wrong[:40]!r} beside those of a genotype.")
    function = "Genotype_nested" if "genes" in content else "Genotype"
    fields = [
        f"{key}={ast.unparse(value) if isinstance(value, ast.AST) else repr(value)}" for key, value in content.items()
    ]
    text = f"{function}({', '.join(fields)})"
    try:
        return parse_published(text)
    except ArchitectureError as error:
        raise ArchitectureError(f"the dictionary, read as {text[:60]}...: {error}") from None


# -- NNI -----------------------------------------------------------------------------------------------------------


def _from_darts(content: Mapping[str, Any]) -> CellGenotype:
    cells = {}
    for cell in CELLS:
        nodes: dict[int, dict[int, str]] = {}
        for key, match in _keys(content, _DARTS_KEY).items():
            if match[1] == cell and match[3] is not None:
                chosen = nodes.setdefault(int(match[2]), {})
                if not _is_absent(content[key]):
                    chosen[int(match[3])] = _operation(content[key], key)
        inputs = {
            node: [
                Input(_present(chosen, source, f"{cell}_n{node}_p{source}"), source)
                for source in _switched(content.get(f"{cell}_n{node}_switch"), sorted(chosen), f"{cell}_n{node}_switch")
            ]
            for node, chosen in nodes.items()
        }
        cells[cell] = _cell(inputs, cell)
    return CellGenotype(**cells)


def _present(chosen: Mapping[int, str], source: int, key: str) -> str:
    if source not in chosen:
        raise ArchitectureError(f"{key}: the switch chooses this input, but it has no operation.")
    return chosen[source]


def _switched(value: object, sources: list[int], key: str) -> list[int]:
    """The sources that a switch chooses: by names of keys, by numbers, or a truth value for each."""
    if value is None:
        return sources
    values = value if isinstance(value, list | tuple) else [value]
    if values and all(isinstance(each, bool) for each in values):
        return [number for number, each in enumerate(values) if each]
    found = []
    for each in values:
        match = _DARTS_KEY.fullmatch(each) if isinstance(each, str) else None
        number = int(match[3]) if match is not None and match[3] is not None else each
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise ArchitectureError(f"{key}: {each!r} names no input; such as 0 or '{key.removesuffix('switch')}p0'.")
        found.append(number)
    return found


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, list | tuple) and not any(_given(each) for each in value))


def _given(value: object) -> bool:
    return value is not None and value is not False


def _operation(value: object, key: str) -> str:
    """An operation by NNI's name, ours, its number, or a truth value for each."""
    if isinstance(value, list | tuple):
        if len(value) > 1 and all(isinstance(each, bool) for each in value) and sum(value) == 1:
            value = list(value).index(True)
        elif len(value) == 1:
            value = value[0]
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < len(OPERATIONS):
            return OPERATIONS[value]
        raise ArchitectureError(f"{key}: {value} is no number of an operation; allowed: 0 to {len(OPERATIONS) - 1}.")
    if not isinstance(value, str):
        raise ArchitectureError(f"{key}: {str(value)[:60]} is no operation; give one, by its name or number.")
    return _OPERATIONS.get(value, value)


def _from_hub(content: Mapping[str, Any]) -> CellGenotype:
    cells = {}
    for cell in CELLS:
        slots: dict[int, dict[int, Input]] = {}
        for key, match in _keys(content, _HUB_KEY).items():
            if match[1] != cell or match[2] != "op":
                continue
            where = f"{cell}/input_{match[3]}_{match[4]}"
            source = content.get(where)
            source = source[0] if isinstance(source, list | tuple) and len(source) == 1 else source
            if not isinstance(source, int) or isinstance(source, bool):
                raise ArchitectureError(f"{where}: {source!r} is no number of a node; each operation needs one input.")
            slots.setdefault(int(match[3]), {})[int(match[4])] = Input(_operation(content[key], key), source)
        if slots and tuple(sorted(slots)) != HUB_NODES:
            raise ArchitectureError(
                f"{cell}: nodes {', '.join(map(str, sorted(slots)))}. For others than 2 to 5 this JSON does not tell "
                "which of them the cell's output has. Write it as Genotype(normal=[...], normal_concat=[...], ...)."
            )
        cells[cell] = _cell({node: [items[slot] for slot in sorted(items)] for node, items in slots.items()}, cell)
    return CellGenotype(**cells)


def _cell(inputs: Mapping[int, list[Input]], name: str) -> Cell:
    if not inputs:
        raise ArchitectureError(f"{name}: there is no node of this cell; a genotype has a normal and a reduction cell.")
    last = max(inputs)
    nodes = tuple(tuple(inputs.get(node, ())) for node in range(2, last + 1))
    return Cell(nodes, tuple(node for node in range(2, last + 1) if inputs.get(node)))
