"""From what a user names to an architecture: a zoo name, a file, a run directory, or the text itself."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archscout import catalog
from archscout.errors import ArchitectureError, UnknownNameError
from archscout.registry import Registry
from archscout.spaces.architecture import Architecture, architecture_from_json

__all__ = ["NAMED_ARCHITECTURES", "TEXT_FORMS", "TextForm", "register_text_form", "resolve_architecture"]

NAMED_ARCHITECTURES: Registry[Any] = catalog.ZOO
"""What has a name: entries with an attribute `architecture`. The zoo fills it, see `archscout.zoo.ZOO`."""

MAX_BYTES = 100_000_000  # the log of a long search
RESULT_FILE = "architecture.json"
_SUFFIXES = (".json", ".txt", ".py")


@dataclass(frozen=True)
class TextForm:
    """A form in which architectures are published as text: whether a text can only be meant as it, and its parser.

    `choose` parses the one of a name in a text that holds several; None: a text of this form holds one.
    """

    matches: Callable[[str], bool]
    parse: Callable[[str], Architecture]
    choose: Callable[[str, str | None], Architecture] | None = None


TEXT_FORMS: Registry[TextForm] = Registry("text form", "archscout.spaces")
GENOTYPE = "genotype"


def register_text_form(
    name: str, matches: Callable[[str], bool], *, choose: Callable[[str, str | None], Architecture] | None = None
) -> Callable[[Callable[[str], Architecture]], Callable[[str], Architecture]]:
    """Decorator: register a parser of texts, which raises ArchitectureError, for the texts that match."""

    def add(parse: Callable[[str], Architecture]) -> Callable[[str], Architecture]:
        TEXT_FORMS.register(name)(TextForm(matches, parse, choose))
        return parse

    return add


def resolve_architecture(text: str | Path) -> Architecture:
    """The architecture that a text names or holds.

    Tried in this order: a zoo name; an existing file that holds JSON that archscout wrote, or a published text; a
    run directory with its `architecture.json`; `FILE:NAME` for one of several in a file; JSON; a published text
    (`Genotype(normal=[...], ...)`, `Genotype_nested(genes=[...], ...)`, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, these in
    a longer text such as the line of a log; the JSON of NNI; or numbers with commas: a MobileNet's
    `depths:kernels:ratios` or compact code). Python files are parsed, never executed.

    Raises:
        ArchitectureError: a file cannot be read, or what it or the text holds is no architecture.
        UnknownNameError: none of these; the message has the closest zoo names.
    """
    name = str(text).strip()
    if not name:
        raise ArchitectureError(
            "no architecture was named. Give a name from the zoo (archscout list zoo), a file, or published text."
        )
    if name in NAMED_ARCHITECTURES:
        found: Architecture = NAMED_ARCHITECTURES.get(name).architecture
        return found
    path = _existing_path(name)
    if path is not None:
        return _read_path(path)
    head, _, entry = name.rpartition(":")
    path = _existing_path(head) if head and entry.strip() else None
    if path is not None and path.is_file():
        return _read_path(path, entry.strip())
    form = _form_of(name)
    if form is not None:
        return form.parse(name)
    if name.startswith("{"):
        return architecture_from_json(name)
    file = head if head.endswith(_SUFFIXES) else name
    if "/" in file or "\\" in file or file.endswith(_SUFFIXES):
        raise ArchitectureError(
            f"the file {file[:200]} does not exist. Give an existing file, a name from the zoo (archscout list zoo), "
            "or published text."
        )
    raise UnknownNameError(
        NAMED_ARCHITECTURES.noun,
        name[:200],
        NAMED_ARCHITECTURES,
        "It is no existing file and no published text such as Genotype(...) either. See: archscout list zoo",
    )


def _form_of(text: str) -> TextForm | None:
    return next((form for _, form in TEXT_FORMS.items() if form.matches(text)), None)


def _existing_path(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long for a path, a null character, an unknown user's home
        return None


def _read_path(path: Path, entry: str | None = None) -> Architecture:
    """The architecture in a file, the one of a name if there are several, or of a run directory."""
    if path.is_dir():
        if not (path / RESULT_FILE).is_file():
            raise ArchitectureError(
                f"the folder {path} has no {RESULT_FILE}; it is no run directory, or its search has not ended yet."
            )
        path = path / RESULT_FILE
    if not path.is_file():
        raise ArchitectureError(f"{path} is no regular file. Give a file with an architecture in JSON or as text.")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ArchitectureError(f"cannot read {path}: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise ArchitectureError(
            f"{path} is larger than {MAX_BYTES} bytes. Give a file with the part of it that is the architecture."
        )
    try:
        return _parsed(_decoded(content), entry)
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: {str(error).replace('FILE:', f'{path}:')}") from None


def _parsed(whole: str, entry: str | None) -> Architecture:
    """The architecture in the text of a file, in which forms that count lines see the empty ones at its begin, too."""
    text = whole.strip()
    form = _form_of(text)
    if form is None and text.startswith("{"):
        if entry is not None:
            raise ArchitectureError(f"this JSON is one architecture; leave ':{entry[:80]}' away.")
        return architecture_from_json(text)
    form = form or TEXT_FORMS.get(GENOTYPE)
    if entry is None:
        return form.parse(text if form.choose is None else whole)
    if form.choose is None:
        raise ArchitectureError(f"this file holds one architecture without a name; leave ':{entry[:80]}' away.")
    return form.choose(whole, entry)


def _decoded(content: bytes) -> str:
    """The text in UTF-8, in UTF-16 with its mark, as PowerShell writes it, or in Latin-1. Raises ArchitectureError."""
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        if any(ord(character) < 32 and not character.isspace() and character != "\x1b" for character in text):
            raise ArchitectureError(
                "it holds bytes that are no text in UTF-8, UTF-16 or Latin-1. Give a file with an architecture in JSON "
                "or as text. (Weights belong to --weights, trained networks to evaluate.)"
            ) from None
        return text
