"""The backbones of DASH: a wide residual network for images, a residual network for sequences.

Sources: arXiv 1605.07146 and 1611.06455; docs/methods/dash.md#backbones.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.kernels.layers import exchangeable
from archscout.tasks.spec import TaskSpec

__all__ = ["ResidualSequenceNetwork", "WideResNet", "initialise", "sequence_channels"]

FINAL_MOMENTUM = 0.9  # of the last batch norm of the wide network, as published
SEQUENCE_KERNELS = (8, 5, 3)


def initialise(network: nn.Module) -> None:
    """Draw the weights of all convolutions from Xavier's uniform distribution with gain sqrt(2); biases are zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight, gain=math.sqrt(2))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class _WideBlock(nn.Module):
    """Norm, ReLU, convolution, twice, added to the inputs; the second convolution has the stride, dropout before it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(0.0)  # the training sets its rate
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1)
        fits = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if fits else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, ceil(H / stride), ceil(W / stride))`."""
        inner = self.conv1(F.relu(self.norm1(inputs)))
        inner = self.conv2(self.dropout(F.relu(self.norm2(inner))))
        added: Tensor = inner + self.shortcut(inputs)
        return added


class WideResNet(nn.Module):
    """Three stages of widths 16 w, 32 w and 64 w, of which the last two halve the size; all convolutions have biases.

    Dense tasks keep the size everywhere and end in a 1 x 1 convolution.

    Args:
        spec: images `(C, H, W)`.
        width: w.
        blocks: in each stage; 2 are the 16 layers of DASH's.
    """

    def __init__(self, spec: TaskSpec, width: int, blocks: int) -> None:
        super().__init__()
        dense = spec.kind == "dense"
        channels = 16
        self.stem = nn.Conv2d(spec.input_shape[0], channels, 3, padding=1)
        stages: list[nn.Module] = []
        for stage in range(3):
            outputs = 16 * 2**stage * width
            for block in range(blocks):
                stages.append(_WideBlock(channels, outputs, 2 if stage and not block and not dense else 1))
                channels = outputs
        self.blocks = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels, momentum=FINAL_MOMENTUM)
        self.pool = nn.Identity() if dense else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Conv2d(channels, spec.outputs, 1) if dense else nn.Linear(channels, spec.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, outputs)`, or `(N, outputs, H, W)` for dense tasks."""
        features = F.relu(self.norm(self.blocks(self.stem(inputs))))
        outputs: Tensor = self.head(self.pool(features))
        return outputs


def sequence_channels(outputs: int) -> int:
    """Channels of the first block: 4, 16 or 64, for up to 9, up to 19 or more outputs."""
    return int(min(4 ** (outputs // 10 + 1), 64))


@exchangeable
class _CentredConv1d(nn.Conv1d):
    """Keeps the length; of an even kernel the longer side is on the right. Torch warns of a copy for these."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding="same")

    def forward(self, input: Tensor) -> Tensor:
        """`(N, in, L)` to `(N, out, L)`."""
        before = (self.kernel_size[0] - 1) // 2
        return F.conv1d(F.pad(input, (before, self.kernel_size[0] - 1 - before)), self.weight, self.bias)


class _SequenceBlock(nn.Module):
    """Three convolutions, each with its norm, added to the inputs (or to a normed pointwise convolution of them)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for position, kernel in enumerate(SEQUENCE_KERNELS):
            convolution = _CentredConv1d(outputs if position else inputs, outputs, kernel)
            layers += [convolution, nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        fits = [] if inputs == outputs else [nn.Conv1d(inputs, outputs, 1)]
        self.shortcut = nn.Sequential(*fits, nn.BatchNorm1d(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, in, L)` to `(N, out, L)`."""
        return F.relu(self.layers(inputs) + self.shortcut(inputs))


class ResidualSequenceNetwork(nn.Module):
    """Three blocks of widths m, 2 m and 2 m at full length, kernels 8, 5 and 3 in each.

    Every convolution sees as far to the left as to the right. The published ones are causal: they also compute outputs
    in the padding, and throw them away.

    Args:
        spec: sequences `(C, L)`.
        channels: m.
    """

    def __init__(self, spec: TaskSpec, channels: int) -> None:
        super().__init__()
        dense = spec.kind == "dense"
        self.blocks = nn.Sequential(
            _SequenceBlock(spec.input_shape[0], channels),
            _SequenceBlock(channels, 2 * channels),
            _SequenceBlock(2 * channels, 2 * channels),
        )
        self.pool = nn.Identity() if dense else nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.head = nn.Conv1d(2 * channels, spec.outputs, 1) if dense else nn.Linear(2 * channels, spec.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, L)` to `(N, outputs)`, or `(N, outputs, L)` for dense tasks."""
        outputs: Tensor = self.head(self.pool(self.blocks(inputs)))
        return outputs
