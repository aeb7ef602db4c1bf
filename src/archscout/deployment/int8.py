"""Static quantisation to 8 bit integers, by onnxruntime's own tools, judged on the validation split.

The network becomes integer, what prepares its inputs and decodes its outputs stays in float32: the three are written
as ONNX one by one, and joined after the network was quantised. Weights have a scale for each output channel,
activations one for each tensor, found on a part of the training split. Nodes for quantising and dequantising stand in
the graph ("QDQ"), which every runtime with integer kernels reads.

If the metric falls by more than is allowed, further ways are tried in turn: first and last layer in float32, ranges of
activations without rare extremes. If all of them lose more, nothing is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from archscout.deployment.card import ModelCard
from archscout.deployment.deployed import OUTPUT_NAMES, Deployed, decode_outputs, given_input
from archscout.engine import Engine
from archscout.errors import SpaceError
from archscout.exporting import (
    ExportedInParts,
    ExportError,
    ExportInput,
    onnx_content,
    onnx_session,
    publish,
    require_onnx,
    silenced,
)
from archscout.measure import time_calls
from archscout.seeds import generator
from archscout.tasks.streams import evaluation_batches
from archscout.tasks.task import Task
from archscout.training.evaluation import pooled_metrics

if TYPE_CHECKING:
    import onnx

__all__ = ["Int8Attempt", "Int8Report", "Int8Wanted", "quantise"]

NAME = "model.int8.onnx"
BATCH = 32  # of calibration
EXACT = 1e-6  # how closely the joined file must compute what its three parts do
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
WAYS = (("minmax", False), ("minmax", True), ("percentile", False), ("entropy", False), ("percentile", True))


@dataclass(frozen=True)
class Int8Wanted:
    """What is asked for.

    Attributes:
        tolerance: how far the metric may fall: of a metric in percent in absolute terms (0.01: a point), of others
            relative to its value.
        samples: of the training split, to calibrate with.
        seed: of their choice.
    """

    tolerance: float = 0.01
    samples: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Int8Attempt:
    """A way that was tried: how ranges were found, whether first and last layer stayed in float32, and the metric."""

    ranges: str
    ends_in_float: bool
    value: float

    def describe(self) -> str:
        """In words."""
        return f"ranges by {self.ranges}" + (", first and last layer in float32" if self.ends_in_float else "")


@dataclass(frozen=True)
class Int8Report:
    """A file that was kept, and how it compares with the network in float32.

    Attributes:
        before, after: the metric on the validation split, both computed by onnxruntime.
        allowed: the worst value that would have been kept.
        bytes_before, bytes_after: of the network alone as ONNX.
        milliseconds_before, milliseconds_after: median latency of the network alone in onnxruntime, batch size 1.
        threads: that it used.
        attempts: in order; the last one was kept.
    """

    path: Path
    metric: str
    before: float
    after: float
    allowed: float
    validation_samples: int
    calibration_samples: int
    bytes_before: int
    bytes_after: int
    milliseconds_before: float
    milliseconds_after: float
    threads: int
    attempts: tuple[Int8Attempt, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the path."""
        return {name: value for name, value in asdict(self).items() if name != "path"}


def quantise(
    network: nn.Module,
    card: ModelCard,
    task: Task,
    folder: Path,
    *,
    raw: bool,
    wanted: Int8Wanted,
    metadata: Mapping[str, str],
) -> Int8Report:
    """Write `model.int8.onnx` if its metric on the validation split is good enough.

    Args:
        network: in evaluation mode.
        raw: without preprocessing and decoding.
        metadata: of the file.

    Raises:
        ExportError: the metric falls too far by every way, or the network cannot be quantised; no file is written.
        MissingExtraError: a package for ONNX is missing.
    """
    if isinstance(network, ExportedInParts):
        raise ExportError(
            f"int8 is for networks with one input and one output; {card.spec.name} is learnt by a recurrent network, "
            "which is exported as a step and as a segment with its hidden state. Leave out --int8."
        )
    require_onnx()
    judge = _Judge(task)
    with tempfile.TemporaryDirectory() as place:
        quantiser = _Quantiser(network, card, task, Path(place), wanted)
        before = judge.value(quantiser.float_content)
        allowed = _allowed(task, before, wanted.tolerance)
        found, attempts = _first_good(quantiser, judge, allowed)
    if found is None:
        raise ExportError(_refusal(task, before, allowed, attempts))
    content = _joined(network, card, found, raw)
    path = folder / NAME
    publish(_with_metadata(content, metadata), path, partial(_differs, network, card, found, raw), EXACT)
    one = torch.zeros(1, *card.spec.input_shape)
    before_ms, after_ms = (time_calls(partial(onnx_session(each), one)) for each in (quantiser.float_content, found))
    return Int8Report(
        path=path,
        metric=task.metric.name,
        before=before,
        after=attempts[-1].value,
        allowed=allowed,
        validation_samples=len(task.validation),
        calibration_samples=quantiser.samples,
        bytes_before=len(quantiser.float_content),
        bytes_after=len(found),
        milliseconds_before=before_ms,
        milliseconds_after=after_ms,
        threads=torch.get_num_threads(),
        attempts=tuple(attempts),
    )


def _allowed(task: Task, before: float, tolerance: float) -> float:
    """The worst value that is good enough."""
    fall = tolerance if task.metric.percent else tolerance * abs(before)
    return before - fall if task.metric.direction == "max" else before + fall


def _first_good(quantiser: _Quantiser, judge: _Judge, allowed: float) -> tuple[bytes | None, list[Int8Attempt]]:
    attempts: list[Int8Attempt] = []
    for ranges, ends_in_float in WAYS:
        content = quantiser.content(ranges, ends_in_float)
        value = judge.value(content)
        attempts.append(Int8Attempt(ranges, ends_in_float, value))
        if not judge.task.metric.better(allowed, value) and value == value:
            return content, attempts
    return None, attempts


def _refusal(task: Task, before: float, allowed: float, attempts: Sequence[Int8Attempt]) -> str:
    metric = task.metric
    tried = "; ".join(f"{each.describe()}: {metric.format(each.value)}" for each in attempts)
    best = max(attempts, key=lambda each: metric.score(each.value) if each.value == each.value else float("-inf"))
    needed = abs(best.value - before) if metric.percent else abs(best.value - before) / max(abs(before), 1e-12)
    return (
        f"in int8 the network is too far from float32 on the {len(task.validation):,} validation samples: "
        f"{metric.name} {metric.format(before)} in float32, at the worst {metric.format(allowed)} is allowed. Tried: "
        f"{tried}. No int8 file was kept. Allow more with --set export.int8_tolerance={needed * 1.05:.2g}, calibrate "
        "with more samples (export.int8_samples), or train longer or with fewer extreme weights (weight decay)."
    )


class _Judge:
    """The metric of ONNX networks on the validation split."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.engine = Engine.create("cpu").alone()

    def value(self, content: bytes) -> float:
        run = onnx_session(content)
        try:
            values = pooled_metrics(
                lambda inputs: run(inputs)[0], self.task, self.task.validation, self.engine, batch_size=256
            )
        except SpaceError:
            raise
        except Exception as error:  # of onnxruntime: a plain Exception of its own
            if type(error).__module__.startswith("onnxruntime"):
                raise ExportError(
                    f"onnxruntime cannot run the network on the validation samples: {str(error).splitlines()[0]} "
                    "int8 needs samples of the size that the network was exported for."
                ) from None
            raise
        return values[self.task.metric.name]


class _Quantiser:
    """onnxruntime's static quantisation of one network."""

    def __init__(self, network: nn.Module, card: ModelCard, task: Task, place: Path, wanted: Int8Wanted) -> None:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.place, self.task = place, task
        self.float_content = onnx_content(network, _network_input(card), ("network_output",))
        (place / "float.onnx").write_bytes(self.float_content)
        with silenced():
            # Batch norms become part of convolutions, and all shapes are noted.
            quant_pre_process(place / "float.onnx", place / "ready.onnx", skip_symbolic_shape=True)
        draw = generator(wanted.seed, "int8")
        chosen = torch.randperm(len(task.train), generator=draw)[: wanted.samples].sort().values
        self.samples = len(chosen)
        device = torch.device("cpu")
        batches = evaluation_batches(task, task.train.subset(chosen), BATCH, device)
        self.batches = [batch.inputs.contiguous() for batch in batches]

    def content(self, ranges: str, ends_in_float: bool) -> bytes:
        """The network in int8."""
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "percentile": CalibrationMethod.Percentile,
            "entropy": CalibrationMethod.Entropy,
        }
        result = self.place / "int8.onnx"
        with silenced():
            quantize_static(
                self.place / "ready.onnx",
                result,
                _Reader(self.batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=self._ends() if ends_in_float else [],
                calibrate_method=methods[ranges],
                calibration_cache_path=self.place / f"{ranges}.json",
                # In pieces of one batch: what a network computes on all samples together may not fit in memory.
                extra_options={"CalibStridedMinMax": 1},
            )
        return result.read_bytes()

    def _ends(self) -> list[str]:
        import onnx

        model = onnx.load(self.place / "ready.onnx")
        names = [node.name for node in model.graph.node if node.op_type in WEIGHTED]
        return list(dict.fromkeys([*names[:1], *names[-1:]]))


class _Reader:
    """Batches as onnxruntime's calibration reads them."""

    def __init__(self, batches: Sequence[Tensor]) -> None:
        self.batches = batches
        self.position, self.end = 0, len(batches)

    def __len__(self) -> int:
        return len(self.batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The batches that `get_next` gives from now on."""
        self.position, self.end = start_index, end_index

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None: no more."""
        if self.position >= min(self.end, len(self.batches)):
            return None
        self.position += 1
        return {"network_input": self.batches[self.position - 1].numpy()}


def _network_input(card: ModelCard) -> list[ExportInput]:
    return [ExportInput("network_input", card.spec.input_shape)]


# -- joining preprocessing, network and decoding ----------------------------------------------------------------------


class _Prepare(nn.Module):
    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.deployed = deployed

    def forward(self, given: Tensor) -> Tensor:
        return self.deployed.prepared(given)


class _Decode(nn.Module):
    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.card = card

    def forward(self, outputs: Tensor) -> Tensor:
        return decode_outputs(outputs, self.card)


def _parts(network: nn.Module, card: ModelCard, int8: bytes) -> Iterator[tuple[str, bytes]]:
    """Preprocessing, network and decoding as ONNX, each with what its tensors are prefixed with."""
    with torch.inference_mode():
        shape = tuple(network(torch.zeros(2, *card.spec.input_shape)).shape[1:])
    nothing = nn.Identity()
    yield "prepare_", onnx_content(_Prepare(Deployed(nothing, card)), [given_input(card)], ("prepared",))
    yield "network_", int8
    yield (
        "decode_",
        onnx_content(_Decode(card), [ExportInput("raw_output", shape)], (OUTPUT_NAMES[card.spec.kind],)),
    )


def _joined(network: nn.Module, card: ModelCard, int8: bytes, raw: bool) -> bytes:
    """The content of the file, without metadata."""
    import onnx
    from onnx import compose

    if raw:
        model = onnx.load_from_string(int8)
        _rename(model, {"network_input": "input", "network_output": "output"})
        return bytes(model.SerializeToString())
    models = []
    for prefix, content in _parts(network, card, int8):
        model = onnx.load_from_string(content)
        _drop_metadata(model)
        models.append(compose.add_prefix(model, prefix, rename_inputs=False, rename_outputs=False))
    newest = max(models, key=lambda model: model.ir_version)
    opset = max(entry.version for model in models for entry in model.opset_import if entry.domain == "")
    for index, model in enumerate(models):
        model.ir_version = newest.ir_version
        if any(entry.domain == "" and entry.version != opset for entry in model.opset_import):
            models[index] = onnx.version_converter.convert_version(model, opset)
    prepare, quantised, decode = models
    joined = compose.merge_models(prepare, quantised, io_map=[("prepared", "network_input")])
    joined = compose.merge_models(joined, decode, io_map=[("network_output", "raw_output")])
    return bytes(joined.SerializeToString())


def _rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for item in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        item.name = names.get(item.name, item.name)
    _drop_metadata(model)


def _drop_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    for key, text in metadata.items():
        fact = model.metadata_props.add()
        fact.key, fact.value = key, text
    return bytes(model.SerializeToString())


def _differs(network: nn.Module, card: ModelCard, int8: bytes, raw: bool, file: Path) -> float:
    """The largest difference of the file's outputs from those of its parts, one after the other.

    Without onnxruntime's changes of the graph: with them a rounding may differ, which int8 makes a step.
    """
    whole = onnx_session(file, optimised=False)
    if raw:
        chain, taken = [onnx_session(int8, optimised=False)], _network_input(card)[0]
    else:
        chain = [onnx_session(content, optimised=False) for _, content in _parts(network, card, int8)]
        taken = given_input(card)
    largest = 0.0
    for size in (1, 2, 7):
        given = taken.draw(size, generator(0, "export", size))
        expected = given
        for part in chain:
            expected = part(expected)[0]
        (found,) = whole(given)
        if found.shape != expected.shape:
            return float("inf")
        difference = float((found.double() - expected.double()).abs().max() / max(1.0, float(expected.abs().max())))
        largest = float("inf") if difference != difference else max(largest, difference)
    return largest
