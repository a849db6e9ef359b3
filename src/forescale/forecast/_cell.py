"""One step of a stack of LSTM layers for many paths at once, without autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class State:
    """Of all paths: half of each layer's hidden values, side by side [paths, layers x hidden], and double its cells."""

    halves: Tensor
    doubles: list[Tensor]  # [paths, hidden] each


class Stepper:
    """The weights of an `nn.LSTM`, laid out for single steps: one matrix product a layer, over one buffer without copies.

    tanh(x) = 2 sigmoid(2x) - 1 is four times faster here, so gates are scaled for one sigmoid to serve all four. The twos
    that this leaves are kept in the state and the weights: cells are stored doubled and hidden values halved.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self.layers, self.hidden = lstm.num_layers, lstm.hidden_size
        self.inputs = self._packed(lstm, "weight_ih_l0").contiguous()  # [inputs, 4 hidden], of the first layer
        self.weights = [2 * self._packed(lstm, "weight_hh_l0")]
        for k in range(1, self.layers):
            parts = [self._packed(lstm, f"weight_{part}_l{k}") for part in ("ih", "hh")]
            self.weights.append(2 * torch.cat(parts))
        self.biases = [
            self._packed(lstm, f"bias_ih_l{k}") + self._packed(lstm, f"bias_hh_l{k}") for k in range(self.layers)
        ]

    def _packed(self, lstm: nn.LSTM, name: str) -> Tensor:
        """A parameter transposed, [..., 4 hidden], with the cell's candidate gate doubled."""
        weight: Tensor = getattr(lstm, name).detach().clone()
        weight[2 * self.hidden : 3 * self.hidden] *= 2
        return weight.T if weight.dim() == 2 else weight

    def __call__(self, gates: Tensor, state: State) -> Tensor:
        """Move `state` on in place; `gates` [paths, 4 hidden], used up, is the first layer's bias and input times `inputs`."""
        size, own = self.hidden, state.halves
        for k, cell in enumerate(state.doubles):
            read = state.halves[:, max(k - 1, 0) * size : (k + 1) * size]  # the layer below, then the layer itself
            gates = torch.addmm(self.biases[k], read, self.weights[k]) if k else gates.addmm_(read, self.weights[k])
            enter, forget, candidate, leave = gates.sigmoid_().chunk(4, -1)
            cell.mul_(forget).addcmul_(enter, candidate, value=4).sub_(enter, alpha=2)
            own = state.halves[:, k * size : (k + 1) * size]
            torch.mul(cell.sigmoid().sub_(0.5), leave, out=own)
        return 2 * own


def lstm_state(state: tuple[Tensor, Tensor], paths: int) -> State:
    """The state that `nn.LSTM` returns, [layers, windows, hidden], for so many paths of each window."""
    hidden, cell = (part.repeat_interleave(paths, 1) for part in state)
    return State(halves=torch.cat([*(hidden / 2)], -1), doubles=[2 * each for each in cell])


class Gates:
    """The first layer's gates from one-hot inputs, by looking their rows up, and from a few numbers: one pass over memory."""

    def __init__(self, rows: list[Tensor], numbers: list[Tensor], bias: Tensor) -> None:
        """`rows`: the weights of each one-hot input [bins, 4 hidden]; `numbers`: those of each number [4 hidden]."""
        self.table = torch.cat([*rows, torch.stack([*numbers, bias])])
        self.offsets = torch.tensor([sum(len(r) for r in rows[:k]) for k in range(len(rows))], dtype=torch.int32)
        self.last = len(self.table) - 1 - len(numbers)

    def __call__(self, bins: list[Tensor], numbers: list[Tensor]) -> Tensor:
        """`bins` [paths] of each one-hot input and `numbers` [paths], as int32 and floats; [paths, 4 hidden]."""
        count = len((*bins, *numbers)[0])
        index = torch.empty(count, len(bins) + len(numbers) + 1, dtype=torch.int32)
        weight = torch.ones(index.shape, dtype=self.table.dtype)
        for k, each in enumerate(bins):
            index[:, k] = each
            index[:, k] += self.offsets[k]
        for k, each in enumerate(numbers):
            index[:, len(bins) + k] = self.last + k
            weight[:, len(bins) + k] = each
        index[:, -1] = len(self.table) - 1
        return torch.nn.functional.embedding_bag(index, self.table, per_sample_weights=weight, mode="sum")
