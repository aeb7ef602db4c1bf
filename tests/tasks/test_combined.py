from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks import Split, load_task
from archscout.tasks.batch import BatchStream
from archscout.tasks.sources import ArraySource, CombinedSource, Source

CPU = torch.device("cpu")


def array_source(values: list[int]) -> ArraySource:
    return ArraySource(torch.tensor(values).float().unsqueeze(1), torch.tensor(values) * 10)


class Seeded(ArraySource):
    """Adds the seed it is given to its targets."""

    def batches(self, indices, device, *, seed=None):  # type: ignore[no-untyped-def]
        for inputs, targets in super().batches(indices, device):
            yield inputs, targets * 0 + (seed or 0)


def test_batches_come_in_the_order_of_their_indices() -> None:
    combined = CombinedSource([array_source([0, 1, 2]), array_source([3, 4]), array_source([5, 6, 7])])
    indices = [torch.tensor([7, 0, 4]), torch.tensor([1, 2]), torch.tensor([5]), torch.tensor([3, 6, 3, 0])]
    assert len(combined) == 8
    for index, (inputs, targets) in zip(indices, combined.batches(indices, CPU), strict=True):
        assert inputs.view(-1).tolist() == index.tolist()
        assert targets.tolist() == (index * 10).tolist()
    assert combined.targets is not None
    assert combined.targets.tolist() == [10 * value for value in range(8)]


def test_sources_read_indices_lazily() -> None:
    taken = 0

    def indices() -> object:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield torch.tensor([0, 3])

    combined = CombinedSource([array_source([0, 1, 2]), array_source([3, 4])])
    next(combined.batches(indices(), CPU))  # type: ignore[arg-type]
    assert taken == 1


def test_the_same_index_of_two_sources_gets_two_seeds() -> None:
    sources: list[Source] = [Seeded(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long)) for _ in range(2)]
    combined = CombinedSource(sources)
    (first,) = (targets for _, targets in combined.batches([torch.tensor([0, 2])], CPU, seed=5))
    (again,) = (targets for _, targets in combined.batches([torch.tensor([0, 2])], CPU, seed=5))
    assert first[0] != first[1]
    assert torch.equal(first, again)
    (plain,) = (targets for _, targets in combined.batches([torch.tensor([0, 2])], CPU))
    assert plain.tolist() == [0, 0]


def test_development_of_a_task_with_two_sources_streams_both_splits() -> None:
    task = load_task("digits")
    source = task.train.source
    assert isinstance(source, ArraySource)
    held = task.validation.indices
    apart = ArraySource(source.inputs[held].clone(), source.targets[held].clone())
    task = replace(task, validation=Split(apart, torch.arange(len(held))))

    def images(split: Split) -> list[bytes]:
        batches = split.source.batches(torch.tensor_split(split.indices, 7), CPU)
        return [sample.numpy().tobytes() for inputs, _ in batches for sample in inputs]

    assert images(task.development) == images(task.train) + images(task.validation)
    stream = BatchStream(task, task.development, 64, CPU, seed=0)
    seen: list[Tensor] = [stream.next_batch().targets for _ in range(stream.batches_per_epoch)]
    assert len(torch.cat(seen)) == len(task.train) + len(task.validation)


def test_nothing_cannot_be_combined() -> None:
    with pytest.raises(DataError, match="no source to combine"):
        CombinedSource([])
