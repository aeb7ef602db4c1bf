"""A relaxed space that is small enough for exact checks: cells of weighted tanh layers, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.engine import Engine
from archscout.methods.base import SearchContext
from archscout.settings import Settings
from archscout.tasks.spec import TaskSpec
from tests.toys import toy_task

WIDTH = 5


class ToyMixture(nn.Module):
    """`h <- h + sum_eo m_eo tanh(W_eo h)` for each cell; implements `MixtureNetwork`."""

    def __init__(self, owners: Sequence[int], edges: int, operations: int) -> None:
        super().__init__()
        self.owners = tuple(owners)
        self.stem = nn.Linear(4, WIDTH)
        self.layers = nn.Parameter(0.5 * torch.randn(len(owners), edges, operations, WIDTH, WIDTH))
        self.classifier = nn.Linear(WIDTH, 3)
        self.double()

    def cell(self, index: int, inputs: Tensor, mixing: Tensor) -> Tensor:
        outputs = torch.tanh(torch.einsum("nd,eodf->neof", inputs, self.layers[index]))
        return inputs + torch.einsum("eo,neof->nf", mixing.double(), outputs)

    def states(self, inputs: Tensor, mixing: Tensor) -> list[tuple[Tensor, Tensor]]:
        first = self.stem(inputs)
        found = [(first, first)]
        for index, owner in enumerate(self.owners):
            last = found[-1][1]
            found.append((last, self.cell(index, last, mixing[owner])))
        return found

    def head(self, last: Tensor) -> Tensor:
        logits: Tensor = self.classifier(last)
        return logits

    def forward(self, inputs: Tensor, mixing: Tensor) -> Tensor:
        return self.head(self.states(inputs, mixing)[-1][1])

    def without(self, owner: int, mixing: Tensor, states: Sequence[tuple[Tensor, Tensor]], instead: Tensor) -> Tensor:
        changed = self.owners.index(owner)
        last = states[changed][1]
        for index in range(changed, len(self.owners)):
            last = self.cell(index, last, instead if index == changed else mixing[self.owners[index]])
        return self.head(last)


class ToyRelaxation:
    """Implements `Relaxation`; its architectures are the tensors themselves."""

    operations = ("first", "skip_connect", "third")

    def __init__(self, owners: Sequence[int], start: Tensor | None) -> None:
        self.owners, self.start = owners, start
        self.shape = (max(owners) + 1, 2, len(self.operations))

    def supernet(self) -> nn.Module:
        return ToyMixture(self.owners, *self.shape[1:])

    def discretize(self, weights: Tensor, rule: Any, threshold: float) -> Any:
        return tuple((weights >= threshold).flatten().tolist())


class ToyRelaxedSpace:
    """Implements `Relaxed` and `HasDistance`."""

    name: ClassVar[str] = "toy-relaxed"
    options_model: ClassVar[type[Settings]] = Settings
    size_model: ClassVar[type[Settings]] = Settings

    def __init__(self, owners: Sequence[int] = (0, 1, 2), start: Tensor | None = None) -> None:
        self._relaxation = ToyRelaxation(owners, start)

    def relaxation(self, spec: TaskSpec, size: Any) -> ToyRelaxation:
        return self._relaxation

    def distance(self, first: Any, second: Any) -> float:
        return float(sum(a != b for a, b in zip(first, second, strict=True)) / len(first))


def toy_context(settings: Settings, space: ToyRelaxedSpace | None = None) -> SearchContext:
    task = replace(toy_task(Path()), to_float=lambda raw: raw.double(), loss=_exact_loss)
    engine = Engine(torch.device("cpu"))
    return SearchContext(
        task=task,
        space=space or ToyRelaxedSpace(),  # type: ignore[arg-type]
        settings=settings,
        supernet_size=None,
        network_size=None,
        engine=engine,
        seed=3,
    )


def _exact_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy in the outputs' own precision."""
    return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
