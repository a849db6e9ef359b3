"""What all forecasters have in common: their calls, over a few hooks that say how each of them forecasts."""

from __future__ import annotations

import dataclasses
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from forescale.errors import ForescaleError, MissingExtraError

try:
    import torch
except ImportError as error:
    raise MissingExtraError("forecasting needs PyTorch: pip install 'forescale[train]'.") from error

import numpy as np

from forescale.forecast import _answers as answers
from forescale.forecast._frames import Origin, read_panel
from forescale.forecast._options import PATHS, Options, whole
from forescale.forecast._sample import sample_windows, uniforms
from forescale.forecast._torch import set_seed
from forescale.forecast._train import Fitted, Training, fit_network
from forescale.forecast._windows import Cutter, Layout, Windows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from forescale.forecast._cross import Backtest
    from forescale.forecast._series import Panel, Step

DECILES = tuple(k / 10 for k in range(1, 10))


class Forecaster(ABC):
    """The calls of C2FAR and SutraNet. Another forecaster gives its name and fills `layout`, `network` and `draw`.

    Series are long frames with unique_id, ds (times or whole numbers, equally far apart) and y, of any library, or a
    GluonTS data set; answers are frames of the same library. Missing times and values are gaps. A window whose past is
    constant repeats its last value.
    """

    name: ClassVar[str]
    """Of the column of medians, and of the class in what `save` writes."""

    def __init__(self, options: Options, training: Training | None) -> None:
        self.options = options
        self.training = Training() if training is None else training
        if not isinstance(self.training, Training):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ForescaleError(f"training is a Training, such as Training(steps=500); got {training!r}.")
        self.fitted: Fitted | None = None
        self.step: Step | None = None
        self._network: Any = None
        self._layout: Layout | None = None

    @abstractmethod
    def layout(self, panel: Panel) -> Layout:
        """The windows that series are cut into, before training."""

    @abstractmethod
    def network(self, layout: Layout, *, nudge: float = 0.0) -> nn.Module:
        """A network with fresh weights for such windows; called with windows' inputs, it gives their law.

        `nudge` is that of the authors' checkpoint, see `Density`.
        """

    @abstractmethod
    def draw(self, windows: Windows, uniform: Tensor) -> Tensor:
        """Paths of the windows' horizons in their normalised units, by numbers in 0 to 1 [windows, paths, horizon]."""

    def check_horizon(self, horizon: int) -> None:  # noqa: B027  # most forecasters can draw any
        """Raise `ForescaleError` for a horizon that cannot be drawn."""

    def settings(self) -> dict[str, Any]:
        """Arguments of the class beside options and training, as a saved file needs them."""
        return {}

    def fit(self, data: Any, *, progress: bool | None = None) -> Self:
        """Train on a long frame or a GluonTS data set, one model for all series; returns itself.

        `progress` draws a bar on standard error; by default where that is a terminal. The last `training.validation`
        horizons of each series are held out, and the weights that were best there are kept. A series too short for a window
        is left out, and named in `fitted`. Raises `ForescaleError` where no series has one, and as `read_panel` does.
        """
        panel, _ = read_panel(data)
        self._fit(panel, progress)
        return self

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(each.numel() for each in self._ready()[0].parameters())

    def sample(self, data: Any, horizon: int | None = None, paths: int = PATHS, *, seed: int = 0) -> Any:
        """Joint sample paths of the values after each series' end: unique_id, ds, sample, y.

        The paths of a series do not depend on which others are in the frame, but for rounding.
        """
        panel, origin = self._read(data)
        horizon, paths = self._horizon(horizon), whole(paths, "paths")
        drawn = self._ahead(panel, horizon, paths, seed)
        times, names = answers.future(panel, horizon, paths)
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
        columns = answers.quantile_columns(quantiles)
        return self._quantile_frame(panel, origin, horizon, columns, paths, seed)

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
        columns = answers.interval_columns(self.name, level)
        return self._quantile_frame(panel, origin, horizon, columns, paths, seed)

    def log_prob(self, data: Any) -> Any:
        """Log density, in nats in the data's unit, of each value given those before: unique_id, ds, y, log_prob, cdf.

        A series is read in horizons counted from its end, each normalised by the values before it. The first values, which
        have no whole span before them, and those after a constant span have no number: null. `cdf` is the share of the law
        below the value: uniform where the law is right. Gaps are left out.
        """
        from forescale.forecast._likelihood import log_probs

        panel, origin = self._read(data)
        network, layout = self._ready()
        log_prob, cdf = zip(*log_probs(network, Cutter(panel, layout), layout), strict=True)
        return answers.value_frame(panel, origin, {"log_prob": log_prob, "cdf": cdf})

    def paths(self, data: Any, horizon: int | None = None, paths: int = PATHS, *, seed: int = 0) -> Any:
        """The numbers of `sample` as an array [series, paths, horizon]."""
        panel, _ = self._read(data)
        return self._ahead(panel, self._horizon(horizon), whole(paths, "paths"), seed)

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
        from forescale.forecast._cross import as_frame, backtest

        panel, origin = read_panel(data)
        columns = answers.interval_columns(self.name, level)
        found = backtest(self, panel, windows, step, self._horizon(horizon), paths, seed, progress)
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
        from forescale.forecast._cross import backtest

        return backtest(self, read_panel(data)[0], windows, step, self._horizon(horizon), paths, seed, progress)

    def save(self, path: str | Path) -> None:
        """Write options, windows and weights to one file."""
        from forescale.forecast._save import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; `ForescaleError` for another file. No code is run from it."""
        from forescale.forecast._save import load

        return load(cls, Path(path))

    # What the package's other modules build on.

    def _ready(self) -> tuple[Any, Layout]:
        if self._network is None or self._layout is None:
            raise ForescaleError("the forecaster has no weights yet: call fit(data), or load a saved one.")
        return self._network, self._layout

    def _fit(self, panel: Panel, progress: bool | None = None) -> None:
        from forescale.forecast._progress import Bar

        started = time.process_time()
        layout = self.layout(panel)
        set_seed(self.training.seed)
        network = self.network(layout)
        with Bar(self.training.steps, shown=progress) as bar:
            fitted = fit_network(network, Cutter(panel, layout), self.training, bar.told, bar.moved, panel.ids)
        self.fitted = dataclasses.replace(fitted, cpu_seconds=time.process_time() - started)
        self._network, self._layout, self.step = network, layout, panel.step

    def _read(self, data: Any) -> tuple[Panel, Origin]:
        self._ready()
        panel, origin = read_panel(data, step=self.step)
        if self.step is not None and panel.step != self.step:
            raise ForescaleError(
                f"the forecaster was trained on series of step {self.step}; got step {panel.step}: train another."
            )
        return panel, origin

    def _horizon(self, horizon: int | None) -> int:
        if horizon is None:
            return self.options.horizon
        horizon = whole(horizon, "the horizon")
        self.check_horizon(horizon)
        return horizon

    def _ahead(self, panel: Panel, horizon: int, paths: int, seed: int) -> Any:
        series = list(range(len(panel.ids)))
        return self._drawn(panel, series, [len(values) for values in panel.values], horizon, paths, seed)

    def _drawn(
        self, panel: Panel, series: Sequence[int], origins: Sequence[int], horizon: int, paths: int, seed: int
    ) -> Any:
        """Paths of windows of some series from those origins on, [windows, paths, horizon]."""
        seeds = [_seed(seed, panel.ids[s], origin) for s, origin in zip(series, origins, strict=True)]
        return self._drawn_by(panel, series, origins, uniforms(seeds, paths, horizon))

    def _drawn_by(self, panel: Panel, series: Sequence[int], origins: Sequence[int], uniform: Tensor) -> Any:
        windows = self._cut(panel, series, origins, uniform.shape[-1])
        drawn = sample_windows(self.draw, windows, uniform).numpy()
        return answers.supported(self.options, panel, series, origins, drawn)

    def _cut(self, panel: Panel, series: Sequence[int], origins: Sequence[int], horizon: int) -> Windows:
        layout = dataclasses.replace(self._ready()[1], horizon=horizon)
        return Cutter(panel, layout, ahead=horizon).cut(torch.tensor(series), torch.tensor(origins))

    def _quantile_frame(
        self, panel: Panel, origin: Origin, horizon: int | None, columns: dict[str, float], paths: int, seed: int
    ) -> Any:
        horizon = self._horizon(horizon)
        found = self._quantiles(panel, horizon, tuple(columns.values()), whole(paths, "paths"), seed)
        times, names = answers.future(panel, horizon)
        made = {name: found[:, k].reshape(-1) for k, name in enumerate(columns)}
        return origin.frame({"unique_id": names, **made}, times)

    def _quantiles(self, panel: Panel, horizon: int, shares: Sequence[float], paths: int, seed: int) -> Any:
        """[series, quantiles, horizon]."""
        if horizon > 1:
            return np.moveaxis(np.quantile(self._ahead(panel, horizon, paths, seed), shares, axis=1), 0, 1)
        series, ends = list(range(len(panel.ids))), [len(values) for values in panel.values]
        exact = torch.tensor(shares)[None, :, None].expand(len(series), -1, 1)
        return self._drawn_by(panel, series, ends, exact)


def _seed(seed: int, name: Any, origin: int) -> int:
    return zlib.crc32(f"{seed}/{name}/{origin}".encode())
