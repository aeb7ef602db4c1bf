"""A trained network in use: from a run directory or a model file to predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.deployment.card import ModelCard
from archscout.deployment.deployed import Deployed
from archscout.engine import Engine
from archscout.errors import DataError, RunError
from archscout.notebook import html_table
from archscout.pipeline.artifacts import load_card, load_network
from archscout.rundir import RunDirectory

__all__ = ["Predictor", "load"]

Array = np.ndarray[Any, Any]
BATCH = 64


class Predictor:
    """A network with all that is needed to use it.

    Args:
        network: trained.
        card: what it takes and gives.
        device: where to compute; "auto" takes a GPU if there is one.
    """

    def __init__(self, network: nn.Module, card: ModelCard, *, device: str = "auto") -> None:
        self.card = card
        self.device = Engine.create(device).device
        self.deployed = Deployed(network.eval(), card).to(self.device)

    def __repr__(self) -> str:
        spec = self.card.spec
        return f"<Predictor of {spec.name}: {spec.describe()}; takes (N, {', '.join(map(str, self.given_shape))})>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        card = self.card
        names = list(card.class_names)
        rows = {
            "predicts": card.spec.describe(),
            "takes": f"(N, {', '.join(map(str, self.given_shape))}), {self.deployed.preparation.given_dtype()}",
            "classes": ", ".join(names[:10]) + (f", ... ({len(names):,} in all)" if len(names) > 10 else ""),
            "parameters": f"{sum(each.numel() for each in self.deployed.network.parameters()):,}",
            "device": self.device,
            **{
                f"{split} {name}": f"{value:.4g}" for split, each in card.values.items() for name, value in each.items()
            },
        }
        return html_table(f"Predictor of {card.spec.name}", {name: value for name, value in rows.items() if value})

    @property
    def class_names(self) -> tuple[str, ...]:
        """One for each output, where they have names."""
        return self.card.class_names

    def predict_proba(self, samples: Any, *, batch_size: int = BATCH) -> Array:
        """Probabilities of each class or label, `(N, K)`; of maps of classes `(N, K, *positions)`.

        Args:
            samples: a batch as the card's preparation takes it, see `given_shape`.

        Raises:
            DataError: of another shape or type, or the network gives numbers.
        """
        if self.card.spec.kind == "regression" or (self.card.spec.kind == "dense" and not self.card.is_map_of_classes):
            raise DataError(f"{self.card.spec.name} predicts numbers, which have no probabilities; use predict.")
        return np.concatenate(list(self.outputs(samples, batch_size=batch_size)))

    def predict(self, samples: Any, *, batch_size: int = BATCH) -> Array:
        """The answer for each sample.

        Returns:
            Of a classification the names of the classes (numbers, where they have no names), `(N,)`; of several labels
            0 or 1, `(N, K)`; of a regression values, `(N,)` or `(N, K)`; of maps a class, `(N, *positions)`, or values,
            `(N, K, *positions)`.

        Raises:
            DataError: samples of another shape or type.
        """
        found = np.concatenate(list(self.outputs(samples, batch_size=batch_size)))
        return decide(found, self.card)

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of a sample that `predict` takes."""
        return self.deployed.preparation.given_shape(self.card.spec.input_shape)

    def outputs(self, samples: Any, *, batch_size: int = BATCH) -> Iterator[Array]:
        """What the network gives, decoded, batch after batch."""
        given = self._checked(samples)
        with torch.inference_mode():
            for part in torch.split(given, batch_size):
                yield self.deployed(part.to(self.device)).cpu().numpy()

    def _checked(self, samples: Any) -> Tensor:
        given = (
            samples.detach().cpu()
            if isinstance(samples, Tensor)
            else torch.from_numpy(np.require(samples, requirements=["C", "W"]))
        )
        wanted, dtype = self.given_shape, self.deployed.preparation.given_dtype()
        if tuple(given.shape[1:]) != wanted or len(given) == 0:
            raise DataError(
                f"the samples have the shape {tuple(given.shape)}; this network takes (N, "
                f"{', '.join(map(str, wanted))}), as its training data had."
            )
        if dtype == torch.uint8 and given.dtype != torch.uint8:
            raise DataError(f"the samples are {given.dtype}; this network takes pixels as uint8, 0 to 255.")
        return given.to(dtype)


def decide(found: Array, card: ModelCard) -> Array:
    """Decoded outputs as answers; see `Predictor.predict`."""
    kind = card.spec.kind
    if kind == "classification":
        best: Array = found.argmax(1)
        named: Array = np.array(card.class_names)[best] if card.class_names else best
        return named
    if kind == "multilabel":
        limits = np.array(card.thresholds or (0.5,) * found.shape[1])
        return (found >= limits).astype(np.int64)
    if kind == "regression":
        return found[:, 0] if found.shape[1] == 1 else found
    return found.argmax(1) if card.is_map_of_classes else found


def load(source: Path | str, *, device: str = "auto", model: nn.Module | None = None) -> Predictor:
    """The predictor of a run directory or of a `model.safetensors`.

    Args:
        model: a network of your own, where the run was started with one.

    Raises:
        RunError: the run is not trained yet.
        DataError: no model file, or one that does not say how samples are prepared.
    """
    path = Path(source)
    if not path.exists() and not path.suffix:
        path = path.with_name(f"{path.name}.safetensors")  # which `save` of an estimator adds
    file = path
    if path.is_dir():
        directory = RunDirectory(path)
        directory.require()
        if not directory.complete("train"):
            raise RunError(f"{path} has no trained network yet. Next: archscout resume {path}")
        file = path / "model.safetensors"
    network, _ = load_network(file, model=model)
    return Predictor(network, load_card(file), device=device)
