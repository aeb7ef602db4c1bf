from __future__ import annotations

import pytest
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks import Task, load_task
from archscout.tasks.batch import BatchStream
from archscout.tasks.options import options_with
from archscout.tasks.readers.folder import folder_task
from archscout.tasks.streams import evaluation_batches
from archscout.tasks.transforms import cutout
from tests.tasks.images_on_disk import write_classes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits")


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Task:
    root = tmp_path_factory.mktemp("images")
    write_classes(root, ("cat", "dog"), 15, size=(80, 70))
    return folder_task(root, options_with(None, {"image_size": 16}), workers=1)


def take(stream: BatchStream, count: int) -> list[tuple[Tensor, Tensor]]:
    return [stream.next_batch()[:2] for _ in range(count)]


def assert_same(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> None:
    assert len(first) == len(second)
    for (x, y), (u, v) in zip(first, second, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


@pytest.mark.parametrize("position", [0, 1, 3, 5, 7])
def test_a_resumed_stream_gives_the_very_same_batches(digits: Task, streamed: Task, position: int) -> None:
    for task, batch_size in ((digits, 400), (streamed, 6)):
        whole = BatchStream(task, task.train, batch_size, CPU, seed=3, extra=(cutout(4),))
        everything = take(whole, 10)
        stopped = BatchStream(task, task.train, batch_size, CPU, seed=3, extra=(cutout(4),))
        take(stopped, position)
        resumed = BatchStream(task, task.train, batch_size, CPU, seed=3, extra=(cutout(4),))
        resumed.load_state_dict(stopped.state_dict())
        assert_same(take(resumed, 10 - position), everything[position:])
        stopped.load_state_dict({"epoch": 0, "position": 1})  # also backwards, in the middle of an epoch
        assert_same(take(stopped, 4), everything[1:5])


def seen_indices(task: Task, rank: int = 0, world_size: int = 1) -> list[int]:
    """Positions in the digits' source that a stream hands out in an epoch, without augmentation."""
    seen = []
    inputs = task.normalize(task.to_float(task.train.source.inputs))  # type: ignore[attr-defined]
    places: dict[bytes, list[int]] = {}
    for index in task.train.indices.tolist():
        places.setdefault(inputs[index].numpy().tobytes(), []).append(index)
    stream = BatchStream(task, task.train, 100, CPU, seed=1, augment=False, rank=rank, world_size=world_size)
    for _ in range(stream.batches_per_epoch):
        seen += [places[sample.numpy().tobytes()].pop() for sample in stream.next_batch().inputs]
    return seen


def test_an_epoch_has_every_sample_once_in_a_new_order_each_time(digits: Task) -> None:
    assert sorted(seen_indices(digits)) == sorted(digits.train.indices.tolist())
    stream = BatchStream(digits, digits.train, len(digits.train), CPU, seed=1, augment=False)
    (first, _), (second, _) = take(stream, 2)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("world_size", [2, 5])
def test_ranks_share_an_epoch_without_overlap(digits: Task, world_size: int) -> None:
    shares = [seen_indices(digits, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(share) for share in shares} == {len(digits.train) // world_size}
    together = [index for share in shares for index in share]
    assert len(set(together)) == len(together) == len(digits.train) // world_size * world_size


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [500, 500, 197]), (True, [500, 500])])
def test_the_last_smaller_batch_is_kept_or_dropped(digits: Task, drop_last: bool, sizes: list[int]) -> None:
    stream = BatchStream(digits, digits.train, 500, CPU, seed=0, drop_last=drop_last)
    assert stream.batches_per_epoch == len(sizes)
    assert [len(targets) for _, targets in take(stream, len(sizes))] == sizes
    assert (stream.epoch, stream.position) == (1, 0)
    only = BatchStream(digits, digits.train, 5000, CPU, seed=0, drop_last=drop_last)
    assert [len(targets) for _, targets in take(only, 1)] == [1197]


@pytest.mark.parametrize(("share", "batches"), [(None, 10), (0.01, 1), (0.3, 4), (1.0, 10)])
def test_an_epoch_may_be_its_first_batches_only(digits: Task, share: float | None, batches: int) -> None:
    split = digits.train.subset(torch.arange(100))
    stream = BatchStream(digits, split, 10, CPU, 0, share=share)
    assert stream.batches_per_epoch == batches
    first = [stream.next_batch().targets for _ in range(batches)]
    assert (stream.epoch, stream.position) == (1, 0)
    whole = BatchStream(digits, split, 10, CPU, 0)
    assert all(torch.equal(batch, whole.next_batch().targets) for batch in first)


def test_the_seed_decides_and_augmentation_changes(digits: Task) -> None:
    def first(seed: int, augment: bool = True) -> Tensor:
        return BatchStream(digits, digits.train, 64, CPU, seed=seed, augment=augment).next_batch().inputs

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
    assert not torch.equal(first(1), first(1, augment=False))


def test_evaluation_is_the_whole_split_in_order(digits: Task, streamed: Task) -> None:
    for task in (digits, streamed):
        batches = list(evaluation_batches(task, task.test, 7, CPU))
        inputs = torch.cat([batch.inputs for batch in batches])
        targets = torch.cat([batch.targets for batch in batches])
        assert [len(batch.targets) for batch in batches[:-1]] == [7] * (len(batches) - 1)
        raw, expected = next(task.test.source.batches([task.test.indices], CPU))
        assert torch.equal(inputs, task.prepare(raw))
        assert torch.equal(targets, expected)


def test_impossible_streams_are_told(digits: Task) -> None:
    with pytest.raises(DataError, match="batch_size is 0"):
        BatchStream(digits, digits.train, 0, CPU, seed=0)
    empty = digits.train.subset(torch.arange(0))
    with pytest.raises(DataError, match="the split has 0 samples; at least 1"):
        BatchStream(digits, empty, 4, CPU, seed=0)
    with pytest.raises(DataError, match="has 3 samples; at least 4"):
        BatchStream(digits, digits.train.subset(torch.arange(3)), 4, CPU, seed=0, world_size=4)
    stream = BatchStream(digits, digits.train, 500, CPU, seed=0)
    with pytest.raises(DataError, match="batch 3 of epoch 0, but an epoch has 3 batches"):
        stream.load_state_dict({"epoch": 0, "position": 3})
    with pytest.raises(DataError, match=r"that of 2 processes, but 1 run now.*Start as many as before"):
        stream.load_state_dict({"epoch": 0, "position": 1, "world_size": 2})
    assert list(evaluation_batches(digits, empty, 4, CPU)) == []
