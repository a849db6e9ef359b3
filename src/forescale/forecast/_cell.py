"""One step of a stack of LSTM layers for many paths at once, without autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = list[tuple[Tensor, Tensor]]
"""Hidden and cell state of each layer, [paths, hidden]."""


class Stepper:
    """The weights of an `nn.LSTM`, laid out for single steps.

    Gates are scaled so that one sigmoid serves all four of them: tanh(x) = 2 sigmoid(2x) - 1 is four times faster here.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self.layers = lstm.num_layers
        self.hidden = lstm.hidden_size
        self.inputs = [self._packed(lstm, f"weight_ih_l{k}") for k in range(self.layers)]
        self.recurrent = [self._packed(lstm, f"weight_hh_l{k}") for k in range(self.layers)]
        self.biases = [
            self._packed(lstm, f"bias_ih_l{k}") + self._packed(lstm, f"bias_hh_l{k}") for k in range(self.layers)
        ]

    def _packed(self, lstm: nn.LSTM, name: str) -> Tensor:
        """A parameter transposed, [..., 4 hidden], with the cell's candidate gate doubled."""
        weight: Tensor = getattr(lstm, name).detach().clone()
        weight[2 * self.hidden : 3 * self.hidden] *= 2
        return weight.T.contiguous() if weight.dim() == 2 else weight

    def __call__(self, gates: Tensor, state: State) -> Tensor:
        """Move `state` on in place; `gates` [paths, 4 hidden] is the first layer's input times `inputs[0]`, and is used up."""
        hidden = gates
        for k in range(self.layers):
            before, cell = state[k]
            gates = gates.add_(self.biases[k]) if k == 0 else torch.addmm(self.biases[k], hidden, self.inputs[k])
            gates.addmm_(before, self.recurrent[k]).sigmoid_()
            enter, forget, candidate, leave = gates.chunk(4, -1)
            candidate = candidate.mul(2).sub_(1)
            cell = torch.mul(forget, cell).addcmul_(enter, candidate)
            hidden = torch.mul(cell, 2).sigmoid_().mul_(2).sub_(1).mul_(leave)
            state[k] = (hidden, cell)
        return hidden


def lstm_state(state: tuple[Tensor, Tensor], paths: int) -> State:
    """The state that `nn.LSTM` returns, [layers, windows, hidden], for so many paths of each window."""
    hidden, cell = (part.repeat_interleave(paths, 1) for part in state)
    return [(hidden[k], cell[k]) for k in range(hidden.shape[0])]
