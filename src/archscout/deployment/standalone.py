"""The file `predict_onnx.py` that lies beside exported ONNX files: archscout's own sources, without archscout."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from archscout.version import __version__

__all__ = ["FILE_NAME", "standalone_source"]

FILE_NAME = "predict_onnx.py"
BEGIN, END = "# === taken from archscout: begin ===", "# === taken from archscout: end ==="
# What is taken: all definitions of a module, or those named.
PIECES: dict[str, tuple[str, ...]] = {
    "archscout.tasks.findings": ("some",),
    "archscout.tasks.readers.file_tree": ("natural", "suffix_of"),
    "archscout.tasks.readers.image_formats": ("IMAGE_SUFFIXES", "UnreadableError"),
    "archscout.tasks.readers.rendering": (
        "GREY_MODES", "WHITE_16", "EXIF_ORIENTATION", "TIFF_PHOTOMETRIC", "UPRIGHT", "deep_kind",
        "is_inverted", "is_transparent", "is_grey", "deep_values", "orientation", "upright", "seen", "_deep", "_range",
        "flat", "_with_alpha", "_from_lab",
    ),
    "archscout.tasks.readers.decoding": (
        "_as_in_version_0_1", "placed", "_centre", "_padded", "_border", "_squeezed",
    ),
    "archscout.tasks.readers.wav": ("_decode",),
    "archscout.tasks.readers.series": ("_Array", "fill_gaps", "padded_cases"),
    "archscout.deployment.inputs": ("is_series",),
    "archscout.deployment.array_rows": (),
    "archscout.deployment.reading": ("_array_size", "_array_decoding", "_other_size", "_pixels_as_array"),
    "archscout.deployment.answers": (),
    "archscout.deployment.prediction_files": (
        "FORMULA", "QUOTED", "NUMBER",
        "COLOURS", "UNKNOWN", "csv_cell", "CsvRows", "MapFiles", "_values_and_palette", "_colour",
    ),
}  # fmt: skip
NOTE = "# Written by archscout {version}. Its licence is that of archscout (MIT).\n"


@cache
def standalone_source() -> str:
    """The content of `predict_onnx.py`."""
    template = Path(__file__).with_name(FILE_NAME).read_text(encoding="utf-8")
    before, _, rest = template.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [_definitions(import_module(name), names) for name, names in PIECES.items()]
    taken = "\n\n\n".join(parts)
    return f"{NOTE.format(version=__version__)}{before}{BEGIN}\n{taken}\n{END}{after}"


def _definitions(module: ModuleType, names: Collection[str]) -> str:
    """The source of a module's definitions, or of those named, in its order."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        name = _name(node)
        if name is None or name == "__all__" or (names and name not in names):
            continue
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        found[name] = "\n".join(lines[first - 1 : node.end_lineno])
    missing = set(names) - set(found)
    assert not missing, f"{module.__name__} has no {missing}"
    return "\n\n\n".join(found.values())


def _name(node: ast.stmt) -> str | None:
    """What a statement defines; None for imports, docstrings and the like."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        first = node.targets[0].elts[0]
        return first.id if isinstance(first, ast.Name) else None
    return None
