"""Weights from files of others: plain state dicts, checked against the digest in the file's name and the network.

Files that torch pickled are read with `weights_only=True`, which runs no foreign code.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from archscout.errors import DataError
from archscout.spaces import get_space
from archscout.spaces.resolve import resolve_architecture
from archscout.tasks.spec import TaskSpec
from archscout.zoo.entries import ZOO

__all__ = ["apply_weights", "load_weighted_network", "network_of", "read_weights"]

# As torch.hub names files: the first digits of the content's SHA-256 before the suffix.
_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a file that `torch.save` wrote of a state dict.

    Where the file's name ends in `-<digits>` before the suffix, these must begin the SHA-256 of its content.

    Raises:
        DataError: no such file, another digest, or something else than names and tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"the file of weights {file} does not exist.")
    digest = _DIGEST.search(file.name)
    if digest is not None:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if not found.startswith(digest[1]):
            raise DataError(
                f"{file}: its name says that its SHA-256 begins with {digest[1]}, but it begins with "
                f"{found[: len(digest[1])]}. The file is damaged or another one; download it again."
            )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{file} holds no plain state dict that can be read safely ({reason[:200]}). Give a .safetensors file, or "
            "one that torch.save wrote of a state dict of tensors."
        ) from None
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise DataError(f"{file} holds a {type(content).__name__} that is no state dict of names and tensors.")
    return dict(content)


def apply_weights(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict into a network.

    Raises:
        DataError: names or shapes differ; the message tells the first ones.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    other = [
        f"{name} {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for what, names in (("tensors are missing", missing), ("are unknown", extra), ("have another shape", other))
        if names
    ]
    if problems:
        raise DataError(
            f"{where} does not fit the network, which has {len(wanted)} tensors: {'; '.join(problems)}. "
            "These are the weights of another architecture or size."
        )
    network.load_state_dict(dict(tensors))


def network_of(source: str, spec: TaskSpec) -> nn.Module:
    """The network of an architecture, new, at the published size of a zoo entry or at its space's default size."""
    architecture = resolve_architecture(source)
    space = get_space(architecture.space)
    count = ZOO.get(source).recounted.get(spec.name) if source in ZOO else None
    size = space.size_model.read(count.size if count is not None else {})
    return space.build(architecture, spec, size)


def load_weighted_network(source: str, weights: Path | str, spec: TaskSpec) -> nn.Module:
    """The network of an architecture with weights from a file, in evaluation mode.

    Args:
        source: a zoo name, file or text, as for `resolve_architecture`.
        spec: of the task that the weights are for.

    Raises:
        ArchscoutError: no such architecture, or as for `read_weights` and `apply_weights`.
    """
    network = network_of(source, spec)
    apply_weights(network, read_weights(weights), str(weights))
    return network.eval()
