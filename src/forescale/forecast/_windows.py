"""Windows of series: cut at forecast origins, normalised by their own past, with lags and calendar beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from forescale.forecast._grid import Grid
from forescale.forecast._networks import Inputs, one_hot
from forescale.forecast._torch import from_array

if TYPE_CHECKING:
    from forescale.forecast._series import Panel

Scaling = Literal["min-max", "standard"]
LAG_BOUNDS = (-1.0, 2.0)  # of lagged values as inputs, in units of the normalised series
STATIC = 3  # inputs that stay the same over a window


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a window holds: how far it looks back, what of it is normalised by, and which inputs stand beside the values."""

    horizon: int
    context: int  # steps that the network is run over before the horizon
    span: int  # values before the origin that the window is normalised by
    scaling: Scaling = "min-max"
    lags: tuple[int, ...] = ()  # values that many steps before each one
    copied: tuple[int, ...] = ()  # lags whose bins are inputs too
    calendar: int = 0  # calendar inputs
    static: bool = False  # relative spread, share of distinct values, share of repeats
    single: bool = False  # normalise in float32, as the authors' code

    @property
    def reach(self) -> int:
        """Values before the origin that a window reads."""
        return max(self.span, self.context + max((*self.lags, *self.copied, 1)))

    def extra_inputs(self, bins: Sequence[int]) -> int:
        """How many inputs stand beside the previous value, for bins of so many a level."""
        return len(self.lags) + len(self.copied) * sum(bins) + self.calendar + STATIC * self.static


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Normalised windows; column `reach` of `z` is the first of the horizon."""

    layout: Layout
    z: Tensor  # [windows, reach + horizon], gaps filled with the value before
    observed: Tensor  # [windows, horizon]
    shift: Tensor  # [windows], float64
    unit: Tensor  # [windows], float64; 0: the span is constant
    calendar: Tensor  # [windows, context + horizon, calendar]
    static: Tensor  # [windows, 0 or STATIC]

    @property
    def constant(self) -> Tensor:
        """Which windows have nothing to be normalised by."""
        return self.unit == 0

    def inputs(self, grid: Grid, *, horizon: bool = True) -> Inputs:
        """What a network reads: the context, and the horizon's values where they are known (teacher forcing)."""
        layout = self.layout
        count = layout.context + layout.horizon * horizon
        first = layout.reach - layout.context
        bins = grid.encode(self.z)
        at = slice(first - 1, first + count)
        extra = extra_inputs(self, self.z, bins, grid, first, count)
        return Inputs(z=self.z[:, at], bins=bins[:, at], extra=extra)

    def take(self, index: Tensor) -> Windows:
        """Some of the windows."""
        parts = {name: getattr(self, name)[index] for name in _TENSORS}
        return Windows(layout=self.layout, **parts)


_TENSORS = ("z", "observed", "shift", "unit", "calendar", "static")


def extra_inputs(windows: Windows, z: Tensor, bins: Tensor, grid: Grid, first: int, count: int) -> Tensor | None:
    """Lags, calendar and static inputs of `count` steps from column `first` on; `z` may be of paths, sampled so far.

    Its rows are those of the windows, each repeated as often as there are paths. None where there are no such inputs.
    """
    layout = windows.layout
    if not layout.extra_inputs(grid.bins):
        return None
    paths = len(z) // len(windows.z)
    parts = [z[:, first - lag : first - lag + count, None].clamp(*LAG_BOUNDS) for lag in layout.lags]
    for lag in layout.copied:
        copied = bins[:, first - lag : first - lag + count]
        parts += [one_hot(copied[..., k], size, z.dtype) for k, size in enumerate(grid.bins)]
    start = first - (layout.reach - layout.context)
    known = [windows.calendar[:, start : start + count], windows.static[:, None].expand(-1, count, -1)]
    parts += [part.repeat_interleave(paths, 0) if paths > 1 else part for part in known]
    return torch.cat(parts, -1)


class Cutter:
    """Cuts windows out of a panel; series are padded, so that any observed value may stand before an origin."""

    def __init__(self, panel: Panel, layout: Layout, *, ahead: int = 0) -> None:
        self.layout = layout
        pad = layout.reach
        flat: list[Tensor] = []
        seen: list[Tensor] = []
        calendar: list[Tensor] = []
        starts: list[int] = []
        at = 0
        for number, values in enumerate(panel.values):
            filled, observed = _filled(from_array(values))
            flat.append(torch.cat([filled[:1].expand(pad), filled, filled[-1:].expand(ahead)]))
            seen.append(torch.cat([torch.zeros(pad, dtype=torch.bool), observed, torch.zeros(ahead, dtype=torch.bool)]))
            starts.append(at + pad)
            at += pad + len(values) + ahead
            if layout.calendar:
                calendar.append(from_array(panel.calendar(number, -pad, len(values) + ahead)))
        self.flat, self.seen = torch.cat(flat), torch.cat(seen)
        self.calendar = torch.cat(calendar) if calendar else torch.zeros(len(self.flat), 0)
        self.starts = torch.tensor(starts)
        self.lengths = torch.tensor([len(values) for values in panel.values])

    def cut(self, series: Tensor, origins: Tensor) -> Windows:
        """Windows of some series whose horizons start at those steps of theirs, [windows] each."""
        layout = self.layout
        first = self.starts[series] + origins
        steps = torch.arange(-layout.reach, layout.horizon)
        at = first[:, None] + steps
        x = self.flat[at]
        past = slice(layout.reach - layout.span, layout.reach)
        shift, unit = _scales(x[:, past], self.seen[at[:, past]], layout.scaling)
        return Windows(
            layout=layout,
            z=_normalised(x, shift, unit, single=layout.single),
            observed=self.seen[at[:, layout.reach :]],
            shift=shift,
            unit=unit,
            calendar=self.calendar[at[:, layout.reach - layout.context :]],
            static=_static(x[:, past], unit) if layout.static else torch.zeros(len(x), 0),
        )


def _filled(values: Tensor) -> tuple[Tensor, Tensor]:
    """Gaps take the value before them, those at the start the first value; which were observed."""
    observed = torch.isfinite(values)
    index = torch.where(observed, torch.arange(len(values)), -1).cummax(0).values
    first = int(observed.to(torch.int8).argmax())
    return values[index.clamp(min=first)], observed


def _scales(past: Tensor, seen: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Shift and unit of each window; filled gaps repeat observed values, so they move neither minimum nor maximum."""
    low, high = past.amin(1), past.amax(1)
    if scaling == "min-max":
        return low, high - low
    weight = seen.to(past.dtype)
    count = weight.sum(1).clamp(min=1)
    mean = (past * weight).sum(1) / count
    deviation = (((past - mean[:, None]) ** 2 * weight).sum(1) / count).sqrt()
    return mean, torch.where(high > low, deviation, 0.0)


def _normalised(x: Tensor, shift: Tensor, unit: Tensor, *, single: bool) -> Tensor:
    if single:
        x, shift, unit = x.float(), shift.float(), unit.float()
    unit = torch.where(unit > 0, unit, 1.0)
    return ((x - shift[:, None]) / unit[:, None]).float()


def _static(past: Tensor, unit: Tensor) -> Tensor:
    """Spread relative to the level, share of values that repeat the one before, share of distinct values; all in 0 to 1."""
    level = (past.abs().mean(1) + unit).clamp(min=torch.finfo(past.dtype).tiny)
    spread = (unit / level).clamp(min=1e-4)
    repeats = (past[:, 1:] == past[:, :-1]).double().mean(1)
    ordered = past.sort(1).values
    distinct = ((ordered[:, 1:] != ordered[:, :-1]).double().sum(1) + 1) / past.shape[1]
    return torch.stack([1 + torch.log10(spread) / 4, repeats, distinct], 1).float()
