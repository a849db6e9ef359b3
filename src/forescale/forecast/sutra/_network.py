"""The networks of a SutraNet: one a sub-series, each told what the others were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from forescale.forecast._grid import Grid
from forescale.forecast._networks import Inputs, one_hot

Order = Literal["regular", "backfill"]
VALUE_BOUNDS = (-1.0, 2.0)  # of the others' values as inputs, in units of the reader's sub-series


def sequence(order: Order, subseries: int) -> tuple[int, ...]:
    """The sub-series in the order in which a period's values are drawn: forwards in time, or the last one first."""
    forwards = tuple(range(subseries))
    return forwards if order == "regular" else forwards[::-1]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Windows as rows of a period, one column a sub-series, and what each column is normalised by.

    A sub-series that is constant over the context keeps the unit of the whole window.
    """

    values: Tensor  # [windows, rows, subseries], normalised as whole windows
    low: Tensor  # [windows, subseries]
    unit: Tensor  # [windows, subseries]

    def seen_by(self, reader: int) -> Tensor:
        """All values in units of one sub-series."""
        return (self.values - self.low[:, None, reader, None]) / self.unit[:, None, reader, None]

    def repeated(self, paths: int) -> Rows:
        """Every window so many times."""
        low, unit = self.low.repeat_interleave(paths, 0), self.unit.repeat_interleave(paths, 0)
        return Rows(values=self.values.repeat_interleave(paths, 0), low=low, unit=unit)


def to_rows(z: Tensor, subseries: int, context: int) -> Rows:
    """Rows of windows [windows, values]; the first row stands before the `context` rows that scale the columns."""
    values = z.reshape(len(z), -1, subseries)
    past = values[:, 1 : 1 + context]
    low, high = past.amin(1), past.amax(1)
    return Rows(values=values, low=low, unit=torch.where(high > low, high - low, 1.0))


@dataclass(frozen=True, kw_only=True)
class SutraLaw:
    """The law of each value given those before it in the order of drawing; in time's order from outside."""

    grid: Grid
    laws: Sequence[Any]  # a sub-series each: [windows, rows]
    rows: Rows

    def log_prob(self, z: Tensor, bins: Tensor) -> Tensor:  # noqa: ARG002  # each sub-series has bins of its own
        """Nats, of values [windows, rows x subseries] in units of the normalised window."""
        return self._each(z, lambda law, own, i: law.log_prob(own, self.grid.encode(own)) - self._log_unit(i))

    def cdf(self, z: Tensor, bins: Tensor) -> Tensor:  # noqa: ARG002
        """P(Z <= z), given what the order of drawing puts before it."""
        return self._each(z, lambda law, own, _: law.cdf(own, self.grid.encode(own)))

    def _log_unit(self, i: int) -> Tensor:
        return torch.log(self.rows.unit[:, i, None])

    def _each(self, z: Tensor, score: Callable[[Any, Tensor, int], Tensor]) -> Tensor:
        values = z.reshape(len(z), -1, len(self.laws))
        own = [(values[..., i] - self.rows.low[:, i, None]) / self.rows.unit[:, i, None] for i in range(len(self.laws))]
        return torch.stack([score(law, own[i], i) for i, law in enumerate(self.laws)], -1).reshape(z.shape)


class SutraNetwork(nn.Module):
    """K networks; the i-th is run over every K-th value (Bergsma, Zeyl and Guo, NeurIPS 2023).

    Beside its own past it reads, as bins in its own units, the values of the same period that are drawn before its own, and,
    when alternating, those of the period before of the others.
    """

    def __init__(
        self,
        build: Callable[[int], Any],
        grid: Grid,
        *,
        subseries: int,
        context: int,
        order: Order,
        alternating: bool,
        hot: bool,
    ) -> None:
        super().__init__()
        self.context, self.alternating, self.hot = context, alternating, hot
        self.sequence = sequence(order, subseries)
        width = grid.outputs if hot else 1
        self.members = nn.ModuleList(build(width * sum(map(len, self._read_by(member)))) for member in range(subseries))
        self.density: Any = self.members[0].density

    def _read_by(self, member: int) -> tuple[list[int], list[int]]:
        """Sub-series whose values of the same period a member reads, and those of which it reads the period before."""
        place = self.sequence.index(member)
        return list(self.sequence[:place]), list(self.sequence[place + 1 :]) if self.alternating else []

    def rows(self, inputs: Inputs) -> Rows:
        """Windows with one more value in front, as networks read them, to rows."""
        return to_rows(inputs.z[:, 1:], len(self.members), self.context)

    def forward(self, inputs: Inputs, last: int | None = None) -> SutraLaw:
        """The law of the last so many steps, whole rows, teacher forced; by default of all from the second row on."""
        rows = self.rows(inputs)
        members: Any = self.members
        count = None if last is None else last // len(members)
        laws = [network(self._inputs(rows, k), count) for k, network in enumerate(members)]
        return SutraLaw(grid=self.density.grid, laws=laws, rows=rows)

    def _inputs(self, rows: Rows, member: int) -> Inputs:
        seen = rows.seen_by(member)
        extra = self._others(seen[:, 1:], seen[:, :-1], member)
        own = seen[..., member]
        return Inputs(z=own, bins=self.density.grid.encode(own), extra=extra)

    def _others(self, now: Tensor, before: Tensor, member: int) -> Tensor | None:
        """What a member reads of the others, [..., extra]."""
        same, previous = self._read_by(member)
        others = torch.cat([now[..., same], before[..., previous]], -1)
        if not others.shape[-1]:
            return None
        if not self.hot:
            return others.clamp(*VALUE_BOUNDS)
        grid = self.density.grid
        bins = grid.encode(others)
        hot = [one_hot(bins[..., level], count, others.dtype) for level, count in enumerate(grid.bins)]
        return torch.cat(hot, -1).flatten(-2)

    def draw(self, inputs: Inputs, uniform: Tensor) -> Tensor:
        """Paths [windows, paths, horizon] after the windows, in their units, by numbers in 0 to 1 of that shape."""
        count, paths, horizon = uniform.shape
        grid, size, members = self.density.grid, len(self.members), list[Any](self.members)
        rows = self.rows(inputs)
        steps = [network.start(self._inputs(rows, k), paths) for k, network in enumerate(members)]
        rows = rows.repeated(paths)
        before, drawn = rows.values[:, -1], [rows.values[:, :0]]
        numbers = uniform.reshape(count * paths, horizon // size, size)
        for t in range(horizon // size):
            now = before.clone()
            for k in self.sequence:
                low, unit = rows.low[:, k, None], rows.unit[:, k, None]
                earlier, current = (before - low) / unit, (now - low) / unit
                own = earlier[:, k]
                z, _ = steps[k](own, grid.encode(own), self._others(current, earlier, k), numbers[:, t, k])
                now[:, k] = z * unit[:, 0] + low[:, 0]
            drawn.append(now[:, None])
            before = now
        return torch.cat(drawn, 1).reshape(count, paths, horizon)
