"""The stages of a run: what each one makes of what the stages before it left in the run directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from torch import nn

from archscout.deployment.card import ModelCard, card_of_task
from archscout.deployment.footprint import footprint_facts
from archscout.deployment.targets import describe_fit, fit
from archscout.driver import Driver
from archscout.jobs import Job
from archscout.measure import input_type, measure, measure_latency
from archscout.methods.base import SearchStage
from archscout.pipeline.artifacts import INITIAL_WEIGHTS, network_bytes, with_card
from archscout.pipeline.contents import RunContents
from archscout.pipeline.data_record import findings_as_json
from archscout.pipeline.evaluation import PREDICTIONS, judge_network
from archscout.pipeline.exports import footprint_of, write_exports
from archscout.pipeline.insight.observe import Witness
from archscout.pipeline.insight.of_run import write_insight
from archscout.pipeline.summary import constant_note, interval_note, report_html
from archscout.pipeline.unlabelled import predict_unlabelled
from archscout.rundir import TRAINING
from archscout.settings import merge
from archscout.spaces import architecture_to_json
from archscout.state import state_bytes
from archscout.tasks import TASKS

__all__ = ["run_stage"]

MODEL, CARD = "model.safetensors", "model.json"
CANDIDATES_WITH_COST = 25  # measuring a network takes a tenth of a second: only the best candidates are measured


def run_stage(run: RunContents, name: str, driver: Driver) -> None:
    """Run one stage of a run and mark it as complete."""
    search = {stage.name: stage for stage in run.search_stages()}
    if name in search:
        _search(run, search[name], driver)
    elif name == "train":
        _train(run, driver)
    elif run.engine.is_main:
        began = time.monotonic()
        MAIN_PROCESS_STAGES[name](run, driver)
        run.directory.update_stage(name, seconds=round(time.monotonic() - began, 3))
    run.directory.update_stage(name, complete=True)


def _search(run: RunContents, stage: SearchStage, driver: Driver) -> None:
    before = run.architecture if run.directory.has("architecture.json") else None
    job = stage.make(run.context, before)
    result = driver.drive(stage.name, job)
    sized = run.settings.task is not None or run.task.name in TASKS  # else the number of classes is not known
    costs = {
        id(candidate): run.context.cost(candidate.architecture)
        for candidate in result.candidates[: CANDIDATES_WITH_COST if sized else 0]
    }
    records = []
    for rank, candidate in enumerate(result.candidates, start=1):
        cost = costs.get(id(candidate))
        records.append(
            {
                "stage": stage.name,
                "rank": rank,
                "score": candidate.score,
                "origin": candidate.origin,
                "parameters": cost.parameters if cost else None,
                "madds": cost.madds if cost else None,
                "architecture": json.loads(architecture_to_json(candidate.architecture)),
            }
        )
    earlier = [record for record in run.candidates() if record["stage"] != stage.name]
    run.directory.write_lines("candidates.jsonl", [*records, *earlier])
    if result.artifact is not None:
        run.directory.write(f"{stage.name}.safetensors", state_bytes(result.artifact))
    if result.weights is not None:
        run.directory.write(INITIAL_WEIGHTS, state_bytes(dict(result.weights)))
    if result.training:
        run.directory.write_json(TRAINING, merge(run.training, result.training))
    if result.facts:
        run.directory.write_json("search.json", {**run.search_facts, stage.name: dict(result.facts)})
    run.directory.write("architecture.json", architecture_to_json(result.architecture))


def _train(run: RunContents, driver: Driver) -> None:
    settings = run.settings
    architecture = run.architecture
    network = run.untrained()
    initial = run.initial_weights()
    if initial is not None:
        network.load_state_dict(initial)
    job: Job[nn.Module] = run.train_settings.job(network, run.task, run.engine, settings.seed)
    trained = driver.drive("train", job)
    card = card_of_task(run.task, dict(run.task.split_digests()))
    content = network_bytes(
        trained, run.space, settings.space_options, architecture, run.task.spec, settings.network, card
    )
    run.directory.write("model.safetensors", content)
    run.directory.write_json(CARD, card.to_json())
    if run.task.spec.vocabulary is not None:  # the network gives numbers of words: this list tells which
        run.directory.write("vocabulary.txt", "\n".join(run.task.class_names) + "\n")


def _evaluate(run: RunContents, driver: Driver) -> None:
    settings, task = run.settings, run.task
    alone = run.engine.alone()
    network = alone.place(run.model())
    witness = Witness(task)
    judged = judge_network(network, task, "test", alone, settings.evaluate.batch_size, witness)
    insight = write_insight(run, witness, judged.values)
    cost = measure(network, task.spec.input_shape, vocabulary=task.spec.vocabulary)
    latencies = measure_latency(
        network,
        task.spec.input_shape,
        batch_sizes=settings.evaluate.latency_batch_sizes,
        device=run.engine.device,
        vocabulary=task.spec.vocabulary,
    )
    stages = run.directory.stages()
    result = {
        "task": task.name,
        "metric": task.metric.name,
        "test": {**judged.values, "samples": len(task.test)},
        "intervals": {name: asdict(interval) for name, interval in insight.intervals.items()},
        "constant": judged.constant,
        "trained_on": {"split": settings.train.split, "samples": len(task.split(settings.train.split))},
        "parameters": cost.parameters,
        "madds": cost.madds,
        "latency": [vars(latency) for latency in latencies],
        "memory": footprint_facts(network, task.spec.input_shape, dtype=input_type(task.spec.vocabulary)),
        "seed": settings.seed,
        "seconds": {name: facts.get("seconds") for name, facts in stages.items()},
        "device": run.engine.describe(),
        "data": {**task.provenance},
        "splits": task.split_digests(),
        "findings": findings_as_json(run.record.findings),
    }
    if judged.outputs:
        result["outputs"] = judged.outputs
    if task.spec.kind == "regression" and task.scale is not None:
        result["scale"] = {"mean": list(task.scale.mean), "std": list(task.scale.std)}
    if judged.predictions:
        run.directory.write(PREDICTIONS, judged.predictions)
    columns = settings.evaluate.batch_size if task.spec.is_text else None
    card = _add_to_card(run, "test", judged.values, columns)
    done = predict_unlabelled(network, card, task, alone, run.directory.path, settings.evaluate.batch_size)
    if done is not None:
        result["unlabelled"] = {"samples": done[1], "predictions": done[0].name}
    run.directory.write_json("result.json", result)
    value = task.metric.format(judged.values[task.metric.name])
    beside = "; ".join(
        note for note in (interval_note(task.metric, result), constant_note(task.metric, result)) if note
    )
    driver.message(
        f"evaluate: test {task.metric.name} {value} on {len(task.test):,} samples{f'; {beside}' if beside else ''}"
    )
    if done is not None:
        driver.message(f"evaluate: {done[1]:,} samples without targets were predicted: {done[0]}")


def _add_to_card(run: RunContents, split: str, values: Mapping[str, float], columns: int | None = None) -> ModelCard:
    """Note metrics in the model file and in `model.json`; those of version 0.1 get their card now.

    Args:
        columns: in which a text was read: the score depends on them a little.
    """
    file = run.directory.path / MODEL
    card = card_of_task(run.task, dict(run.task.split_digests()))
    if run.directory.has(CARD):
        card = replace(ModelCard.from_text(run.directory.read(CARD)), data=dict(run.task.split_digests()))
    card = card.with_values(split, values)
    if columns is not None:
        card = replace(card, metric={**card.metric, "columns": columns})
    run.directory.write(MODEL, with_card(file, card))
    run.directory.write_json(CARD, card.to_json())
    return card


def _export(run: RunContents, driver: Driver) -> None:
    wanted = run.settings.export
    write_exports(run, wanted, driver)
    if wanted.target is not None:
        driver.message(f"export: {describe_fit(fit(footprint_of(run), wanted.target))}")


def _report(run: RunContents, driver: Driver) -> None:
    path = run.directory.write("report.html", report_html(run))
    driver.message(f"report: {path}")


MAIN_PROCESS_STAGES: Mapping[str, Callable[[RunContents, Driver], None]] = {
    "evaluate": _evaluate,
    "export": _export,
    "report": _report,
}
