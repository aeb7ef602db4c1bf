"""Hand a network over: ONNX and `torch.export` files, each read back and compared with the network.

A file appears under its final name only when it computes what the network computes, to a stated tolerance, at batch
sizes 1, 2 and 7; until then it lies beside it under a temporary name, and an older export stays as it is.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from archscout.atomic import TEMPORARY_PREFIX, sync_directory
from archscout.errors import ArchscoutError, MissingExtraError, UnknownNameError
from archscout.seeds import generator

__all__ = [
    "FORMATS",
    "ExportError",
    "ExportInput",
    "ExportReport",
    "ExportedInParts",
    "Runner",
    "captured",
    "differences",
    "export_model",
    "export_network",
    "onnx_content",
    "onnx_session",
    "publish",
    "require_onnx",
    "silenced",
]

FORMATS: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""Export formats and the suffixes of their files."""

Runner = Callable[..., list[Tensor]]
"""A reloaded network: the inputs of a batch to its outputs."""


class ExportError(ArchscoutError):
    """A network cannot be exported, a file cannot be written, or it computes something else than the network."""


@dataclass(frozen=True)
class ExportInput:
    """An input of an exported network.

    Attributes:
        name: in the ONNX file.
        shape: of one sample, without the batch dimension.
        vocabulary: the input holds integers below this number; None: real numbers.
        dtype: of real numbers, or uint8 for pixels.
    """

    name: str
    shape: tuple[int, ...]
    vocabulary: int | None = None
    dtype: torch.dtype = torch.float32

    def draw(self, size: int, draw: torch.Generator) -> Tensor:
        """A random batch."""
        if self.dtype == torch.uint8:
            return torch.randint(256, (size, *self.shape), generator=draw, dtype=torch.uint8)
        if self.vocabulary is None:
            return torch.randn(size, *self.shape, generator=draw)
        return torch.randint(self.vocabulary, (size, *self.shape), generator=draw)

    def zeros(self, size: int) -> Tensor:
        """A batch of zeros."""
        return torch.zeros(size, *self.shape, dtype=self.dtype if self.vocabulary is None else torch.long)


@dataclass(frozen=True)
class ExportReport:
    """A written file and how it compares with the network.

    Attributes:
        max_difference: the largest absolute difference of any output on the random inputs.
        tolerance: the largest difference allowed.
    """

    path: Path
    format: str
    max_difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance; always so for a report that `export_model` returns."""
        return self.max_difference <= self.tolerance


@runtime_checkable
class ExportedInParts(Protocol):
    """A network whose parts are exported, instead of its forward pass.

    A recurrent one is exported as a single step and as a whole segment, with the hidden state as input and output.
    """

    def export_parts(self) -> Mapping[str, tuple[nn.Module, Sequence[ExportInput], Sequence[str]]]:
        """By the name of its file: a module, its inputs, and the names of its outputs."""
        ...


def export_model(
    model: nn.Module,
    inputs: Sequence[int] | Sequence[ExportInput],
    directory: Path | str,
    *,
    outputs: Sequence[str] = ("output",),
    formats: Sequence[str] = ("onnx", "torch"),
    tolerance: float = 1e-4,
    batch_sizes: Sequence[int] = (1, 2, 7),
    seed: int = 0,
    name: str = "model",
    metadata: Mapping[str, str] | None = None,
) -> list[ExportReport]:
    """Write the network in evaluation mode, in float32, for the CPU, with a batch dimension of any size.

    The files are `<name>.onnx` and `<name>.pt2`; each is one file with the weights inside. The network is copied:
    its mode, device and memory format stay as they are.

    Args:
        inputs: shape of one sample, without the batch dimension; for several inputs, or for integers, their
            descriptions.
        outputs: names of the outputs in the ONNX file.
        directory: created where needed.
        formats: `onnx` (needs the extra `export`), `torch` (read it back with `torch.export.load`).
        tolerance: absolute; above it nothing is written and ExportError raised.
        batch_sizes: of the random inputs on which each file is compared with the network.
        seed: of those inputs.
        metadata: texts by key, kept in the files: `metadata_props` of ONNX, extra files of `.pt2`.

    Raises:
        ExportError: the network cannot be captured, a file not be written, or its outputs differ.
        MissingExtraError: a package for ONNX is missing.
        UnknownNameError: another format.
    """
    for chosen in formats:
        if chosen not in FORMATS:
            raise UnknownNameError("export format", chosen, FORMATS)
    folder = Path(directory)
    reports = []
    with silenced():
        if "onnx" in formats:
            require_onnx()
        subject = _frozen_copy(model)
        described = _described(inputs)
        samples = _samples(described, batch_sizes, seed)
        with torch.inference_mode():
            expected = [_tensors(subject(*sample)) for sample in samples]
        program = _capture(subject, described)
        for chosen in formats:
            path = folder / f"{name}{FORMATS[chosen]}"
            names = ([each.name for each in described], list(outputs))
            content = _serialize(program, chosen, names, metadata or {})
            compare = partial(_compare, kind=chosen, samples=samples, expected=expected)
            reports.append(ExportReport(path, chosen, publish(content, path, compare, tolerance), tolerance))
    return reports


def export_network(
    network: nn.Module, input_shape: Sequence[int], directory: Path | str, **options: Any
) -> list[ExportReport]:
    """`export_model` of a network, or of each of its parts where it is `ExportedInParts`."""
    if not isinstance(network, ExportedInParts):
        return export_model(network, input_shape, directory, **options)
    return [
        report
        for name, (module, inputs, outputs) in network.export_parts().items()
        for report in export_model(module, inputs, directory, outputs=outputs, name=name, **options)
    ]


def captured(model: nn.Module, inputs: Sequence[ExportInput], *, batch_size: int) -> torch.export.ExportedProgram:
    """The network as a program of one batch size, in evaluation mode, in float32. Raises ExportError."""
    examples = tuple(each.zeros(batch_size) for each in inputs)
    try:
        return torch.export.export(_frozen_copy(model), examples)
    except Exception as error:
        raise ExportError(f"torch.export cannot capture {type(model).__name__}: {_reason(error)}") from error


def differences(
    model: nn.Module,
    inputs: Sequence[ExportInput],
    run: Runner,
    *,
    batch_sizes: Sequence[int] = (1, 2, 7),
    seed: int = 0,
) -> float:
    """The largest absolute difference of what runs from the network, on random inputs; see `export_model`."""
    samples = _samples(inputs, batch_sizes, seed)
    with torch.inference_mode():
        subject = _frozen_copy(model)
        return _largest(run, samples, [_tensors(subject(*sample)) for sample in samples])


def _samples(inputs: Sequence[ExportInput], batch_sizes: Sequence[int], seed: int) -> list[list[Tensor]]:
    samples = []
    for size in batch_sizes:
        draw = generator(seed, "export", size)
        samples.append([each.draw(size, draw) for each in inputs])
    return samples


def onnx_content(
    model: nn.Module, inputs: Sequence[int] | Sequence[ExportInput], outputs: Sequence[str] = ("output",)
) -> bytes:
    """The network as the content of an ONNX file, not compared with anything; see `export_model`."""
    described = _described(inputs)
    with silenced():
        require_onnx()
        program = _capture(_frozen_copy(model), described)
        return _serialize(program, "onnx", ([each.name for each in described], list(outputs)), {})


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keeps the exporters' prints, warnings and log lines from the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def require_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(package)
        except ImportError:
            raise MissingExtraError(package, "export", "ONNX export") from None


def _frozen_copy(model: nn.Module) -> nn.Module:
    subject = copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval().requires_grad_(False)
    return subject.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def _described(inputs: Sequence[int] | Sequence[ExportInput]) -> list[ExportInput]:
    described = [each for each in inputs if isinstance(each, ExportInput)]
    return described or [ExportInput("input", tuple(int(size) for size in inputs))]  # type: ignore[arg-type]


def _dynamic_batch(inputs: int) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim("batch", min=1)
    return ({0: batch},) * inputs


def _capture(subject: nn.Module, inputs: Sequence[ExportInput]) -> torch.export.ExportedProgram:
    examples = tuple(each.zeros(2) for each in inputs)  # torch.export takes a batch size of 1 for a fixed size
    shapes = " and ".join(f"({', '.join(map(str, ('batch', *each.shape)))})" for each in inputs)
    try:
        # A dynamic size is tied to its inputs through one name.
        program = torch.export.export(subject, examples, dynamic_shapes=_dynamic_batch(len(inputs)))
    except Exception as error:
        raise ExportError(
            f"torch.export cannot capture {type(subject).__name__} with inputs {shapes}: {_reason(error)} The forward "
            "pass must not branch on values, and must take batches of any size."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, which the files would carry
    return program


def _reason(error: BaseException) -> str:
    """The first line of an exception's message, cut to a readable length, as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return (text if len(text) <= 200 else text[:197] + "...").rstrip(".") + "."


def _serialize(
    program: torch.export.ExportedProgram,
    kind: str,
    names: tuple[list[str], list[str]],
    metadata: Mapping[str, str],
) -> bytes:
    """The content of a file of that format; `names` are those of the inputs and outputs."""
    try:
        return _onnx_bytes(program, *names, metadata) if kind == "onnx" else _torch_bytes(program, metadata)
    except Exception as error:
        raise ExportError(f"the network cannot be written as {kind}: {_reason(error)}") from error


def _torch_bytes(program: torch.export.ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=dict(metadata))
    return buffer.getvalue()


def _onnx_bytes(
    program: torch.export.ExportedProgram, inputs: list[str], outputs: list[str], metadata: Mapping[str, str]
) -> bytes:
    exported = torch.onnx.export(
        program,
        (),
        dynamo=True,
        verbose=False,
        external_data=False,
        dynamic_shapes=_dynamic_batch(len(inputs)),
        input_names=inputs,
        output_names=outputs,
    )
    assert exported is not None  # torch returns None only when it writes a file itself
    proto = exported.model_proto
    # Notes of the exporter, on where each node came from: as large as a small network's weights.
    for item in (proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del item.metadata_props[:]
    for key, text in metadata.items():
        fact = proto.metadata_props.add()
        fact.key, fact.value = key, text
    content: bytes = proto.SerializeToString()
    return content


def _load(path: Path, kind: str) -> Runner:
    if kind == "torch":
        program = torch.export.load(path).module()
        return lambda *batch: _tensors(program(*batch))
    return onnx_session(path)


def onnx_session(source: Path | bytes, *, optimised: bool = True) -> Runner:
    """An ONNX file, or its content, in onnxruntime on the CPU, with as many threads as torch uses.

    Args:
        optimised: let onnxruntime change the graph for speed, which may change roundings.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*batch: Tensor) -> list[Tensor]:
        feeds = {name: each.contiguous().numpy() for name, each in zip(names, batch, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, feeds)]

    return run


def _tensors(output: Any) -> list[Tensor]:
    """The tensors of a network's output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output
    return [tensor for part in parts for tensor in _tensors(part)]


def _compare(file: Path, kind: str, samples: Sequence[Sequence[Tensor]], expected: Sequence[Sequence[Tensor]]) -> float:
    """The largest absolute difference of the file's outputs; infinite where a shape differs or a number is missing."""
    return _largest(_load(file, kind), samples, expected)


def _largest(run: Runner, samples: Sequence[Sequence[Tensor]], expected: Sequence[Sequence[Tensor]]) -> float:
    largest = 0.0
    with torch.inference_mode():
        for sample, targets in zip(samples, expected, strict=True):
            outputs = run(*sample)
            if [output.shape for output in outputs] != [target.shape for target in targets]:
                return math.inf
            for output, target in zip(outputs, targets, strict=True):
                difference = (output.double() - target.double()).abs().max().item() if output.numel() else 0.0
                largest = math.inf if math.isnan(difference) else max(largest, difference)
    return largest


def publish(content: bytes, path: Path, compare: Callable[[Path], float], tolerance: float) -> float:
    """Write beside, read back, compare, and rename; the difference. Raises ExportError if it is above the tolerance."""
    beside = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        difference = _checked(beside, path.name, compare)
        if not difference <= tolerance:
            raise ExportError(
                f"{path.name} computes something else than the network: the largest difference is {difference:.3g}, "
                f"{tolerance:.3g} is allowed. It was not kept. If the network's outputs are large, raise the tolerance."
            )
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}. Choose another folder.") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return difference


def _checked(file: Path, name: str, compare: Callable[[Path], float]) -> float:
    try:
        return compare(file)
    except Exception as error:
        raise ExportError(f"{name} cannot be read back and run: {_reason(error)}") from error
