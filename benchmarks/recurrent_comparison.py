"""Found cells beside random ones and an LSTM, all trained alike: `python -m benchmarks.recurrent_comparison FOLDER`.

First search (three seeds), for example:

    for seed in 0 1 2; do
        archscout search FOLDER --recipe ednas/recurrent-short --seed $seed --out runs/text-$seed
    done

then name the results:

    python -m benchmarks.recurrent_comparison FOLDER --found runs/text-0 runs/text-1 runs/text-2 --out results.jsonl

Every network is trained with the training of the recipe (`ednas/recurrent-short` unless another is named) and judged by
its best perplexity on the validation text; the test text is not read. A line is written after each network, and what is
in the file already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

import torch
from torch import Tensor, nn

from archscout.api import load_architecture
from archscout.engine import Engine
from archscout.memory import keep_freed_memory
from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.nn.recurrent.word_model import RecurrentSize, WordModel
from archscout.pipeline.config import resolve_settings
from archscout.spaces import RecurrentGenotype, RecurrentSpace, architecture_to_json
from archscout.tasks import Task, load_task
from archscout.training.language import LanguageTrainingJob

__all__ = ["LstmModel", "lstm_of_equal_size", "main", "summary"]


class LstmModel(WordModel):
    """torch.nn.LSTM with the same embedding, dropouts, penalties and decoder; its state is `[h, c]`, `(N, 2d)`."""

    def __init__(self, words: int, size: RecurrentSize) -> None:
        super().__init__(words, 1, size)
        del self.input_matrix, self.node_matrices
        self.lstm = nn.LSTM(size.width, size.width)

    def unroll(self, words: Tensor, hidden: Tensor | None = None) -> tuple[DeferredLogits, Tensor]:
        """A segment from a state; see `RecurrentNetwork.unroll`. The cell's own dropouts become one of its input."""
        ordered, size, rows = words.t(), self.size, words.shape[0]
        inputs = nn.functional.embedding(ordered, self.embedding)
        kept = self._mask(inputs, len(self.embedding), rate=size.dropout_words)
        if kept is not None:
            inputs = inputs * kept[ordered].unsqueeze(-1)
        for rate in (size.dropout_embedding, size.dropout_input):
            mask = self._mask(inputs, 1, rows, size.width, rate=rate)
            inputs = inputs if mask is None else inputs * mask
        state = words.new_zeros(rows, 2 * size.width, dtype=inputs.dtype) if hidden is None else hidden
        before = tuple(part.unsqueeze(0).contiguous() for part in state.chunk(2, dim=1))
        outputs, after = self.lstm(inputs, before)
        return self.decode(outputs), torch.cat([part.squeeze(0) for part in after], dim=1)


def lstm_of_equal_size(words: int, parameters: int, size: RecurrentSize) -> LstmModel:
    """The LSTM whose number of parameters is nearest."""
    width = 1
    while words * width + words + 8 * width**2 + 8 * width < parameters:
        width += 1
    return LstmModel(words, size.model_copy(update={"width": width}))


def _train(network: nn.Module, task: Task, settings: Any, engine: Engine, seed: int) -> float:
    job = LanguageTrainingJob(network, task, settings.train, engine, seed)
    best = float("inf")
    for metrics in job.run():
        best = min(best, metrics.get("best_validation_perplexity", best))
    return best


def summary(records: Sequence[dict[str, Any]]) -> str:
    """The table of all that was trained."""
    lines = [f"{'':10} {'networks':>9} {'median':>8} {'lowest':>8} {'highest':>8}   validation perplexity"]
    for kind in ("found", "random", "lstm"):
        values = sorted(record["perplexity"] for record in records if record["kind"] == kind)
        if values:
            lines.append(
                f"{kind:10} {len(values):9} {statistics.median(values):8.2f} {values[0]:8.2f} {values[-1]:8.2f}"
            )
    return "\n".join(lines)


def _wanted(options: Any, space: RecurrentSpace) -> list[tuple[str, int, RecurrentGenotype | None]]:
    """Kind, seed of the training, and cell of every network; the LSTM has none.

    A single found cell is trained with every seed; several are trained once each, with one seed after the other, as
    the random cells are.
    """
    wanted: list[tuple[str, int, RecurrentGenotype | None]] = []
    found = [cast(RecurrentGenotype, load_architecture(source)) for source in options.found]
    for number, cell in enumerate(found * options.seeds if len(found) == 1 else found):
        wanted.append(("found", number % options.seeds, cell))
    wanted += [("lstm", seed, None) for seed in range(options.seeds)]
    return wanted + [
        ("random", number % options.seeds, space.random(Random(number))) for number in range(options.random)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent_comparison", description=__doc__)
    parser.add_argument("folder", help="the text: a folder with three files")
    parser.add_argument("--found", nargs="*", default=[], help="run directories, architecture files or zoo names")
    parser.add_argument("--random", type=int, default=20, help="how many random cells (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of the trainings (default %(default)s)")
    parser.add_argument("--recipe", default="ednas/recurrent-short")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--out", type=Path, default=Path("recurrent_comparison.jsonl"))
    options = parser.parse_args(arguments)
    task = load_task(options.folder)
    settings = resolve_settings(options.folder, recipe=options.recipe, overrides=options.set)
    space, engine = RecurrentSpace(), Engine.create("auto")
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    records = [json.loads(line) for line in lines]
    known = {(record["kind"], record["seed"], record["cell"]) for record in records}
    for kind, seed, cell in _wanted(options, space):
        name = "lstm" if cell is None else architecture_to_json(cell)
        if (kind, seed, name) in known:
            continue
        size, began = settings.network, time.monotonic()
        count = task.spec.outputs * (size.width + 1) + 4 * size.width**2 + 2 * 8 * size.width**2
        with engine.seeded(seed, "network"):
            network = (
                lstm_of_equal_size(task.spec.outputs, count, size)
                if cell is None
                else space.build(cell, task.spec, size)
            )
        perplexity = _train(network, task, settings, engine, seed)
        record = {"kind": kind, "seed": seed, "cell": name, "perplexity": perplexity,
                  "parameters": sum(weight.numel() for weight in network.parameters()),
                  "seconds": time.monotonic() - began}  # fmt: skip
        records.append(record)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{kind} seed {seed}: {perplexity:.2f} ({record['seconds']:.0f} s, {record['parameters']:,} parameters)")
    print(summary(records))


if __name__ == "__main__":
    torch.set_num_threads(min(2, torch.get_num_threads()))
    keep_freed_memory()  # as the command line does
    main()
