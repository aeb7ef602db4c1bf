from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch

from archscout.engine import Engine
from archscout.errors import RunError, SettingsError
from archscout.nn.recurrent.word_model import RecurrentSize
from archscout.spaces import RecurrentSpace
from archscout.tasks.metrics.classification import IGNORED
from archscout.tasks.segments import evaluation_segments
from archscout.testing.cases import WORDS, small_text
from archscout.training.evaluation import evaluate_network
from archscout.training.generation import generate_text
from archscout.training.language import LanguageTrainingJob, LanguageTrainSettings

CPU = Engine(torch.device("cpu"))


def network_of(width: int = 12) -> Any:
    space = RecurrentSpace()
    torch.manual_seed(0)
    size = RecurrentSize.read(
        {"width": width, "dropout_input": 0.1, "dropout_output": 0.1, "dropout_hidden": 0.1, "dropout_words": 0.1}
    )
    return space.build(space.random(Random(0)), small_text().spec, size)


def job_of(**settings: Any) -> LanguageTrainingJob:
    given = {"epochs": 2, "batch_size": 4, "segments": {"length": 10, "deviation": 2, "shortest": 2}, **settings}
    return LanguageTrainingJob(network_of(), small_text(), LanguageTrainSettings.read(given), CPU, seed=0)


def test_a_rule_of_the_text_is_learned() -> None:
    job = job_of(epochs=30, optimizer={"lr": 5.0, "momentum": 0, "clip": 0.25, "schedule": {"kind": "constant"}})
    before = evaluate_network(job.network, small_text(), small_text().test, CPU, 2)["perplexity"]
    for _ in job.run():
        assert 0 < job.progress <= 1
    after = evaluate_network(job.result(), small_text(), small_text().test, CPU, 2)
    assert before > 7 and after["perplexity"] < 4
    assert after["perplexity"] == pytest.approx(torch.tensor(after["loss"]).exp().item())


def test_evaluation_does_not_depend_on_segments_and_carries_the_state() -> None:
    network, task = network_of().eval(), small_text()
    whole = torch.cat([segment.inputs for segment in evaluation_segments(task.test, 2, CPU.device)], 1)
    targets = torch.cat([segment.targets for segment in evaluation_segments(task.test, 2, CPU.device)], 1)
    with torch.no_grad():
        logits = network(whole)
    counts = targets != IGNORED
    loss = torch.nn.functional.cross_entropy(logits[counts], targets[counts])
    values = evaluate_network(network, task, task.test, CPU, 2)
    assert values["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_the_rate_follows_the_length_of_the_segment() -> None:
    job = job_of()
    for _ in range(4):
        length = job.stream._lengths[job.stream.position]
        job._train_step(job.stream.next_batch(), 0)
        assert job.stepper.optimizer.param_groups[0]["lr"] == pytest.approx(20 * length / 10)


def test_averaging_begins_when_the_loss_no_longer_falls_and_is_the_mean_of_the_weights() -> None:
    job = job_of(epochs=100, patience=2)
    decisions = []
    for loss in (5.0, 4.0, 3.0, 3.5, 3.6, 3.2):
        decisions.append(job._is_time(loss))
        job.losses.append(loss)
    # Worse than the best of all but the last two: 3.6 against min(5, 4), then 3.2 against min(5, 4, 3).
    assert decisions == [False, False, False, False, False, True]
    job.losses.clear()
    job.mean = [weight.detach().clone() for weight in job._parameters]
    seen = []
    for _ in range(3):
        job._train_step(job.stream.next_batch(), 0)
        seen.append([weight.detach().clone() for weight in job._parameters])
    for number, mean in enumerate(job.mean):
        torch.testing.assert_close(mean, torch.stack([weights[number] for weights in seen]).mean(0))
    job._validate()
    for now, last in zip(job._parameters, seen[-1], strict=True):
        assert torch.equal(now, last)  # validation put the weights back
    for best, mean in zip(job.best, job.mean, strict=True):
        assert torch.equal(best, mean)


def test_averaging_begins_after_a_set_number_of_epochs_at_the_latest() -> None:
    job = job_of(epochs=100, patience=None, average_from=3)
    decisions = []
    for loss in (5.0, 4.0, 3.0, 2.0):
        decisions.append(job._is_time(loss))
        job.losses.append(loss)
    assert decisions == [False, False, True, True]


def test_the_result_has_the_weights_that_were_best_on_validation() -> None:
    job = job_of(epochs=3)
    for _ in job.run():
        pass
    best = min(job.losses)
    values = evaluate_network(job.result(), small_text(), small_text().validation, CPU, 10)
    assert values["loss"] == pytest.approx(best, rel=1e-6)


def test_a_resumed_training_ends_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.training.language.STEPS_PER_YIELD", 4)  # an epoch is 11 to 14 steps
    reference, first, second = (job_of(epochs=4, average_from=1) for _ in range(3))
    for _ in reference.run():
        pass
    for _ in range(5):
        next(first.run())
    assert first.stream.epoch == 1 and first.stream.position > 0 and first.progress < 1
    second.load_state_dict(first.state_dict())
    for _ in second.run():
        pass
    assert second.mean is not None
    for one, other in zip(reference.result().parameters(), second.result().parameters(), strict=True):
        assert torch.equal(one, other)


def test_text_is_written_after_a_prompt() -> None:
    network, vocabulary = network_of().eval(), small_text().class_names
    text = generate_text(network, vocabulary, "one two", words=12, temperature=1.0, seed=0)
    assert text.startswith("one two")
    assert set(text.split()) <= set(WORDS)
    assert text == generate_text(network, vocabulary, "one two", words=12, temperature=1.0, seed=0)
    assert text != generate_text(network, vocabulary, "one two", words=12, temperature=1.0, seed=1)
    assert generate_text(network, vocabulary, "unheard words", words=3, temperature=0.1, seed=0)


@pytest.mark.parametrize(("words", "temperature"), [(0, 1.0), (5, 0.0), (5, float("nan")), (5, -1.0)])
def test_senseless_wishes_are_refused(words: int, temperature: float) -> None:
    with pytest.raises(SettingsError, match="must be"):
        generate_text(network_of(), small_text().class_names, "", words=words, temperature=temperature, seed=0)
    with pytest.raises(RunError, match="no language model"):
        generate_text(torch.nn.Linear(1, 1), ["a"], "", words=1, temperature=1.0, seed=0)
