"""ONNX files that archscout wrote, as networks: run by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archscout.deployment.card import KEY, ModelCard
from archscout.errors import DataError, MissingExtraError

__all__ = ["OnnxNetwork", "load_onnx"]


class OnnxNetwork(nn.Module):
    """A session of onnxruntime.

    A file of one input is called as the network that it was exported from, or, where the preprocessing is inside, as
    `archscout.deployment.deployed.Deployed`. A recurrent one (`step.onnx`) has `unroll`.

    Args:
        session: an `onnxruntime.InferenceSession`.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._names = [each.name for each in session.get_inputs()]
        self._hidden = session.get_inputs()[1].shape[-1] if len(self._names) > 1 else 0

    @property
    def is_recurrent(self) -> bool:
        """Whether the file takes words and a hidden state."""
        return len(self._names) > 1

    def forward(self, inputs: Tensor) -> Tensor:
        """The file's output for a batch."""
        return torch.from_numpy(self._session.run(None, {self._names[0]: inputs.cpu().numpy()})[0])

    def unroll(self, words: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits `(N, T, V)` of texts `(N, T)` from a hidden state, and the next one."""
        state = torch.zeros(len(words), self._hidden) if hidden is None else hidden
        logits = []
        for word in torch.split(words, 1, dim=1):
            feeds = {self._names[0]: word.numpy(), self._names[1]: state.numpy()}
            found, state = (torch.from_numpy(output) for output in self._session.run(None, feeds))
            logits.append(found)
        return torch.cat(logits, dim=1), state


def load_onnx(path: Path) -> tuple[OnnxNetwork, ModelCard, bool]:
    """The network in an ONNX file, its card, and whether it is the network alone, without its preprocessing.

    Raises:
        DataError: no such file, no ONNX, or one that archscout did not write.
        MissingExtraError: onnxruntime is not installed.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. Give an ONNX file of archscout, or a run directory.")
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "export", "reading ONNX files") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        facts = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # what onnxruntime raises has no common class
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no ONNX file that can be read ({reason}). Export it again.") from None
    if KEY not in facts:
        raise DataError(
            f"{path} is an ONNX file without a card of archscout, so nothing tells what it takes and gives. Give one "
            "that this version of archscout exported; version 0.1 wrote none: archscout export RUN writes it again."
        )
    try:
        card = ModelCard.from_text(facts[KEY])
        raw = bool(json.loads(facts[KEY])["raw"])
    except KeyError:
        raise DataError(f"{path}: its card does not say whether preprocessing is inside. Export it again.") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    network = OnnxNetwork(session)
    if network.is_recurrent and session.get_inputs()[0].shape[-1] != 1:
        beside = path.with_name("step.onnx")
        raise DataError(f"{path} takes segments of one length only; give {beside}, which goes word by word.")
    return network, card, raw
