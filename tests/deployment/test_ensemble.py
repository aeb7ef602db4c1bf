"""Ensembles: what they compute, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from archscout.deployment.card import ModelCard
from archscout.deployment.deployed import decode_outputs
from archscout.deployment.ensemble import Ensemble, card_of_ensemble
from archscout.errors import DataError
from archscout.tasks.spec import TaskSpec


class Fixed(nn.Module):
    """Gives the same outputs for every sample."""

    def __init__(self, *outputs: float) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.tensor(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outputs.expand(len(inputs), -1)


def card(kind: str, outputs: int, **fields: object) -> ModelCard:
    return ModelCard(TaskSpec("toy", kind, (3,), outputs), **fields)  # type: ignore[arg-type]


def decoded(kind: str, *members: Fixed, temperatures: tuple[float, ...] = (1.0, 1.0), **fields: object) -> Tensor:
    of = card(kind, len(members[0].outputs), **fields)
    with torch.no_grad():
        return decode_outputs(Ensemble(members, of, temperatures)(torch.zeros(2, 3)), of)


def test_probabilities_of_classes_are_averaged() -> None:
    sure, unsure = Fixed(*torch.tensor([0.9, 0.1]).log().tolist()), Fixed(*torch.tensor([0.4, 0.6]).log().tolist())
    torch.testing.assert_close(decoded("classification", sure, unsure), torch.tensor([[0.65, 0.35]] * 2))


def test_members_keep_their_temperatures() -> None:
    found = decoded("classification", Fixed(2.0, 0.0), Fixed(0.0, 0.0), temperatures=(2.0, 1.0))
    expected = (torch.tensor([1.0, 0.0]).softmax(0) + 0.5) / 2
    torch.testing.assert_close(found, expected.expand(2, -1))


def test_probabilities_of_labels_are_averaged_even_where_they_are_extreme() -> None:
    found = decoded("multilabel", Fixed(0.0, 80.0, -80.0), Fixed(2.0, 80.0, -80.0))
    expected = torch.tensor([(0.5 + torch.sigmoid(torch.tensor(2.0)).item()) / 2, 1.0, 0.0])
    torch.testing.assert_close(found, expected.expand(2, -1))


def test_numbers_are_averaged_in_their_units() -> None:
    found = decoded("regression", Fixed(1.0, 0.0), Fixed(2.0, -1.0), scale=((10.0, 0.0), (2.0, 1.0)))
    torch.testing.assert_close(found, torch.tensor([[13.0, -0.5]] * 2))


def test_one_card_for_all_without_the_metrics_of_one() -> None:
    first = card("classification", 2, class_names=("a", "b"), values={"test": {"accuracy": 1.0}}, temperature=2.0)
    found = card_of_ensemble([first, replace(first, temperature=3.0)], ["one", "two"])
    assert found.class_names == ("a", "b") and found.values == {} and found.temperature == 1


def test_networks_that_do_not_do_the_same_are_refused() -> None:
    first = card("classification", 2, class_names=("a", "b"))
    with pytest.raises(DataError, match="one and two do not do the same: their class names differ"):
        card_of_ensemble([first, card("classification", 2, class_names=("b", "a"))], ["one", "two"])
    with pytest.raises(DataError, match="numbers of outputs"):
        card_of_ensemble([first, card("classification", 3)], ["one", "two"])
