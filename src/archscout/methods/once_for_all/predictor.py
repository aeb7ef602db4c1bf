"""Stage three: a small network that predicts the score of an architecture from its code.

Source: docs/methods/once-for-all.md#predictor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional import kendall_rank_corrcoef, spearman_corrcoef

from archscout.errors import SettingsError
from archscout.jobs import Job, Metrics, State
from archscout.methods.base import SearchContext, SearchResult
from archscout.seeds import derive_seed
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import LayerCode, LayerCoded
from archscout.tasks.metrics.classification import Metric
from archscout.training.optimizers import ScheduleSettings, SgdSettings

__all__ = [
    "AccuracyPredictor",
    "PredictorScorer",
    "PredictorSettings",
    "PredictorTraining",
    "one_hot_codes",
    "rank_correlations",
]

SCALE = 100.0  # scores are learnt in percent; of errors in units of their own, in percent of the targets' deviation
EPOCHS_PER_YIELD = 10


class PredictorSettings(Settings):
    """The published recipe; the defaults are its numbers."""

    hidden: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    epochs: int = Field(default=200, ge=1)
    batch_size: int = Field(default=256, ge=1)
    optimizer: SgdSettings = SgdSettings(
        lr=0.1, momentum=0.9, nesterov=True, weight_decay=3e-5, clip=None, schedule=ScheduleSettings(kind="cosine")
    )
    loss: Literal["smooth_l1", "mse"] = "smooth_l1"
    beta: float = Field(default=1.0, gt=0, description="of smooth_l1: where it turns from square to absolute")
    holdout: float = Field(default=0.1, gt=0, lt=1, description="share of the scored networks to judge it on")
    split_seed: int = Field(default=2020, ge=0)
    centre: bool = Field(
        default=True, description="start at the mean score, which a few hundred networks are too few to reach"
    )


def one_hot_codes(code: LayerCode, codes: Sequence[Sequence[int]]) -> Tensor:
    """`(N, features)` float32 of N codes: a one for the operation of each layer, among those that it may have.

    A layer whose last operations are not allowed has no columns for these: 20 layers of 10 operations have 200
    columns, and a resolution of five adds 5.
    """
    table = torch.tensor([list(each) for each in codes], dtype=torch.long).view(-1, code.layers)
    widths = [1 + max(op for op, allowed in enumerate(row) if allowed) for row in code.allowed]
    columns = [F.one_hot(table[:, layer], width) for layer, width in enumerate(widths)]
    return torch.cat(columns, dim=1).float()


class AccuracyPredictor(nn.Module):
    """Three linear layers, with dropout before each ReLU.

    Args:
        features: length of the one-hot code.
        hidden: width of the two hidden layers.
        dropout: share of dropped units.
    """

    def __init__(self, features: int = 200, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.Dropout(dropout),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.Dropout(dropout),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """`(N, features)` to scores `(N,)`, in hundredths."""
        scores: Tensor = self.layers(features).squeeze(1)
        return scores


def rank_correlations(predicted: Tensor, measured: Tensor) -> dict[str, float]:
    """Spearman's and Kendall's (tau-b) rank correlation; 0 where one side is constant or has fewer than two values."""
    sides = (predicted.float(), measured.float())
    if len(predicted) < 2 or any(bool((side == side[0]).all()) for side in sides):
        return {"spearman": 0.0, "kendall": 0.0}
    values = {
        "spearman": float(spearman_corrcoef(*sides)),
        "kendall": float(cast(Tensor, kendall_rank_corrcoef(*sides))),
    }
    return {name: value if math.isfinite(value) else 0.0 for name, value in values.items()}


def _scale_of(metric: Metric) -> float:
    """What the scores of a metric are multiplied with to be learnt."""
    return SCALE / (metric.span or 1.0)


class PredictorTraining(Job[SearchResult]):
    """The training of the predictor; its artifact is the weights and the rank correlations."""

    predictor: State[AccuracyPredictor]
    sgd: State[torch.optim.Optimizer]
    epoch: State[int]
    correlations: State[dict[str, float]]  # of ranks, on the networks that are held out

    def __init__(self, context: SearchContext, settings: PredictorSettings, before: Architecture) -> None:
        self._context, self._settings, self._before = context, settings, before
        scored = context.artifact("scoring")
        space = cast(LayerCoded, context.space)
        features = one_hot_codes(space.layer_code, scored["codes"])
        self._scale = _scale_of(context.task.metric)
        targets = self._scale * torch.tensor(scored["scores"])
        held = max(1, round(settings.holdout * len(targets)))
        if len(targets) - held < 2:
            raise SettingsError(
                f"predictor.holdout = {settings.holdout} leaves {len(targets) - held} of {len(targets)} scored "
                "networks to learn from; score more (scoring.subnets), or hold out fewer."
            )
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(settings.split_seed))
        self._learnt = (features[order[held:]], targets[order[held:]])
        self._held = (features[order[:held]], targets[order[:held]])
        self.predictor = self._create(features.shape[1])
        self.sgd = settings.optimizer.create(self.predictor.parameters())
        self.epoch = 0
        self.correlations = {}

    def _create(self, features: int) -> AccuracyPredictor:
        settings = self._settings
        with self._seeded("initial weights"):
            predictor = AccuracyPredictor(features, settings.hidden, settings.dropout)
        if settings.centre:
            last = predictor.layers[-1]
            assert isinstance(last, nn.Linear)
            with torch.no_grad():
                last.bias.fill_(float(self._learnt[1].mean()))
        return predictor

    def run(self) -> Iterator[Metrics]:
        """Some epochs at a time; the predictor is too small to gain from a GPU and stays on the CPU."""
        while self.epoch < self._settings.epochs:
            loss = 0.0
            for _ in range(min(EPOCHS_PER_YIELD, self._settings.epochs - self.epoch)):
                loss = self._train_epoch()
                self.epoch += 1
            with torch.inference_mode():
                predicted = self.predictor.eval()(self._held[0])
            self.correlations = rank_correlations(predicted, self._held[1])
            error = float((predicted - self._held[1]).abs().mean()) / self._scale
            yield {"loss": loss, "held_out_error": error, **self.correlations}

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs."""
        yield self.epoch, self._settings.epochs

    def _train_epoch(self) -> float:
        settings, (features, targets) = self._settings, self._learnt
        for group in self.sgd.param_groups:
            group["lr"] = settings.optimizer.schedule.rate(settings.optimizer.lr, self.epoch, settings.epochs)
        self.predictor.train()
        losses = []
        with self._seeded("epoch", self.epoch):
            for part in torch.split(torch.randperm(len(targets)), settings.batch_size):
                loss = self._loss(self.predictor(features[part]), targets[part])
                self.sgd.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if settings.optimizer.clip is not None:
                    nn.utils.clip_grad_norm_(self.predictor.parameters(), settings.optimizer.clip)
                self.sgd.step()
                losses.append(float(loss.detach()) * len(part))
        return sum(losses) / len(targets)

    @contextmanager
    def _seeded(self, *purpose: str | int) -> Iterator[None]:
        """Seed torch's CPU generator for a while; unlike the engine's, the same in all processes."""
        with torch.random.fork_rng([]):
            torch.manual_seed(derive_seed(self._context.seed, "predictor", *purpose))
            yield

    def _loss(self, predicted: Tensor, targets: Tensor) -> Tensor:
        if self._settings.loss == "mse":
            return F.mse_loss(predicted, targets)
        return F.smooth_l1_loss(predicted, targets, beta=self._settings.beta)

    def result(self) -> SearchResult:
        """The best network that was scored; the artifact has the predictor and its rank correlations."""
        artifact = {
            "predictor": self.predictor.state_dict(),
            "features": self._learnt[0].shape[1],
            "hidden": self._settings.hidden,
            "scale": self._scale,
            "correlations": self.correlations,
        }
        return SearchResult(self._before, artifact=artifact)


class PredictorScorer:
    """Scores architectures with a trained predictor, all of a call in one batch.

    Args:
        space: that gives their codes.
        artifact: of the stage `predictor`.

    Attributes:
        scale: what scores are multiplied with where settings are meant for percent.
    """

    def __init__(self, space: LayerCoded, artifact: Any) -> None:
        self._space = space
        self._predictor = AccuracyPredictor(artifact["features"], artifact["hidden"])
        self._predictor.load_state_dict(artifact["predictor"])
        self._predictor.eval()
        self.scale = float(artifact.get("scale", SCALE))

    def __call__(self, architectures: Sequence[Architecture]) -> list[float]:
        """The predicted scores, higher is better."""
        if not architectures:
            return []
        return self.of_codes([self._space.encode(each) for each in architectures]).tolist()

    def of_codes(self, codes: Sequence[Sequence[int]]) -> Tensor:
        """The predicted scores `(N,)` of N codes."""
        with torch.inference_mode():
            scores: Tensor = self._predictor(one_hot_codes(self._space.layer_code, codes)) / self.scale
        return scores.clone()
