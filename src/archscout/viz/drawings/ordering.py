"""Orders the items of a layered graph in their layers, so that connections are short and straight and rarely cross."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

__all__ = ["Item", "Layers", "Link", "arrange"]

Key: TypeAlias = Hashable

# A crossing costs as much as this many pixels of vertical distance.
CROSSING_COST = 90.0
# What a pixel of height costs, so that of equally straight drawings the flatter one wins.
HEIGHT_COST = 0.5
# What it costs that a node stands above one with a lower number: a preference, no more.
INVERSION_COST = 12.0
SWEEPS = 8
ROUNDS = 6
# Bounds the time for cells far larger than any published one.
MOST_TRIALS = 600


@dataclass(frozen=True)
class Item:
    """Something that takes vertical room in a layer.

    Attributes:
        key: unique in its layer.
        height: in pixels, with half the space to each neighbour.
        weight: how much it resists being moved away from what it is connected to.
        rank: items of lower rank are preferred above; None where it does not matter.
    """

    key: Key
    height: float
    weight: float = 1.0
    rank: int | None = None


@dataclass(frozen=True)
class Link:
    """A connection from an item of a layer to an item of the next."""

    source: Key
    target: Key


@dataclass
class Layers:
    """Items of each layer from top to bottom, and the links from each layer to the next."""

    items: list[list[Item]]
    links: list[list[Link]]
    fixed: frozenset[int] = field(default_factory=frozenset)  # layers whose order is given


def _settled(items: Sequence[Item], desired: Sequence[float]) -> dict[Key, float]:
    """Centres nearest to the desired ones (least squares) in the given order, by pooling adjacent violators."""
    offsets = [0.0]
    for above, below in pairwise(items):
        offsets.append(offsets[-1] + (above.height + below.height) / 2)
    pools: list[tuple[float, float, int]] = []  # mean, weight, count
    for item, wanted, offset in zip(items, desired, offsets, strict=True):
        mean, weight, count = wanted - offset, item.weight, 1
        while pools and pools[-1][0] >= mean:
            other, other_weight, other_count = pools.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight += other_weight
            count += other_count
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return {item.key: mean + offset for item, mean, offset in zip(items, means, offsets, strict=True)}


def _positions(layers: Layers) -> list[dict[Key, float]]:
    """Centres of all items for the given orders."""
    neighbours: list[dict[Key, list[tuple[int, Key]]]] = [{item.key: [] for item in layer} for layer in layers.items]
    for index, links in enumerate(layers.links):
        for link in links:
            neighbours[index][link.source].append((index + 1, link.target))
            neighbours[index + 1][link.target].append((index, link.source))
    centres = [_settled(layer, [0.0] * len(layer)) for layer in layers.items]
    count = len(layers.items)
    for sweep in range(SWEEPS):
        for index in range(count) if sweep % 2 == 0 else reversed(range(count)):
            layer = layers.items[index]
            desired = []
            for item in layer:
                around = neighbours[index][item.key]
                ys = [centres[other][key] for other, key in around] or [centres[index][item.key]]
                desired.append(sum(ys) / len(ys))
            centres[index] = _settled(layer, desired)
    return centres


def _cost(layers: Layers, centres: list[dict[Key, float]]) -> float:
    total = 0.0
    for index, links in enumerate(layers.links):
        ends = [(centres[index][link.source], centres[index + 1][link.target]) for link in links]
        for number, (start, end) in enumerate(ends):
            total += abs(start - end)
            total += CROSSING_COST * sum((start - a) * (end - b) < 0 for a, b in ends[:number])
    for layer in layers.items:
        ranks = [item.rank for item in layer if item.rank is not None]
        total += INVERSION_COST * sum(above > below for i, below in enumerate(ranks) for above in ranks[:i])
    edges = [
        (centre[item.key] - item.height / 2, centre[item.key] + item.height / 2)
        for layer, centre in zip(layers.items, centres, strict=True)
        for item in layer
    ]
    return total + HEIGHT_COST * (max(bottom for _, bottom in edges) - min(top for top, _ in edges))


def _moves(layers: Layers) -> Iterator[tuple[int, int, int]]:
    """Layer, old place and new place of every possible move of one item."""
    for index, layer in enumerate(layers.items):
        if index not in layers.fixed:
            places = range(len(layer))
            yield from ((index, old, new) for old in places for new in places if old != new)


def arrange(layers: Layers) -> list[dict[Key, float]]:
    """Order the items of each layer in place and return their centres, by moving one item at a time while it helps.

    Deterministic; cells of usual size take some hundredths of a second, the largest ones about one second.
    """
    centres = _positions(layers)
    best, trials = _cost(layers, centres), 0
    for _ in range(ROUNDS):
        before = best
        for index, old, new in _moves(layers):
            trials += 1
            if trials > MOST_TRIALS:
                return centres
            kept = layers.items[index]
            moved = list(kept)
            moved.insert(new, moved.pop(old))
            layers.items[index] = moved
            trial = _positions(layers)
            cost = _cost(layers, trial)
            if cost < best - 1e-6:
                best, centres = cost, trial
            else:
                layers.items[index] = kept
        if best >= before:
            break
    return centres
