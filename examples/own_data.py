"""Data of your own: from arrays to a trained network that you can use.

What you learn: how to make a task of arrays, run everything on it with few settings, read the results, and use the
trained network on new samples. A folder of images needs no task: `archscout.run("images/")`, see docs/tasks.md.
"""

from __future__ import annotations

import numpy as np
import torch

import archscout

QUICK = [
    *("search.epochs=1", "search.ranking.candidates=5", "search.child.batch_size=32", "search.policy.batch_size=30"),
    *("supernet.init_channels=4", "supernet.layers=2", "network.init_channels=8", "network.layers=2"),
    *("train.epochs=4", "train.batch_size=32", "train.cutout=0", "train.drop_path=0"),
]


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy grey images `(N, 16, 16)` of horizontal, vertical and diagonal stripes. Put your own arrays here."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, count)
    rows, columns = np.mgrid[:16, :16]
    waves = np.stack([rows, columns, rows + columns])[labels] + draw.integers(0, 6, (count, 1, 1))
    images = 128 + 60 * np.sin(waves) + draw.normal(0, 30, waves.shape)
    return images.clip(0, 255).astype(np.uint8), labels


def main() -> None:
    x_train, y_train = stripes(300, seed=0)
    x_test, y_test = stripes(90, seed=1)
    names = ["horizontal", "vertical", "diagonal"]
    task = archscout.Task.from_arrays(
        x_train, y_train, x_test, y_test, name="stripes", class_names=names, augment="none"
    )

    # Leave out QUICK for a search in earnest; `values={"seed": 1}` sets what is no part of a section.
    run = archscout.run(task, method="ednas", overrides=QUICK, out="runs/stripes")
    print(run.architecture.describe())
    print(f"{run.result['parameters']:,} parameters, accuracy on the test split {run.result['test']['accuracy']:.3f}")

    # The file holds all that is needed to build the network again; raw samples are prepared by the task.
    network, spec = archscout.load_network("runs/stripes/model.safetensors")
    new, labels = stripes(6, seed=2)
    with torch.inference_mode():
        answers = network(task.prepare(torch.from_numpy(new).view(6, *spec.input_shape))).argmax(1)
    for label, answer in zip(labels, answers.tolist(), strict=True):
        print(f"{names[label]} is taken for {names[answer]}")


if __name__ == "__main__":
    main()
