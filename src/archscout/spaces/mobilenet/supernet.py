"""The supernet: the shared weights of all networks of the space (docs/methods/once-for-all.md#supernet)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from archscout.nn.elastic import ElasticInvertedBlock
from archscout.nn.mobile import initialise, resize
from archscout.spaces.mobilenet.config import EXPANSIONS, KERNELS, SLOTS, STAGES, Block, MobileNetConfig
from archscout.spaces.mobilenet.layout import BlockPlan, MobileNetPlan
from archscout.spaces.mobilenet.network import make_block, make_ends

__all__ = ["MobileNetSupernet"]


class MobileNetSupernet(nn.Module):
    """Four blocks in each stage, each with a 7 x 7 kernel and the largest expansion; a network uses the first ones.

    In evaluation mode the running statistics are those of all networks mixed, which fit no single one: extract a
    network and calibrate it again before it is judged.

    Args:
        dropout: before the classifier.
        resolution: to which images are brought where the architecture has none; None leaves them as they are.
    """

    def __init__(self, plan: MobileNetPlan, *, dropout: float, resolution: int | None) -> None:
        super().__init__()
        self._plan = plan
        self._resolution = resolution
        first, final, mix, classifier = make_ends(plan, dropout)
        self.first_conv = first
        largest = Block(KERNELS[-1], EXPANSIONS[-1])
        elastic = [plan.block(stage, slot, largest) for stage in range(STAGES) for slot in range(SLOTS)]
        self.blocks = nn.ModuleList([make_block(plan.first_block), *map(_ElasticBlock, elastic)])
        self.final_expand_layer = final
        self.feature_mix_layer = mix
        self.classifier = classifier
        initialise(self)

    def _used(self, config: MobileNetConfig) -> Iterator[tuple[_ElasticBlock, BlockPlan]]:
        """The elastic blocks that a network uses, with its own layers."""
        for stage, blocks in enumerate(config.stages):
            for slot, block in enumerate(blocks):
                elastic = self.blocks[1 + SLOTS * stage + slot]
                assert isinstance(elastic, _ElasticBlock)
                yield elastic, self._plan.block(stage, slot, block)

    def forward(self, inputs: Tensor, architecture: MobileNetConfig) -> Tensor:
        """`(N, C, H, W)` to logits `(N, outputs)` of one network."""
        state: Tensor = self.first_conv(resize(inputs, architecture.resolution or self._resolution))
        state = self.blocks[0](state)
        for elastic, plan in self._used(architecture):
            state = elastic.elastic(state, plan)
        pooled = self.final_expand_layer(state).mean((2, 3), keepdim=True)
        logits: Tensor = self.classifier(self.feature_mix_layer(pooled).flatten(1))
        return logits

    def grouped(self, inputs: Tensor, architectures: Sequence[MobileNetConfig]) -> Tensor:
        """Logits `(M, N, outputs)` of M networks on one batch."""
        return torch.stack([self(inputs, each) for each in architectures])

    def path_parameters(self, architecture: MobileNetConfig) -> list[nn.Parameter]:
        """The parameters of the blocks that a network uses, and of the ends."""
        ends = (self.first_conv, self.blocks[0], self.final_expand_layer, self.feature_mix_layer, self.classifier)
        used = (elastic for elastic, _ in self._used(architecture))
        return [parameter for module in chain(ends, used) for parameter in module.parameters()]

    def sort_channels(self) -> None:
        """Bring the most important channels of every block to the front; the largest network stays as it is."""
        for block in self.blocks[1:]:
            assert isinstance(block, _ElasticBlock)
            block.mobile_inverted_conv.sort_channels()

    def subnet_state(self, architecture: MobileNetConfig) -> dict[str, Tensor]:
        """The state dict of a network's own module, with its part of the shared weights (copies)."""
        shared = self.state_dict()
        state = {
            name: tensor
            for name, tensor in shared.items()
            if not name.startswith("blocks.") or name.startswith("blocks.0.")
        }
        for number, (elastic, plan) in enumerate(self._used(architecture), start=1):
            for name, tensor in elastic.part(plan).items():
                state[f"blocks.{number}.mobile_inverted_conv.{name}"] = tensor
        return {name: tensor.detach().clone() for name, tensor in state.items()}


class _ElasticBlock(nn.Module):
    """An elastic inverted block, with the identity added where the stride and the channels allow."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.mobile_inverted_conv = ElasticInvertedBlock(
            plan.inputs, plan.middle, plan.outputs, plan.stride, plan.hard_swish, plan.squeeze
        )

    def elastic(self, inputs: Tensor, plan: BlockPlan) -> Tensor:
        """The output of the block as one network has it."""
        outputs = self.mobile_inverted_conv.elastic(inputs, plan.kernel, plan.middle, plan.squeeze)
        return outputs + inputs if plan.residual else outputs

    def part(self, plan: BlockPlan) -> dict[str, Tensor]:
        """The tensors of the static block, by their names in it."""
        block, middle = self.mobile_inverted_conv, plan.middle
        names = ("inverted_bottleneck", "depth_conv", "point_linear")
        state: dict[str, Tensor] = {}
        for name, weight in zip(names, block.weights(plan.kernel, middle), strict=True):
            norm = block.get_submodule(f"{name}.bn").state_dict(keep_vars=True)
            state[f"{name}.conv.weight"] = weight
            state |= {f"{name}.bn.{key}": each[: len(weight)] if each.dim() else each for key, each in norm.items()}
        if block.depth_conv.se is not None:
            reduce, expand = block.depth_conv.se.convolutions()
            assert reduce.bias is not None and expand.bias is not None
            hidden = plan.squeeze
            state |= {
                "depth_conv.se.fc.reduce.weight": reduce.weight[:hidden, :middle],
                "depth_conv.se.fc.reduce.bias": reduce.bias[:hidden],
                "depth_conv.se.fc.expand.weight": expand.weight[:middle, :hidden],
                "depth_conv.se.fc.expand.bias": expand.bias[:middle],
            }
        return state
