"""Gaps filled by paths that agree with both sides."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from forescale.errors import ForescaleError
from forescale.forecast._answers import supported
from forescale.forecast._sample import uniforms
from forescale.forecast._series import Panel
from forescale.forecast._torch import normal_quantile
from forescale.forecast.uses._bridge import bridged, worth_of
from forescale.forecast.uses._sided import SidedDraw

if TYPE_CHECKING:
    from forescale.forecast._c2far import C2FAR


def interpolate(
    model: C2FAR,
    data: Any,
    *,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    after: int = 12,
    paths: int = 500,
    seed: int = 0,
) -> Any:
    """Quantiles of the missing values inside a long frame's series: unique_id, ds, a column each, and `effective_paths`.

    Paths are drawn into the gap from its past, weighted by the likelihood of the `after` values that follow it, and moved to
    where it is high, so that no second model is trained. `effective_paths` is how many different paths of equal weight they
    are worth: with a few, the two sides disagree under the model, and more paths are needed. A gap at the end is a forecast;
    one at the start has no past, and is left out. A SutraNet does not walk in time's order, and fills none.
    """
    for share in quantiles:
        if not 0 < share < 1:
            raise ForescaleError(f"a quantile lies between 0 and 1; got {share}.")
    if after < 1:
        raise ForescaleError(f"interpolation reads 1 or more values after a gap; got after={after}: forecast instead.")
    panel, origin = model._read(data)  # pyright: ignore[reportPrivateUsage]
    if not hasattr(model._ready()[0], "start"):  # pyright: ignore[reportPrivateUsage]
        raise ForescaleError("gaps are filled in time's order, and a SutraNet does not walk in it: take a C2FAR.")
    names: list[Any] = []
    times: list[Any] = []
    columns: list[Any] = []
    worth: list[float] = []
    for number, start, stop in _gaps(panel):
        drawn, weights = _weighted(model, panel, number, start, stop, after, paths, seed)
        columns.append(weighted_quantiles(drawn, weights, quantiles))
        names += [panel.ids[number]] * (stop - start)
        times.append(panel.step.times(panel.first[number], start, stop))
        worth += [worth_of(weights)] * (stop - start)
    if not names:
        raise ForescaleError("the series have no gap with values before it: there is nothing to fill.")
    found = np.concatenate(columns, 1)
    named = {f"q{share:g}": found[k] for k, share in enumerate(quantiles)}
    return origin.frame({"unique_id": names, **named, "effective_paths": worth}, np.concatenate(times))


def _gaps(panel: Panel) -> Iterator[tuple[int, int, int]]:
    """Series, first and one past the last step of each run of missing values that has an observed one before it."""
    for number, values in enumerate(panel.values):
        missing = np.concatenate([[False], ~np.isfinite(values), [False]])
        edges: Any = np.flatnonzero(missing[1:] != missing[:-1])
        for start, stop in edges.reshape(-1, 2).tolist():
            if start:
                yield number, start, stop


def _weighted(
    model: C2FAR, panel: Panel, number: int, start: int, stop: int, after: int, paths: int, seed: int
) -> tuple[Any, Any]:
    """Paths [paths, gap] and their weights, which sum to 1."""
    known = panel.values[number][stop : stop + after]
    own = zlib.crc32(f"{seed}/{panel.ids[number]}/{start}".encode())
    normal = normal_quantile(uniforms([own], paths, stop - start)[0].clamp(1e-7, 1 - 1e-7))
    windows = model._cut(panel.until(_ends(panel, number, start)), [number], [start], stop - start + len(known))  # pyright: ignore[reportPrivateUsage]
    draw = SidedDraw(model._ready()[0], windows, known)  # pyright: ignore[reportPrivateUsage]
    if len(known):
        drawn, weights = bridged(draw, normal, np.random.default_rng(own))
    else:
        drawn, weights = draw(normal)[0], np.full(paths, 1 / paths)
    return supported(model.options, panel.until(_ends(panel, number, start)), [number], [start], drawn[None])[
        0
    ], weights


def _ends(panel: Panel, number: int, start: int) -> list[int]:
    return [start if k == number else len(values) for k, values in enumerate(panel.values)]


def weighted_quantiles(values: Any, weights: Any, shares: Sequence[float]) -> Any:
    """The least values [shares, columns] with at least so much of the weight [rows] at or below them."""
    order = np.argsort(values, 0)
    reached = np.cumsum(weights[order], 0)
    rows = [(reached < share - 1e-12).sum(0).clip(max=len(values) - 1) for share in shares]
    return np.stack([np.take_along_axis(values, np.take_along_axis(order, row[None], 0), 0)[0] for row in rows])
