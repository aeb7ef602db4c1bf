"""Bounds on what a search may find."""

from __future__ import annotations

from pydantic import Field

from archscout.errors import SpaceError
from archscout.methods.base import SearchContext
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture

__all__ = ["Limits"]


class Limits(Settings):
    """Bounds on the evaluation network, without auxiliary head; null sets none."""

    max_parameters: int | None = Field(default=None, ge=1)
    max_madds: int | None = Field(default=None, ge=1)

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return self.max_parameters is not None or self.max_madds is not None

    def admit(self, context: SearchContext, architecture: Architecture) -> bool:
        """Whether the architecture's evaluation network keeps the bounds."""
        if not self.bounded:
            return True
        cost = context.cost(architecture)
        return (self.max_parameters is None or cost.parameters <= self.max_parameters) and (
            self.max_madds is None or cost.madds <= self.max_madds
        )

    def check(self, context: SearchContext) -> Architecture | None:
        """The smallest architecture, where there are bounds. Raises SpaceError if not even that one keeps them."""
        if not self.bounded:
            return None
        smallest: Architecture = context.space.extremes(context.task.spec, context.network_size)[0]
        if not self.admit(context, smallest):
            cost = context.cost(smallest)
            raise SpaceError(
                f"no architecture has at most {self.max_parameters} parameters and {self.max_madds} MAdds (None: no "
                f"limit): the smallest has {cost.parameters:,} parameters and {cost.madds:,} MAdds. Raise "
                "search.limits, or make the network smaller, for example with network.width and supernet.width."
            )
        return smallest
