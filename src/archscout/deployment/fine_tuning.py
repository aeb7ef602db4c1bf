"""Quantisation-aware fine-tuning: some epochs with the roundings of int8 in the forward pass, through torchao.

The network is captured in training mode, torchao puts fake quantisation around its convolutions and linear layers, and
it is trained on the training split. What comes back are its weights: the network itself stays a plain one.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from archscout.engine import Engine
from archscout.errors import MissingExtraError
from archscout.exporting import ExportError, silenced
from archscout.tasks.streams import training_stream
from archscout.tasks.task import Task

__all__ = ["fine_tuned"]

BATCH = 64
LEARNING_RATE = 1e-3
MOMENTUM = 0.9


def fine_tuned(network: nn.Module, task: Task, epochs: int, seed: int) -> nn.Module:
    """A copy of the network, trained on with the roundings of int8, in evaluation mode; the network stays as it is.

    SGD with momentum 0.9, a learning rate of 0.001 that falls to zero along a cosine, without augmentation.

    Args:
        network: trained.
        epochs: over the training split.
        seed: of the order of the samples, and of dropout.

    Raises:
        ExportError: the network cannot be captured in training mode, or has no layer that torchao quantises.
        MissingExtraError: torchao is not installed.
    """
    result = copy.deepcopy(network)
    size = min(BATCH, len(task.train))
    with silenced(), Engine.create("cpu").seeded(seed, "int8"):
        prepared = _prepared(result, task, size)
        stream = training_stream(task, task.train, size, torch.device("cpu"), seed, augment=False, drop_last=True)
        optimiser = torch.optim.SGD(prepared.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        steps = epochs * stream.batches_per_epoch
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            batch = stream.next_batch()
            optimiser.zero_grad()
            torch.autograd.backward(task.loss(prepared(batch.inputs), batch.targets))
            optimiser.step()
            schedule.step()
    trained = prepared.state_dict()
    missing = [name for name in result.state_dict() if name not in trained]
    if missing:
        raise ExportError(
            f"the network cannot be fine-tuned for int8: torchao gave its weight {missing[0]} another name. Leave out "
            "export.int8_epochs."
        )
    result.load_state_dict({name: trained[name] for name in result.state_dict()})
    return result.eval()


def _prepared(network: nn.Module, task: Task, batch_size: int) -> nn.Module:
    """The network in training mode, with fake quantisation inside."""
    try:
        from torchao.quantization.pt2e import FakeQuantizeBase, move_exported_model_to_train
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as quantizers
    except ImportError:
        raise MissingExtraError("torchao", "qat", "quantisation-aware fine-tuning") from None
    network.train().requires_grad_(True)
    example = torch.zeros(batch_size, *task.spec.input_shape)
    try:
        # Of one batch size: the stream leaves out what does not fill a batch.
        graph: Any = torch.export.export(network, (example,)).module()
        settings = quantizers.get_default_x86_inductor_quantization_config(is_qat=True)
        prepared: nn.Module = prepare_qat_pt2e(graph, quantizers.X86InductorQuantizer().set_global(settings))
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"the network cannot be fine-tuned for int8: {first} Leave out export.int8_epochs."
        ) from error
    if not any(isinstance(module, FakeQuantizeBase) for module in prepared.modules()):
        raise ExportError(
            "the network cannot be fine-tuned for int8: torchao knows none of its layers, only convolutions of images "
            "and linear layers. Leave out export.int8_epochs."
        )
    move_exported_model_to_train(prepared)
    return prepared
