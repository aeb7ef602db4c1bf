"""Class names and their order survive the card, model files, ONNX files and tables, whatever they are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import archscout
import archscout.errors
from archscout.deployment.answers import Answers
from archscout.deployment.card import KEY, ModelCard
from archscout.deployment.prediction_files import NUMBER, CsvRows, csv_cell, csv_value
from archscout.pipeline.artifacts import load_card, with_card
from tests.deployment.toy_runs import quick_run, registered, write_images

ODD = (
    "", " ", "=1+1", "-", "+x", "@a", "'", "''=", '"', ",", "a,b", "x\ny", "x\r", "\t",
    "🐕", "-1", "1e5", "name", "error",
)  # fmt: skip
texts = st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8))
names = st.lists(texts, min_size=2, max_size=6, unique=True)


@pytest.fixture(autouse=True, scope="module")
def toys() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("names"), count=4)
    run = quick_run(str(folder), tmp_path_factory.mktemp("runs") / "names", formats="[onnx]")
    return run.directory.path


def read(card: ModelCard, outputs: np.ndarray) -> list[list[str]]:
    stream = io.StringIO()
    answers = Answers(card, top=card.spec.outputs, everything=True)
    rows = CsvRows(stream, answers.columns)
    for place, output in enumerate(outputs):
        rows.add(answers.row(f"{place}.png", output))
    return list(csv.reader(io.StringIO(stream.getvalue(), newline="")))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=names)
def test_names_survive_model_file_onnx_and_table(model: Path, tmp_path: Path, names: list[str]) -> None:
    import onnx

    card = load_card(model / "model.safetensors")
    card = replace(card, class_names=tuple(names), spec=replace(card.spec, outputs=len(names)))
    (tmp_path / "model.safetensors").write_bytes(with_card(model / "model.safetensors", card))
    assert load_card(tmp_path / "model.safetensors") == card
    proto = onnx.load(model / "export/model.onnx")
    fact = next(fact for fact in proto.metadata_props if fact.key == KEY)
    fact.value = json.dumps({**card.to_json(), "raw": False})
    onnx.save(proto, tmp_path / "model.onnx")
    assert archscout.load(tmp_path / "model.onnx").class_names == tuple(names)

    outputs = np.eye(len(names), dtype=np.float32) * 0.5 + 0.25
    header, *rows = read(card, outputs)
    told = [csv_value(row[header.index("prediction")]) for row in rows]
    assert told == list(names)
    columns = [name for name in header if name.startswith("probability of ")]
    assert columns == [f"probability of {name}" for name in names]
    risky = [cell for row in rows for cell in row if cell[:1] in tuple("=+@\t\r")]
    assert all(NUMBER.fullmatch(cell) for cell in risky)


@given(text=texts)
def test_a_cell_is_no_formula_and_has_a_way_back(text: str) -> None:
    cell = csv_cell(text)
    assert csv_value(cell) == text
    assert not cell.startswith(("=", "@", "\t", "\r"))
    assert not cell.startswith(("+", "-")) or float(cell) is not None


def test_a_thousand_classes(model: Path) -> None:
    card = load_card(model / "model.safetensors")
    many = tuple(f"class, {number}" for number in np.random.default_rng(0).permutation(1000))
    card = replace(card, class_names=many, spec=replace(card.spec, outputs=1000))
    assert ModelCard.from_text(json.dumps(card.to_json())).class_names == many
    outputs = np.random.default_rng(0).dirichlet(np.ones(1000), 3).astype(np.float32)
    header, *rows = read(card, outputs)
    for row, output in zip(rows, outputs, strict=True):
        assert row[header.index("prediction")] == many[int(output.argmax())]
        assert np.float32(row[header.index(f"probability of {many[17]}")]) == output[17]


def test_a_model_file_without_a_card_takes_the_task(model: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save

    with safe_open(model / "model.safetensors", framework="pt") as opened:
        description = json.loads(opened.metadata()["archscout"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    del description["card"]
    old = save(tensors, metadata={"archscout": json.dumps(description)})
    (tmp_path / "old.safetensors").write_bytes(old)
    data = json.loads((model / "model.json").read_text())
    with pytest.raises(archscout.errors.DataError, match="--task TASK"):
        archscout.load(tmp_path / "old.safetensors")
    with pytest.raises(archscout.errors.SpaceError, match="but digits is"):
        archscout.load(tmp_path / "old.safetensors", task="digits")
    (tmp_path / "model.json").write_text(json.dumps(data))
    assert archscout.load(tmp_path / "old.safetensors").class_names == ("cat", "dog")
    newer = {**data, "version": 99}
    (tmp_path / "model.json").write_text(json.dumps(newer))
    with pytest.raises(archscout.errors.DataError, match="Upgrade archscout"):
        archscout.load(tmp_path / "old.safetensors")


def test_the_run_beside_an_old_model_file_tells_its_task(model: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save

    file = model / "model.safetensors"
    before, card = file.read_bytes(), (model / "model.json").read_text()
    with safe_open(file, framework="pt") as opened:
        description = json.loads(opened.metadata()["archscout"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    del description["card"]
    try:
        file.write_bytes(save(tensors, metadata={"archscout": json.dumps(description)}))
        (model / "model.json").unlink()
        assert archscout.load(model).class_names == ("cat", "dog")
    finally:
        file.write_bytes(before)
        (model / "model.json").write_text(card)


def test_a_network_given_directly(model: Path) -> None:
    predictor = archscout.load(model)
    again = archscout.Predictor(nn.Identity(), predictor.card)
    assert again.given_shape == predictor.given_shape and "2 classes" in repr(again)
