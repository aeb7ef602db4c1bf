"""The space of recurrent cells with highway gates, for language models.

Source: docs/methods/darts_recurrent.md#the-cell; docs/methods/ednas.md#recurrent-policy.
"""

from __future__ import annotations

from functools import cached_property
from random import Random
from typing import ClassVar

from pydantic import Field
from torch import nn

from archscout.errors import SpaceError
from archscout.nn.recurrent.word_model import RecurrentSize
from archscout.settings import Settings
from archscout.spaces.base import SPACES
from archscout.spaces.recurrent.genotype import Node, RecurrentChoices, RecurrentGenotype
from archscout.spaces.recurrent.mixture import RecurrentMixture
from archscout.spaces.recurrent.network import RecurrentNetwork
from archscout.spaces.recurrent.supernet import RecurrentSupernet
from archscout.tasks.spec import TaskSpec
from archscout.training.language import LanguageTrainSettings

__all__ = ["RecurrentOptions", "RecurrentSpace"]


class RecurrentOptions(Settings):
    """Settings of the space."""

    nodes: int = Field(default=8, ge=1, le=20, description="computed nodes in the cell")


@SPACES.register("recurrent")
class RecurrentSpace:
    """A recurrent cell, a tree of gated nodes with one of four activations each; for language models."""

    name: ClassVar[str] = "recurrent"
    options_model: ClassVar[type[Settings]] = RecurrentOptions
    size_model: ClassVar[type[Settings]] = RecurrentSize
    train_model: ClassVar[type[Settings]] = LanguageTrainSettings

    def __init__(self, options: RecurrentOptions | None = None) -> None:
        self.options = options or RecurrentOptions()

    @cached_property
    def factorization(self) -> RecurrentChoices:
        """Structure and operation choices; with 8 nodes 2 + 3 + ... + 8 = 35 and 36 x 4 = 144 options."""
        return RecurrentChoices(self.options.nodes)

    def check(self, spec: TaskSpec) -> None:
        """Raise SpaceError unless the task is a language model."""
        if not spec.is_text or spec.input_shape != (1,):
            raise SpaceError(
                f"the space 'recurrent' serves language models; {spec.name} is {spec.describe()}. "
                "Choose another space: archscout list spaces"
            )

    def random(self, draw: Random) -> RecurrentGenotype:
        """A genotype with sources and activations drawn uniformly."""
        choices = self.factorization
        structure = [draw.randrange(options) for options in choices.structure]
        rows = choices.active(structure)
        return choices.assemble(structure, [draw.randrange(len(choices.operations[row])) for row in rows])

    def mutate(self, architecture: RecurrentGenotype, draw: Random) -> RecurrentGenotype:
        """The genotype with one choice changed: the source or the activation of one node."""
        structure, operations = (list(part) for part in self.factorization.disassemble(architecture))
        position = draw.randrange(len(structure) + len(operations))
        if position < len(structure):
            options, part, index = self.factorization.structure[position], structure, position
        else:
            index = position - len(structure)
            options, part = len(self.factorization.operations[0]), operations
        part[index] = (part[index] + draw.randrange(1, options)) % options
        return self.factorization.assemble(structure, operations)

    def build(self, architecture: RecurrentGenotype, spec: TaskSpec, size: RecurrentSize) -> RecurrentNetwork:
        """The evaluation network."""
        self.check(spec)
        return RecurrentNetwork(architecture, spec.outputs, size)

    def supernet(self, spec: TaskSpec, size: RecurrentSize) -> nn.Module:
        """The shared weights of all genotypes, a `RecurrentSupernet`."""
        self.check(spec)
        return RecurrentSupernet(spec.outputs, self.options.nodes, size)

    def mixture(self, spec: TaskSpec, size: RecurrentSize) -> nn.Module:
        """The relaxed supernet, a `RecurrentMixture`."""
        self.check(spec)
        return RecurrentMixture(spec.outputs, self.options.nodes, size)

    def extremes(self, spec: TaskSpec, size: RecurrentSize) -> tuple[RecurrentGenotype, RecurrentGenotype]:
        """Two genotypes; all have the same number of parameters."""
        concat = tuple(range(1, self.options.nodes + 1))
        chain = RecurrentGenotype(tuple(Node("tanh", node - 1) for node in concat), concat)
        return RecurrentGenotype(tuple(Node("identity", 0) for _ in concat), concat), chain
