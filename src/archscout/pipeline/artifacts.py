"""What stages leave in a run directory for others: above all the trained network.

Its weights are in safetensors, with all that is needed to build the network again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from archscout.deployment.card import ModelCard
from archscout.deployment.ensemble import Ensemble
from archscout.errors import DataError, SettingsError
from archscout.spaces import (
    Architecture,
    ModuleSpace,
    SearchSpace,
    architecture_from_json,
    architecture_to_json,
    get_space,
)
from archscout.spaces.base import without_auxiliary_head
from archscout.tasks.spec import TaskSpec

__all__ = [
    "INITIAL_WEIGHTS",
    "build_plain",
    "ensemble_bytes",
    "has_card",
    "load_card",
    "load_network",
    "network_bytes",
    "with_card",
]

INITIAL_WEIGHTS = "initial.safetensors"  # that a search hands to the final training
FORMAT = "archscout.network"
ENSEMBLE = "archscout.ensemble"


def build_plain(space: SearchSpace, architecture: Architecture, spec: TaskSpec, size: Any) -> nn.Module:
    """The network that a user takes home: without what only training needs (the auxiliary head)."""
    return space.build(architecture, spec, without_auxiliary_head(size))


def network_bytes(
    trained: nn.Module,
    space: SearchSpace,
    options: Any,
    architecture: Architecture,
    spec: TaskSpec,
    size: Any,
    card: ModelCard | None = None,
) -> bytes:
    """The content of `model.safetensors`; the same weights give the same bytes.

    Args:
        card: what the network takes and gives; None: that is not known.
    """
    plain = build_plain(space, architecture, spec, size)
    state = trained.state_dict()
    tensors = {name: state[name].detach().cpu().contiguous().clone() for name in plain.state_dict()}
    description = {
        "format": FORMAT,
        "version": 1,
        "space": space.name,
        "space_options": options.model_dump(mode="json"),
        "architecture": json.loads(architecture_to_json(architecture)),
        "size": size.model_dump(mode="json"),
        "task": {"name": spec.name, "kind": spec.kind, "input_shape": list(spec.input_shape), "outputs": spec.outputs},
        **({} if card is None else {"card": card.to_json()}),
    }
    # One metadata key only: safetensors writes several in no fixed order.
    return save(tensors, metadata={"archscout": json.dumps(description)})


def has_card(path: Path | str) -> bool:
    """Whether a `model.safetensors`, or the `model.json` beside it, holds a card. Raises DataError for other files."""
    return "card" in _description(Path(path)) or (Path(path).parent / "model.json").is_file()


def load_card(path: Path | str) -> ModelCard:
    """The card in a `model.safetensors`.

    Files of version 0.1 have none: what they lack is taken from the run directory that they lie in.

    Raises:
        DataError: no such file, or no card in it and none beside it.
    """
    description = _description(Path(path))
    if "card" in description:
        try:
            return ModelCard.from_json(description["card"])
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
    beside = Path(path).parent / "model.json"
    if beside.is_file():
        try:
            return ModelCard.from_text(beside.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DataError) as error:
            raise DataError(f"{beside}: {error}") from None
    raise DataError(
        f"{path} was written by version 0.1 of archscout, which kept no class names and no preprocessing in it. In its "
        f"run directory, archscout report {Path(path).parent} adds them; else name the task: --task TASK."
    )


def with_card(path: Path | str, card: ModelCard) -> bytes:
    """The content of a `model.safetensors` with another card."""
    description = {**_description(Path(path)), "card": card.to_json()}
    with safe_open(path, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    return save(tensors, metadata={"archscout": json.dumps(description)})


def _description(file: Path) -> dict[str, Any]:
    """The metadata of a model file. Raises DataError."""
    if not file.is_file():
        raise DataError(f"{file} does not exist. Give the model.safetensors of a run directory.")
    try:
        with safe_open(file, framework="pt") as opened:
            description = json.loads((opened.metadata() or {})["archscout"])
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{file} is no safetensors file ({error}). Weights are read from safetensors only; pickled files "
            "(.pt, .pth, .pkl) could run foreign code and are refused."
        ) from None
    except (KeyError, ValueError, RecursionError):
        raise DataError(f"{file} holds tensors, but no network that archscout wrote.") from None
    if not isinstance(description, dict):
        raise DataError(f"{file} holds tensors, but no network that archscout wrote.")
    return description


def load_network(path: Path | str, *, model: nn.Module | None = None) -> tuple[nn.Module, TaskSpec]:
    """The network in a `model.safetensors`, in evaluation mode, and the task that it serves.

    Args:
        model: the network of the caller's own that was searched; the file holds its weights, not its code.

    Raises:
        DataError: no such file, not safetensors (pickles are refused), or not written by archscout.
        SpaceError: the file is about a network of the user's own, and `model` was not given.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist. Give the model.safetensors of a run directory.")
    if _is_ensemble(file):
        return _load_ensemble(file)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{file} is no safetensors file ({error}). A trained network of archscout is one, model.safetensors; "
            "for a state dict of another program name its architecture: archscout evaluate ARCHITECTURE --weights FILE "
            "--task TASK."
        ) from None
    try:
        description = json.loads(metadata["archscout"])
    except (KeyError, ValueError) as error:
        raise DataError(_foreign(file, error)) from None
    return _build(file, description, tensors, model)


def _build(
    file: Path, description: Any, tensors: Mapping[str, Tensor], model: nn.Module | None
) -> tuple[nn.Module, TaskSpec]:
    """The network of a description, with these weights."""
    try:
        space = get_space(description["space"], description["space_options"])
        if isinstance(space, ModuleSpace) and model is not None:
            space = space.given(model)
        spec = TaskSpec(**{**description["task"], "input_shape": tuple(description["task"]["input_shape"])})
        architecture = architecture_from_json(json.dumps(description["architecture"]))
        size = space.size_model.read(description["size"])
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise DataError(_foreign(file, error)) from None
    network = build_plain(space, architecture, spec, size)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"{file}: the tensors do not fit the network that the file names: {error}") from None
    return network.eval(), spec


def _foreign(file: Path, error: Exception) -> str:
    return (
        f"{file} holds tensors, but no network that archscout wrote ({_what(error)}). For a state dict of another "
        "program name its architecture: archscout evaluate ARCHITECTURE --weights FILE --task TASK."
    )


def ensemble_bytes(files: Sequence[Path], card: ModelCard) -> bytes:
    """The content of a model file that holds the networks of several; see `archscout.deployment.ensemble`.

    Its tensors are theirs, named `members.<i>.<name>`; its description has theirs in a list.

    Args:
        files: model files of single networks.
        card: of the ensemble.
    """
    tensors: dict[str, Tensor] = {}
    members = []
    for index, file in enumerate(files):
        members.append(_description(file))
        with safe_open(file, framework="pt") as opened:
            tensors |= {f"members.{index}.{name}": opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    description = {"format": ENSEMBLE, "version": 1, "members": members, "card": card.to_json()}
    return save(tensors, metadata={"archscout": json.dumps(description)})


def _is_ensemble(file: Path) -> bool:
    try:
        return _description(file).get("format") == ENSEMBLE
    except DataError:
        return False


def _load_ensemble(file: Path) -> tuple[Ensemble, TaskSpec]:
    description = _description(file)
    card = load_card(file)
    with safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    try:
        if description["version"] > 1:
            raise DataError(f"{file} was written by a newer archscout. Upgrade archscout.")
        members = []
        for index, each in enumerate(description["members"]):
            prefix = f"members.{index}."
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            members.append(_build(file, each, own, None)[0])
        temperatures = [
            float(each["card"]["temperature"]) if "card" in each else 1.0 for each in description["members"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: its description of the ensemble is damaged ({_what(error)}).") from None
    if not members:
        raise DataError(f"{file}: its description of the ensemble names no network.")
    return Ensemble(members, card, temperatures).eval(), card.spec


def _what(error: Exception) -> str:
    return f"there is no description {error}" if isinstance(error, KeyError) else str(error)
