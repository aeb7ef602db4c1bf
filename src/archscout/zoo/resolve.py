"""From what a user names to an architecture: a zoo name, a file, a run directory, or the text itself."""

from __future__ import annotations

from pathlib import Path

from archscout.errors import ArchitectureError, UnknownNameError
from archscout.spaces import Architecture, MobileNetConfig, NasBench201Cell, architecture_from_json
from archscout.spaces.published.darts import parse_published
from archscout.zoo.entries import ZOO

__all__ = ["resolve_architecture"]

MAX_BYTES = 1_000_000
RESULT_FILE = "architecture.json"
_SUFFIXES = (".json", ".txt", ".py")


def resolve_architecture(text: str | Path) -> Architecture:
    """The architecture that a text names or holds.

    Tried in this order: a zoo name; an existing file that holds JSON that archscout wrote, or a published text; a
    run directory with its `architecture.json`; JSON; a published text (`Genotype(normal=[...], ...)`,
    `Genotype_nested(genes=[...], ...)`, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, or numbers with commas: a MobileNet's
    `depths:kernels:ratios` or compact code).

    Raises:
        ArchitectureError: a file cannot be read, or what it or the text holds is no architecture.
        UnknownNameError: none of these; the message has the closest zoo names.
    """
    name = str(text).strip()
    if not name:
        raise ArchitectureError(
            "no architecture was named. Give a name from the zoo (archscout list zoo), a file, or published text."
        )
    if name in ZOO:
        return ZOO.get(name).architecture
    path = _existing_path(name)
    if path is not None:
        return _read_path(path)
    if name.startswith("{"):
        return architecture_from_json(name)
    if "(" in name or name.startswith("|") or MobileNetConfig.looks_like(name):
        return _parse_text(name)
    if "/" in name or "\\" in name or name.endswith(_SUFFIXES):
        raise ArchitectureError(
            f"the file {name[:200]} does not exist. Give an existing file, a name from the zoo (archscout list zoo), "
            "or published text."
        )
    raise UnknownNameError(
        ZOO.noun,
        name[:200],
        ZOO,
        "It is no existing file and no published text, Genotype(...), either. See: archscout list zoo",
    )


def _parse_text(text: str) -> Architecture:
    """From published text: a MobileNet in numbers, a cell of NAS-Bench-201 (`|op~0|+|...`), or a genotype."""
    if MobileNetConfig.looks_like(text):
        return MobileNetConfig.parse(text)
    return NasBench201Cell.from_text(text) if text.startswith("|") else parse_published(text)


def _existing_path(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long for a path, a null character, an unknown user's home
        return None


def _read_path(path: Path) -> Architecture:
    """The architecture in a file, or of a run directory."""
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
        raise ArchitectureError(f"{path} is larger than {MAX_BYTES} bytes; no architecture is as large.")
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ArchitectureError(f"{path} is not text. Give a file with an architecture in JSON or as text.") from None
    try:
        return architecture_from_json(text) if text.startswith("{") else _parse_text(text)
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: {error}") from None
