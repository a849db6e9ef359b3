"""One network for all levels: a head a level reads its state and the coarser bins chosen so far. Other laws as heads, too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.forecast._cell import Gates, Stepper, lstm_state
from forescale.forecast._density import Density
from forescale.forecast._networks import LEAST_SHAPE, Inputs, LevelsLaw, Step, one_hot
from forescale.forecast._torch import parts
from forescale.forecast._transformer import Transformer

Z_BOUNDS = (-1.0, 2.0)  # of the previous value as an input


class LevelsHead(nn.Module):
    """A hidden layer a level: level k sees the state and the bins chosen at the levels before."""

    def __init__(self, density: Density, width: int, hidden: int) -> None:
        super().__init__()
        bins = density.grid.bins
        self.density, self.hidden = density, hidden
        self.enter = nn.Linear(width, hidden * len(bins))
        self.embeds = nn.ModuleList(nn.Embedding(sum(bins[:k]), hidden) for k in range(1, len(bins)))
        self.outs = nn.ModuleList(nn.Linear(hidden, count) for count in bins)
        self.tails = nn.Linear(width, 2) if density.tails else None

    def law(self, state: Tensor, bins: Tensor) -> LevelsLaw:
        entered = self.enter(state)
        chosen = [bins[..., k] for k in range(bins.shape[-1])]
        logits = [self._logits(entered, level, chosen[:level]) for level in range(len(chosen))]
        return LevelsLaw(density=self.density, logits=logits, shapes=self._shapes(state))

    def quantile(self, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        entered = self.enter(state)
        return self.density.quantile(u, lambda level, chosen: self._logits(entered, level, chosen), self._shapes(state))

    def _logits(self, entered: Tensor, level: int, chosen: Sequence[Tensor]) -> Tensor:
        hidden = entered[..., level * self.hidden : (level + 1) * self.hidden]
        for k, index in enumerate(chosen):
            hidden = hidden + self.embeds[level - 1](index + sum(self.density.grid.bins[:k]))
        return self.outs[level](functional.relu(hidden))

    def _shapes(self, state: Tensor) -> Tensor | None:
        return None if self.tails is None else functional.softplus(self.tails(state)) + LEAST_SHAPE


class SharedNetwork(nn.Module, ABC):
    """One network over the bins and the value before each step and its extra inputs; `head` turns its state into a law.

    A head has two calls: `law(state, bins)`, the law of each value on the way to its own bins, and `quantile(state, u)`, the
    value that a share u of the law lies below, and its bins.
    """

    def __init__(
        self,
        density: Density,
        head: Callable[[int], nn.Module],
        *,
        hidden: int,
        extra: int = 0,
        dropout: float = 0.0,
        hot: bool = True,
    ) -> None:
        super().__init__()
        self.density, self.extra, self.hot = density, extra, hot
        self.width = (density.grid.outputs if hot else 0) + 2 + extra
        self.dropout = nn.Dropout(dropout)
        self.head: Any = head(hidden + extra)

    @abstractmethod
    def states(self, rows: Tensor) -> Tensor:
        """The state after each row, [windows, steps, hidden]."""

    @abstractmethod
    def start(self, inputs: Inputs, paths: int) -> Step:
        """Run the conditioning windows once; the returned function moves all paths of all windows by one step."""

    def forward(self, inputs: Inputs, last: int | None = None) -> Any:
        """The law of the last so many steps, teacher forced; of all by default."""
        kept = slice(-(last or inputs.steps), None)
        state = self.dropout(self.states(self.rows(inputs))[:, kept])
        extra = None if inputs.extra is None else inputs.extra[:, kept]
        return self.head.law(self.told(state, extra), inputs.bins[:, kept])

    def rows(self, inputs: Inputs) -> Tensor:
        """What the network reads, [windows, steps, width]."""
        return self.joined(inputs.z[:, :-1], inputs.bins[:, :-1], inputs.extra)

    def joined(self, z: Tensor, bins: Tensor, extra: Tensor | None) -> Tensor:
        """Values [...], their bins and the extra inputs of the steps after them as rows [..., width]."""
        hot = [one_hot(bins[..., k], count, z.dtype) for k, count in enumerate(self.density.grid.bins)] * self.hot
        known = [] if extra is None else [extra]
        return torch.cat([*hot, _value_inputs(z), *known], -1)

    def told(self, state: Tensor, extra: Tensor | None) -> Tensor:
        """What the head reads."""
        return state if extra is None else torch.cat([state, extra], -1)


class LSTMNetwork(SharedNetwork):
    """An LSTM; its single steps look the bins' rows up instead of multiplying by them."""

    def __init__(
        self, density: Density, head: Callable[[int], nn.Module], *, hidden: int, layers: int, **more: Any
    ) -> None:
        super().__init__(density, head, hidden=hidden, **more)
        dropout = self.dropout.p if layers > 1 else 0.0
        self.lstm = nn.LSTM(self.width, hidden, layers, batch_first=True, dropout=dropout)

    def states(self, rows: Tensor) -> Tensor:
        return self.lstm(rows)[0]

    def start(self, inputs: Inputs, paths: int) -> Step:
        state = lstm_state(self.lstm(self.rows(inputs))[1], paths)
        stepper = Stepper(self.lstm)
        bins = self.density.grid.bins if self.hot else ()
        *rows, by_value, by_extra = parts(stepper.inputs, [*bins, 2, self.extra])
        gates_of = Gates(rows, list(by_value), stepper.biases[0])

        def step(z: Tensor, bins: Tensor, extra: Tensor | None, u: Tensor) -> tuple[Tensor, Tensor]:
            gates = gates_of(list(bins.unbind(1)) if self.hot else [], list(_value_inputs(z).unbind(-1)))
            if extra is not None:
                gates.addmm_(extra, by_extra)
            return self.head.quantile(self.told(stepper(gates, state), extra), u)

        return step


class TransformerNetwork(SharedNetwork):
    """A causal transformer; the paths of a window share the keys and values of its past."""

    def __init__(
        self, density: Density, head: Callable[[int], nn.Module], *, hidden: int, layers: int, **more: Any
    ) -> None:
        super().__init__(density, head, hidden=hidden, **more)
        self.transformer = Transformer(self.width, hidden, layers, self.dropout.p)

    def states(self, rows: Tensor) -> Tensor:
        return self.transformer(rows)

    def start(self, inputs: Inputs, paths: int) -> Step:
        memories = self.transformer.remembered(self.rows(inputs))[1]

        def step(z: Tensor, bins: Tensor, extra: Tensor | None, u: Tensor) -> tuple[Tensor, Tensor]:
            rows = self.joined(z, bins, extra).view(-1, paths, self.width)
            state = self.transformer.step(rows, memories).flatten(0, 1)
            return self.head.quantile(self.told(state, extra), u)

        return step


def _value_inputs(z: Tensor) -> Tensor:
    """The previous value, bounded, and squashed: the first is even, the second tells far from farther."""
    return torch.stack([z.clamp(*Z_BOUNDS), torch.sigmoid(z)], -1)
