"""Released weights: read safely, checked against name and network, used by torch.hub and the command line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from archscout.errors import ArchscoutError, DataError
from archscout.tasks import load_task, task_spec
from archscout.training.evaluation import evaluate_network
from archscout.zoo.weights import apply_weights, load_weighted_network, network_of, read_weights
from tests.tasks.images_on_disk import write_image

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"dsm_nas": "dsm_nas.imagenet", "dsm_nas_plus": "dsm_nas_plus.imagenet"}
IMAGENET = task_spec("imagenet")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A state dict with the names and shapes of the released file, statistics and all."""
    torch.manual_seed(0)
    network = network_of("dsm_nas.imagenet", IMAGENET)
    # Classes must differ for one image, and layers with statistics of 0 and 1 let a random signal fade.
    nn.init.normal_(network.get_parameter("classifier.linear.weight"), 0, 1)
    return network.state_dict()


def saved(state: Any, folder: Path, name: str = "dsm-nas.pt") -> Path:
    """A pickled file; `{}` in its name becomes the first digits of its SHA-256."""
    path = folder / "unnamed"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / name.format(digest))


@pytest.mark.parametrize("name", ["dsm-nas-{}.pt", "weights.pt"])
def test_a_state_dict_of_the_released_layout_loads(name: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    network = load_weighted_network("dsm_nas.imagenet", saved(state, tmp_path, name), IMAGENET)
    assert not network.training
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())
    assert len(state) == 377


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}], ids=["plain", "wrapped"])
def test_wrapped_and_safe_files_are_read(wrap: Callable[[Any], Any], state: dict[str, Tensor], tmp_path: Path) -> None:
    small = {key: state[key] for key in list(state)[:6]}
    assert set(read_weights(saved(wrap(small), tmp_path))) == set(small)
    save_file(small, tmp_path / "x.safetensors")
    assert torch.equal(read_weights(tmp_path / "x.safetensors")[next(iter(small))], next(iter(small.values())))


class Bomb:
    """What a malicious file holds: code that runs when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_foreign_code_is_never_run(tmp_path: Path) -> None:
    path = saved({"first_conv.conv.weight": Bomb(tmp_path / "ran")}, tmp_path)
    with pytest.raises(DataError, match=r"is refused unread: the pickle names getattr, which could run code"):
        read_weights(path)
    assert not (tmp_path / "ran").exists()


def test_another_digest_than_the_name_says_is_refused(tmp_path: Path) -> None:
    path = saved({"a": torch.zeros(1)}, tmp_path, "dsm-nas-ba5edf7c.pt")
    with pytest.raises(DataError, match="its name says that its SHA-256 begins with ba5edf7c, but it begins with"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no plain state dict"),
        (b"PK\x03\x04 not a zip", "no plain state dict"),
        (b"<html>404</html>", "no plain state dict"),
    ],
)
def test_damaged_files_are_told(content: bytes, message: str, tmp_path: Path) -> None:
    for suffix in ("pt", "safetensors"):
        path = tmp_path / f"weights.{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_weights(path)


def test_what_is_no_state_dict_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_weights(tmp_path / "missing.pt")
    for content in ([1, 2], {"a": 1}, torch.zeros(2)):
        with pytest.raises(DataError, match="holds no state dict of names and tensors, but a"):
            read_weights(saved(content, tmp_path))


def test_weights_of_another_architecture_are_told(state: dict[str, Tensor]) -> None:
    other = network_of("dsm_nas_plus.imagenet", IMAGENET)
    with pytest.raises(
        DataError, match=r"f.pt does not fit the network, which has 417 tensors: \d+ tensors are missing"
    ):
        apply_weights(other, state, "f.pt")
    network = network_of("dsm_nas.imagenet", IMAGENET)
    wide = {**state, "classifier.linear.bias": torch.zeros(7)}
    with pytest.raises(DataError, match=r"1 have another shape \(classifier.linear.bias \(7,\) instead of \(1000,\)\)"):
        apply_weights(network, wide, "f.pt")
    with pytest.raises(DataError, match=r"1 are unknown \(more\)"):
        apply_weights(network, {**state, "more": torch.zeros(1)}, "f.pt")


@pytest.mark.parametrize("name", NAMES)
def test_torch_hub_builds_the_released_networks(name: str) -> None:
    network = torch.hub.load(str(ROOT), name, source="local")  # type: ignore[no-untyped-call]
    assert not network.training
    parameters = {"dsm_nas": 8_939_576, "dsm_nas_plus": 8_996_552}[name]
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_torch_hub_loads_weights_without_an_installed_package(state: dict[str, Tensor], tmp_path: Path) -> None:
    """In a process of its own whose path does not have the sources."""
    path = saved(state, tmp_path, "dsm-nas-{}.pt")
    code = (
        "import sys, torch\n"
        f"sys.path = [entry for entry in sys.path if entry.rstrip('/') != {str(ROOT / 'src')!r}]\n"
        f"network = torch.hub.load({str(ROOT)!r}, 'dsm_nas', source='local', weights={str(path)!r})\n"
        "print(float(network.classifier.linear.weight.double().sum()), network.training)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    total, training = done.stdout.split()
    assert float(total) == float(state["classifier.linear.weight"].double().sum())
    assert training == "False"


def test_torch_hub_refuses_weights_of_the_other_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    # Whichever copy of the package hubconf finds, the error tells what is wrong.
    with pytest.raises(ArchscoutError, match="weights of another architecture"):
        torch.hub.load(str(ROOT), "dsm_nas_plus", source="local", weights=saved(state, tmp_path))  # type: ignore[no-untyped-call]


# -- evaluation ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder in ImageNet's layout: 1000 classes, of which eight have an image of their own to validate on."""
    folder = tmp_path_factory.mktemp("imagenet")
    tiny = write_image(folder.parent / "tiny.png", size=(8, 8))
    for number in range(1000):
        for split, count in (("train", 2), ("val", 1)):
            (folder / split / f"n{number:08d}").mkdir(parents=True)
            for copy in range(count):
                os.link(tiny, folder / split / f"n{number:08d}" / f"{copy}.png")
    return folder


def archscout(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archscout", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_the_command_line_gives_top1_and_top5(state: dict[str, Tensor], imagenet: Path, tmp_path: Path) -> None:
    path = saved(state, tmp_path, "dsm-nas-{}.pt")
    command = ("evaluate", "dsm_nas.imagenet", "--weights", path, "--task", "imagenet", "--data", imagenet)
    done = archscout(*command, "--json")
    assert done.returncode == 0, done.stderr
    test = json.loads(done.stdout)["test"]
    assert test["samples"] == 1000
    # All images are one: the network answers the same class for all, so one of 1000 labels is right.
    assert test["accuracy"] == pytest.approx(1 / 1000)
    assert test["top5_accuracy"] == pytest.approx(5 / 1000)


def test_evaluation_prepares_images_as_published(state: dict[str, Tensor], imagenet: Path, tmp_path: Path) -> None:
    """Resize the shorter side to 256, crop 224 at the centre, normalise; against the formula with Pillow."""
    import numpy as np
    from PIL import Image

    path = write_image(imagenet / "val" / "n00000007" / "1.png", size=(300, 400), seed=5)
    try:
        task = load_task("imagenet", imagenet)
        index = int((task.test.source.targets[task.test.indices] == 7).nonzero()[1])  # type: ignore[attr-defined]
        one = task.test.subset(torch.tensor([index]))
        raw, targets = next(one.source.batches([one.indices], torch.device("cpu")))
        image = Image.open(path).resize((256, int(256 * 400 / 300)), Image.Resampling.BILINEAR)
        left, top = 16, round((image.height - 224) / 2)
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224))).transpose(2, 0, 1) / 255
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        expected = (pixels - mean[:, None, None]) / std[:, None, None]
        assert targets.tolist() == [7]
        assert np.allclose(task.prepare(raw)[0].numpy(), expected, atol=1e-5)
        network = load_weighted_network("dsm_nas.imagenet", saved(state, tmp_path), IMAGENET)
        from archscout.engine import Engine

        values = evaluate_network(network, task, one, Engine(torch.device("cpu")))
        logits = network(torch.from_numpy(expected).float().unsqueeze(0))
        assert values["accuracy"] == float(logits.argmax(1).item() == 7)
        assert values["top5_accuracy"] == float(7 in logits.topk(5).indices[0].tolist())
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("dsm_nas.imagenet", "--weights", "missing.pt", "--task", "imagenet"), "missing.pt does not exist"),
        (("dsm_nas.imagenet", "--weights", "missing.pt"), "--task imagenet --data DIR"),
        (("dsm_nas.imagnet", "--weights", "missing.pt", "--task", "imagenet"), "Did you mean dsm_nas.imagenet"),
    ],
)
def test_wrong_commands_are_one_sentence(arguments: tuple[str, ...], says: str) -> None:
    done = archscout("evaluate", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert says in done.stderr
