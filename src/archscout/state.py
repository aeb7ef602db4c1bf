"""State dictionaries on disk: tensors in safetensors, everything else in JSON. Never pickle.

A state is any nesting of dict, list, tuple, tensor, str, int, float, bool and None; dictionary keys may be integers,
as in the states of optimisers. Floats survive exactly.

torch is imported when a state is there, as the command line reads run directories without it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archscout.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pack", "read_state", "state_bytes", "state_from_bytes", "tensor_bytes", "unpack"]


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A state as a JSON tree and the tensors that it refers to by name."""
    tensors: dict[str, Tensor] = {}
    return _pack(state, "", tensors), tensors


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    from torch import Tensor

    if isinstance(value, Tensor):
        # A copy: safetensors refuses tensors that share memory, and wants them contiguous.
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {"$tensor": path}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _pack(item, f"{path}/{key}", tensors) for key, item in value.items()}
        return {"$items": [[key, _pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, list):
        return [_pack(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"state at '{path}' is a {type(value).__name__}; a state holds tensors and JSON types only")


def unpack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `pack`."""
    if isinstance(tree, list):
        return [unpack(item, tensors) for item in tree]
    if isinstance(tree, dict):
        if set(tree) == {"$tensor"}:
            return tensors[tree["$tensor"]]
        if set(tree) == {"$items"}:
            return {key: unpack(item, tensors) for key, item in tree["$items"]}
        if set(tree) == {"$tuple"}:
            return tuple(unpack(item, tensors) for item in tree["$tuple"])
        return {key: unpack(item, tensors) for key, item in tree.items()}
    return tree


def tensor_bytes(tensors: dict[str, Tensor]) -> int:
    """Bytes that the tensors take on disk."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def state_bytes(state: Any) -> bytes:
    """A state as one safetensors file, with the JSON tree in its metadata."""
    from safetensors.torch import save

    tree, tensors = pack(state)
    return save(tensors, metadata={"archscout": json.dumps(tree)})


def state_from_bytes(content: bytes) -> Any:
    """The inverse of `state_bytes`."""
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")  # of the header, as safetensors defines its files
    tree = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["archscout"])
    return unpack(tree, load(content))


def read_state(path: Path) -> Any:
    """The inverse of `state_bytes`. Raises RunError where the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tree = json.loads((file.metadata() or {})["archscout"])
            return unpack(tree, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}). It is the result of an earlier stage of the search: restore it, or "
            "search again in a new folder."
        ) from None
