"""C2FAR as its users meet it: fit, predict, sample, quantiles, likelihoods, save and load."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, MissingExtraError
from forescale.forecast._options import Options, build_network, layout_for

try:
    import torch
except ImportError as error:
    raise MissingExtraError("forecasting needs PyTorch: pip install 'forescale[train]'.") from error

import numpy as np

from forescale.forecast._cross import Backtest, actual, window_starts
from forescale.forecast._frames import Origin, read_panel
from forescale.forecast._sample import sample_windows, uniforms
from forescale.forecast._torch import set_seed
from forescale.forecast._train import Fitted, Training, fit_network
from forescale.forecast._windows import Cutter, Layout, Windows

if TYPE_CHECKING:
    from forescale.forecast._series import Panel, Step

DECILES = tuple(k / 10 for k in range(1, 10))
PATHS = 500
BATCH = 512  # windows that likelihoods are computed for at a time


class C2FAR:
    """Coarse-to-fine autoregressive forecaster (Bergsma et al., NeurIPS 2022): joint paths, likelihoods, exact quantiles.

    Options are those of `Options`, by name; `training` says how it is trained. Series are long frames with unique_id, ds
    (times or whole numbers, equally far apart) and y, of any library; answers are frames of the same library. Missing
    times and values are gaps. A window whose past is constant repeats its last value.
    """

    def __init__(self, *, training: Training | None = None, **options: Any) -> None:
        known = {field.name for field in dataclasses.fields(Options)}
        if unknown := sorted(options.keys() - known):
            raise ForescaleError(f"{', '.join(unknown)} is no option of C2FAR; there are {', '.join(sorted(known))}.")
        self.options = Options(**options)
        self.training = training or Training()
        self.fitted: Fitted | None = None
        self.step: Step | None = None
        self._network: Any = None
        self._layout: Layout | None = None

    def fit(self, data: Any, *, progress: bool | None = None) -> C2FAR:
        """Train on a long frame or a GluonTS data set, one model for all series; returns itself.

        `progress` draws a bar on standard error; by default where that is a terminal. The last `training.validation`
        horizons of each series are held out, and the weights that were best there are kept. A series too short for a window
        is left out, and named in `fitted`. Raises `ForescaleError` where no series has one, and as `read_panel` does.
        """
        panel, _ = read_panel(data)
        self._fit(panel, progress)
        return self

    def _fit(self, panel: Panel, progress: bool | None = None) -> None:
        from forescale.forecast._progress import Bar

        layout = layout_for(self.options, panel.step, [len(values) for values in panel.values])
        set_seed(self.training.seed)
        network = build_network(self.options, layout.extra_inputs(self.options.bins))
        with Bar(self.training.steps, shown=progress) as bar:
            self.fitted = fit_network(network, Cutter(panel, layout), self.training, bar.told, bar.moved, panel.ids)
        self._network, self._layout, self.step = network, layout, panel.step

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(each.numel() for each in self._ready()[0].parameters())

    def sample(self, data: Any, horizon: int | None = None, paths: int = PATHS, *, seed: int = 0) -> Any:
        """Joint sample paths of the values after each series' end: unique_id, ds, sample, y.

        The paths of a series do not depend on which others are in the frame, but for rounding.
        """
        panel, origin = self._read(data)
        horizon = self._horizon(horizon)
        drawn = self._ahead(panel, horizon, _count(paths, "paths"), seed)
        times, names = self._future(panel, horizon, paths)
        number = np.tile(np.repeat(np.arange(paths), horizon), len(panel.ids))
        return origin.frame({"unique_id": names, "sample": number, "y": drawn.reshape(-1)}, times)

    def quantiles(
        self,
        data: Any,
        horizon: int | None = None,
        quantiles: Sequence[float] = DECILES,
        *,
        paths: int = PATHS,
        seed: int = 0,
    ) -> Any:
        """Quantiles of each value after the series' end: unique_id, ds, and a column q0.1 for each.

        One step ahead they are exact, by the law itself; further ahead they are those of so many sample paths.
        """
        panel, origin = self._read(data)
        horizon = self._horizon(horizon)
        found = self._quantiles(panel, horizon, _shares(quantiles), _count(paths, "paths"), seed)
        times, names = self._future(panel, horizon)
        columns = {f"q{share:g}": found[:, k].reshape(-1) for k, share in enumerate(quantiles)}
        return origin.frame({"unique_id": names, **columns}, times)

    def predict(
        self,
        data: Any,
        horizon: int | None = None,
        *,
        level: Sequence[float] = (80,),
        paths: int = PATHS,
        seed: int = 0,
    ) -> Any:
        """Medians and central intervals, as neuralforecast names them: unique_id, ds, C2FAR, C2FAR-lo-80, C2FAR-hi-80."""
        panel, origin = self._read(data)
        horizon = self._horizon(horizon)
        columns = _interval_columns(level)
        found = self._quantiles(panel, horizon, tuple(columns.values()), _count(paths, "paths"), seed)
        times, names = self._future(panel, horizon)
        made = {name: found[:, k].reshape(-1) for k, name in enumerate(columns)}
        return origin.frame({"unique_id": names, **made}, times)

    def log_prob(self, data: Any) -> Any:
        """Log density, in nats in the data's unit, of each value given those before: unique_id, ds, y, log_prob, cdf.

        A series is read in horizons counted from its end, each normalised by the values before it. The first values, which
        have no whole span before them, and those after a constant span have no number: null. `cdf` is the share of the law
        below the value: uniform where the law is right. Gaps are left out.
        """
        from forescale.forecast._likelihood import log_probs

        panel, origin = self._read(data)
        network, layout = self._ready()
        found = log_probs(network, Cutter(panel, layout), layout)
        rows = [np.flatnonzero(np.isfinite(values)) for values in panel.values]
        names = [name for name, row in zip(panel.ids, rows, strict=True) for _ in row]
        times = [
            panel.step.times(first, 0, len(v))[r] for first, v, r in zip(panel.first, panel.values, rows, strict=True)
        ]
        columns = {
            "y": np.concatenate([values[row] for values, row in zip(panel.values, rows, strict=True)]),
            **{
                name: _nullable(np.concatenate([each[k][row] for each, row in zip(found, rows, strict=True)]))
                for k, name in enumerate(("log_prob", "cdf"))
            },
        }
        return origin.frame({"unique_id": names, **columns}, np.concatenate(times))

    def paths(self, data: Any, horizon: int | None = None, paths: int = PATHS, *, seed: int = 0) -> Any:
        """The numbers of `sample` as an array [series, paths, horizon]."""
        panel, _ = self._read(data)
        return self._ahead(panel, self._horizon(horizon), _count(paths, "paths"), seed)

    def cross_validation(
        self,
        data: Any,
        *,
        windows: int = 1,
        step: int | None = None,
        horizon: int | None = None,
        level: Sequence[float] = (80,),
        paths: int = PATHS,
        seed: int = 0,
        progress: bool | None = None,
    ) -> Any:
        """Fit before the last `windows` horizons, `step` apart, and forecast them: unique_id, ds, cutoff, y, C2FAR, ...

        The model is fitted once, on what lies before all of the windows; each forecast reads the true past. `cutoff` is the
        time of the last value read.
        """
        from forescale.forecast._cross import as_frame

        panel, origin = read_panel(data)
        columns = _interval_columns(level)
        found = self._backtest(panel, windows, step, horizon, paths, seed, progress)
        return as_frame(found, panel, origin, columns)

    def backtest(
        self,
        data: Any,
        *,
        windows: int = 1,
        step: int | None = None,
        horizon: int | None = None,
        paths: int = PATHS,
        seed: int = 0,
        progress: bool | None = None,
    ) -> Backtest:
        """As `cross_validation`, with the sample paths as arrays: what `scores` reads."""
        return self._backtest(read_panel(data)[0], windows, step, horizon, paths, seed, progress)

    def _backtest(
        self,
        panel: Panel,
        windows: int,
        step: int | None,
        horizon: int | None,
        paths: int,
        seed: int,
        progress: bool | None,
    ) -> Backtest:
        horizon = self._horizon(horizon)
        starts = window_starts(
            panel, _count(windows, "windows"), horizon if step is None else _count(step, "step"), horizon
        )
        self._fit(panel.until(starts[:, 0].tolist()), progress)
        series = [s for s, row in enumerate(starts) for _ in row]
        drawn = self._drawn(panel, series, starts.reshape(-1).tolist(), horizon, _count(paths, "paths"), seed)
        return Backtest(
            y=actual(panel, starts, horizon),
            paths=drawn.reshape(*starts.shape, *drawn.shape[1:]),
            ids=panel.ids,
            cutoffs=starts - 1,
        )

    def save(self, path: str | Path) -> None:
        """Write options, windows and weights to one file."""
        from forescale.forecast._save import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> C2FAR:
        """Read what `save` wrote; `ForescaleError` for another file. No code is run from it."""
        from forescale.forecast._save import load

        return load(cls, Path(path))

    @classmethod
    def from_reference(
        cls, path: str | Path, *, horizon: int = 24, context: int = 168, low: float = -0.1, high: float = 1.3
    ) -> C2FAR:
        """The authors' network from their checkpoint's tensors in an .npz (github.com/huaweicloud/c2far_forecasting).

        The grid's ends and the window are not in the file; the defaults are the published ones for hourly Azure demand.
        Likelihoods are those of the authors' code. Paths are drawn from the law itself, without that code's special values.
        """
        from forescale.forecast._reference import read_reference

        network = read_reference(path, low=low, high=high)
        grid = network.density.grid
        made = cls(
            horizon=horizon, context=context, span=context, bins=grid.bins, low=low, high=high, network="separate",
            hidden=network.hidden, layers=network.layers, tails=network.density.tails, lags=(), calendar=False,
        )  # fmt: skip
        made._network = network
        made._layout = Layout(horizon=horizon, context=context, span=context, single=True)
        return made

    def _ready(self) -> tuple[Any, Layout]:
        if self._network is None or self._layout is None:
            raise ForescaleError("the forecaster has no weights yet: call fit(data), or load a saved one.")
        return self._network, self._layout

    def _read(self, data: Any) -> tuple[Panel, Origin]:
        self._ready()
        panel, origin = read_panel(data, step=self.step)
        if self.step is not None and panel.step != self.step:
            raise ForescaleError(
                f"the forecaster was trained on series of step {self.step}; got step {panel.step}: train another."
            )
        return panel, origin

    def _horizon(self, horizon: int | None) -> int:
        return self.options.horizon if horizon is None else _count(horizon, "the horizon")

    def _ahead(self, panel: Panel, horizon: int, paths: int, seed: int) -> Any:
        series = list(range(len(panel.ids)))
        return self._drawn(panel, series, [len(values) for values in panel.values], horizon, paths, seed)

    def _drawn(
        self, panel: Panel, series: Sequence[int], origins: Sequence[int], horizon: int, paths: int, seed: int
    ) -> Any:
        """Paths of windows of some series from those origins on, [windows, paths, horizon]."""
        seeds = [_seed(seed, panel.ids[s], origin) for s, origin in zip(series, origins, strict=True)]
        drawn = sample_windows(
            self._network, self._cut(panel, series, origins, horizon), uniforms(seeds, paths, horizon)
        )
        return self._supported(panel, series, origins, drawn.numpy())

    def _cut(self, panel: Panel, series: Sequence[int], origins: Sequence[int], horizon: int) -> Windows:
        layout = dataclasses.replace(self._ready()[1], horizon=horizon)
        return Cutter(panel, layout, ahead=horizon).cut(torch.tensor(series), torch.tensor(origins))

    def _quantiles(self, panel: Panel, horizon: int, shares: Sequence[float], paths: int, seed: int) -> Any:
        """[series, quantiles, horizon]."""
        if horizon > 1:
            return np.moveaxis(np.quantile(self._ahead(panel, horizon, paths, seed), shares, axis=1), 0, 1)
        series, ends = list(range(len(panel.ids))), [len(values) for values in panel.values]
        windows = self._cut(panel, series, ends, 1)
        exact = torch.tensor(shares)[None, :, None].expand(len(series), -1, 1)
        return self._supported(panel, series, ends, sample_windows(self._network, windows, exact).numpy())

    def _supported(self, panel: Panel, series: Sequence[int], origins: Sequence[int], drawn: Any) -> Any:
        """Whole numbers for series that had no others so far, and none below 0 for those that never were."""
        for row, (number, origin) in enumerate(zip(series, origins, strict=True)):
            past = panel.values[number][:origin]
            past = past[np.isfinite(past)]
            if self.options.integers and bool((past == np.round(past)).all()):
                drawn[row] = np.round(drawn[row])
            if self.options.nonnegative and bool((past >= 0).all()):
                drawn[row] = np.maximum(drawn[row], 0)
        return drawn

    def _future(self, panel: Panel, horizon: int, repeats: int = 1) -> tuple[Any, list[Any]]:
        """Times and names of the values after each series' end, the whole horizon so many times."""
        ends = [
            panel.step.times(first, len(v), len(v) + horizon)
            for first, v in zip(panel.first, panel.values, strict=True)
        ]
        names = [name for name in panel.ids for _ in range(horizon * repeats)]
        return np.concatenate([np.tile(times, repeats) for times in ends]), names


def _interval_columns(level: Sequence[float]) -> dict[str, float]:
    """Column -> quantile: the median, then both ends of each central interval (per cent)."""
    for each in level:
        if not 0 < each < 100:
            raise ForescaleError(f"an interval holds more than 0 and less than 100 per cent; got {each}.")
    ends = [
        (f"C2FAR-{side}-{each:g}", 0.5 + sign * each / 200) for each in level for side, sign in (("lo", -1), ("hi", 1))
    ]
    return {"C2FAR": 0.5, **dict(ends)}


def _shares(quantiles: Sequence[float]) -> tuple[float, ...]:
    for share in quantiles:
        if not 0 < share < 1:
            raise ForescaleError(f"a quantile lies between 0 and 1; got {share}.")
    return tuple(quantiles)


def _count(number: Any, name: str) -> int:
    if isinstance(number, bool) or int(number) != number or number < 1:
        raise ForescaleError(f"{name} must be a whole number from 1 on; got {number}.")
    return int(number)


def _seed(seed: int, name: Any, origin: int) -> int:
    return zlib.crc32(f"{seed}/{name}/{origin}".encode())


def _nullable(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
