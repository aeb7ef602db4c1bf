"""A network of your own whose kernels are searched: DASH finds a size and a dilation for each convolution.

What you learn: how to hand over any torch module, which layers to leave alone, and how to get your own class back with
other kernels, before and after its training. See docs/methods/dash.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import archscout


class Net(nn.Module):
    """Put your own here: it maps inputs of the task to its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2, padding=1)),
            *(nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1)),
            *(nn.BatchNorm2d(24), nn.ReLU()),
        )
        self.head = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(images)).mean((2, 3)))
        return logits


QUICK = ["epochs=2", "batch_size=64", "kernel_sizes=[3,5]", "dilations=[1,2]", "train.epochs=3", "train.batch_size=64"]


def main() -> None:
    torch.manual_seed(0)  # of the weights that your network starts with
    run = archscout.search("digits", model=Net(), keep=("stem",), overrides=QUICK, out="runs/own_network")
    print(run.architecture.describe())
    print(run.untrained())  # your class with the kernels that were found

    run.proceed()  # train, evaluate, export, report
    network = run.model()
    print(f"{type(network).__name__}: accuracy on the test split {run.result['test']['accuracy']:.3f}")


if __name__ == "__main__":
    main()
