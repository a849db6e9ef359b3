"""The two networks of C2FAR: an LSTM for each level, as published, or one LSTM with a head for each level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.forecast._cell import Gates, State, Stepper, lstm_state
from forescale.forecast._density import Density
from forescale.forecast._torch import parts

LEAST_SHAPE = 0.3  # of a Pareto tail, as in the authors' code
Step = Callable[[Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]]
"""Previous z [paths], its bins [paths, levels], extra inputs [paths, extra], uniform numbers [paths] -> z and its bins."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Normalised windows: `z` [windows, steps + 1] starts one value before the first step, and has no gaps."""

    z: Tensor
    bins: Tensor  # [windows, steps + 1, levels]
    extra: Tensor | None = None  # known at each step: lags, calendar; [windows, steps, extra]

    @property
    def steps(self) -> int:
        """Values that have one before them."""
        return self.z.shape[1] - 1


@dataclass(frozen=True, kw_only=True)
class LevelsLaw:
    """The law of each value of windows given those before, as logits on the way to the value itself."""

    density: Density
    logits: Sequence[Tensor]  # a level each: [windows, steps, bins]
    shapes: Tensor | None  # of the tails: [windows, steps, 2]

    def log_prob(self, z: Tensor, bins: Tensor) -> Tensor:
        """Nats, of values in units of the normalised series."""
        return self.density.log_prob(z, bins, self.logits, self.shapes)

    def cdf(self, z: Tensor, bins: Tensor) -> Tensor:
        """P(Z <= z)."""
        return self.density.cdf(z, bins, self.logits, self.shapes)


class Tails(nn.Module):
    """Shapes of the low and the high tail from the previous value, [...] -> [..., 2]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.high = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, squashed: Tensor) -> Tensor:
        """`squashed` is the sigmoid of the previous value."""
        x = squashed.unsqueeze(-1)
        return functional.softplus(torch.cat([self.low(x), self.high(x)], -1)) + LEAST_SHAPE


class SeparateNetwork(nn.Module):
    """One LSTM a level. Level k sees levels k and finer of the previous value and levels before k of the current one.

    The layout of the authors' public code: each level has sum(bins) inputs, one more with tails, and `extra`.
    """

    def __init__(self, density: Density, *, hidden: int, layers: int, extra: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.density, self.extra, self.hidden, self.layers = density, extra, hidden, layers
        bins = density.grid.bins
        width = sum(bins) + density.tails + extra
        self.lstms = nn.ModuleList(
            nn.LSTM(width, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0) for _ in bins
        )
        self.outs = nn.ModuleList(nn.Linear(hidden, count) for count in bins)
        self.tails = Tails(hidden) if density.tails else None

    def forward(self, inputs: Inputs, last: int | None = None) -> LevelsLaw:
        """The law of the last so many steps, teacher forced; of all by default."""
        kept = slice(-(last or inputs.steps), None)
        logits = [
            out(lstm(x)[0][:, kept]) for lstm, out, x in zip(self.lstms, self.outs, self._rows(inputs), strict=True)
        ]
        return LevelsLaw(density=self.density, logits=logits, shapes=self._shapes(inputs.z[:, :-1][:, kept]))

    def _shapes(self, previous: Tensor) -> Tensor | None:
        return None if self.tails is None else self.tails(torch.sigmoid(previous))

    def _rows(self, inputs: Inputs) -> list[Tensor]:
        """The inputs of each level, [windows, steps, width]."""
        bins = self.density.grid.bins
        hot = [one_hot(inputs.bins[..., k], count, inputs.z.dtype) for k, count in enumerate(bins)]
        squashed = [torch.sigmoid(inputs.z[:, :-1]).unsqueeze(-1)] if self.tails is not None else []
        line = [*(h[:, :-1] for h in hot), *squashed, *(h[:, 1:] for h in hot[:-1])]
        known = [] if inputs.extra is None else [inputs.extra]
        size = len(bins) + len(squashed)
        return [torch.cat([*line[k : k + size], *known], -1) for k in range(len(bins))]

    def start(self, inputs: Inputs, paths: int) -> Step:
        """Run the conditioning windows once; the returned function moves all paths of all windows by one step."""
        states = [lstm_state(lstm(x)[1], paths) for lstm, x in zip(self.lstms, self._rows(inputs), strict=True)]
        return _SeparateStep(self, states)


class _SeparateStep:
    """The state of the paths of a `SeparateNetwork`."""

    def __init__(self, network: SeparateNetwork, states: list[State]) -> None:
        self.density, self.tails, self.states = network.density, network.tails, states
        self.steppers = [Stepper(lstm) for lstm in network.lstms]  # type: ignore[arg-type]  # a ModuleList is of LSTMs
        outs: Any = network.outs
        self.outs = [(out.weight.detach().T.contiguous(), out.bias.detach()) for out in outs]
        self.gates = [self._gates(k, stepper) for k, stepper in enumerate(self.steppers)]
        self.known = [stepper.inputs[self._width() :] for stepper in self.steppers]

    def _width(self) -> int:
        return self.density.grid.outputs + (self.tails is not None)

    def _gates(self, level: int, stepper: Stepper) -> Gates:
        """The first layer's weights: of previous bins, of the squashed value, of current bins."""
        bins, numbers = self.density.grid.bins, [1] * (self.tails is not None)
        rows = parts(stepper.inputs[: self._width()], [*bins[level:], *numbers, *bins[:level]])
        slopes = [rows.pop(len(bins) - level)[0] for _ in numbers]
        return Gates(rows, slopes, stepper.biases[0])

    def __call__(self, z: Tensor, bins: Tensor, extra: Tensor | None, u: Tensor) -> tuple[Tensor, Tensor]:
        squashed = torch.sigmoid(z)
        shapes = None if self.tails is None else self.tails(squashed)
        numbers = [] if self.tails is None else [squashed]
        before = list(bins.unbind(1))

        def conditional(level: int, chosen: Sequence[Tensor]) -> Tensor:
            gates = self.gates[level]([*before[level:], *chosen], numbers)
            if extra is not None:
                gates.addmm_(extra, self.known[level])
            weight, bias = self.outs[level]
            return torch.addmm(bias, self.steppers[level](gates, self.states[level]), weight)

        return self.density.quantile(u, conditional, shapes)


def one_hot(index: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """`functional.one_hot` in floats."""
    hot = torch.zeros(*index.shape, count, dtype=dtype, device=index.device)
    return hot.scatter_(-1, index.unsqueeze(-1), 1.0)
