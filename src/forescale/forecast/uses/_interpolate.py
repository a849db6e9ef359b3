"""Gaps filled by paths that agree with both sides."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forescale.errors import ForescaleError
from forescale.forecast._likelihood import window_log_probs
from forescale.forecast._sample import uniforms
from forescale.forecast._series import Panel
from forescale.forecast._torch import normal_cdf, normal_quantile
from forescale.forecast.uses._bridge import bridged, worth_of

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
    draw = _Gap(model=model, panel=panel, number=number, start=start, known=known)
    if not len(known):
        return draw(normal)[0], np.full(paths, 1 / paths)
    return bridged(draw, normal, np.random.default_rng(own))


@dataclass(frozen=True, kw_only=True)
class _Gap:
    """From normal numbers [paths, gap] to paths, and the log likelihood of the known values after each."""

    model: C2FAR
    panel: Panel
    number: int
    start: int
    known: Any

    def __call__(self, normal: Any) -> tuple[Any, Any]:
        model, number, start, known = self.model, self.number, self.start, self.known
        paths, gap = normal.shape
        before = self.panel.until(_ends(self.panel, number, start))
        drawn = model._drawn_by(before, [number], [start], normal_cdf(normal)[None])[0]  # pyright: ignore[reportPrivateUsage]
        if not len(known):
            return drawn, np.zeros(paths)
        filled = Panel(
            ids=tuple(range(paths)),
            first=(self.panel.first[number],) * paths,
            values=tuple(np.concatenate([self.panel.values[number][:start], path, known]) for path in drawn),
            step=self.panel.step,
        )
        windows = model._cut(filled, range(paths), [start] * paths, gap + len(known))  # pyright: ignore[reportPrivateUsage]
        return drawn, np.nansum(window_log_probs(model._ready()[0], windows)[0][:, gap:], 1)  # pyright: ignore[reportPrivateUsage]


def _ends(panel: Panel, number: int, start: int) -> list[int]:
    return [start if k == number else len(values) for k, values in enumerate(panel.values)]


def weighted_quantiles(values: Any, weights: Any, shares: Sequence[float]) -> Any:
    """The least values [shares, columns] with at least so much of the weight [rows] at or below them."""
    order = np.argsort(values, 0)
    reached = np.cumsum(weights[order], 0)
    rows = [(reached < share - 1e-12).sum(0).clip(max=len(values) - 1) for share in shares]
    return np.stack([np.take_along_axis(values, np.take_along_axis(order, row[None], 0), 0)[0] for row in rows])
