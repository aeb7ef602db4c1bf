"""Samples without targets that came with the data of a run: predicted when its network is evaluated."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

from archscout.deployment.answers import Answers
from archscout.deployment.card import ModelCard
from archscout.deployment.deployed import decode_outputs
from archscout.deployment.prediction_files import MapFiles
from archscout.deployment.prediction_target import Target
from archscout.engine import Engine
from archscout.tasks.sources import sample_names, whole_samples
from archscout.tasks.task import Task

__all__ = ["predict_unlabelled"]

PREDICTIONS = "predictions.csv"


def predict_unlabelled(
    network: nn.Module, card: ModelCard, task: Task, engine: Engine, folder: Path, batch_size: int
) -> tuple[Path, int] | None:
    """Predict the samples without targets that came with the data, into `predictions.csv` in a folder.

    Maps are written beside it, into `predictions/`.

    Returns:
        The file and the number of its samples; None where there are none.
    """
    split = task.unlabelled
    if split is None or not len(split) or card.spec.is_text:
        return None
    names = sample_names(split.source)
    indices = split.indices.tolist()
    own = [names[index] if names is not None else f"unlabelled[{index}]" for index in indices]
    answers = Answers(card)
    target = Target(
        folder / PREDICTIONS, maps=folder / "predictions" if card.spec.kind == "dense" else None, full=False
    )
    if target.maps is not None and target.maps.is_dir():
        shutil.rmtree(target.maps)  # of an earlier evaluation of the same run
    done = 0
    network.eval()
    with target.opened(answers.columns, None) as (rows, place), torch.inference_mode():
        maps = None if place is None else MapFiles(card, place)
        batches = torch.split(split.indices, min(batch_size, task.evaluation_batch_size or batch_size))
        for raw, _ in whole_samples(split.source).batches(batches, engine.device):
            outputs = decode_outputs(network(engine.arrange(task.prepare(raw))).float().cpu(), card).numpy()
            for output in outputs:
                file = "" if maps is None else maps.write(own[done], output, None)
                rows.add(answers.row(own[done], output, file=file))
                done += 1
    assert target.table is not None, "it is set above"
    return target.table, done
