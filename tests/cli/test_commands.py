"""The command line as a user sees it: outputs, exit codes, one sentence for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

from archscout.cli import app
from archscout.rundir import RunDirectory
from archscout.spaces.cells.network import CellNetwork


def archscout(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archscout", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )


def fails(*arguments: str | Path, says: str, cwd: Path | None = None) -> None:
    """Exit code 2, one paragraph on stderr that says so, no traceback."""
    done = archscout(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("error: ") or "Usage:" in done.stderr


def test_help_names_every_verb() -> None:
    done = archscout("--help")
    assert done.returncode == 0
    verbs = (
        "run search train evaluate export report resume status show list check-data estimate data derive distance "
        "import-weights"
    )
    for verb in verbs.split():
        assert verb in done.stdout


def test_show_counts_the_published_network() -> None:
    done = archscout("show", "ednas.cifar10", "--task", "cifar10", "--init-channels", "36", "--layers", "20", "--json")
    content = json.loads(done.stdout)
    assert content["parameters"] == 3_717_622
    assert round(content["madds"] / 1e6, 1) == 596.0


def test_show_counts_in_one_forward_pass_on_shapes() -> None:
    passes = []

    def count(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, CellNetwork):
            passes.append(args[0].device.type)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        done = CliRunner().invoke(app, ["show", "darts_v2", "--task", "cifar10", "--json"], catch_exceptions=False)
    finally:
        handle.remove()
    assert json.loads(done.output)["madds"] == 43_444_736
    assert passes == ["meta"]


def test_show_imports_neither_the_methods_nor_the_compiler_of_torch() -> None:
    program = (
        "import sys\nfrom archscout.cli import main\nsys.argv = 'archscout show darts_v2 --task cifar10'.split()\n"
        "try: main()\nfinally: print({'torch._dynamo', 'sympy', 'archscout.methods'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_show_counts_a_derived_network_with_and_without_batch_norms() -> None:
    done = archscout(
        "show", "dd.cifar100.edge", "--task", "cifar10", "--init-channels", "36", "--layers", "14", "--json"
    )
    content = json.loads(done.stdout)
    assert content["parameters"] == 6_280_822
    assert [round(content[key] / 1e6, 1) for key in ("madds", "madds_with_batch_norms")] == [928.0, 947.8]


def test_derive_writes_the_deeper_network(tmp_path: Path) -> None:
    done = archscout("derive", "dd.cifar100.edge", "--layers", "14", "--out", tmp_path / "deep.json")
    assert done.returncode == 0, done.stderr
    assert f"Next: archscout show {tmp_path / 'deep.json'}" in done.stdout
    assert json.loads((tmp_path / "deep.json").read_text())["reductions"] == [4, 9]


def test_distance_prints_one_number_or_all(tmp_path: Path) -> None:
    two = json.loads(archscout("distance", "resnet18", "resnet50", "--json").stdout)
    assert round(two["distance"], 6) == 0.08363
    drawn = tmp_path / "map.svg"
    three = archscout("distance", "resnet18", "resnet50", "xception", "--svg", drawn)
    assert "0.138527" in three.stdout
    assert drawn.read_text().startswith("<svg")


def test_show_draws_what_changed(tmp_path: Path) -> None:
    file = tmp_path / "changes.svg"
    done = archscout("show", "do.resnet18.cifar10.edge", "--beside", "resnet18", "--svg", file)
    assert done.returncode == 0, done.stderr
    assert "as-removed" in file.read_text()


def test_show_counts_and_draws_a_mobilenet(tmp_path: Path) -> None:
    done = archscout("show", "dsm_nas.imagenet", "--task", "imagenet", "--svg", tmp_path / "strip.svg", "--json")
    assert json.loads(done.stdout)["madds"] == 587_856_560
    assert "1,000 classes, width 1.2" in (tmp_path / "strip.svg").read_text()
    code = ",".join(["1,1,0,0"] * 5)
    small = archscout("show", code, "--task", "cifar10", "--width", "0.25", "--resolution", "64", "--json")
    smaller = archscout("show", code, "--task", "cifar10", "--width", "0.25", "--json")
    assert json.loads(small.stdout)["madds"] > 3 * json.loads(smaller.stdout)["madds"]


def test_show_counts_a_recurrent_cell_at_a_whole_width() -> None:
    done = archscout("show", "darts_v2.ptb", "--task", "ptb", "--width", "850", "--json")
    assert json.loads(done.stdout)["parameters"] == 22_960_000
    wrong = archscout("show", "darts_v2.ptb", "--task", "ptb", "--width", "12.5")
    assert wrong.returncode != 0 and "size.width = 12.5" in wrong.stderr and "Traceback" not in wrong.stderr


def test_show_reads_published_text_and_draws(tmp_path: Path) -> None:
    pairs = "('skip_connect', 0), ('sep_conv_3x3', 1), " * 4
    text = f"Genotype(normal=[{pairs}], normal_concat=range(2, 6), reduce=[{pairs}], reduce_concat=[2, 3, 4, 5])"
    done = archscout("show", text, "--svg", tmp_path / "cells.svg")
    assert "node 5 = skip_connect(0) + sep_conv_3x3(1)" in done.stdout
    assert (tmp_path / "cells.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("tasks", ["digits", "cifar10", "cifar100", "imagenet"]),
        ("spaces", ["cells", "per-cell", "mobilenet"]),
        ("methods", ["ednas", "darts", "ddarts", "dartopti", "fairdarts", "once-for-all", "random"]),
        (
            "recipes",
            ["ednas/cifar10", "ednas/imagenet", "ednas/digits", "once-for-all/cifar10-small", "once-for-all/default"],
        ),
        (
            "zoo",
            [
                "darts_v1",
                "darts_v2",
                "ednas.cifar10",
                "ednas.imagenet",
                "pdarts",
                "pcdarts.cifar10",
                "dd.cifar10.edge",
                "resnet50",
            ],
        ),
    ],
)
def test_list_names_what_there_is(kind: str, names: list[str]) -> None:
    listed = [line.split()[0] for line in archscout("list", kind).stdout.splitlines()]
    assert set(names) <= set(listed)


def test_check_data_says_what_it_understood() -> None:
    done = archscout("check-data", "digits")
    assert done.returncode == 0
    assert "1,197" in done.stdout or "1197" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "digit"), "Did you mean digits"),
        (("run", "digits", "--method", "ednaz"), "Did you mean ednas"),
        (("run", "digits", "--recipe", "ednas/digit"), "Did you mean ednas/digits"),
        (("run", "digits", "--set", "train.epoch=1"), "did you mean epochs"),
        (("run", "digits", "--set", "train.epochs=none"), "train.epochs = 'none'"),
        (("run", "digits", "--device", "cuda:99"), "cannot be used here"),
        (("run", "digits", "--set", "train.auto_augment=svhn"), "--set train.auto_augment=null"),
        (("run", "digits", "--set", "search.child.color_jitter={hue: 0.1}"), "search.child.color_jitter: only for"),
        (("run", "missing.npz"), "does not exist"),
        (("run", "cifar10", "--data", "/nonexistent"), "archscout data fetch cifar10"),
        (("train", "darts_v3", "--task", "digits"), "darts_v2"),
        (("train", "nowhere"), "--task"),
        (("show", "__import__('os').system('true')"), "not"),
        (("show", "1,2,3"), "the code has 3 numbers; 20 are needed"),
        (("show", "dsm_nas.imagenet", "--task", "imagenet", "--layers", "3"), "size.layers: unknown setting"),
        (("run", "digits", "--method", "once-for-all", "--set", "search.limits.max_madds=9"), "search.limits"),
        (("resume", "nowhere"), "is no run directory"),
        (("status", "nowhere"), "is no run directory"),
        (("evaluate", "nowhere"), "is no run directory"),
        (("list", "spoons"), "spoons"),
        (("derive", "resnet18", "--layers", "20", "--out", "x.json"), "leave the number of layers out"),
        (("derive", "dd.cifar10.edge", "--layers", "30", "--out", "x.json"), "Numbers that work: 1 to 20"),
        (("distance", "resnet18"), "two architectures or more"),
        (("distance", "resnet18", "darts_v2"), "cannot be compared"),
        (("show", "do.xception.cifar100.edge", "--task", "cifar10"), "Give node 2 an input"),
        (("show", "resnet18", "--beside", "resnet50"), "--svg"),
        (("import-weights", "nowhere.pth.tar", "--architecture", "resnet18"), "nowhere.pth.tar does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    fails(*arguments, says=says, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [("nan", "NaN"), ("label", "label"), ("empty class", "class"), ("shape", "shape"), ("truncated", ".npz")],
)
def test_bad_arrays_are_one_sentence(tmp_path: Path, wrong: str, says: str) -> None:
    images = np.zeros((12, 8, 8), np.float32)
    labels = np.arange(12) % 3
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    if wrong == "nan":
        arrays["x_train"] = np.full_like(images, np.nan)
    elif wrong == "label":
        arrays["y_train"] = labels - 1
    elif wrong == "empty class":
        arrays |= {"x_train": images.astype(np.uint8), "x_test": images.astype(np.uint8), "y_train": labels * 0}
    elif wrong == "shape":
        arrays["x_test"] = images[:, :4]
    file = tmp_path / "data.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    if wrong == "truncated":
        file.write_bytes(file.read_bytes()[:200])
    done = archscout("check-data", file)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert says.lower() in done.stderr.lower()


def test_a_held_run_directory_is_refused(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run").hold():
        fails("run", "digits", "--out", tmp_path / "run", says="in use by process")


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fails("run", "digits", "--out", tmp_path / "file" / "run", says="Choose")


def test_estimate_prints_sizes_time_and_memory() -> None:
    overrides = ["supernet.layers=3", "supernet.init_channels=4", "network.layers=3", "network.init_channels=4"]
    overrides += ["search.policy.architectures_per_step=2", "train.batch_size=256"]
    small = [part for text in overrides for part in ("--set", text)]
    done = archscout("estimate", "digits", "--json", *small)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    sizes = [content[name]["parameters"] for name in ("smallest", "mean", "largest")]
    assert sizes == sorted(sizes)
    assert [stage["name"] for stage in content["stages"]] == ["search", "train"]
    assert all(stage["peak_bytes"] > 0 and stage["seconds_per_step"] > 0 for stage in content["stages"])


def test_status_says_what_is_next(tmp_path: Path) -> None:
    quick = ["--set", "train.epochs=1", "--set", "network.layers=1", "--set", "train.batch_size=512"]
    trained = archscout("train", "pdarts", "--task", "digits", "--out", tmp_path / "run", *quick)
    assert f"Next: archscout evaluate {tmp_path / 'run'}" in trained.stdout, trained.stderr
    done = archscout("status", tmp_path / "run", "--json")
    assert json.loads(done.stdout)["next"] == "evaluate"
    config = tmp_path / "run" / "config.yaml"
    earlier = {key: value for key, value in yaml.safe_load(config.read_text()).items() if key != "stages"}
    config.write_text(yaml.safe_dump(earlier))
    assert archscout("status", tmp_path / "run", "--json").stdout == done.stdout
    exported = archscout("export", tmp_path / "run" / "model.safetensors", "--out", tmp_path / "files")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "files" / "model.onnx").is_file()
