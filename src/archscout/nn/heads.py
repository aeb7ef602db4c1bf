"""From the last cell to the outputs: classifiers, maps of every pixel, and the auxiliary head of the DARTS family."""

from __future__ import annotations

from torch import Tensor, nn

from archscout.nn.dimensions import LAYERS

__all__ = ["AuxiliaryHead", "make_head"]


def make_head(channels: int, outputs: int, *, dims: int, dense: bool) -> tuple[nn.Module, nn.Module]:
    """Two modules that follow each other: what pools the features, and the linear map.

    Args:
        channels: of the features `(N, C, H, W)` or `(N, C, L)`.
        outputs: classes, labels or channels.
        dims: 2 for images, 1 for sequences.
        dense: one output for every pixel, `(N, outputs, H, W)`, in place of one for all, `(N, outputs)`.
    """
    layers = LAYERS[dims]
    if dense:
        return nn.Identity(), layers.conv(channels, outputs, 1)
    return nn.Sequential(layers.global_pool(1), nn.Flatten()), nn.Linear(channels, outputs)


class AuxiliaryHead(nn.Module):
    """A small classifier on an inner feature map, for training only (docs/methods/darts.md#networks).

    The map is pooled to 2 x 2. Where it has the published size the pooling is the published one: 5 x 5 with stride 3
    from 8 x 8 (CIFAR), with stride 2 from 7 x 7 (ImageNet); any other size is pooled adaptively.

    Args:
        channels: of the feature map.
        size: height and width of the feature map.
        outputs: number of classes.
        imagenet: leave out the second batch norm, as the ImageNet head of DARTS does.
    """

    def __init__(self, channels: int, size: tuple[int, int], outputs: int, *, imagenet: bool) -> None:
        super().__init__()
        pool: nn.Module = nn.AdaptiveAvgPool2d(2)
        if size == (8, 8):
            pool = nn.AvgPool2d(5, stride=3)
        elif size == (7, 7):
            pool = nn.AvgPool2d(5, stride=2)
        self.features = nn.Sequential(
            nn.ReLU(),
            pool,
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.Identity() if imagenet else nn.BatchNorm2d(768),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(768, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C, H, W)` to logits `(N, outputs)`."""
        logits: Tensor = self.classifier(self.features(inputs).flatten(1))
        return logits
