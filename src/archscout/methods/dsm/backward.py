"""The backward pass of DSM-NAS's controllers, written out (docs/methods/dsm.md#controller).

The decoder's steps are stacked, so that each weight's gradient is one product over all of them, written in place.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Backward", "Tape"]


class Tape:
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


class Backward:
    """Fills the gradients of T controllers.

    Args:
        weights, gradients: by name, `(T, ...)`; gradients are written over.
        low, high: of every edge of the graph its two nodes.
        mean: `(K, messages)`, which takes the mean of the messages that a node gets.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], low: Tensor, high: Tensor, mean: Tensor
    ) -> None:
        self._weights, self._gradients = weights, gradients
        self._width = weights["node_bias"].shape[-1]
        self._low, self._high, self._mean, self._slots = low, high, mean, len(mean)

    def decoder(self, tape: Tape, weight: Tensor, entropy_weight: float) -> Tensor:
        """Gradients of the decoder's weights; returns the gradient of the graph's states."""
        w, g, d, states = self._weights, self._gradients, self._width, tape.states
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
        d_inputs = self._lstm(tape, d_hidden)
        # What the steps read: the mean state, then embeddings of the choices before.
        d_states += d_inputs[:, 0].sum(1, keepdim=True) / self._slots
        for name, reads in (("slot", [0]), ("layer", range(1, steps, 2)), ("operation", range(2, steps - 1, 2))):
            target = g[f"{name}_embedding"].zero_()
            for step in reads:
                index = tape.choices[step][:, :, None].expand(-1, -1, d)
                target.scatter_add_(1, index, d_inputs[:, step + 1])
        return d_states

    def _lstm(self, tape: Tape, d_hidden: Tensor) -> Tensor:
        """Back through time; returns the gradient of the inputs `(T, steps, B, 64)`."""
        w, g, d = self._weights, self._gradients, self._width
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

    def graph(self, tape: Tape, d_after: Tensor) -> None:
        """Gradients of the graph network's weights from that of its states."""
        w, g, d = self._weights, self._gradients, self._width
        d_edge: Tensor | None = None
        edges = len(self._low)
        for layer in reversed(range(len(tape.layers))):
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
