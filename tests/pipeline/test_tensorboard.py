"""TensorBoard files: scalars, and images of the architecture as it stands."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archscout.driver import Driver
from archscout.jobs import Metrics
from archscout.pipeline.tensorboard import IMAGE_SCALE, TensorBoardObserver
from archscout.rundir import RunDirectory
from archscout.spaces.architecture import Architecture
from archscout.viz import draw
from archscout.viz.raster import rasterise
from archscout.zoo import load_zoo
from tests.toys import CountingJob, Widths

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


def image(event: Any) -> Any:
    from PIL import Image

    return np.array(Image.open(io.BytesIO(event.encoded_image_string)))


def test_the_architecture_is_drawn_where_it_changed(tmp_path: Path) -> None:
    listener = drive(tmp_path, ShowingJob([FIRST, FIRST, SECOND, SECOND, FIRST]))
    events = written(tmp_path)
    assert events.Tags()["images"] == ["architecture"]
    images = events.Images("architecture")
    assert [image.step for image in images] == [1, 3, 5]
    for image, architecture in zip(images, (FIRST, SECOND, FIRST), strict=True):
        assert np.array_equal(image(image), rasterise(draw(architecture, theme="light"), IMAGE_SCALE))
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2, 3, 4, 5]
    assert listener.messages == []


def test_a_job_that_shows_nothing_gets_scalars_only(tmp_path: Path) -> None:
    drive(tmp_path, CountingJob(3))
    assert written(tmp_path).Tags()["images"] == []
    assert [scalar.value for scalar in written(tmp_path).Scalars("progress")] == pytest.approx([1 / 3, 2 / 3, 1])


def test_an_architecture_without_a_drawing_is_shown_as_text(tmp_path: Path) -> None:
    drive(tmp_path, ShowingJob([Widths((3, 4))]))
    (image,) = written(tmp_path).Images("architecture")
    assert image(image).min() < 100


def test_a_resumed_run_keeps_what_was_written_up_to_its_checkpoint(tmp_path: Path) -> None:
    job = ShowingJob([FIRST, SECOND, SECOND, FIRST])
    with pytest.raises(KeyboardInterrupt):
        drive(tmp_path, job, Listener(stop_at=3))  # step 3 was logged, but has no checkpoint
    drive(tmp_path, ShowingJob([FIRST, SECOND, SECOND, FIRST]))
    events = written(tmp_path)
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [image.step for image in events.Images("architecture")] == [1, 2, 3, 4]  # once more after the start


def test_a_drawing_that_fails_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.viz.raster.rasterise", lambda svg, scale: 1 / 0)
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
