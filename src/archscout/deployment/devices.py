"""Files for runtimes of devices: OpenVINO's `.xml` and `.bin`, and ExecuTorch's `.pte`.

Each is read back and compared with the network before it gets its name, as `archscout.exporting` does.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archscout.atomic import TEMPORARY_PREFIX, sync_directory
from archscout.errors import MissingExtraError
from archscout.exporting import (
    ExportError,
    ExportInput,
    ExportReport,
    Runner,
    captured,
    differences,
    onnx_content,
    publish,
    silenced,
)

__all__ = ["DEVICE_FORMATS", "export_for_device", "openvino_session", "write_openvino"]

DEVICE_FORMATS: dict[str, str] = {"openvino": ".xml", "executorch": ".pte"}
"""Formats of this module and the suffixes of their files."""


def export_for_device(
    model: nn.Module,
    inputs: Sequence[ExportInput],
    folder: Path,
    kind: str,
    *,
    outputs: Sequence[str],
    name: str = "model",
    tolerance: float = 1e-4,
    metadata: Mapping[str, str] | None = None,
) -> ExportReport:
    """Write a network for a device, in float32.

    Args:
        inputs: of one sample. OpenVINO's files take any batch size, ExecuTorch's one sample at a time.
        kind: of `DEVICE_FORMATS`.
        metadata: kept in OpenVINO's file; a `.pte` has no place for it.

    Raises:
        ExportError: the network cannot be written, or the file computes something else.
        MissingExtraError: the format's package is not installed.
    """
    _require(kind)
    path = folder / f"{name}{DEVICE_FORMATS[kind]}"
    if kind == "openvino":
        compare = partial(differences, model, inputs)
        difference = write_openvino(onnx_content(model, inputs, outputs), path, compare, tolerance, metadata or {})
    else:
        with silenced():
            content = _executorch_bytes(model, inputs)

            def compare_file(file: Path) -> float:
                return differences(model, inputs, _executorch_session(file), batch_sizes=(1,))

            difference = publish(content, path, compare_file, tolerance)
    return ExportReport(path, kind, difference, tolerance)


def _require(kind: str) -> None:
    try:
        import_module(kind)
    except ImportError:
        raise MissingExtraError(kind, kind, f"export to {kind}") from None


# -- OpenVINO ---------------------------------------------------------------------------------------------------------


def write_openvino(
    content: bytes,
    path: Path,
    compare: Callable[[Runner], float],
    tolerance: float,
    metadata: Mapping[str, str],
) -> float:
    """Write the content of an ONNX file as `path` (`.xml`) and the `.bin` beside it; the difference.

    Args:
        compare: the file as it runs, to its difference from what it should compute.
    """
    _require("openvino")
    import openvino

    try:
        with silenced():
            model = openvino.Core().read_model(content)  # openvino.convert_model sends telemetry
            for key, text in metadata.items():
                model.set_rt_info(text, key.split("."))
    except Exception as error:
        raise ExportError(f"OpenVINO cannot convert the network: {str(error).strip().splitlines()[0]}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _beside(path) as place:
            openvino.save_model(model, place / path.name, compress_to_fp16=False)
            difference = compare(openvino_session(place / path.name))
            if not difference <= tolerance:
                raise ExportError(
                    f"{path.name} computes something else than the network: the difference is {difference:.3g}, "
                    f"{tolerance:.3g} is allowed. It was not kept."
                )
            binary = path.with_suffix(".bin")
            (place / binary.name).replace(binary)
            (place / path.name).replace(path)
            sync_directory(path.parent)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}. Choose another folder.") from None
    return difference


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}-", dir=path.parent))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def openvino_session(file: Path) -> Runner:
    """An OpenVINO file on the CPU, in float32, with as many threads as torch uses."""
    import openvino

    # Without the first hint a CPU with bfloat16 computes in bfloat16.
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(file, "CPU", hints)

    def run(*batch: Tensor) -> list[Tensor]:
        found = compiled([each.contiguous().numpy() for each in batch])
        return [torch.from_numpy(found[output].copy()) for output in compiled.outputs]

    return run


# -- ExecuTorch -------------------------------------------------------------------------------------------------------


def _executorch_bytes(model: nn.Module, inputs: Sequence[ExportInput]) -> bytes:
    from executorch.exir import to_edge

    program = captured(model, inputs, batch_size=1)
    try:
        return bytes(to_edge(program).to_executorch().buffer)
    except Exception as error:
        raise ExportError(f"ExecuTorch cannot convert the network: {str(error).strip().splitlines()[0]}") from error


def _executorch_session(file: Path) -> Runner:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(file)
    method = program.load_method("forward")

    def run(*batch: Tensor) -> list[Tensor]:
        found: Any = method.execute(list(batch))
        return [each.clone() for each in found]

    return run
