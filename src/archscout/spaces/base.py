"""What a search space offers, and which capabilities a method may ask of it.

A space implements `SearchSpace`; what only some methods need is a further protocol here (`WeightSharing`,
`Factorized`, ...). A method names the protocols that it requires, and any space that has them fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from archscout import catalog
from archscout.errors import SpaceError
from archscout.measure import Measurements
from archscout.registry import Registry
from archscout.settings import Settings
from archscout.tasks.spec import TaskSpec

__all__ = [
    "ABILITIES",
    "SPACES",
    "ClosedFormCost",
    "ElasticSupernet",
    "Enumerable",
    "Extractable",
    "HasAuxiliaryHead",
    "HasBaseline",
    "OwnTraining",
    "Factorization",
    "Factorized",
    "KernelPatterned",
    "LayerCode",
    "LayerCoded",
    "HasDistance",
    "MixtureNetwork",
    "Mutable",
    "PathSupernet",
    "RecurrentMixtureNetwork",
    "Relaxation",
    "Relaxed",
    "RelaxedRecurrence",
    "SearchSpace",
    "WeightSharing",
    "check_space",
    "get_space",
    "without_auxiliary_head",
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

    A space is made as `Space(options)`. What its networks may offer beside a forward pass is declared in
    `archscout.nn.protocols` and by `archscout.exporting.ExportedInParts`.
    """

    name: ClassVar[str]
    options_model: ClassVar[type[Settings]]
    size_model: ClassVar[type[Settings]]

    @property
    def options(self) -> Settings:
        """What the space was made with."""
        ...

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


@runtime_checkable
class OwnTraining(Protocol):
    """A space whose networks are not trained by `archscout.training.job`.

    Attributes:
        train_model: the settings of their training, with a method `job(network, task, engine, seed)` that makes it.
    """

    train_model: ClassVar[type[Settings]]


@runtime_checkable
class HasBaseline(Protocol):
    """A space that may start from a network, which reports compare with the one that was found."""

    @property
    def baseline(self) -> A | None:
        """That network; None where the options name none."""
        ...


@runtime_checkable
class HasAuxiliaryHead(Protocol):
    """A size (`size_model`) of networks that can have a further head, which only their training runs."""

    auxiliary: bool


Size = TypeVar("Size", bound=Settings)


def without_auxiliary_head(size: Size) -> Size:
    """The size of the networks that a user takes home: without what only training needs."""
    return size.model_copy(update={"auxiliary": False}) if isinstance(size, HasAuxiliaryHead) else size


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


class ElasticSupernet(PathSupernet, Protocol):
    """A supernet whose networks use the first channels of every layer."""

    def sort_channels(self) -> None:
        """Bring the most important channels to the front; the largest network computes what it computed."""
        ...


@runtime_checkable
class Extractable(Protocol):
    """A space whose shared weights are also weights of single networks, as in once-for-all supernets."""

    def supernet(self, spec: TaskSpec, size: Any) -> nn.Module:
        """A module that is an `ElasticSupernet`."""
        ...

    def extract(self, supernet: nn.Module, architecture: A, spec: TaskSpec, size: Any) -> nn.Module:
        """The network of an architecture, a plain module, with its part of the shared weights."""
        ...


@runtime_checkable
class ClosedFormCost(Protocol):
    """A space that knows the cost of a network without building it."""

    def cost(self, architecture: A, spec: TaskSpec, size: Any) -> Measurements:
        """Parameters and multiply-adds; exactly what is counted on the network."""
        ...


class MixtureNetwork(Protocol):
    """A network that runs all operations at once, each weighted by a mixing weight.

    Skip connections can have dropout where it is `archscout.nn.protocols.DropsSkips`, too.
    """

    def __call__(self, inputs: Tensor, mixing: Tensor) -> Tensor:
        """Outputs on a batch for mixing weights `(K, E, O)`."""
        ...

    def states(self, inputs: Tensor, mixing: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        """What enters each cell, for `without`; the outputs of the last two cells come at the end."""
        ...

    def head(self, last: Tensor) -> Tensor:
        """The last cell's output to the network's outputs."""
        ...

    def without(self, owner: int, mixing: Tensor, states: Sequence[tuple[Tensor, Tensor]], instead: Tensor) -> Tensor:
        """Outputs of the network in which one cell has other mixing weights, `instead` of shape `(E, O)`.

        It is the first of the cells that share the architecture tensor `owner`; `states` are those of the whole
        network, whose cells before it need not be computed again.
        """
        ...


class Relaxation(Protocol):
    """The continuous view of a space: K architecture tensors with a weight for each of O operations on each of E edges.

    Attributes:
        shape: `(K, E, O)`.
        operations: names of the columns.
        start: boolean `(K, E, O)`, the operations of a network to start from; None where there is none.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def operations(self) -> Sequence[str]: ...

    @property
    def start(self) -> Tensor | None: ...

    def supernet(self, live: Tensor | None = None) -> nn.Module:
        """A module that is a `MixtureNetwork`, freshly initialised.

        Args:
            live: boolean `(K, E, O)`, the operations that are left on each edge; None: all. Only progressive methods
                give it.
        """
        ...

    def discretize(self, weights: Tensor, rule: Any, threshold: float, *, skip_limit: int | None = None) -> A:
        """The architecture of mixing weights `(K, E, O)`; the rules are those of the space.

        Args:
            skip_limit: most skip connections in each cell that does not reduce; only progressive methods give it.
        """
        ...


@runtime_checkable
class Relaxed(Protocol):
    """A space that differentiable methods can search."""

    def relaxation(self, spec: TaskSpec, size: Any) -> Relaxation:
        """The continuous view for a task and a size of the supernet."""
        ...


class RecurrentMixtureNetwork(Protocol):
    """A network over texts that mixes all operations by architecture parameters and carries a hidden state."""

    def __call__(self, *inputs: Any) -> Any:
        """Outputs and next hidden state for inputs, hidden state (None: the text begins) and architecture parameters.

        The parameters are a sequence of tensors, as of `initial_alphas`.
        """
        ...

    def initial_alphas(self, draw: Any) -> list[Tensor]:
        """Fresh architecture parameters, as leaves that want gradients."""
        ...

    def discretize(self, alphas: Sequence[Tensor]) -> A:
        """The architecture that the parameters favour."""
        ...


@runtime_checkable
class RelaxedRecurrence(Protocol):
    """A space of recurrent networks that differentiable methods can search, segment after segment."""

    def mixture(self, spec: TaskSpec, size: Any) -> nn.Module:
        """A module that is a `RecurrentMixtureNetwork`."""
        ...


@runtime_checkable
class HasDistance(Protocol):
    """A space with a distance between its architectures."""

    def distance(self, first: A, second: A) -> float:
        """0 for equal architectures; larger is farther."""
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


@dataclass(frozen=True)
class LayerCode:
    """The shape of a per-layer operation code.

    Attributes:
        allowed: for each layer, which operations it may have, `(layers, operations)`.
        columns: of a layer's one-hot code, at least the number of operations; None is that number.
    """

    allowed: tuple[tuple[bool, ...], ...]
    columns: int | None = None

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.allowed)

    @property
    def operations(self) -> int:
        """Number of operations, allowed or not."""
        return len(self.allowed[0])

    @property
    def width(self) -> int:
        """Length of the one-hot code of an architecture."""
        return self.layers * (self.columns or self.operations)


@runtime_checkable
class LayerCoded(Protocol):
    """A space whose architectures are one operation number for each layer, as DSM-NAS edits them."""

    @property
    def layer_code(self) -> LayerCode:
        """How many layers and operations, and which are allowed where."""
        ...

    def encode(self, architecture: A) -> tuple[int, ...]:
        """The operation number of each layer."""
        ...

    def decode(self, code: Sequence[int]) -> A:
        """The architecture of a code that keeps the mask. Raises ArchitectureError for others."""
        ...

    def canonical(self, codes: Tensor) -> Tensor:
        """Codes `(N, layers)` brought to the one form that `encode` gives of each architecture."""
        ...


@runtime_checkable
class KernelPatterned(Protocol):
    """A space whose networks may get other kernels: its `build` takes a `KernelPattern` over its architectures too.

    Attributes:
        searched_depthwise: whether a search makes more convolutions depthwise, where its settings leave it open.
    """

    searched_depthwise: ClassVar[bool]

    def kernel_base(self, spec: TaskSpec) -> A:
        """The architecture whose kernels are searched where none was found or given before.

        Raises SpaceError if the space has none to offer.
        """
        ...

    def kernel_layers(self, network: nn.Module) -> Sequence[str]:
        """The names of the convolutions of a built network that take a kernel, in the order of its modules.

        Usually `archscout.nn.kernels.layers.kernel_layers(network)`; without auxiliary heads, which not every network
        of an architecture has.
        """
        ...

    def build(self, architecture: A, spec: TaskSpec, size: Any) -> nn.Module:
        """As of `SearchSpace`; for a pattern `archscout.spaces.kernels.pattern.build_with_kernels`."""
        ...


@runtime_checkable
class Mutable(Protocol):
    """A space with small random changes."""

    def mutate(self, architecture: A, draw: Random) -> A:
        """A different architecture nearby."""
        ...


@runtime_checkable
class Enumerable(Protocol):
    """A space that lists what lies next to an architecture."""

    def neighbours(self, architecture: A) -> Sequence[A]:
        """All architectures one change away."""
        ...


ABILITIES = (
    OwnTraining,
    HasBaseline,
    WeightSharing,
    Extractable,
    ClosedFormCost,
    Relaxed,
    RelaxedRecurrence,
    HasDistance,
    Factorized,
    LayerCoded,
    KernelPatterned,
    Mutable,
    Enumerable,
)
"""What a space may offer beside `SearchSpace`."""


def _members(protocol: type) -> set[str]:
    return {name for name in {**vars(protocol), **protocol.__annotations__} if not name.startswith("_")}


def check_space(name: str, kind: type) -> None:
    """Raise SpaceError unless a class has all that a space needs, and all of every ability of which it has a part.

    A member that several protocols share, such as `supernet`, is no part of one ability.
    """
    offered = Counter(member for protocol in (SearchSpace, *ABILITIES) for member in _members(protocol))
    for protocol in (SearchSpace, *ABILITIES):
        members = _members(protocol) - {"options"}  # of a space, not of its class
        own = [member for member in members if offered[member] == 1 and hasattr(kind, member)]
        lacking = sorted(member for member in members if not hasattr(kind, member))
        if lacking and (own or protocol is SearchSpace):
            has = "" if protocol is SearchSpace else f" has {', '.join(sorted(own))} and"
            raise SpaceError(
                f"the space '{name}'{has} lacks {', '.join(lacking)}; see archscout.spaces.base.{protocol.__name__}."
            )
    if kind.name != name:  # type: ignore[attr-defined]
        raise SpaceError(f"the space '{name}' has the attribute name = '{kind.name}'; both must be equal.")  # type: ignore[attr-defined]
    for field in (kind.options_model, kind.size_model):  # type: ignore[attr-defined]
        if not (isinstance(field, type) and issubclass(field, Settings)):
            raise SpaceError(f"the space '{name}': options_model and size_model must be Settings, not {field!r}.")


SPACES: Registry[Any] = catalog.SPACES
SPACES.check_with(check_space)


def get_space(name: str, options: dict[str, Any] | None = None) -> SearchSpace:
    """The space of a registered name, with its options checked."""
    kind = SPACES.get(name)
    space: SearchSpace = kind(kind.options_model.read(options or {}, where="space_options"))
    return space
