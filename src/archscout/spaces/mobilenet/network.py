"""The network of one architecture: a plain module whose state dict has the released layout.

Source: docs/methods/once-for-all.md#names-of-the-released-weights.
"""

from __future__ import annotations

from torch import Tensor, nn

from archscout.nn.mobile import (
    Classifier,
    ConvNormAct,
    InvertedBlock,
    MobileBlock,
    PlainConv,
    activation,
    initialise,
    resize,
)
from archscout.spaces.mobilenet.config import MobileNetConfig
from archscout.spaces.mobilenet.layout import BlockPlan, MobileNetPlan

__all__ = ["MobileNet", "make_block", "make_ends"]


def make_block(plan: BlockPlan) -> MobileBlock:
    """A block with fixed channels."""
    block = InvertedBlock(
        plan.inputs,
        plan.middle,
        plan.outputs,
        plan.kernel,
        plan.stride,
        plan.hard_swish,
        plan.squeeze,
        plan.expands,
    )
    return MobileBlock(block, plan.residual)


def make_ends(plan: MobileNetPlan, dropout: float) -> tuple[ConvNormAct, ConvNormAct, PlainConv, Classifier]:
    """What all networks of one size share: stem, last convolution, feature mixing, classifier."""
    stem = nn.Conv2d(plan.channels, plan.stem, 3, plan.strides[0], 1, bias=False)
    final = nn.Conv2d(plan.stages[-1], plan.final, 1, bias=False)
    return (
        ConvNormAct(stem, plan.stem, activation(hard_swish=True)),
        ConvNormAct(final, plan.final, activation(hard_swish=True)),
        PlainConv(plan.final, plan.features),
        Classifier(plan.features, plan.outputs, dropout),
    )


class MobileNet(nn.Module):
    """Stem, blocks, last convolution, global mean pooling, feature mixing, classifier.

    Args:
        config: kernels, expansions, depths, resolution.
        dropout: before the classifier.
        resolution: to which images are brought where the config has none; None leaves them as they are.
    """

    def __init__(self, config: MobileNetConfig, plan: MobileNetPlan, *, dropout: float, resolution: int | None) -> None:
        super().__init__()
        self._resolution = config.resolution or resolution
        first, final, mix, classifier = make_ends(plan, dropout)
        self.first_conv = first
        self.blocks = nn.ModuleList(make_block(block) for block in plan.blocks(config))
        self.final_expand_layer = final
        self.feature_mix_layer = mix
        self.classifier = classifier
        initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to logits `(N, outputs)`."""
        state: Tensor = self.first_conv(resize(inputs, self._resolution))
        for block in self.blocks:
            state = block(state)
        pooled = self.final_expand_layer(state).mean((2, 3), keepdim=True)
        logits: Tensor = self.classifier(self.feature_mix_layer(pooled).flatten(1))
        return logits
