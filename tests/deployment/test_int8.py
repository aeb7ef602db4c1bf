"""int8 files: what they compute, what is told of them, and when they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout.deployment.card import KEY, ModelCard, card_of_task
from archscout.deployment.export import ExportSubject
from archscout.deployment.int8 import Int8Report, Int8Wanted, quantise
from archscout.exporting import ExportError
from archscout.tasks import Task

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def images_task(samples: int = 240) -> Task:
    """Pictures that are brighter on one side; the class is the side."""
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 120, (samples, 8, 8, 1)).astype(np.uint8)
    labels = draw.integers(0, 2, samples)
    for picture, label in zip(pictures, labels, strict=True):
        picture[:, 4 * label : 4 * label + 4] += 60
    return Task.from_arrays(pictures, labels, name="sides")


class Small(nn.Module):
    """Trained by hand: left minus right, behind a convolution, a norm and a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4 * 64, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(inputs)))
        logits: Tensor = self.head((x + self.second(x)).flatten(1))
        return logits


def trained(task: Task) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Small()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    raw, targets = next(iter(task.train.source.batches([task.train.indices], torch.device("cpu"))))
    for _ in range(30):
        optimiser.zero_grad()
        task.loss(network(task.prepare(raw)), targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def task() -> Task:
    return images_task()


@pytest.fixture(scope="module")
def subject(task: Task) -> ExportSubject:
    return ExportSubject.of(trained(task), card_of_task(task))


def write(subject: ExportSubject, task: Task, folder: Path, *, raw: bool = False) -> Int8Report:
    network = subject.network if raw else subject.network.network
    assert isinstance(network, nn.Module)
    facts = {KEY: json.dumps(subject.card.to_json())}
    return quantise(network, subject.card, task, folder, raw=raw, wanted=Int8Wanted(), metadata=facts)


@pytest.fixture(scope="module")
def written(
    subject: ExportSubject, task: Task, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Int8Report, ExportSubject]:
    return write(subject, task, tmp_path_factory.mktemp("run") / "export"), subject


def test_the_metric_is_that_of_the_file_on_the_validation_split(
    written: tuple[Int8Report, ExportSubject], task: Task
) -> None:
    report, _ = written
    assert report.metric == "accuracy"
    assert report.before > 0.9
    assert report.after >= report.allowed == pytest.approx(report.before - 0.01)
    # The whole file, fed with pictures as they were given, is right as often as the report says.
    source, indices = task.validation.source, task.validation.indices
    stored, targets = next(iter(source.batches([indices], torch.device("cpu"))))
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"input": stored.movedim(1, -1).contiguous().numpy()})
    assert (found.argmax(1) == targets.numpy()).mean() == pytest.approx(report.after)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_the_network_is_integer_and_what_is_around_it_is_not(written: tuple[Int8Report, ExportSubject]) -> None:
    model = onnx.load(written[0].path)
    onnx.checker.check_model(model, full_check=True)
    quantised = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantised and all(node.name.startswith("network_") for node in quantised)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes = [tuple(each.dims) for each in weights.values() if each.data_type == onnx.TensorProto.INT8]
    assert (4, 1, 3, 3) in shapes and (4, 4, 3, 3) in shapes
    scales = [list(weights[node.input[1]].dims) for node in quantised if node.input[0] in weights]
    assert [4] in scales  # one for each output channel
    assert not [node for node in model.graph.node if node.op_type == "BatchNormalization"]


def test_the_card_lies_in_the_file(written: tuple[Int8Report, ExportSubject]) -> None:
    report, subject = written
    facts = {fact.key: fact.value for fact in onnx.load(report.path).metadata_props}
    assert ModelCard.from_text(facts[KEY]).class_names == subject.card.class_names
    assert list(facts) == [KEY]


def test_sizes_and_latencies_are_of_both(written: tuple[Int8Report, ExportSubject]) -> None:
    report = written[0]
    assert report.bytes_before > 4 * (4 * 9 + 4 * 36 + 512)
    assert report.milliseconds_before > 0 and report.milliseconds_after > 0
    assert report.calibration_samples == min(256, len(images_task().train))
    assert [(each.ranges, each.ends_in_float) for each in report.attempts] == [("minmax", False)]


def test_the_same_seed_gives_the_same_file(
    written: tuple[Int8Report, ExportSubject], task: Task, tmp_path: Path
) -> None:
    again = write(written[1], task, tmp_path)
    first, second = (onnx.load(path) for path in (written[0].path, again.path))
    assert first.graph.initializer == second.graph.initializer


def test_raw_files_take_normalised_inputs(task: Task, tmp_path: Path) -> None:
    subject = ExportSubject.of(trained(task), card_of_task(task), raw=True)
    report = write(subject, task, tmp_path, raw=True)
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    assert [each.name for each in (*session.get_inputs(), *session.get_outputs())] == ["input", "output"]
    assert session.get_inputs()[0].shape[1:] == [1, 8, 8]


class Passing(nn.Module):
    """Linear layers that hand on a small number, which tells the class, beside a large one, which tells nothing."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(2, 2) for _ in range(layers)))
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                layer.weight.copy_(torch.eye(2))
                layer.bias.zero_()
            last = self.layers[-1]
            assert isinstance(last, nn.Linear)
            last.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.layers(inputs.flatten(1)[:, :2])
        return logits


def uneven_task() -> tuple[Task, ModelCard]:
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, 200)
    small = np.where(labels == 0, 1.0, -1.0)
    # The large number lies far from zero, always: no range without extremes helps.
    large = draw.choice([-3e4, 3e4], 200)
    series = np.stack([small, large, -small, -large], 1).astype(np.float32)[:, None, :]  # of mean zero
    task = Task.from_arrays(series, labels, name="uneven")
    return task, card_of_task(task)


def test_first_and_last_layer_stay_in_float_where_that_is_needed(tmp_path: Path) -> None:
    task, card = uneven_task()
    report = quantise(Passing(1).eval(), card, task, tmp_path, raw=True, wanted=Int8Wanted(), metadata={})
    assert report.before == report.after == 1
    assert [each.ends_in_float for each in report.attempts] == [False, True]
    assert report.attempts[0].value < 0.8


def test_a_network_that_loses_too_much_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    task, card = uneven_task()
    with pytest.raises(ExportError, match=r"in int8 the network is too far from float32") as caught:
        quantise(Passing(4).eval(), card, task, tmp_path, raw=True, wanted=Int8Wanted(), metadata={})
    message = str(caught.value)
    assert "accuracy 100.00 % in float32, at the worst 99.00 % is allowed" in message
    assert message.count("ranges by") == 5
    assert "export.int8_tolerance=" in message
    assert list(tmp_path.iterdir()) == []
    # What the message advises is enough.
    advised = float(message.split("export.int8_tolerance=")[1].split(",")[0])
    wanted = Int8Wanted(tolerance=advised)
    assert quantise(Passing(4).eval(), card, task, tmp_path, raw=True, wanted=wanted, metadata={}).path.is_file()
