from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from archscout.errors import DataError
from archscout.nn.recurrent.decoder import DeferredLogits
from archscout.tasks.metrics.classification import IGNORED, language_loss, perplexity
from archscout.tasks.readers.text import TextSource
from archscout.tasks.segments import SegmentSettings, SegmentStream, evaluation_segments, segment_lengths
from archscout.tasks.task import Split

CPU = torch.device("cpu")


def text(words: int) -> Split:
    return Split(TextSource(torch.arange(words)), torch.arange(words))


def test_segments_follow_each_other_in_every_column() -> None:
    stream = SegmentStream(text(1000), 4, CPU, 0, SegmentSettings(length=10, halved=0.3))
    columns: list[torch.Tensor] = []
    starts = []
    while stream.epoch == 0:
        batch = stream.next_batch()
        assert batch.inputs.shape == batch.targets.shape
        assert torch.equal(batch.targets, batch.inputs + 1)
        assert batch.rate_scale == batch.inputs.shape[1] / 10
        starts.append(batch.starts)
        columns.append(batch.inputs)
    joined = torch.cat(columns, 1)
    assert torch.equal(joined, torch.arange(1000).view(4, 250)[:, :-1])
    assert starts == [True] + [False] * (len(starts) - 1)
    assert stream.step == len(starts)
    assert stream.next_batch().starts


def test_the_published_lengths() -> None:
    search = segment_lengths(SegmentSettings(), 350_000, 0)
    assert set(search[:-1]) == {35, 17}
    assert search.count(17) / len(search) == pytest.approx(0.05, abs=0.005)
    training = segment_lengths(SegmentSettings(deviation=5), 350_000, 0)
    assert min(training[:-1]) >= 5 and max(training) <= 55
    assert sum(training) == sum(search) == 350_000
    assert len(set(training)) > 20
    usual = [length for length in training if length > 26]
    assert sum(usual) / len(usual) == pytest.approx(35, abs=0.3)


def test_an_epoch_draws_its_own_lengths_and_a_saved_place_is_found_again() -> None:
    settings = SegmentSettings(length=7, deviation=3, shortest=2)
    first, second = (SegmentStream(text(500), 3, CPU, 1, settings) for _ in range(2))
    for _ in range(60):
        first.next_batch()
    assert first.epoch >= 1
    second.load_state_dict(first.state_dict())
    for _ in range(40):
        one, other = first.next_batch(), second.next_batch()
        assert torch.equal(one.inputs, other.inputs) and one[2:] == other[2:]
    assert first.state_dict() == second.state_dict()
    with pytest.raises(DataError, match="have changed"):
        second.load_state_dict({"epoch": 0, "position": 10_000, "step": 0})


def test_processes_take_different_columns() -> None:
    whole = SegmentStream(text(600), 6, CPU, 0)
    parts = [SegmentStream(text(600), 3, CPU, 0, rank=rank, world_size=2) for rank in range(2)]
    together = torch.cat([part.next_batch().inputs for part in parts])
    assert torch.equal(together, whole.next_batch().inputs)


def test_a_text_shorter_than_a_segment_is_one_segment_and_a_too_short_one_is_refused() -> None:
    stream = SegmentStream(text(20), 2, CPU, 0, SegmentSettings(halved=0))
    assert stream.next_batch().inputs.shape == (2, 9)
    assert stream.epoch == 1
    with pytest.raises(DataError, match=r"20 words: too few for 16 columns.*at most 10"):
        SegmentStream(text(20), 16, CPU, 0)
    with pytest.raises(DataError, match="at least 2"):
        next(evaluation_segments(text(1), 1, CPU))


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 10, 99, 1000])
def test_evaluation_counts_every_word_but_the_first_once(columns: int) -> None:
    seen: list[int] = []
    for batch in evaluation_segments(text(100), columns, CPU):
        counted = batch.targets != IGNORED
        assert torch.equal(batch.targets[counted], batch.inputs[counted] + 1)
        seen += batch.targets[counted].tolist()
    assert sorted(seen) == list(range(1, 100))


def test_perplexity_is_pooled_over_words() -> None:
    draw = torch.Generator().manual_seed(0)
    segments = [(torch.randn(2, length, 6, generator=draw), torch.randint(6, (2, length))) for length in (5, 3, 1)]
    segments[2][1][0, 0] = IGNORED
    metric = perplexity()
    accumulator = metric.create()
    total, words = 0.0, 0
    for logits, targets in segments:
        accumulator.update(logits, targets)
        total += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
        words += int((targets != IGNORED).sum())
    value = float(accumulator.compute())
    assert value == pytest.approx(math.exp(total / words), rel=1e-6)
    assert metric.better(3.0, 4.0) and metric.score(3.0) == -3.0
    assert metric.reward(160.0) == 0.5


def test_the_loss_is_the_mean_over_words_with_the_networks_penalty() -> None:
    draw = torch.Generator().manual_seed(0)
    features, weight, bias = (torch.randn(*shape, generator=draw) for shape in ((4, 2, 3), (5, 3), (5,)))
    targets = torch.randint(5, (2, 4))
    deferred = DeferredLogits(features, weight, bias)
    expected = F.cross_entropy(deferred.logits().flatten(0, 1), targets.flatten())
    torch.testing.assert_close(language_loss(deferred, targets), expected)
    torch.testing.assert_close(language_loss(deferred.logits(), targets), expected)
    penalised = DeferredLogits(features, weight, bias, torch.tensor(2.0))
    torch.testing.assert_close(language_loss(penalised, targets), expected + 2)
