"""What a search space offers, and which capabilities a method may ask of it.

A space implements `SearchSpace`; what only some methods need is a further protocol here (`WeightSharing`,
`Factorized`, ...). A method names the protocols that it requires, and any space that has them fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from archscout.registry import Registry
from archscout.settings import Settings
from archscout.tasks.spec import TaskSpec

__all__ = [
    "SPACES",
    "Factorization",
    "Factorized",
    "Mixture",
    "MixtureNetwork",
    "PathSupernet",
    "SearchSpace",
    "WeightSharing",
    "get_space",
]

# The type checker cannot tie a space to its own architecture class through a registry that plugins fill at run time:
# in these protocols `Any` stands for 'the architecture class of this space'.
A = Any


@runtime_checkable
class SearchSpace(Protocol):
    """What may be built.

    Attributes:
        name: as registered.
        options_model: the settings of the space itself, for example the number of nodes in a cell.
        size_model: the settings of a network's size; shared by networks and supernets.

    A space whose networks are not trained by `archscout.training.job` has a further `train_model`: the settings of
    their training, with a method `job(network, task, engine, seed)`.
    """

    name: ClassVar[str]
    options_model: ClassVar[type[Settings]]
    size_model: ClassVar[type[Settings]]

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError if networks of this space cannot serve the task."""
        ...

    def random(self, draw: Random) -> A:
        """An architecture drawn uniformly."""
        ...

    def build(self, architecture: A, spec: TaskSpec, size: Any) -> nn.Module:
        """The network of an architecture: a plain module from inputs `(N, *input_shape)` to outputs."""
        ...

    def extremes(self, spec: TaskSpec, size: Any) -> tuple[A, A]:
        """The architectures with the fewest and with the most parameters."""
        ...


class PathSupernet(Protocol):
    """A network that holds the weights of all architectures and runs one of them at a time."""

    def __call__(self, inputs: Tensor, architecture: A) -> Tensor:
        """Outputs of one architecture on a batch."""
        ...

    def grouped(self, inputs: Tensor, architectures: Sequence[A]) -> Tensor:
        """Outputs `(M, N, ...)` of M architectures on one common batch; equals M calls in evaluation mode."""
        ...

    def path_parameters(self, architecture: A) -> list[nn.Parameter]:
        """The parameters that this architecture uses."""
        ...


@runtime_checkable
class WeightSharing(Protocol):
    """A space with a supernet of shared weights."""

    def supernet(self, spec: TaskSpec, size: Any) -> nn.Module:
        """A module that is a `PathSupernet`."""
        ...


class MixtureNetwork(Protocol):
    """A network that mixes all operations by architecture parameters."""

    def __call__(self, *inputs: Any) -> Any:
        """Outputs for inputs, what the network carries along (a hidden state), and the architecture parameters."""
        ...

    def initial_alphas(self, draw: Any) -> list[Tensor]:
        """Fresh architecture parameters, as leaves that want gradients."""
        ...

    def discretize(self, alphas: Sequence[Tensor]) -> A:
        """The architecture that the parameters favour."""
        ...


@runtime_checkable
class Mixture(Protocol):
    """A space with a differentiable supernet."""

    def mixture(self, spec: TaskSpec, size: Any) -> nn.Module:
        """A module that is a `MixtureNetwork`."""
        ...


class Factorization(Protocol):
    """The decoupled view of a space: independent categorical choices of structure and of operations.

    Attributes:
        structure: number of options of each structure choice.
        operations: names of the options of each operation choice; all rows, used or not.
    """

    @property
    def structure(self) -> Sequence[int]: ...

    @property
    def operations(self) -> Sequence[Sequence[str]]: ...

    def active(self, structure: Sequence[int]) -> Sequence[int]:
        """Which operation rows a structure uses, in ascending order."""
        ...

    def assemble(self, structure: Sequence[int], operations: Sequence[int]) -> A:
        """The architecture of the choices; `operations` has one entry for each active row, in that order."""
        ...

    def disassemble(self, architecture: A) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inverse of `assemble`."""
        ...


@runtime_checkable
class Factorized(Protocol):
    """A space that a decoupled policy can search."""

    @property
    def factorization(self) -> Factorization:
        """The choices."""
        ...


SPACES: Registry[Any] = Registry("space", "archscout.spaces")


def get_space(name: str, options: dict[str, Any] | None = None) -> SearchSpace:
    """The space of a registered name, with its options checked."""
    kind = SPACES.get(name)
    space: SearchSpace = kind(kind.options_model.read(options or {}, where="space_options"))
    return space
