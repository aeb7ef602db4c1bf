"""Seeds and generators: one explicit generator for each purpose, all derived from the run's one seed.

A derived seed depends only on the run's seed and the purpose's name (and, say, epoch and position), never on what
was drawn before. A resumed run therefore needs no generator state where a draw is keyed by its step.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["derive_seed", "generator"]


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for a purpose, for example `derive_seed(0, "shuffle", epoch)`."""
    text = "/".join(str(part) for part in (seed, *purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded for a purpose."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *purpose))
