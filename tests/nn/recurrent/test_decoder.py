from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.nn.recurrent import decoder
from archscout.nn.recurrent.decoder import IGNORED, DeferredLogits, linear_cross_entropy


def problem(rows: int = 23, width: int = 5, words: int = 11) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    parts = [torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((rows, width), (words, width))]
    bias = torch.randn(words, generator=draw, dtype=torch.float64)
    targets = torch.randint(words, (rows,), generator=draw)
    targets[::4] = IGNORED
    return parts[0].requires_grad_(), parts[1].requires_grad_(), bias.requires_grad_(), targets


def plain(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(features, weight, bias), targets, reduction="sum", ignore_index=IGNORED)


@pytest.mark.parametrize("elements", [1, 11, 40, 10_000])
def test_loss_and_gradients_equal_the_plain_ones_for_any_chunk(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "CHUNK_ELEMENTS", elements)
    features, weight, bias, targets = problem()
    leaves = (features, weight, bias)
    ours, expected = (loss(features, weight, bias, targets) for loss in (linear_cross_entropy, plain))
    torch.testing.assert_close(ours, expected)
    for one, other in zip(
        torch.autograd.grad(ours / 7, leaves), torch.autograd.grad(expected / 7, leaves), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_the_gradient_can_be_differentiated() -> None:
    features, weight, bias, targets = problem(rows=6, width=2, words=4)
    leaves = (features, weight, bias)

    def loss(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(features, weight, bias, targets) ** 2

    assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(loss, leaves)


def test_logits_are_never_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "CHUNK_ELEMENTS", 100)
    sizes: list[int] = []
    multiply = torch.addmm

    def recording(*arguments: Tensor) -> Tensor:
        sizes.append(multiply(*arguments).numel())
        return multiply(*arguments)

    monkeypatch.setattr(torch, "addmm", recording)
    features, weight, bias, targets = problem()
    torch.autograd.grad(linear_cross_entropy(features, weight, bias, targets), (features, weight, bias))
    assert sizes and max(sizes) <= 100


def test_deferred_logits_equal_those_of_the_decoder_and_share_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    _, weight, bias, _ = problem()
    features = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (3, 4))
    outputs = DeferredLogits(features, weight, bias)
    logits = outputs.logits()
    assert logits.shape == (3, 4, 11)
    total, words = outputs.negative_log_likelihood(targets)
    torch.testing.assert_close(total, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
    assert int(words) == 12
    monkeypatch.setattr(decoder, "linear_cross_entropy", None)  # a second pass would call it
    again, _ = outputs.detach().float().negative_log_likelihood(targets)
    assert float(again) == float(total.detach()) and not again.requires_grad
