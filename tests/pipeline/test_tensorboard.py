"""TensorBoard files: scalars, and the architecture as it stands."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from archscout.driver import Driver
from archscout.jobs import Metrics
from archscout.pipeline.tensorboard import IMAGE_SCALE, TensorBoardObserver
from archscout.rundir import RunDirectory
from archscout.spaces.architecture import Architecture
from archscout.viz import draw
from archscout.zoo import load_zoo
from tests.toys import CountingJob

FIRST, SECOND = (load_zoo(name).architecture for name in ("darts_v1", "darts_v2"))


class ShowingJob(CountingJob):
    """Chooses one architecture after the other."""

    def __init__(self, architectures: Sequence[Architecture]) -> None:
        super().__init__(len(architectures))
        self.architectures = architectures

    def architecture(self) -> Architecture:
        return self.architectures[self.count - 1]


class Listener:
    """Collects messages; optionally stops the run at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.messages: list[str] = []
        self.stop_at = stop_at

    def started(self, stage: str, step: int) -> None:
        pass

    def advanced(self, stage: str, step: int, metrics: Metrics, seconds: float) -> None:
        if step == self.stop_at:
            raise KeyboardInterrupt

    def checkpointed(self, stage: str, step: int, job: Any) -> None:
        pass

    def finished(self, stage: str, seconds: float) -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append(text)


def drive(folder: Path, job: CountingJob, listener: Listener | None = None) -> Listener:
    """Run a job with a checkpoint after every step."""
    listener = listener or Listener()
    run = RunDirectory(folder)
    with run.hold():
        observers = (TensorBoardObserver(folder / "tensorboard"), listener)
        Driver(run, observers=observers, checkpoint_seconds=0).drive("search", job)
    return listener


def written(folder: Path) -> Any:
    """All events of the stage, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / "search"), size_guidance={"images": 0, "scalars": 0})
    return events.Reload()


def texts(events: Any) -> list[tuple[int, str]]:
    """Step and text of every architecture."""
    written = events.Tensors("architecture/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in written]


def test_the_architecture_is_written_where_it_changed(tmp_path: Path) -> None:
    listener = drive(tmp_path, ShowingJob([FIRST, FIRST, SECOND, SECOND, FIRST]))
    events = written(tmp_path)
    shown = [(1, FIRST), (3, SECOND), (5, FIRST)]
    assert texts(events) == [(step, f"```\n{architecture.describe()}\n```") for step, architecture in shown]
    assert events.Tags()["images"] == ["architecture"]
    for event, (step, architecture) in zip(events.Images("architecture"), shown, strict=True):
        assert event.step == step
        pixels = Image.open(io.BytesIO(event.encoded_image_string))
        root = ElementTree.fromstring(draw(architecture))
        expected = [IMAGE_SCALE * float(root.attrib[side]) for side in ("width", "height")]
        assert pixels.size == pytest.approx(expected, abs=1)
        assert np.unique(np.array(pixels).reshape(-1, 3), axis=0).shape[0] > 100  # it is no empty sheet
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2, 3, 4, 5]
    assert listener.messages == []


def test_without_resvg_the_architecture_is_written_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    listener = drive(tmp_path, ShowingJob([FIRST]))
    events = written(tmp_path)
    assert events.Tags()["images"] == []
    assert len(texts(events)) == 1
    assert listener.messages == []


def test_a_job_that_shows_nothing_gets_scalars_only(tmp_path: Path) -> None:
    drive(tmp_path, CountingJob(3))
    assert written(tmp_path).Tags()["images"] == []
    assert [scalar.value for scalar in written(tmp_path).Scalars("progress")] == pytest.approx([1 / 3, 2 / 3, 1])


def test_a_resumed_run_keeps_what_was_written_up_to_its_checkpoint(tmp_path: Path) -> None:
    job = ShowingJob([FIRST, SECOND, SECOND, FIRST])
    with pytest.raises(KeyboardInterrupt):
        drive(tmp_path, job, Listener(stop_at=3))  # step 3 was logged, but has no checkpoint
    drive(tmp_path, ShowingJob([FIRST, SECOND, SECOND, FIRST]))
    events = written(tmp_path)
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [step for step, _ in texts(events)] == [1, 2, 3, 4]  # once more after the start


def test_a_drawing_that_fails_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.viz.draw", lambda architecture, theme: 1 / 0)
    listener = drive(tmp_path, ShowingJob([FIRST, SECOND, FIRST]))
    assert listener.messages == [
        "warning: TensorBoardObserver.checkpointed failed, the run goes on without it: "
        "ZeroDivisionError: division by zero"
    ]
    events = written(tmp_path)
    assert events.Tags()["images"] == []
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2, 3]


def test_without_the_package_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    listener = drive(tmp_path, ShowingJob([FIRST, SECOND]))
    assert not (tmp_path / "tensorboard").exists()
    assert listener.messages == []
