from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from archscout.errors import DataError
from archscout.tasks.readers.decoding import Decoding, decode
from archscout.tasks.readers.images import ImageSource, default_workers, read_images
from tests.tasks.images_on_disk import write_image

CPU = torch.device("cpu")
DECODING = Decoding(8, 8)
NAMES = [f"a/{number}ü.png" for number in range(9)]
BATCHES = [torch.tensor([8, 0, 3]), torch.tensor([1]), torch.tensor([2, 2, 7, 6])]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(NAMES):
        write_image(folder / name, size=(20, 16), seed=number)
    return folder


def source(root: Path, workers: int) -> ImageSource:
    return ImageSource(root, NAMES, torch.arange(9) * 10, DECODING, workers)


def passed(source: ImageSource, batches: list[Tensor], seed: int | None) -> list[tuple[list[int], bytes]]:
    read = source.batches(batches, CPU, seed=seed)
    return [(targets.tolist(), inputs.numpy().tobytes()) for inputs, targets in read]


def test_evaluation_batches_are_the_decoded_images_in_order(root: Path) -> None:
    for index, (inputs, targets) in zip(BATCHES, source(root, 0).batches(BATCHES, CPU), strict=True):
        assert inputs.dtype == torch.uint8
        assert targets.tolist() == (index * 10).tolist()
        for sample, number in zip(inputs, index.tolist(), strict=True):
            assert sample.numpy().tobytes() == decode(root / NAMES[number], DECODING).tobytes()


def test_the_number_of_workers_changes_nothing(root: Path) -> None:
    none, two = source(root, 0), source(root, 2)
    for seed in (None, 5, 6):
        assert passed(none, BATCHES, seed) == passed(two, BATCHES, seed)
    assert passed(none, BATCHES, 5) != passed(none, BATCHES, 6)


def test_augmentation_depends_on_seed_and_index_alone(root: Path) -> None:
    reader = source(root, 0)
    (together,) = [inputs for inputs, _ in reader.batches([torch.tensor([4, 1, 4])], CPU, seed=3)]
    (alone,) = [inputs for inputs, _ in reader.batches([torch.tensor([1])], CPU, seed=3)]
    assert torch.equal(together[1], alone[0])
    assert torch.equal(together[0], together[2])


def test_workers_are_kept_between_passes_and_not_shared_by_two_at_once(root: Path) -> None:
    reader = source(root, 1)
    expected = passed(source(root, 0), BATCHES, 1)
    abandoned = reader.batches(BATCHES * 5, CPU, seed=9)
    next(abandoned)
    del abandoned  # its workers still have batches of seed 9 on the way
    first, second = reader.batches(BATCHES, CPU, seed=1), reader.batches(BATCHES, CPU, seed=1)
    interleaved = [pair for pairs in zip(first, second, strict=True) for pair in pairs]
    found = [(targets.tolist(), inputs.numpy().tobytes()) for inputs, targets in interleaved]
    assert found[::2] == expected
    assert found[1::2] == expected
    assert passed(reader, BATCHES, 1) == expected
    assert len(reader._idle) == 2


def test_workers_leave_the_global_generator_alone(root: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    passed(source(root, 1), BATCHES, 1)
    assert torch.equal(torch.rand(2), expected)


def test_workers_survive_the_collection_of_an_abandoned_stream(root: Path) -> None:
    reader = source(root, 1)

    class Stream:
        """Like a training stream: its batches hold its indices, which hold the stream."""

        def __init__(self) -> None:
            self.batches = reader.batches(self.indices(), CPU, seed=9)

        def indices(self) -> Iterator[Tensor]:
            while self.batches is not None:
                yield torch.tensor([0])

    stream = Stream()
    next(stream.batches)
    del stream
    gc.collect()
    assert len(reader._idle) == len(reader._loaders) == 1
    assert passed(reader, BATCHES, 1) == passed(source(root, 0), BATCHES, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_in_one_sentence(tmp_path: Path, workers: int) -> None:
    for name in NAMES:
        write_image(tmp_path / name)
    (tmp_path / NAMES[3]).write_bytes((tmp_path / NAMES[3]).read_bytes()[:60])
    reader = source(tmp_path, workers)
    with pytest.raises(DataError) as raised:
        passed(reader, BATCHES, None)
    assert str(raised.value).startswith(f"{tmp_path / NAMES[3]}: unreadable image (")
    assert "\n" not in str(raised.value)
    assert len(passed(reader, [torch.tensor([0])], None)) == 1  # the workers live on


def test_a_killed_worker_is_told(root: Path) -> None:
    reader = source(root, 1)
    batches = reader.batches(iter([torch.tensor([0])] * 100_000), CPU)
    next(batches)
    loader_iterator = batches.gi_frame.f_locals["decoded"].gi_yieldfrom  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"worker process .* died .* ARCHSCOUT_WORKERS"):
        for number, _ in enumerate(batches):
            if number == 2:
                os.kill(loader_iterator._workers[0].pid, signal.SIGKILL)
    assert reader._idle == reader._loaders == []
    assert len(passed(reader, BATCHES, None)) == 3  # new workers


def test_names_and_targets_must_fit(root: Path) -> None:
    with pytest.raises(DataError, match="9 images but 2 targets"):
        ImageSource(root, NAMES, torch.arange(2), DECODING)


def test_images_are_read_into_memory_in_order(root: Path) -> None:
    read = read_images([root / name for name in NAMES], DECODING)
    assert read.shape == (9, 3, 8, 8)
    for index, name in enumerate(NAMES):
        assert read[index].numpy().tobytes() == decode(root / name, DECODING).tobytes()


def test_the_number_of_workers_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSCOUT_WORKERS", "3")
    assert default_workers() == 3
    monkeypatch.setenv("ARCHSCOUT_WORKERS", "many")
    with pytest.raises(DataError, match="ARCHSCOUT_WORKERS is 'many'"):
        default_workers()
    monkeypatch.delenv("ARCHSCOUT_WORKERS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert default_workers() == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(99)), raising=False)
    assert default_workers() == 16


def test_a_program_that_stops_in_the_middle_of_a_pass_ends_quietly(root: Path) -> None:
    program = f"""
import torch
from pathlib import Path
from archscout.tasks.readers.decoding import Decoding
from archscout.tasks.readers.images import ImageSource
source = ImageSource(Path({str(root)!r}), {NAMES!r}, torch.arange(9), Decoding(8, 8), 2)
stream = source.batches(iter([torch.tensor([0, 1])] * 1000), torch.device("cpu"), seed=1)
next(stream)
"""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
