"""What the report says of a network on a device: flash, RAM, int8, and whether it fits."""

from __future__ import annotations

from typing import Any

from archscout.deployment.footprint import kilobytes
from archscout.deployment.targets import describe_fit, fit
from archscout.pipeline.contents import RunContents
from archscout.pipeline.exports import int8_facts
from archscout.viz.report.content import NumberView

__all__ = ["device_numbers", "device_warnings"]


def device_numbers(run: RunContents) -> list[NumberView]:
    """Flash and RAM; metric, size and latency in int8 beside float32."""
    memory = run.result.get("memory") if run.directory.has("result.json") else None
    numbers = [] if memory is None else _memory_numbers(memory)
    facts = int8_facts(run.directory)
    if facts is not None and "refused" not in facts:
        numbers += _int8_numbers(run, facts)
    target = run.settings.export.target
    if target is not None and memory is not None:
        numbers.append(NumberView("device", target, "", describe_fit(fit(memory, target))))
    return numbers


def _memory_numbers(memory: dict[str, Any]) -> list[NumberView]:
    if "unknown" in memory:
        return [NumberView("flash, RAM", "not known", "", memory["unknown"])]
    numbers = []
    for kind in ("float32", "int8"):
        weights, graph = kilobytes(memory["weights"][kind]), kilobytes(memory["graph"])
        planned, bound = memory["ram"][kind], memory["ram_lower_bound"][kind]
        least = "" if planned == bound else f", at least {kilobytes(bound)}"
        numbers += [
            NumberView(f"flash, {kind}", kilobytes(memory["flash"][kind]), "", f"weights {weights}, graph {graph}"),
            NumberView(
                f"RAM, {kind}",
                kilobytes(planned),
                "",
                f"activations of one sample, planned{least}; the most at {memory['ram_peak_at']}",
            ),
        ]
    return numbers


def _int8_numbers(run: RunContents, facts: dict[str, Any]) -> list[NumberView]:
    metric = run.task.metric
    seen = ", which it was trained on too" if facts["validation_seen_in_training"] else ""
    split = f"validation, {facts['validation_samples']:,} samples{seen}"
    threads = f"onnxruntime, batch 1, {facts['threads']} threads"
    return [
        NumberView(
            f"{metric.name.replace('_', ' ')}, int8",
            metric.format(facts["after"]),
            split,
            f"{metric.format(facts['before'])} in float32; calibrated on {facts['calibration_samples']:,} samples",
        ),
        NumberView(
            "size, int8",
            kilobytes(facts["bytes_after"]),
            "",
            f"{kilobytes(facts['bytes_before'])} in float32, as ONNX",
        ),
        NumberView(
            "latency, int8",
            f"{facts['milliseconds_after']:.3g} ms",
            "",
            f"{facts['milliseconds_before']:.3g} ms in float32; {threads}",
        ),
    ]


def device_warnings(run: RunContents) -> list[str]:
    """Why there is no int8 file, although one was wanted."""
    facts = int8_facts(run.directory)
    return [facts["refused"]] if facts is not None and "refused" in facts else []
