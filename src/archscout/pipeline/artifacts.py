"""What stages leave in a run directory for others: above all the trained network.

Its weights are in safetensors, with all that is needed to build the network again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

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

__all__ = ["INITIAL_WEIGHTS", "build_plain", "load_network", "network_bytes"]

INITIAL_WEIGHTS = "initial.safetensors"  # that a search hands to the final training
FORMAT = "archscout.network"


def build_plain(space: SearchSpace, architecture: Architecture, spec: TaskSpec, size: Any) -> nn.Module:
    """The network that a user takes home: without what only training needs (the auxiliary head)."""
    return space.build(architecture, spec, without_auxiliary_head(size))


def network_bytes(
    trained: nn.Module, space: SearchSpace, options: Any, architecture: Architecture, spec: TaskSpec, size: Any
) -> bytes:
    """The content of `model.safetensors`; the same weights give the same bytes."""
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
    }
    # One metadata key only: safetensors writes several in no fixed order.
    return save(tensors, metadata={"archscout": json.dumps(description)})


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
        space = get_space(description["space"], description["space_options"])
        if isinstance(space, ModuleSpace) and model is not None:
            space = space.given(model)
        spec = TaskSpec(**{**description["task"], "input_shape": tuple(description["task"]["input_shape"])})
        architecture = architecture_from_json(json.dumps(description["architecture"]))
        size = space.size_model.read(description["size"])
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise DataError(
            f"{file} holds tensors, but no network that archscout wrote ({_what(error)}). For a state dict of another "
            "program name its architecture: archscout evaluate ARCHITECTURE --weights FILE --task TASK."
        ) from None
    network = build_plain(space, architecture, spec, size)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"{file}: the tensors do not fit the network that the file names: {error}") from None
    return network.eval(), spec


def _what(error: Exception) -> str:
    return f"there is no description {error}" if isinstance(error, KeyError) else str(error)
