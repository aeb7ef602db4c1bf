"""DSM-NAS's controller: a graph network over the centres, and an LSTM that picks one and edits it (spec dsm_nas 1.3).

One object holds the controllers of many independent trials. Every parameter has a leading axis of trials, so that a
step of all trials is a few batched matrix products; the parameters, their gradients and Adam's moments are each one
flat tensor. The backward pass is written out: it stacks the decoder's steps, so that each weight's gradient is one
product, written in place. `benchmarks/plain_controller.py` is the same network for one trial in plain torch; the tests
compare both, outputs and gradients.

A trial's nodes are sorted by score before they enter the network. Edges then always go from a lower to a higher
position: the edge list is the same for all trials and all steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from archscout.methods.dsm_shape import (
    GLOBAL_SQUASH,
    GNN_LAYERS,
    HIDDEN,
    INITIAL_RANGE,
    LOCAL_SQUASH,
    ControllerShape,
    Decisions,
    OptimizerSettings,
)

__all__ = ["Controller"]


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
        self._tape: _Tape | None = None

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
        tape = _Tape(order)
        self._tape = tape
        states = self._graph(nodes.gather(1, order[:, :, None].expand_as(nodes)), tape)
        return self._decode(states, draws, tape)

    def _graph(self, nodes: Tensor, tape: _Tape) -> Tensor:
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

    def _decode(self, states: Tensor, draws: Tensor, tape: _Tape) -> Decisions:
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

    def _lstm(self, tape: _Tape, step: int, inputs: Tensor, bias: Tensor) -> Tensor:
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
        self, raw: Tensor, bound: float, blocked: Tensor | None, draws: Tensor, tape: _Tape
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
        d_states = self._decode_backward(tape, weight, -self._settings.entropy / proposals)
        self._graph_backward(tape, d_states)

    def _decode_backward(self, tape: _Tape, weight: Tensor, entropy_weight: float) -> Tensor:
        """Gradients of the decoder's weights; returns the gradient of the graph's states."""
        w, g, d, states = self.weights, self.gradients, HIDDEN, tape.states
        trials, steps, proposals, _ = tape.inputs.shape
        d_raw = [_logit_gradient(*recorded, weight=weight, entropy_weight=entropy_weight) for recorded in tape.logits]
        d_hidden = tape.hidden.new_empty(trials, steps, proposals, d)
        # The global step: raw = tanh(states A + hidden B) v.
        d_mixed = (1 - tape.mixed**2) * (d_raw[0][..., None] * w["attend_out"][:, None, None, :, 0])
        torch.bmm(tape.mixed.flatten(1, 2).mT, d_raw[0].reshape(trials, -1, 1), out=g["attend_out"])
        by_node, by_proposal = d_mixed.sum(1), d_mixed.sum(2)
        torch.bmm(states.mT, by_node, out=g["attend_node"])
        torch.bmm(tape.hidden[:, 1].mT, by_proposal, out=g["attend_hidden"])
        d_hidden[:, 0] = torch.bmm(by_proposal, w["attend_hidden"].mT)
        d_states = torch.bmm(by_node, w["attend_node"].mT)
        # The local steps, all layers and all operations at once.
        for first, head in ((1, "layer_head"), (2, "operation_head")):
            stacked = torch.stack(d_raw[first::2], dim=1).flatten(1, 2)
            read = tape.hidden[:, first + 1 :: 2].flatten(1, 2)
            torch.bmm(read.mT, stacked, out=g[head])
            torch.sum(stacked, 1, out=g[f"{head}_bias"])
            d_hidden[:, first::2] = torch.unflatten(torch.bmm(stacked, w[head].mT), 1, (-1, proposals))
        d_inputs = self._lstm_backward(tape, d_hidden)
        # What the steps read: the mean state, then embeddings of the choices before.
        d_states += d_inputs[:, 0].sum(1, keepdim=True) / self.shape.slots
        for name, reads in (("slot", [0]), ("layer", range(1, steps, 2)), ("operation", range(2, steps - 1, 2))):
            target = g[f"{name}_embedding"].zero_()
            for step in reads:
                index = tape.choices[step][:, :, None].expand(-1, -1, d)
                target.scatter_add_(1, index, d_inputs[:, step + 1])
        return d_states

    def _lstm_backward(self, tape: _Tape, d_hidden: Tensor) -> Tensor:
        """Back through time; returns the gradient of the inputs `(T, steps, B, 64)`."""
        w, g, d = self.weights, self.gradients, HIDDEN
        steps = d_hidden.shape[1]
        i, f, c, o = torch.split(tape.gates, d, dim=-1)
        through_cell = o * (1 - tape.squashed**2)
        d_gates = torch.empty_like(tape.gates)
        # The factors of the gate derivatives that need no recurrence.
        d_gates[..., :d] = c * i * (1 - i)
        d_gates[..., d : 2 * d] = tape.cell[:, :-1] * f * (1 - f)
        d_gates[..., 2 * d : 3 * d] = i * (1 - c**2)
        d_gates[..., 3 * d :] = tape.squashed * o * (1 - o)
        carried: Tensor | None = None
        back = w["lstm_hidden"].mT
        for step in reversed(range(steps)):
            dh = d_hidden[:, step]
            dc = dh * through_cell[:, step]
            if carried is not None:
                dc += carried
            torch.unflatten(d_gates[:, step], -1, (4, d))[..., :3, :].mul_(dc.unsqueeze(-2))
            d_gates[:, step, :, 3 * d :].mul_(dh)
            if step:
                carried = dc * f[:, step]
                d_hidden[:, step - 1] += torch.bmm(d_gates[:, step], back)
        flat = d_gates.flatten(1, 2)
        torch.bmm(tape.inputs.flatten(1, 2).mT, flat, out=g["lstm_input"])
        torch.bmm(tape.hidden[:, :-1].flatten(1, 2).mT, flat, out=g["lstm_hidden"])
        torch.sum(flat, 1, out=g["lstm_input_bias"])
        g["lstm_hidden_bias"].copy_(g["lstm_input_bias"])
        return torch.bmm(flat, w["lstm_input"].mT).view_as(tape.inputs)

    def _graph_backward(self, tape: _Tape, d_after: Tensor) -> None:
        """Gradients of the graph network's weights from that of its states."""
        w, g, d = self.weights, self.gradients, HIDDEN
        d_edge: Tensor | None = None
        edges = len(self._low)
        for layer in reversed(range(GNN_LAYERS)):
            h, e, p, z, joined, after = tape.layers[layer]
            d_e = torch.zeros_like(e)
            if d_edge is not None:
                ends, new = tape.ends[layer]
                d_new = d_edge * (new > 0)
                torch.bmm(ends.mT, d_new, out=g[f"edge_update{layer}"])
                d_ends = torch.bmm(d_new, w[f"edge_update{layer}"].mT)
                d_e += d_ends[..., :d]
                d_after.index_add_(1, self._low, d_ends[..., d : 2 * d])
                d_after.index_add_(1, self._high, d_ends[..., 2 * d :])
            d_after = d_after * (after > 0)
            torch.bmm(joined.mT, d_after, out=g[f"update{layer}"])
            d_joined = torch.bmm(d_after, w[f"update{layer}"].mT)
            d_h, d_mean = d_joined[..., :d].contiguous(), d_joined[..., d:]
            d_z = (self._mean.T @ d_mean) * (z > 0)
            torch.bmm(p.mT, d_z, out=g[f"pool{layer}"])
            torch.sum(d_z, 1, out=g[f"pool_bias{layer}"])
            d_p = torch.bmm(d_z, w[f"pool{layer}"].mT) * (p > 0)
            low, high = d_p[:, :edges], d_p[:, edges:]
            message, into = w[f"message{layer}"], g[f"message{layer}"]
            d_own = torch.zeros_like(h).index_add_(1, self._low, low).index_add_(1, self._high, high)
            torch.bmm(h.mT, d_own, out=into[:, :d])
            torch.bmm(e.mT, low, out=into[:, d : 2 * d])
            torch.bmm(e.mT, high, out=into[:, 2 * d :])
            d_h.baddbmm_(d_own, message[:, :d].mT)
            d_e.baddbmm_(low, message[:, d : 2 * d].mT).baddbmm_(high, message[:, 2 * d :].mT)
            d_after, d_edge = d_h, d_e
        assert d_edge is not None
        torch.sum(d_after, 1, out=g["node_bias"])
        torch.bmm(tape.nodes.mT, d_after, out=g["node"])
        torch.sum(d_edge, 1, out=g["edge_bias"])
        along = torch.zeros_like(d_after).index_add_(1, self._high, d_edge)
        along.index_add_(1, self._low, d_edge, alpha=-1)
        torch.bmm(tape.nodes.mT, along, out=g["edge"])

    # -- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Parameters and Adam's moments."""
        return {"flat": self.flat, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.flat.copy_(state["flat"])
        self._adam.load_state_dict(state["adam"])


class _Tape:
    """What the backward pass needs of a forward pass."""

    def __init__(self, order: Tensor) -> None:
        self.order = order
        self.layers: list[tuple[Tensor, ...]] = []
        self.ends: list[tuple[Tensor, Tensor]] = []
        self.logits: list[tuple[Tensor, float, Tensor, Tensor, Tensor, Tensor]] = []
        self.choices: list[Tensor]
        self.nodes: Tensor
        self.states: Tensor
        self.inputs: Tensor
        self.hidden: Tensor
        self.cell: Tensor
        self.gates: Tensor
        self.squashed: Tensor
        self.mixed: Tensor


def _logit_gradient(
    tanh: Tensor,
    bound: float,
    p: Tensor,
    log_p: Tensor,
    choice: Tensor,
    entropy: Tensor,
    *,
    weight: Tensor,
    entropy_weight: float,
) -> Tensor:
    """Gradient of `weight * log p(choice) + entropy_weight * entropy` by the raw logits, `(T, B, n)`."""
    gradient = -p * weight
    gradient.scatter_add_(-1, choice[..., None], weight.expand(*choice.shape, 1))
    gradient -= entropy_weight * p * (log_p + entropy[..., None])
    return gradient.mul_(bound * (1 - tanh**2))
