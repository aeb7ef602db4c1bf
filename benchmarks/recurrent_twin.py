"""The plain twin of EDNAS's recurrent search, and of the evaluation network: the structure of the published programs.

Written from a description of that structure, correct but not fast: every step computes all 36 edges with all four
activations and multiplies them by a table of weights, every predecessor of a node is a product of its own, the whole
log-softmax of all words is held, the policy lives in autograd, a policy step runs the network twice. With a table of
zeros and ones the search network computes what the library's supernet computes.

Source: docs/methods/ednas.md#what-the-code-rests-on; docs/methods/darts_recurrent.md#the-cell. Left out, because they
change results: the second softmax over the table, the second softmax of the policy, and the batch norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.recurrent.word_model import WordModel
from archscout.spaces import Node, RecurrentGenotype

__all__ = [
    "NODES",
    "PlainChildStep",
    "PlainCell",
    "PlainLanguageModel",
    "PlainPolicyStep",
    "PlainRecurrentPolicy",
    "copy_weights",
    "plain_lstm",
    "table_of",
]

NODES = 8
ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.tanh, torch.relu, torch.sigmoid, lambda value: value)
NAMES = ("tanh", "relu", "sigmoid", "identity")


def table_of(genotype: RecurrentGenotype) -> Tensor:
    """A genotype as a `(36, 4)` table of zeros and ones, row `i (i - 1) / 2 + j` for the edge from j to i."""
    table = torch.zeros(NODES * (NODES + 1) // 2, 4)
    for node, (activation, source) in enumerate(genotype.nodes, start=1):
        table[node * (node - 1) // 2 + source, NAMES.index(activation)] = 1
    return table


class PlainCell(nn.Module):
    """The matrices of the cell; all edges and activations, or the nodes of one genotype, in loops."""

    def __init__(self, width: int, nodes: int = NODES) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Parameter(torch.empty(2 * width, 2 * width).uniform_(-0.04, 0.04))
        self.matrices = nn.ParameterList(
            nn.Parameter(torch.empty(width, 2 * width).uniform_(-0.04, 0.04)) for _ in range(nodes)
        )

    def _start(self, inputs: Tensor, hidden: Tensor, mask_x: Tensor, mask_h: Tensor) -> Tensor:
        both = torch.cat([inputs * mask_x, hidden * mask_h], dim=-1) @ self.first
        gate, candidate = torch.split(both, self.width, dim=-1)
        return hidden + torch.sigmoid(gate) * (torch.tanh(candidate) - hidden)

    def dense_step(self, inputs: Tensor, hidden: Tensor, mask_x: Tensor, mask_h: Tensor, table: Tensor) -> Tensor:
        """One time step with all edges."""
        states = [self._start(inputs, hidden, mask_x, mask_h)]
        row = 0
        for matrix in self.matrices:
            total = torch.zeros_like(hidden)
            for state in states:
                gate, candidate = ((state * mask_h) @ matrix).chunk(2, dim=-1)
                gate = torch.sigmoid(gate)
                for index, function in enumerate(ACTIVATIONS):
                    total = total + table[row, index] * (state + gate * (function(candidate) - state))
                row += 1
            states.append(total)
        return torch.mean(torch.stack(states[1:]), dim=0)

    def path_step(
        self, inputs: Tensor, hidden: Tensor, mask_x: Tensor, mask_h: Tensor, nodes: Sequence[Node]
    ) -> Tensor:
        """One time step of a genotype."""
        states = [self._start(inputs, hidden, mask_x, mask_h)]
        for (activation, source), matrix in zip(nodes, self.matrices, strict=True):
            state = states[source]
            gate, candidate = ((state * mask_h) @ matrix).chunk(2, dim=-1)
            function = ACTIVATIONS[NAMES.index(activation)]
            states.append(state + torch.sigmoid(gate) * (function(candidate) - state))
        return torch.mean(torch.stack(states[1:]), dim=0)


class PlainLanguageModel(nn.Module):
    """Embedding, cell in a loop over time, tied decoder with a whole log-softmax. Texts are `(T, N)`."""

    def __init__(self, words: int, width: int, dropouts: tuple[float, float, float, float] = (0.2, 0.75, 0.25, 0.75)):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(words, width).uniform_(-0.04, 0.04))
        self.bias = nn.Parameter(torch.zeros(words))
        self.cell = PlainCell(width)
        self.dropouts = dropouts

    def _mask(self, shape: tuple[int, ...], rate: float) -> Tensor:
        if not self.training or rate == 0:
            return torch.ones(shape)
        return torch.empty(shape).bernoulli_(1 - rate) / (1 - rate)

    def forward(self, words: Tensor, hidden: Tensor, cell: Tensor | Sequence[Node]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities `(T, N, V)`, raw outputs `(T, N, d)`, next hidden state; `cell` is a table or nodes."""
        rows, width = hidden.shape
        rate_e, rate_x, rate_h, rate_out = self.dropouts
        inputs = F.embedding(words, self.embedding) * self._mask((1, rows, width), rate_e)
        mask_x, mask_h = self._mask((rows, width), rate_x), self._mask((rows, width), rate_h)
        outputs = []
        for time in range(len(words)):
            if isinstance(cell, Tensor):
                hidden = self.cell.dense_step(inputs[time], hidden, mask_x, mask_h, cell)
            else:
                hidden = self.cell.path_step(inputs[time], hidden, mask_x, mask_h, cell)
            outputs.append(hidden)
        raw = torch.stack(outputs)
        dropped = raw * self._mask((1, rows, width), rate_out)
        logits = F.linear(dropped.view(-1, width), self.embedding, self.bias)
        return F.log_softmax(logits, dim=-1).view(len(words), rows, -1), raw, hidden

    def loss(self, words: Tensor, targets: Tensor, hidden: Tensor, cell: Tensor | Sequence[Node]) -> Tensor:
        """The training loss with the temporal penalty."""
        scores, raw, _ = self(words, hidden, cell)
        plain = F.nll_loss(scores.flatten(0, 1), targets.flatten())
        penalty: Tensor = 1e-3 * (raw[1:] - raw[:-1]).pow(2).mean()
        return plain + penalty


def copy_weights(source: WordModel, target: PlainLanguageModel) -> None:
    """Give the twin the library's weights."""
    with torch.no_grad():
        target.embedding.copy_(source.embedding)
        target.bias.copy_(source.decoder_bias)
        target.cell.first.copy_(source.input_matrix)
        for matrix, value in zip(target.cell.matrices, source.node_matrices, strict=True):
            matrix.copy_(value)


class PlainRecurrentPolicy:
    """The policy as tensors in autograd."""

    def __init__(self) -> None:
        self.structure = [(1e-3 * torch.randn(options)).requires_grad_() for options in range(2, NODES + 1)]
        edges = NODES * (NODES + 1) // 2
        self.operations = [(1e-3 * torch.randn(4)).requires_grad_() for _ in range(edges)]
        self.adam = torch.optim.Adam([*self.structure, *self.operations], lr=3e-3, weight_decay=1e-3)

    def draw(self) -> tuple[Tensor, Tensor]:
        """A table, and the log-probability of its draws."""
        table, terms = torch.zeros(len(self.operations), 4), []
        for node in range(1, NODES + 1):
            source = 0
            if node > 1:
                scores = F.log_softmax(self.structure[node - 2], dim=0)
                source = int(torch.multinomial(scores.exp(), 1))
                terms.append(scores[source])
            row = node * (node - 1) // 2 + source
            scores = F.log_softmax(self.operations[row], dim=0)
            activation = int(torch.multinomial(scores.exp(), 1))
            terms.append(scores[activation])
            table[row, activation] = 1
        return table, torch.stack(terms).sum()


class PlainChildStep:
    """A step of the shared weights: plain SGD with a clip."""

    def __init__(self, network: PlainLanguageModel, policy: PlainRecurrentPolicy) -> None:
        self.network, self.policy = network, policy
        self.sgd = torch.optim.SGD(network.parameters(), lr=20, weight_decay=5e-7, foreach=False)

    def __call__(self, words: Tensor, targets: Tensor) -> float:
        """The loss of a step on `(T, N)` words."""
        self.network.train()
        table, _ = self.policy.draw()
        self.sgd.zero_grad(set_to_none=False)
        loss = self.network.loss(words, targets, torch.zeros(words.shape[1], self.network.cell.width), table)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 0.25, foreach=False)
        self.sgd.step()
        return loss.item()


class PlainPolicyStep:
    """A step of the policy: two passes of the network, the policy's loss through autograd."""

    def __init__(self, network: PlainLanguageModel, policy: PlainRecurrentPolicy) -> None:
        self.network, self.policy, self.baseline = network, policy, 0.0

    def __call__(self, words: Tensor, targets: Tensor) -> float:
        """The reward of a step on `(T, N)` words."""
        self.network.eval()
        table, log_probability = self.policy.draw()
        hidden = torch.zeros(words.shape[1], self.network.cell.width)
        _, _, hidden = self.network(words, hidden, table)
        scores, _, _ = self.network(words, hidden.detach(), table)
        reward = 80 / F.nll_loss(scores.flatten(0, 1), targets.flatten()).exp().item()
        self.baseline = 0.99 * self.baseline + 0.01 * reward
        self.policy.adam.zero_grad()
        loss = -(reward - self.baseline) * log_probability
        loss.backward()  # type: ignore[no-untyped-call]
        self.policy.adam.step()
        return reward


class _Lstm(nn.Module):
    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(words, width).uniform_(-0.04, 0.04))
        self.bias = nn.Parameter(torch.zeros(words))
        self.lstm = nn.LSTM(width, width)

    def forward(self, words: Tensor) -> Tensor:
        outputs, _ = self.lstm(F.embedding(words, self.embedding))
        return F.log_softmax(F.linear(outputs, self.embedding, self.bias), dim=-1)


def plain_lstm(words: int, parameters: int) -> nn.Module:
    """A language model with one `torch.nn.LSTM` and tied words, of as many parameters as near as can be."""
    # words * d + words + 8 d^2 + 8 d = parameters
    linear = words + 8
    width = round((-linear + (linear**2 + 32 * (parameters - words)) ** 0.5) / 16)
    return _Lstm(words, width)
