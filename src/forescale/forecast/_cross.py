"""Rolling windows at the end of each series, forecast by a model that was fitted before all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.forecast._c2far import C2FAR
    from forescale.forecast._frames import Origin
    from forescale.forecast._series import Panel


def cross_validate(
    model: C2FAR, panel: Panel, origin: Origin, windows: int, step: int, horizon: int, columns: Mapping[str, float],
    paths: int, seed: int, progress: bool | None,
) -> Any:  # fmt: skip
    """A frame of the values of the windows, their forecasts, and the time of the last value each forecast read."""
    held = horizon + step * (windows - 1)
    lengths = [len(values) for values in panel.values]
    if short := [str(n) for n, length in zip(panel.ids, lengths, strict=True) if length <= held]:
        raise ForescaleError(
            f"{windows} windows hold out the last {held} values of each series; {', '.join(short[:3])} has no more than "
            "that: ask for fewer windows or leave it out."
        )
    model._fit(panel.until([length - held for length in lengths]), progress)  # pyright: ignore[reportPrivateUsage]
    places = [(s, length - held + step * w) for s, length in enumerate(lengths) for w in range(windows)]
    series, starts = [s for s, _ in places], [start for _, start in places]
    drawn: Any = model._drawn(panel, series, starts, horizon, paths, seed)  # pyright: ignore[reportPrivateUsage]
    found = np.quantile(drawn, list(columns.values()), axis=1)
    times = [panel.step.times(panel.first[s], start - 1, start + horizon) for s, start in places]
    made = {
        "unique_id": [panel.ids[s] for s in series for _ in range(horizon)],
        "y": np.concatenate([panel.values[s][start : start + horizon] for s, start in places]),
        **{name: found[k].reshape(-1) for k, name in enumerate(columns)},
    }
    ahead = np.concatenate([each[1:] for each in times])
    cutoff = np.concatenate([np.repeat(each[:1], horizon) for each in times])
    return origin.frame(made, ahead, cutoff=cutoff)
