"""DSM-NAS's controller: a graph network over the centres, and an LSTM that picks one and edits it.

Source: docs/methods/dsm.md#controller and docs/methods/dsm.md#subspace-graph.

One object holds the controllers of many independent trials. Every parameter has a leading axis of trials, so that a
step of all trials is a few batched matrix products; the parameters, their gradients and Adam's moments are each one
flat tensor. The backward pass is written out in `backward.py`. `benchmarks/plain_controller.py` is the same network
for one trial in plain torch; the tests compare both, outputs and gradients.

A trial's nodes are sorted by score before they enter the network. Edges then always go from a lower to a higher
position: the edge list is the same for all trials and all steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from archscout.methods.dsm.backward import Backward, Tape

__all__ = ["Controller", "ControllerShape", "Decisions", "OptimizerSettings"]

HIDDEN = 64
GNN_LAYERS = 2
INITIAL_RANGE = 0.1  # every parameter starts uniform in [-0.1, 0.1], biases included
GLOBAL_SQUASH = 1.5  # logits are bounded by 1.5 tanh(.) where a slot is picked
LOCAL_SQUASH = GLOBAL_SQUASH / 2.5  # and by 0.6 tanh(.) where layers and operations are


@dataclass(frozen=True)
class ControllerShape:
    """What a controller decides.

    Attributes:
        slots: centres to pick from (K).
        edits: pairs of layer and operation for each proposal (M).
        allowed: of each layer, which operations it may have.
        features: length of a centre's one-hot code.
    """

    slots: int
    edits: int
    allowed: tuple[tuple[bool, ...], ...]
    features: int

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.allowed)

    @property
    def operations(self) -> int:
        """Number of operations."""
        return len(self.allowed[0])

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters of one trial; matrices are `(inputs, outputs)`."""
        d, features = HIDDEN, self.features + 1  # the score is a feature
        shapes: dict[str, tuple[int, ...]] = {
            "node": (features, d),
            "node_bias": (d,),
            "edge": (features, d),
            "edge_bias": (d,),
        }
        for layer in range(GNN_LAYERS):
            shapes |= {
                f"message{layer}": (3 * d, d),
                f"pool{layer}": (d, d),
                f"pool_bias{layer}": (d,),
                f"update{layer}": (2 * d, d),
                f"edge_update{layer}": (3 * d, d),
            }
        return shapes | {
            "lstm_input": (d, 4 * d),
            "lstm_hidden": (d, 4 * d),
            "lstm_input_bias": (4 * d,),
            "lstm_hidden_bias": (4 * d,),
            "attend_node": (d, d),
            "attend_hidden": (d, d),
            "attend_out": (d, 1),
            "slot_embedding": (self.slots, d),
            "layer_embedding": (self.layers, d),
            "operation_embedding": (self.operations, d),
            "layer_head": (d, self.layers),
            "layer_head_bias": (self.layers,),
            "operation_head": (d, self.operations),
            "operation_head_bias": (self.operations,),
            # The published controller has one more layer that nothing reads; kept, so that sizes compare.
            "unused": (d, self.slots),
            "unused_bias": (self.slots,),
        }

    @property
    def parameters(self) -> int:
        """Their number: 122,062 for NAS-Bench-201 with 3 slots, 146,408 for the MobileNet space with 10."""
        return sum(math.prod(shape) for shape in self.tensors().values())

    @property
    def largest_entropy(self) -> float:
        """Of a proposal, in nats, if every choice were uniform."""
        choices = max(sum(row) for row in self.allowed)
        return math.log(self.slots) + self.edits * (math.log(self.layers) + math.log(choices))


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam's settings, and the weight of the entropy in the objective."""

    lr: float
    weight_decay: float
    entropy: float


class Decisions(NamedTuple):
    """Proposals of T trials, B each: `slots`, `log_probability`, `entropy` are `(T, B)`, the edits `(T, B, M)`."""

    slots: Tensor
    layers: Tensor
    operations: Tensor
    log_probability: Tensor
    entropy: Tensor


class Controller:
    """The controllers of T trials.

    Args:
        shape: what they decide.
        generators: one for each trial, for its initial parameters.
        optimizer: Adam's settings.
        uniform: decide uniformly and learn nothing (the random walk to compare with).
        device, dtype: of all tensors.
    """

    def __init__(
        self,
        shape: ControllerShape,
        generators: Sequence[torch.Generator],
        optimizer: OptimizerSettings,
        *,
        uniform: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shape, self._settings, self._uniform = shape, optimizer, uniform
        drawn = [torch.rand(shape.parameters, generator=each, dtype=dtype) for each in generators]
        self.flat = (INITIAL_RANGE * (2 * torch.stack(drawn) - 1)).to(device)
        self._gradient = torch.zeros_like(self.flat)
        self.weights, self.gradients = self._views(self.flat), self._views(self._gradient)
        self._adam = torch.optim.Adam(
            [self.flat], lr=optimizer.lr, weight_decay=optimizer.weight_decay, fused=self.flat.device.type != "mps"
        )
        self.flat.grad = self._gradient
        pairs = [(low, high) for high in range(shape.slots) for low in range(high)]
        self._low, self._high = (torch.tensor(side, device=device) for side in zip(*pairs, strict=True))
        # Messages lie as seen from the lower node of every edge, then as seen from the higher one.
        receivers = torch.cat([self._low, self._high])
        incidence = torch.nn.functional.one_hot(receivers, shape.slots).T.to(self.flat)
        self._mean = incidence / (shape.slots - 1)
        self._blocked = ~torch.tensor(shape.allowed, device=device)
        self._masked = bool(self._blocked.any())
        self._backward = Backward(self.weights, self.gradients, self._low, self._high, self._mean)
        self._tape: Tape | None = None

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        views, start = {}, 0
        for name, shape in self.shape.tensors().items():
            size = math.prod(shape)
            views[name] = flat[:, start : start + size].view(len(flat), *shape)
            start += size
        return views

    # -- forward -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def propose(self, nodes: Tensor, draws: Tensor) -> Decisions:
        """Pick slots and edits.

        Args:
            nodes: `(T, K, features + 1)`: one-hot code and, last, the score of each centre.
            draws: uniform numbers in [0, 1), `(T, B, 1 + 2 M)`, one for each choice.
        """
        order = nodes[:, :, -1].sort(dim=1, stable=True).indices
        tape = Tape(order)
        self._tape = tape
        states = self._graph(nodes.gather(1, order[:, :, None].expand_as(nodes)), tape)
        return self._decode(states, draws, tape)

    def _graph(self, nodes: Tensor, tape: Tape) -> Tensor:
        """The graph network: nodes sorted by score to states `(T, K, 64)`."""
        w, d = self.weights, HIDDEN
        h = torch.baddbmm(w["node_bias"][:, None], nodes, w["node"])
        along = torch.bmm(nodes, w["edge"])
        e = along[:, self._high] - along[:, self._low] + w["edge_bias"][:, None]
        tape.nodes = nodes
        for layer in range(GNN_LAYERS):
            message = w[f"message{layer}"]
            own = torch.bmm(h, message[:, :d])
            p = torch.cat(
                [
                    own[:, self._low] + torch.bmm(e, message[:, d : 2 * d]),
                    own[:, self._high] + torch.bmm(e, message[:, 2 * d :]),
                ],
                dim=1,
            ).relu_()
            z = torch.baddbmm(w[f"pool_bias{layer}"][:, None], p, w[f"pool{layer}"]).relu_()
            joined = torch.cat([h, self._mean @ z], dim=2)
            after = torch.bmm(joined, w[f"update{layer}"]).relu_()
            tape.layers.append((h, e, p, z, joined, after))
            if layer < GNN_LAYERS - 1:  # the last layer's edges are not read
                ends = torch.cat([e, after[:, self._low], after[:, self._high]], dim=2)
                e = torch.bmm(ends, w[f"edge_update{layer}"]).relu_()
                tape.ends.append((ends, e))
            h = after
        return h

    def _decode(self, states: Tensor, draws: Tensor, tape: Tape) -> Decisions:
        """The LSTM: which slot, then M times which layer and which operation."""
        w, d, edits = self.weights, HIDDEN, self.shape.edits
        trials, proposals, _ = draws.shape
        steps = 1 + 2 * edits
        bias = (w["lstm_input_bias"] + w["lstm_hidden_bias"])[:, None]
        # Row 0 of `hidden` and `cell` is the state before the first step.
        tape.inputs = states.new_empty(trials, steps, proposals, d)
        tape.hidden = states.new_zeros(trials, steps + 1, proposals, d)
        tape.cell = states.new_zeros(trials, steps + 1, proposals, d)
        tape.gates = states.new_empty(trials, steps, proposals, 4 * d)
        tape.squashed = states.new_empty(trials, steps, proposals, d)
        total_log = states.new_zeros(trials, proposals)
        total_entropy = states.new_zeros(trials, proposals)
        choices: list[Tensor] = []
        inputs = states.mean(1, keepdim=True).expand(-1, proposals, -1)
        attended = torch.bmm(states, w["attend_node"])
        for step in range(steps):
            tape.inputs[:, step] = inputs
            hidden = self._lstm(tape, step, inputs, bias)
            if step == 0:
                mixed = attended[:, None] + torch.bmm(hidden, w["attend_hidden"])[:, :, None]
                tape.mixed = mixed.tanh_()
                raw = (mixed @ w["attend_out"][:, None]).squeeze(-1)
                bound, blocked, embedding = GLOBAL_SQUASH, None, "slot_embedding"
            elif step % 2:
                raw = torch.baddbmm(w["layer_head_bias"][:, None], hidden, w["layer_head"])
                bound, blocked, embedding = LOCAL_SQUASH, None, "layer_embedding"
            else:
                raw = torch.baddbmm(w["operation_head_bias"][:, None], hidden, w["operation_head"])
                blocked = self._blocked[choices[-1]] if self._masked else None
                bound, embedding = LOCAL_SQUASH, "operation_embedding"
            choice, log_p, entropy = self._choose(raw, bound, blocked, draws[:, :, step], tape)
            total_log += log_p
            total_entropy += entropy
            if step == 0:  # sorted positions back to slots, on both sides of the network
                choice = tape.order.gather(1, choice)
            choices.append(choice)
            inputs = w[embedding].gather(1, choice[:, :, None].expand(-1, -1, d))
        tape.states, tape.choices = states, choices
        layers, operations = torch.stack(choices[1::2], dim=2), torch.stack(choices[2::2], dim=2)
        return Decisions(choices[0], layers, operations, total_log, total_entropy)

    def _lstm(self, tape: Tape, step: int, inputs: Tensor, bias: Tensor) -> Tensor:
        """One step of the cell, recorded on the tape. Gates lie in torch's order: input, forget, cell, output."""
        w, d = self.weights, HIDDEN
        gates = torch.baddbmm(bias, inputs, w["lstm_input"])
        if step:
            gates = gates.baddbmm_(tape.hidden[:, step], w["lstm_hidden"])
        gates[..., : 2 * d].sigmoid_()
        gates[..., 2 * d : 3 * d].tanh_()
        gates[..., 3 * d :].sigmoid_()
        i, f, g, o = torch.split(gates, d, dim=-1)
        cell = torch.addcmul(f * tape.cell[:, step], i, g)
        squashed = cell.tanh()
        hidden: Tensor = o * squashed
        tape.gates[:, step], tape.cell[:, step + 1] = gates, cell
        tape.squashed[:, step], tape.hidden[:, step + 1] = squashed, hidden
        return hidden

    def _choose(
        self, raw: Tensor, bound: float, blocked: Tensor | None, draws: Tensor, tape: Tape
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample from bounded logits `(T, B, n)`; also the log probability of the choice and the entropy."""
        tanh = raw.tanh()
        logits = tanh * (0.0 if self._uniform else bound)
        if blocked is not None:
            logits = logits.masked_fill(blocked, -math.inf)
        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        reached = p.cumsum(-1)
        # A choice of probability zero is never counted last, not even by rounding.
        level = (draws.to(p)[..., None] * reached[..., -1:]).clamp_(max=1 - 1e-6)
        choice = (reached <= level).sum(-1).clamp_(max=raw.shape[-1] - 1)
        finite = log_p if blocked is None else log_p.masked_fill(blocked, 0.0)
        entropy = -(p * finite).sum(-1)
        tape.logits.append((tanh, bound, p, finite, choice, entropy))
        return choice, finite.gather(-1, choice[..., None]).squeeze(-1), entropy

    # -- backward ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def learn(self, advantages: Tensor) -> None:
        """One Adam step of every trial on `-(advantage * log p) - c * entropy`, the mean over its B proposals.

        Args:
            advantages: `(T, B)`, for the proposals of the last `propose`.
        """
        if self._uniform:
            return
        self.backward(advantages)
        self._adam.step()

    @torch.no_grad()
    def backward(self, advantages: Tensor) -> None:
        """Fill `gradients` for the proposals of the last `propose`."""
        if self._tape is None:
            raise RuntimeError("nothing was proposed yet")
        tape, self._tape = self._tape, None
        proposals = advantages.shape[1]
        weight = (advantages / -proposals).to(self.flat)[..., None]
        d_states = self._backward.decoder(tape, weight, -self._settings.entropy / proposals)
        self._backward.graph(tape, d_states)

    # -- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Parameters and Adam's moments."""
        return {"flat": self.flat, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.flat.copy_(state["flat"])
        self._adam.load_state_dict(state["adam"])
