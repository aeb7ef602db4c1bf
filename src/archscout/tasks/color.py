"""Colour and AutoAugment transforms, through kornia (extra `augment`).

kornia draws from torch's global generator. Each transform forks that generator and seeds the fork from the generator
that it is given, so that nothing outside is disturbed and the same seed draws the same augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from archscout.errors import DataError, MissingExtraError, closest
from archscout.tasks.task import Transform

__all__ = ["AUTO_AUGMENT_POLICIES", "AutoAugmentPolicy", "auto_augment", "color_jitter"]

AutoAugmentPolicy = Literal["cifar10", "imagenet", "svhn"]
AUTO_AUGMENT_POLICIES: tuple[AutoAugmentPolicy, ...] = ("cifar10", "imagenet", "svhn")


def _kornia(module: str, purpose: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError("kornia", "augment", purpose) from None


@contextmanager
def _global_generator(draw: torch.Generator, device: torch.device) -> Iterator[None]:
    """Within the block torch's global generators are seeded from `draw`; afterwards they are as before."""
    seed = int(torch.randint(2**62, (), generator=draw))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _check_colour(inputs: Tensor, what: str) -> None:
    if inputs.dim() != 4 or inputs.shape[1] != 3:
        raise DataError(
            f"{what} needs colour images (N, 3, H, W); this batch is {tuple(inputs.shape)}. "
            "Switch it off for this task."
        )


def auto_augment(policy: AutoAugmentPolicy = "cifar10") -> Transform:
    """AutoAugment: one of a policy's 25 sub-policies for each sample, drawn uniformly.

    Takes and returns colour images `(N, 3, H, W)` in [0, 1]; belongs before normalisation.

    Raises:
        DataError: unknown policy; at use: images without three channels.
        MissingExtraError: kornia is not installed.

    Source: AutoAugment, arXiv 1805.09501.
    """
    if policy not in AUTO_AUGMENT_POLICIES:
        near = closest(policy, AUTO_AUGMENT_POLICIES) or AUTO_AUGMENT_POLICIES
        raise DataError(f"unknown AutoAugment policy '{policy}'; closest: {', '.join(near)}.")
    module = _kornia("kornia.augmentation.auto", "AutoAugment")
    built = module.AutoAugment(policy, transformation_matrix_mode="skip")
    sub_policies: list[Callable[[Tensor], Tensor]] = list(built.children())

    def augment(inputs: Tensor, draw: torch.Generator) -> Tensor:
        _check_colour(inputs, "AutoAugment")
        # kornia's own module draws one sub-policy for a whole batch; the paper draws one for each image.
        chosen = torch.randint(len(sub_policies), (len(inputs),), generator=draw)
        augmented = torch.empty_like(inputs)
        with _global_generator(draw, inputs.device), torch.no_grad():
            for number in sorted(set(chosen.tolist())):
                where = (chosen == number).nonzero().view(-1).to(inputs.device)
                augmented[where] = sub_policies[number](inputs[where]).to(inputs.dtype)
        return augmented.clamp_(0.0, 1.0)

    return augment


def color_jitter(brightness: float, contrast: float, saturation: float, hue: float) -> Transform:
    """Change brightness, contrast, saturation and hue of each sample, by factors in [1 - x, 1 + x] (hue: [-x, x]).

    Takes and returns colour images `(N, 3, H, W)` in [0, 1]; belongs before normalisation.

    Raises:
        DataError: at use: images without three channels.
        MissingExtraError: kornia is not installed.
    """
    module = _kornia("kornia.augmentation", "colour jitter")
    jitter: Callable[[Tensor], Tensor] = module.ColorJitter(brightness, contrast, saturation, hue, p=1.0)

    def change(inputs: Tensor, draw: torch.Generator) -> Tensor:
        _check_colour(inputs, "colour jitter")
        with _global_generator(draw, inputs.device), torch.no_grad():
            return jitter(inputs).to(inputs.dtype).clamp_(0.0, 1.0)

    return change
