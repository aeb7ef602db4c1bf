"""The plain twin of the recurrent search computes what the library computes."""

from __future__ import annotations

from random import Random

import torch

from archscout.nn.recurrent.reference import reference_segment
from archscout.nn.recurrent.word_model import RecurrentSize
from archscout.spaces import RecurrentSpace
from archscout.tasks import TaskSpec
from archscout.tasks.metrics.classification import language_loss
from benchmarks.recurrent_comparison import lstm_of_equal_size, summary
from benchmarks.recurrent_twin import PlainLanguageModel, PlainRecurrentPolicy, copy_weights, plain_lstm, table_of

SPEC = TaskSpec("text", "language", (1,), 13)


def test_dense_twin_path_twin_and_supernet_agree() -> None:
    space = RecurrentSpace()
    size = RecurrentSize.read(
        {"width": 6, "dropout_embedding": 0, "dropout_input": 0, "dropout_hidden": 0, "dropout_output": 0}
    )
    network = space.supernet(SPEC, size).double()
    twin = PlainLanguageModel(13, 6, (0, 0, 0, 0)).double()
    copy_weights(network, twin)  # type: ignore[arg-type]
    words, targets = (torch.randint(13, (3, 9)) for _ in range(2))
    hidden = torch.randn(3, 6, dtype=torch.float64)
    for seed in range(4):
        cell = space.random(Random(seed))
        outputs, _ = network.unroll(words, hidden, cell)  # type: ignore[operator]
        ours = language_loss(outputs, targets)
        dense, path = (
            twin.loss(words.t(), targets.t(), hidden, form) for form in (table_of(cell).double(), cell.nodes)
        )
        torch.testing.assert_close(dense, ours, atol=1e-10, rtol=0)
        torch.testing.assert_close(path, ours, atol=1e-10, rtol=0)
        network.zero_grad()
        twin.zero_grad()
        ours.backward()  # type: ignore[no-untyped-call]
        dense.backward()  # type: ignore[no-untyped-call]
        gradient = torch.stack([matrix.grad for matrix in twin.cell.matrices if matrix.grad is not None])
        torch.testing.assert_close(gradient, network.node_matrices.grad, atol=1e-10, rtol=0)
        torch.testing.assert_close(twin.embedding.grad, network.embedding.grad, atol=1e-10, rtol=0)


def test_the_plain_policy_draws_cells() -> None:
    table, log_probability = PlainRecurrentPolicy().draw()
    assert int(table.sum()) == 8 and log_probability.requires_grad
    cell = RecurrentSpace().random(Random(0))
    assert reference_segment.__doc__ and int(table_of(cell).sum()) == 8


def test_the_lstms_have_equal_parameters_and_remember() -> None:
    size = RecurrentSize.read({"width": 160})
    lstm = lstm_of_equal_size(6_432, 1_547_072, size)
    count = sum(weight.numel() for weight in lstm.parameters())
    assert abs(count - 1_547_072) / 1_547_072 < 0.01
    plain = plain_lstm(10_000, 22_960_000)
    assert abs(sum(weight.numel() for weight in plain.parameters()) - 22_960_000) / 22_960_000 < 0.01
    lstm.eval()
    words = torch.randint(6_432, (2, 6))
    whole, _ = lstm.unroll(words)
    _, hidden = lstm.unroll(words[:, :2])
    rest, _ = lstm.unroll(words[:, 2:], hidden)
    torch.testing.assert_close(rest.features, whole.features[2:])


def test_the_summary_has_medians() -> None:
    records = [
        {"kind": kind, "perplexity": value} for kind, value in (("found", 90.0), ("random", 99.0), ("random", 101.0))
    ]
    assert "random             2   100.00    99.00   101.00" in summary(records)
