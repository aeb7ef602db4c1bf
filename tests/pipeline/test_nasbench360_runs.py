"""The four stages of D2NAS, then training to report, on every task of NAS-Bench-360 from tiny files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import archscout
from tests.tasks.published.nasbench360.test_readers import READERS

SMALL = [
    "cells.stages=[{layers: 2, init_channels: 4}, {layers: 2, init_channels: 4}]",
    "cells.epochs=2",
    "cells.warmup_epochs=1",
    "cells.batch_size=4",
    "kernels.epochs=1",
    "kernels.batch_size=4",
    "kernels.kernel_sizes=[3]",
    "kernels.dilations=[1, 3]",
    "supernet={init_channels: 4, layers: 2}",
    "network={init_channels: 4, layers: 2}",
    "tuning.epochs=1",
    "tuning.workers=1",
    "tuning.parameters={optimizer.lr: [0.01]}",
    "train.epochs=1",
    "train.batch_size=4",
    "evaluate.latency_batch_sizes=[1]",
    "export.formats=[torch]",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_every_task_goes_through_the_published_pipeline(name: str, tmp_path: Path) -> None:
    write, read = READERS[name]
    write(tmp_path)
    task = read(tmp_path)
    run = archscout.run(task, method="d2nas", recipe=f"d2nas/{name}-common", overrides=SMALL, out=tmp_path / "run")
    assert run.pending() == []
    assert run.result["metric"] == task.metric.name
    assert np.isfinite(run.result["test"][task.metric.name])
    assert task.metric.tendency in (tmp_path / "run" / "report.html").read_text()
