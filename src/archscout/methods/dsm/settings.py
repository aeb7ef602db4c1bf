"""The settings of DSM-NAS (docs/methods/dsm.md#published-settings)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from archscout.methods.queries.settings import QuerySettings
from archscout.methods.queries.transfer import initial_architectures
from archscout.spaces.base import SearchSpace

__all__ = ["DsmSettings"]


class DsmSettings(QuerySettings):
    """Settings of DSM-NAS. The defaults are the published ones for NAS-Bench-201."""

    slots: int = Field(default=3, ge=2, description="centres (K)")
    edits: int = Field(default=4, ge=1, description="edits of a proposal (M)")
    proposals: int = Field(default=1, ge=1, description="for each update; with real training they run in parallel")
    lr: float = Field(default=0.009446763714621489, gt=0)
    weight_decay: float = Field(default=2.3740059139364297e-5, ge=0)
    entropy: float = Field(default=0.0005049559768158195, ge=0, description="weight of the entropy in the objective")
    baseline_decay: float = Field(default=0.9, ge=0, lt=1)
    policy: Literal["learned", "uniform"] = Field(default="learned", description="uniform: hill climbing, to compare")
    reward: Literal["improvement", "absolute"] = "improvement"
    initial: tuple[str, ...] = Field(
        default=(), description="start from these: runs of earlier searches, or architectures (DSM-NAS+)"
    )
    group: int | None = Field(default=None, ge=1, description="trials that are computed together; null chooses")
    legacy_drift: bool = Field(
        default=False, description="edits reach the centre itself, as in the published code: subspaces wander"
    )
    legacy_free_initial: bool = Field(default=False, description="initial centres take no simulated seconds")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.queries <= self.slots:
            raise ValueError(f"queries = {self.queries} must be more than the {self.slots} first centres")
        if self.legacy_drift and self.proposals > 1:
            raise ValueError("legacy_drift goes with one proposal for each update")
        return self

    def check_space(self, space: SearchSpace) -> None:
        """Raise an ArchscoutError if table, columns, first centres and space contradict each other."""
        super().check_space(space)
        initial_architectures(self.initial, space)
