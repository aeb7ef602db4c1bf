"""The plain twin of DSM-NAS: one trial after the other, in ordinary torch modules.

Written from a description of the published program's structure, correct but not fast: edge lists, a loop over edges
and nodes, an LSTM cell and a categorical distribution for each choice, autograd, and an optimiser over thirty tensors.
It is the reference for results and for speed. Source: docs/methods/dsm.md#what-the-code-rests-on, without the defect
that edits reach the centres themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

__all__ = ["PlainController", "PlainSearch"]

HIDDEN = 64


class PlainLayer(nn.Module):
    """One layer of the graph network."""

    def __init__(self) -> None:
        super().__init__()
        self.message = nn.Linear(3 * HIDDEN, HIDDEN, bias=False)
        self.pool = nn.Linear(HIDDEN, HIDDEN)
        self.update = nn.Linear(2 * HIDDEN, HIDDEN, bias=False)
        self.edge_update = nn.Linear(3 * HIDDEN, HIDDEN, bias=False)

    def forward(
        self, nodes: Tensor, edges: dict[tuple[int, int], Tensor]
    ) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
        zero = nodes.new_zeros(HIDDEN)
        new = []
        for i in range(len(nodes)):
            messages = []
            for j in range(len(nodes)):
                if i != j:
                    parts = [nodes[i], edges.get((i, j), zero), edges.get((j, i), zero)]
                    messages.append(self.pool(self.message(torch.cat(parts)).relu()).relu())
            new.append(self.update(torch.cat([nodes[i], torch.stack(messages).mean(0)])).relu())
        after = torch.stack(new)
        changed = {
            (i, j): self.edge_update(torch.cat([edge, after[i], after[j]])).relu() for (i, j), edge in edges.items()
        }
        return after, changed


class PlainController(nn.Module):
    """The controller of one trial; arguments as in `archscout.methods.dsm.controller.ControllerShape`."""

    def __init__(self, slots: int, edits: int, allowed: Sequence[Sequence[bool]], features: int) -> None:
        super().__init__()
        layers, operations = len(allowed), len(allowed[0])
        self.edits, self.allowed = edits, torch.tensor(allowed)
        self.node, self.edge = nn.Linear(features + 1, HIDDEN), nn.Linear(features + 1, HIDDEN)
        self.graph = nn.ModuleList(PlainLayer() for _ in range(2))
        self.lstm = nn.LSTMCell(HIDDEN, HIDDEN)
        self.attend_node = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.attend_hidden = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.attend_out = nn.Linear(HIDDEN, 1, bias=False)
        self.slot_embedding = nn.Embedding(slots, HIDDEN)
        self.layer_embedding = nn.Embedding(layers, HIDDEN)
        self.operation_embedding = nn.Embedding(operations, HIDDEN)
        self.layer_head = nn.Linear(HIDDEN, layers)
        self.operation_head = nn.Linear(HIDDEN, operations)
        self.unused = nn.Linear(HIDDEN, slots)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def states(self, nodes: Tensor) -> Tensor:
        """The graph network over centres `(K, features + 1)`, the score in the last column."""
        scores = nodes[:, -1]
        edges = {}
        for j in range(len(nodes)):
            for i in range(j):
                low, high = (i, j) if scores[i] <= scores[j] else (j, i)
                edges[low, high] = self.edge(nodes[high] - nodes[low])
        h = self.node(nodes)
        for layer in self.graph:
            h, edges = layer(h, edges)
        return h  # type: ignore[no-any-return]

    def forward(
        self,
        nodes: Tensor,
        choose: Callable[[Categorical], Tensor] = lambda distribution: distribution.sample(),  # type: ignore[no-untyped-call]
    ) -> tuple[int, list[tuple[int, int]], Tensor, Tensor]:
        """Slot, edits, and the sums of log probabilities and entropies."""
        h = self.states(nodes)
        hidden = cell = h.new_zeros(1, HIDDEN)
        hidden, cell = self.lstm(h.mean(0, keepdim=True), (hidden, cell))
        logits = self.attend_out((self.attend_node(h) + self.attend_hidden(hidden)).tanh()).squeeze(-1)
        log_p, entropy = [], []

        def pick(logits: Tensor) -> int:
            distribution = Categorical(logits=logits)
            choice = choose(distribution)
            log_p.append(distribution.log_prob(choice))  # type: ignore[no-untyped-call]
            entropy.append(distribution.entropy())  # type: ignore[no-untyped-call]
            return int(choice)

        slot = pick(1.5 * logits.tanh())
        inputs, edits = self.slot_embedding.weight[slot], []
        for _ in range(self.edits):
            hidden, cell = self.lstm(inputs[None], (hidden, cell))
            layer = pick(0.6 * self.layer_head(hidden)[0].tanh())
            hidden, cell = self.lstm(self.layer_embedding.weight[layer][None], (hidden, cell))
            bounded = 0.6 * self.operation_head(hidden)[0].tanh()
            operation = pick(bounded.masked_fill(~self.allowed[layer], float("-inf")))
            inputs = self.operation_embedding.weight[operation]
            edits.append((layer, operation))
        return slot, edits, torch.stack(log_p).sum(), torch.stack(entropy).sum()


class PlainSearch:
    """A search of one trial (docs/methods/dsm.md#algorithm), with anchored centres.

    Args:
        score: of a code.
        allowed: of each layer, which operations it may have.
        columns: of a layer's one-hot code.
        seed: of everything random.
    """

    def __init__(
        self,
        score: Callable[[Sequence[int]], float],
        allowed: Sequence[Sequence[bool]],
        columns: int,
        seed: int,
        slots: int = 3,
        edits: int = 4,
    ) -> None:
        torch.manual_seed(seed)
        draw = Random(seed)
        self.score, self.columns = score, columns
        self.controller = PlainController(slots, edits, allowed, len(allowed) * columns)
        self.adam = torch.optim.Adam(
            self.controller.parameters(), lr=0.009446763714621489, weight_decay=2.3740059139364297e-5
        )
        self.codes = [[draw.choice([n for n, ok in enumerate(row) if ok]) for row in allowed] for _ in range(slots)]
        self.scores = [score(code) for code in self.codes]
        self.baseline: float | None = None
        self._describe()

    def _describe(self) -> None:
        rows = []
        for code, value in zip(self.codes, self.scores, strict=True):
            one_hot = torch.zeros(len(code), self.columns)
            one_hot[range(len(code)), code] = 1.0
            rows.append(torch.cat([one_hot.flatten(), torch.tensor([value])]))
        self.nodes = torch.stack(rows)

    def step(self) -> float:
        """One query. Returns the score of the proposal."""
        slot, edits, log_p, entropy = self.controller(self.nodes)
        code = copy.copy(self.codes[slot])
        for layer, operation in edits:
            code[layer] = operation
        value = self.score(code)
        reward = value - self.scores[slot]
        self.baseline = reward if self.baseline is None else 0.9 * self.baseline + 0.1 * reward
        loss = -(reward - self.baseline) * log_p - 0.0005049559768158195 * entropy
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        if reward > 0:
            self.codes[slot], self.scores[slot] = code, value
            self._describe()
        return value
