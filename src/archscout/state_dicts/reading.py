"""The state dicts in a file: read without running anything, and taken out of what they are wrapped in.

Files that torch pickled are read with `weights_only=True`; what training scripts
commonly save beside weights (their options, numbers of numpy, paths, dates) becomes an inert stand-in, and any other
name refuses the file.
"""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from archscout.errors import DataError

__all__ = ["Entry", "listed", "read_entries"]

POINTER = b"version https://git-lfs"
# As torch.hub names files: the first digits of the content's SHA-256 before the suffix.
_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_GLOBAL = re.compile(r"GLOBAL (\S+)")
DEEPEST = 4  # wrappers within each other
SHOWN = 3
# The usual names of wrappers, the likeliest first; weights that were averaged over training come after the others.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
_AVERAGED = re.compile(r"(^|_)(ema|swa|averaged?|shadow)(_|$)", re.IGNORECASE)
_SIGNATURES = (
    (POINTER, "is a pointer of git-LFS, not the file itself. Get the file with: git lfs pull"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes them. Convert it to a state dict of torch first."),
    (b"\x93NUMPY", "is a single array of numpy (.npy). Give a state dict of torch, or a .safetensors file."),
    (b"\x1f\x8b", "is gzipped. Unpack it first."),
    (b"<", "is a web page or XML, so the download went wrong. Download the file itself."),
)
_ADVICE = "Give a .safetensors file, or one that torch.save wrote of a state dict of tensors."


class _LeftOut:
    """Stands for a harmless value that is no tensor: whatever it is made of is dropped unread."""

    def __new__(cls, *_: object, **__: object) -> _LeftOut:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# What the usual training scripts save beside weights.
_HARMLESS = [
    "argparse.Namespace",
    "types.SimpleNamespace",
    "easydict.EasyDict",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "datetime.datetime",
    "datetime.date",
    "datetime.timedelta",
    "numpy.dtype",
    "numpy.ndarray",
    "_codecs.encode",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Int64", "Int32", "Bool", "UInt8")),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("int", "float", "list", "dict")),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("slice", "range")),
]


@dataclass(frozen=True)
class Entry:
    """A state dict in a file.

    Attributes:
        name: where it was: the keys of the wrappers, joined by dots; empty for the whole file.
        tensors: by name, as they are in the file.
        notes: what was left out of it, in sentences.
    """

    name: str
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_entries(path: Path | str, entry: str | None = None) -> list[Entry]:
    """The state dicts of a file, the likeliest first: of `.safetensors`, or what `torch.save` wrote.

    Where the file's name ends in `-<digits>` before the suffix, as torch.hub names files, these must begin the SHA-256
    of its content.

    Args:
        entry: the name of the only one that is wanted.

    Raises:
        DataError: no such file, another digest, a file that could run code, or nothing in it is a state dict; the
            message says what there is instead.
    """
    file = Path(path)
    _check_begin(file)
    _check_digest(file)
    content = _loaded(file)
    found = sorted(_entries(content, file), key=lambda each: _rank(each.name))
    if not found:
        raise DataError(f"{file} holds no state dict of names and tensors, but {_described(content)}. {_ADVICE}")
    if entry is not None:
        chosen = [each for each in found if each.name == entry]
        if not chosen:
            names = [each.name or "(the whole file)" for each in found]
            raise DataError(f"{file} has no weights of the name '{entry}'. It has: {', '.join(names)}.")
        return chosen
    return found


def _check_begin(file: Path) -> None:
    if file.is_dir():
        raise DataError(f"{file} is a folder. Give the file of weights in it.")
    if not file.exists():
        raise DataError(f"the file of weights {file} does not exist.")
    try:
        with file.open("rb") as opened:
            begin = opened.read(64)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    if not begin:
        raise DataError(f"{file} is empty: it holds no plain state dict.")
    for signature, what in _SIGNATURES:
        if begin.lstrip().startswith(signature):
            raise DataError(f"{file} holds no plain state dict: it {what}")


def _check_digest(file: Path) -> None:
    digest = _DIGEST.search(file.name)
    if digest is None:
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    # Eight decimal digits are rather a date or a number of steps.
    if not found.startswith(digest[1]) and not digest[1].isdecimal():
        raise DataError(
            f"{file}: its name says that its SHA-256 begins with {digest[1]}, but it begins with "
            f"{found[: len(digest[1])]}. The file is damaged or another one; download it again, or rename it if these "
            "digits mean something else."
        )


def _loaded(file: Path) -> Any:
    """The content; names and shapes are not looked at. Raises DataError."""
    try:
        if _is_safetensors(file):
            return load_file(file)
        with warnings.catch_warnings(), safe_globals([(_LeftOut, name) for name in _HARMLESS]):
            warnings.simplefilter("ignore")  # of old formats
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the readers raise
        raise DataError(f"{file} {_reason(file, error)}") from None


def _is_safetensors(file: Path) -> bool:
    with file.open("rb") as opened:
        begin = opened.read(9)
    length = int.from_bytes(begin[:8], "little")
    return file.suffix == ".safetensors" or (begin[8:] == b"{" and length < file.stat().st_size)


def _reason(file: Path, error: Exception) -> str:
    """Why a file could not be read, as the end of a sentence about it."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    named = _GLOBAL.search(text)
    if named is not None:
        return (
            f"is refused unread: the pickle names {named[1]}, which could run code when loaded, so it holds more than "
            "tensors and plain values. Where you trust the file, load it yourself and save the state dict alone: "
            "torch.save(model.state_dict(), FILE)."
        )
    if "TorchScript" in text:
        return (
            "is a program of TorchScript, no plain state dict. Load it with torch.jit.load, and save its state_dict(). "
            + _ADVICE
        )
    if ".tar format" in text:
        return (
            "is in an old tar format of torch, which cannot be read safely. Where you trust the file, load "
            "it yourself and save the state dict anew."
        )
    if "Weights only load failed" in text:
        found = re.search(r"WeightsUnpickler error: (.*)", text)
        return (
            f"is refused unread: it is a pickle that is damaged, or holds more than tensors and plain values "
            f"({found[1][:100] if found else type(error).__name__}), and could run code when loaded. {_ADVICE}"
        )
    reason = " ".join(text.split())[:200] or type(error).__name__
    if not isinstance(error, SafetensorError) and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            shown = ", ".join(names[:SHOWN])
            return f"is a zip archive ({shown}{', ...' if len(names) > SHOWN else ''}), no plain state dict. {_ADVICE}"
    return f"is damaged, or no file of weights: no plain state dict can be read from it safely ({reason}). {_ADVICE}"


# -- wrappers --------------------------------------------------------------------------------------------------------


def _entries(content: object, file: Path, place: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The state dicts in a content, wherever they are."""
    if isinstance(content, list | tuple):
        content = {str(number): value for number, value in enumerate(content)}
    if not isinstance(content, Mapping) or _is_optimizer(content):
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    inner: list[Entry] = []
    if len(place) < DEEPEST:
        for name, value in content.items():
            if isinstance(name, str):
                inner.extend(_entries(value, file, (*place, name)))
    yield from inner
    if tensors and (not inner or any("." in name for name in tensors)):
        others = [str(name) for name in content if name not in tensors and name != "_metadata"]
        others = [name for name in others if not any(each.name.startswith(".".join((*place, name))) for each in inner)]
        notes = [f"left out, as no tensors: {listed(others)}"] if others else []
        yield Entry(".".join(place), tensors, tuple(notes))


def _is_optimizer(content: Mapping[Any, Any]) -> bool:
    return "param_groups" in content and "state" in content


def _rank(name: str) -> tuple[int, int, int]:
    """Less is likelier: weights as they are before averaged ones, then known names, then shallow ones."""
    parts = name.split(".") if name else []
    known = [_WRAPPERS.index(part) for part in parts if part in _WRAPPERS]
    averaged = any(_AVERAGED.search(part) for part in parts)
    return averaged, min(known) if known else (len(_WRAPPERS) if parts else 0), len(parts)


def _described(content: object) -> str:
    """What a file holds instead of a state dict."""
    if isinstance(content, Mapping):
        if _is_optimizer(content):
            return "the state of an optimiser alone (state, param_groups), which has no weights"
        if not content:
            return "an empty dictionary"
        optimizers = [str(key) for key, value in content.items() if isinstance(value, Mapping) and _is_optimizer(value)]
        kinds = [f"{str(key)[:40]!r} ({_kind(value)})" for key, value in list(content.items())[:6]]
        more = ", ..." if len(content) > len(kinds) else ""
        only = f"; of training, only the state of the optimiser ({listed(optimizers)})" if optimizers else ""
        return f"a dictionary with {', '.join(kinds)}{more}{only}"
    return f"a {_kind(content)}"


def _kind(value: object) -> str:
    if isinstance(value, Mapping) and _is_optimizer(value):
        return "state of an optimiser"
    return "value that is no tensor" if isinstance(value, _LeftOut) else type(value).__name__


def listed(names: Sequence[str], count: int = SHOWN) -> str:
    """The first names, for messages."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
