"""Rolling windows at the end of each series, forecast by a model that was fitted before all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forescale.errors import ForescaleError
from forescale.forecast._options import whole

if TYPE_CHECKING:
    from forescale.forecast._forecaster import Forecaster
    from forescale.forecast._frames import Origin
    from forescale.forecast._series import Panel


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Forecasts of windows whose values are known."""

    y: Any  # [series, windows, horizon], NaN where none was observed
    paths: Any  # [series, windows, paths, horizon]
    ids: tuple[Any, ...]
    cutoffs: Any  # places in each series of the last value read, [series, windows]


def backtest(
    model: Forecaster,
    panel: Panel,
    windows: int,
    step: int | None,
    horizon: int,
    paths: int,
    seed: int,
    progress: bool | None,
) -> Backtest:
    """Fit before all windows, and draw each from its true past."""
    apart = horizon if step is None else whole(step, "step")
    starts = window_starts(panel, whole(windows, "windows"), apart, horizon)
    paths = whole(paths, "paths")
    model._fit(panel.until(starts[:, 0].tolist()), progress)  # pyright: ignore[reportPrivateUsage]
    series = [s for s, row in enumerate(starts) for _ in row]
    drawn = model._drawn(panel, series, starts.reshape(-1).tolist(), horizon, paths, seed)  # pyright: ignore[reportPrivateUsage]
    return Backtest(
        y=actual(panel, starts, horizon),
        paths=drawn.reshape(*starts.shape, *drawn.shape[1:]),
        ids=panel.ids,
        cutoffs=starts - 1,
    )


def window_starts(panel: Panel, windows: int, step: int, horizon: int) -> Any:
    """Where the windows of each series start, [series, windows]; `ForescaleError` for a series that is all windows."""
    held = horizon + step * (windows - 1)
    lengths = [len(values) for values in panel.values]
    if short := [str(n) for n, length in zip(panel.ids, lengths, strict=True) if length <= held]:
        raise ForescaleError(
            f"{windows} windows hold out the last {held} values of each series; {', '.join(short[:3])} has no more than "
            "that: ask for fewer windows or leave it out."
        )
    return np.array([[length - held + step * w for w in range(windows)] for length in lengths])


def actual(panel: Panel, starts: Any, horizon: int) -> Any:
    """The values of the windows, [series, windows, horizon]."""
    return np.stack([[v[s : s + horizon] for s in row] for v, row in zip(panel.values, starts.tolist(), strict=True)])


def as_frame(found: Backtest, panel: Panel, origin: Origin, columns: Mapping[str, float]) -> Any:
    """Long: unique_id, ds, cutoff, y, and a column of quantiles for each name."""
    series, windows, horizon = found.y.shape
    quantiles = np.quantile(found.paths, list(columns.values()), axis=2)
    times = [_times(panel, s, found.cutoffs[s], horizon) for s in range(series)]
    made = {
        "unique_id": [name for name in panel.ids for _ in range(windows * horizon)],
        "y": found.y.reshape(-1),
        **{name: quantiles[k].reshape(-1) for k, name in enumerate(columns)},
    }
    ahead = np.concatenate([each[:, 1:].reshape(-1) for each in times])
    cutoff = np.concatenate([np.repeat(each[:, 0], horizon) for each in times])
    return origin.frame(made, ahead, cutoff=cutoff)


def _times(panel: Panel, number: int, cutoffs: Sequence[int], horizon: int) -> Any:
    """Of each window, the time of the last value read and those of its own values, [windows, 1 + horizon]."""
    return np.stack([panel.step.times(panel.first[number], c, c + horizon + 1) for c in map(int, cutoffs)])
