"""What the arrays of a file are, told by their names: `x_train`, `train_images`, `X`, `labels`, `trainY`, ..."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archscout.errors import DataError
from archscout.tasks.containers import shape_text
from archscout.tasks.findings import Finding, some

__all__ = [
    "PART_WORDS",
    "ArrayHeader",
    "Roles",
    "find_roles",
    "is_input",
    "listing",
    "other_folders",
    "part_of_name",
]

PART_WORDS = {
    "train": ("train", "training", "trn", "tr"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("testing", "test", "tst", "te", "t10k"),
}
INPUT_WORDS = (
    *("x", "xs", "data", "image", "images", "img", "imgs", "input", "inputs", "feature", "features", "picture"),
    *("pictures", "signal", "signals", "series", "sample", "samples", "inp"),
)
TARGET_WORDS = (
    *("y", "ys", "label", "labels", "target", "targets", "mask", "masks", "class", "classes", "output", "outputs"),
    *("lbl", "lbls", "annotation", "annotations"),
)
NAME_WORDS = ("classnames", "labelnames", "targetnames", "labelsnames", "names")
OTHER_WORDS = {"layout": ("layout",), "kind": ("kind",), "groups": ("groups", "group")}
ORDERS = {2: ("train",), 4: ("train", "test"), 6: ("train", "validation", "test")}
HELP = (
    "Names are understood in any case: x_train, y_train, x_test, y_test, x_val, y_val; train_images, train_labels, "
    "test_images, ...; X and y; data and target; images and masks. --target NAME names the targets."
)


@dataclass(frozen=True)
class ArrayHeader:
    """Shape and type of an array that has not been read, None where it is no plain array."""

    shape: tuple[int, ...]
    dtype: str


@dataclass
class Roles:
    """The names of arrays by what they are.

    Attributes:
        inputs, targets: by split; targets of a split can be several columns.
        class_names, layout, kind, groups: empty where there is none.
        findings: what was left unread, or guessed.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    targets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    class_names: str = ""
    layout: str = ""
    kind: str = ""
    groups: str = ""
    findings: list[Finding] = field(default_factory=list)

    def used(self) -> list[str]:
        """The names of all arrays that are read."""
        columns = [name for names in self.targets.values() for name in names]
        others = (self.class_names, self.layout, self.kind, self.groups)
        return [*self.inputs.values(), *columns, *(name for name in others if name)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def part_of_name(name: str) -> tuple[str, str]:
    """The split that a word of a file's name tells, "" if none, and the name without it."""
    words = [word for word in re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()) if word]
    for part, known in PART_WORDS.items():
        for word in words:
            if word in known:
                words.remove(word)
                return part, "_".join(words)
    return "", "_".join(words)


def other_folders(path: Path) -> list[str]:
    """The folders in a folder that are called neither like a split nor `data`; hidden ones are passed over."""
    known = {"data", *(word for words in PART_WORDS.values() for word in words)}
    return [
        each.name
        for each in path.iterdir()
        if each.is_dir() and each.name.lower() not in known and each.name[0] not in "._"
    ]


def is_input(name: str) -> bool:
    """Whether a name is one of inputs."""
    return _part_and_role(name, INPUT_WORDS) is not None


def _part_and_role(name: str, words: Iterable[str]) -> tuple[str, str] | None:
    """The split and the role word of a name; the split is "" where the name is the word alone."""
    plain = _plain(name)
    known = {_plain(word): word for word in words}
    if plain in known:
        return "", known[plain]
    for part, spellings in PART_WORDS.items():
        for spelling in spellings:
            for rest in (plain.removeprefix(spelling), plain.removesuffix(spelling)):
                if rest != plain and rest in known:
                    return part, known[rest]
    return None


def listing(headers: Mapping[str, ArrayHeader]) -> str:
    """The arrays with their shapes, for people."""
    told = [f"{name} ({shape_text(header.shape)}, {header.dtype})" for name, header in headers.items()]
    return some(told, 20) or "no arrays"


def find_roles(
    headers: Mapping[str, ArrayHeader], where: str, *, target: Sequence[str] = (), groups: str | None = None
) -> Roles:
    """What each array is.

    Args:
        headers: of all arrays, by name.
        where: the file, for messages.
        target: names of the targets, with or without the split in them; default: the usual ones.
        groups: name of the array of groups.

    Raises:
        DataError: no inputs or targets, or several; the message lists what there is.
    """
    roles = Roles()
    if not target and headers and all(re.fullmatch(r"arr_\d+", name) for name in headers):
        return _unnamed(headers, where)
    _assign(roles, headers, where, target)
    for name in headers:
        if _plain(name) in NAME_WORDS or (_plain(name) == "classes" and headers[name].dtype[:2] in ("<U", "|S", ">U")):
            roles.class_names = name
            for part in [part for part, names in roles.targets.items() if names == (name,)]:
                del roles.targets[part]
        for role, words in OTHER_WORDS.items():
            if _part_and_role(name, words) in [("", word) for word in words] + [("train", word) for word in words]:
                setattr(roles, role, name)
    if groups is not None:
        wanted = groups.removeprefix("column:")
        if wanted not in headers:
            raise DataError(f"{where} has no array '{wanted}' of groups; it has {listing(headers)}.")
        roles.groups = wanted
    _check(roles, headers, where)
    unread = [name for name in headers if name not in roles.used()]
    if unread:
        told = listing({name: headers[name] for name in unread})
        read = ", ".join(roles.used())
        roles.findings.append(Finding("note", "unread", f"{where}: read are {read}; not read: {told}.", tuple(unread)))
    return roles


def _assign(roles: Roles, headers: Mapping[str, ArrayHeader], where: str, target: Sequence[str]) -> None:
    """Fill in inputs and targets."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in headers:
        wanted = _wanted(name, target) if target else _part_and_role(name, TARGET_WORDS)
        if wanted is not None:
            found.setdefault(("targets", wanted[0] or "train"), []).append(name)
            continue
        as_input = _part_and_role(name, INPUT_WORDS)
        if as_input is not None:
            found.setdefault(("inputs", as_input[0] or "train"), []).append(name)
    for (role, part), names in found.items():
        if len(names) > 1 and not (role == "targets" and target):
            names = _clearest(names, part)
        if len(names) > 1 and not (role == "targets" and target):
            hint = f"Name the one to learn: --target {names[0]}." if role == "targets" else "Keep one of them."
            raise DataError(f"{where} has several arrays that can be the {role} of {part}: {', '.join(names)}. {hint}")
        if role == "targets":
            order = {_plain(word): place for place, word in enumerate(target)}
            names = sorted(names, key=lambda name: order.get(_plain((_wanted(name, target) or ("", ""))[1]), 0))
            roles.targets[part] = tuple(names)
        else:
            roles.inputs[part] = names[0]


def _clearest(names: list[str], part: str) -> list[str]:
    """Of names that may mean the same: `x_train` itself, else those that tell the split."""
    exact = {f"{letter}_{'val' if part == 'validation' else part}" for letter in "xy"}
    return [name for name in names if name in exact] or [name for name in names if part_of_name(name)[0]] or names


def _wanted(name: str, target: Sequence[str]) -> tuple[str, str] | None:
    """As `_part_and_role`, for names that the user gives, which may have the split in them."""
    if name in target:
        return part_of_name(name)[0], name
    return _part_and_role(name, target)


def _check(roles: Roles, headers: Mapping[str, ArrayHeader], where: str) -> None:
    """Raise where inputs and targets are not there in pairs; inputs without targets can be those of the test split."""
    lacking = [what for what, has in (("inputs", roles.inputs), ("targets", roles.targets)) if "train" not in has]
    if lacking:
        raise DataError(
            f"{where} has no {' and no '.join(lacking)} to learn from that are recognised. It has "
            f"{listing(headers)}. {HELP}"
        )
    for part, name in roles.inputs.items():
        if part == "validation" and part not in roles.targets:
            raise DataError(f"{where} has {name}, but no targets of that split. It has {listing(headers)}. {HELP}")
    for part, names in roles.targets.items():
        if part not in roles.inputs:
            raise DataError(
                f"{where} has {', '.join(names)}, but no inputs of that split. It has {listing(headers)}. {HELP}"
            )
    if "test" in roles.inputs and "test" not in roles.targets:
        roles.findings.append(
            Finding(
                "doubtful",
                "unlabelled",
                f"{where}: {roles.inputs['test']} has no targets beside it: its samples are kept to be predicted, "
                "and a test split is held out of the training samples.",
            )
        )


def _unnamed(headers: Mapping[str, ArrayHeader], where: str) -> Roles:
    """Arrays that were saved without names: by their number and shapes, in one of the two usual orders."""
    names = sorted(headers, key=lambda name: int(name.removeprefix("arr_")))
    parts = ORDERS.get(len(names), ())
    half = len(parts)
    orders = {
        "x, y, x, y": ([names[2 * place] for place in range(half)], [names[2 * place + 1] for place in range(half)]),
        "x, x, y, y": (names[:half], names[half:]),
    }
    fitting = [(xs, ys) for xs, ys in orders.values() if parts and _fits(headers, xs, ys)]
    if len(parts) == 1:
        fitting = fitting[:1]
    if len(fitting) != 1:
        reason = "fit several orders" if fitting else "do not pair up as inputs and targets"
        raise DataError(
            f"{where} has arrays without names, which {reason}: {listing(headers)}. Save them with names: "
            "numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)."
        )
    xs, ys = fitting[0]
    roles = Roles(dict(zip(parts, xs, strict=True)), {part: (name,) for part, name in zip(parts, ys, strict=True)})
    told = ", ".join(f"{x} and {y} are {part}" for part, x, y in zip(parts, xs, ys, strict=True))
    roles.findings.append(Finding("note", "unnamed", f"{where} has arrays without names; by their shapes {told}."))
    return roles


def _fits(headers: Mapping[str, ArrayHeader], xs: Sequence[str], ys: Sequence[str]) -> bool:
    """Whether arrays can be inputs and their targets: as many, alike in all splits, inputs of no fewer axes."""
    x, y = [headers[name].shape for name in xs], [headers[name].shape for name in ys]
    return (
        all(a and b and a[0] == b[0] and len(a) > 1 and len(a) >= len(b) for a, b in zip(x, y, strict=True))
        and len({shape[1:] for shape in x}) == 1
        and len({shape[1:] for shape in y}) == 1
    )
