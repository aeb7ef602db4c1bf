"""Deeper networks from the few cells of a search: which gene each cell gets.

Source: docs/architectures.md#deeper-networks-derive.

The first third repeats the genes before the first searched reduction, the middle third those between the two, the last
third those after the second. The rule of the first third is the published one, `(i mod G) // 3`: it is odd, but it is
what the authors ran. Where the published code keeps the reductions of the file, whatever the depth, these stand where
the rule puts the reduction genes: at `L // 3` and `2 L // 3`.
"""

from __future__ import annotations

from archscout.errors import ArchitectureError, SettingsError
from archscout.spaces.architecture import Architecture
from archscout.spaces.cells.layout import reduction_indices
from archscout.spaces.cells.per_cell_genotype import PerCellGenotype

__all__ = ["derive", "derived_genes"]

REDUCTIONS = 2  # the rule knows no other number
MAX_LAYERS = 200


def derived_genes(genes: int, layers: int) -> list[int]:
    """The gene of each of `layers` cells, for a search of `genes` cells.

    With no more cells than genes, cell i has gene i.

    Raises:
        SettingsError: the rule gives no such network; the message has the numbers of cells for which it does.
    """
    if not 1 <= layers <= MAX_LAYERS:
        raise SettingsError(f"layers: {layers} is out of range; allowed: 1 to {MAX_LAYERS}.")
    reason = _obstacle(genes, layers)
    if reason:
        raise SettingsError(f"layers: {layers} cells cannot be derived from {genes}: {reason}. {_served(genes)}")
    return [_gene(genes, layers, position) for position in range(layers)]


def derive(architecture: Architecture, layers: int) -> PerCellGenotype:
    """The network of another depth, with its reductions at `layers // 3` and `2 * layers // 3`.

    Only wirings are repeated: each cell has weights of its own. Genes that no cell has are left out.

    Raises:
        ArchitectureError: the architecture is no search result of D-DARTS: its cells follow a handcrafted network or
            were derived already.
        SettingsError: the rule cannot serve this number of cells.
    """
    if not isinstance(architecture, PerCellGenotype):
        raise ArchitectureError(
            "only networks whose cells all differ are derived, as dd.cifar100.edge; a normal and a reduction cell make "
            "networks of any depth already: give the number of cells with --layers or network.layers."
        )
    count = len(architecture.genes)
    if architecture.sequence != tuple(range(count)) or len(architecture.reductions) != REDUCTIONS:
        raise ArchitectureError(
            f"this network has {len(architecture.sequence)} cells of {count} wirings and "
            f"{len(architecture.reductions)} reductions, in the order of a handcrafted network or of an earlier "
            f"derivation: the rule serves cells that were searched one by one with {REDUCTIONS} reductions, as "
            f"dd.cifar100.edge. Build this one with its own {len(architecture.sequence)} cells: leave the number of "
            "layers out."
        )
    chosen = derived_genes(count, layers)
    kept = sorted(set(chosen))
    return PerCellGenotype(
        genes=tuple(architecture.genes[gene] for gene in kept),
        sequence=tuple(kept.index(gene) for gene in chosen),
        reductions=tuple(sorted(set(reduction_indices(layers)))),
    )


def _gene(genes: int, layers: int, position: int) -> int:
    first, second = reduction_indices(genes)
    early, late = reduction_indices(layers)
    if layers <= genes:
        return position
    if position < early:
        return position % genes // 3
    if position == early:
        return first
    if position < late:
        return position % (second - 1 - first) + first + 1
    if position == late:
        return second
    return position % (genes - 1 - second) + second + 1


def _obstacle(genes: int, layers: int) -> str:
    """Why the rule cannot serve these numbers; empty where it can."""
    if layers <= genes:
        return ""
    first, second = reduction_indices(genes)
    early, late = reduction_indices(layers)
    if late - early > 1 and second - first < 2:
        return f"no cell was searched between the reductions {first} and {second}"
    if layers - 1 > late and genes - 1 == second:
        return f"no cell was searched after the reduction {second}"
    for position in range(early):
        if _gene(genes, layers, position) >= first:
            return (
                f"its cell {position}, which does not reduce, would get gene {_gene(genes, layers, position)}, which "
                f"was not searched before the reduction {first}"
            )
    return ""


def _served(genes: int) -> str:
    """The depths that the rule serves, as a sentence."""
    works = [layers for layers in range(1, 3 * genes + 6) if not _obstacle(genes, layers)]
    ranges: list[list[int]] = []
    for layers in works:
        if ranges and ranges[-1][1] == layers - 1:
            ranges[-1][1] = layers
        else:
            ranges.append([layers, layers])
    shown = ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in ranges)
    return f"Numbers that work: {shown}."
