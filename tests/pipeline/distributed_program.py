"""What the processes of `test_distributed.py` run: some steps, then every process writes down the state it ends in."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

from safetensors.torch import save_file
from torch import Tensor, nn

from archscout.engine import Engine
from archscout.methods import SearchContext
from archscout.methods.shared_weights.path_training import ChildSettings, PathTrainer
from archscout.spaces import get_space
from archscout.state import pack, unpack
from archscout.tasks import load_task
from archscout.testing.cases import small_text
from archscout.training.job import TrainingJob, TrainSettings
from archscout.training.language import LanguageTrainingJob, LanguageTrainSettings
from archscout.zoo import load_zoo

WHOLE_BATCH = 16  # of all processes together


def plain(engine: Engine) -> dict[str, Tensor]:
    """A perceptron, without batch norm, drop path and augmentation: its training does not depend on the division."""
    task = replace(load_task("digits"), augmentations=())
    settings = TrainSettings.read(
        {
            "epochs": 2,
            "batch_size": WHOLE_BATCH // engine.world_size,
            "cutout": 0,
            "drop_path": 0,
            "optimizer": {"lr": 0.1, "clip": 0.5},
        }
    )
    with engine.seeded(0, "network"):  # other weights in every process, until they are made equal
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))
    job = TrainingJob(network, task, settings, engine, seed=3)
    for _ in job.run():
        pass
    return job.result().state_dict()


def cells(engine: Engine) -> dict[str, Tensor]:
    """Cells with batch norm, drop path, auxiliary head and averaged weights; and shared weights of single paths."""
    task, space = load_task("digits"), get_space("cells")
    size = space.size_model.read({"init_channels": 4, "layers": 3})
    settings = TrainSettings.read({"epochs": 1, "batch_size": 64, "cutout": 2, "average_decay": 0.9})
    with engine.seeded(0, "network"):
        whole = size.model_copy(update={"auxiliary": True})
        network = space.build(load_zoo("darts_v2").architecture, task.spec, whole)
    job = TrainingJob(network, task, settings, engine, seed=3)
    next(job.run())
    trainer = PathTrainer(
        SearchContext(task, space, None, size, size, engine, seed=1), ChildSettings(batch_size=64), epochs=1
    )
    trainer.train(lambda number: space.random(Random(number)))
    states = {"last": network, "average": job.result(), "shared": trainer.network}
    return {f"{part}.{name}": value for part, module in states.items() for name, value in module.state_dict().items()}


def texts(engine: Engine) -> dict[str, Tensor]:
    """A language model to the end of its second epoch, undisturbed and taken up again within an epoch."""
    task, space = small_text(), get_space("recurrent", {"nodes": 3})
    size = space.size_model.read({"width": 8})
    settings = LanguageTrainSettings.read({"epochs": 2, "batch_size": 2, "segments": {"length": 4}})

    def fresh(seed: int) -> LanguageTrainingJob:
        with engine.seeded(seed, "network"):
            network = space.build(space.random(Random(0)), task.spec, size)
        return LanguageTrainingJob(network, task, settings, engine, seed=3)

    undisturbed, resumed = fresh(0), fresh(1)
    next(undisturbed.run())
    resumed.load_state_dict(unpack(*pack(undisturbed.state_dict())))
    for job in (undisturbed, resumed):
        for _ in job.run():
            pass
    return {
        f"{name}.{key}": value
        for name, job in (("undisturbed", undisturbed), ("resumed", resumed))
        for key, value in job.result().state_dict().items()
    }


def main(out: Path) -> None:
    engine = Engine.create("cpu", threads=1)
    for what in (plain, cells, texts):
        state = {name: value.contiguous().clone() for name, value in what(engine).items()}
        save_file(state, out / f"{what.__name__}-{engine.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
