"""SutraNet as its users meet it: C2FAR's calls, for horizons so long that errors add up."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import narwhals
import torch

from forescale.errors import ForescaleError
from forescale.forecast._c2far import C2FAR
from forescale.forecast._grid import Grid
from forescale.forecast._options import build_network
from forescale.forecast._sample import ROWS, uniforms
from forescale.forecast._series import Step
from forescale.forecast._torch import chunks, set_seed
from forescale.forecast._train import Fitted, Training, fit_network
from forescale.forecast._windows import Cutter, Layout
from forescale.forecast.sutra._network import Order, SutraNetwork

if TYPE_CHECKING:
    from forescale.forecast._series import Panel

FORMAT = "forescale.forecast.sutra 1"
DEFAULTS: dict[str, Any] = {"lags": (), "calendar": False, "low": -0.08, "high": 1.2, "bins": (12, 12, 12)}
nw: Any = narwhals


class SutraNet(C2FAR):
    """K interleaved sub-series, a C2FAR or Gaussian network each (Bergsma, Zeyl and Guo, NeurIPS 2023).

    A signal passes over horizon / K steps instead of horizon. `order` says how a period of K values is drawn: "regular" in
    time's order, "backfill" the last first; alternating networks also read the others' period before. Other options are
    those of C2FAR but lags and calendar; the defaults of the grid and networks are the published ones. Horizon and context
    are multiples of K. Likelihoods are of each value given those drawn before it, which in backfill lie later in time.
    """

    def __init__(
        self,
        *,
        subseries: int = 6,
        order: Order = "backfill",
        alternating: bool = True,
        training: Training | None = None,
        **options: Any,
    ) -> None:
        super().__init__(training=training, **_defaults(options))
        self.subseries, self.order, self.alternating = subseries, order, alternating
        if order not in ("regular", "backfill"):
            raise ForescaleError(f"order must be regular or backfill; got {order!r}.")
        if isinstance(subseries, bool) or int(subseries) != subseries or subseries < 1:
            raise ForescaleError(f"subseries must be a whole number from 1 on; got {subseries}.")
        for name in ("horizon", "context"):
            self._whole_periods(getattr(self.options, name) or subseries, name)
        if self.options.lags or self.options.calendar or self.options.span or self.options.scaling != "min-max":
            raise ForescaleError(
                "a SutraNet normalises its sub-series by their contexts' ends, and has no lags or calendar: leave out lags, "
                "calendar, span and scaling."
            )
        if self.training.context_weight:
            raise ForescaleError("a SutraNet learns from the horizon alone: leave context_weight at 0.")

    @property
    def signal_path(self) -> int:
        """Recurrent steps from the first to the last value of a horizon within one network: horizon / K."""
        return self.options.horizon // self.subseries

    def _fit(self, panel: Panel, progress: bool | None = None) -> None:
        from forescale.forecast._progress import Bar

        context = self.options.context or self._context(panel)
        layout = Layout(horizon=self.options.horizon, context=context + self.subseries, span=context)
        set_seed(self.training.seed)
        network = self._build(context)
        with Bar(self.training.steps, shown=progress) as bar:
            self.fitted = fit_network(network, Cutter(panel, layout), self.training, bar.told, bar.moved, panel.ids)
        self._network, self._layout, self.step = network, layout, panel.step

    def _context(self, panel: Panel) -> int:
        """Seven seasons or twice the horizon, at most half the longest series; in whole periods."""
        season = self.options.season or panel.step.season
        longest = max(map(len, panel.values)) // 2
        wanted = min(max(7 * season, 2 * self.options.horizon), longest)
        return max(wanted // self.subseries, 2) * self.subseries

    def _build(self, context: int) -> SutraNetwork:
        options, order = self.options, cast("Order", self.order)
        return SutraNetwork(
            lambda extra: build_network(options, extra),
            Grid(bins=options.bins, low=options.low, high=options.high),
            subseries=self.subseries,
            context=context // self.subseries,
            order=order,
            alternating=self.alternating,
            hot=options.law == "levels",
        )

    def _whole_periods(self, steps: int, name: str) -> int:
        if steps % self.subseries:
            raise ForescaleError(
                f"the {name} must be a multiple of the number of sub-series, {self.subseries}; got {steps}: take "
                f"{steps // self.subseries * self.subseries + self.subseries}, or another number of sub-series."
            )
        return steps

    def _horizon(self, horizon: int | None) -> int:
        return self._whole_periods(super()._horizon(horizon), "horizon")

    def _drawn(
        self, panel: Panel, series: Sequence[int], origins: Sequence[int], horizon: int, paths: int, seed: int
    ) -> Any:
        from forescale.forecast._c2far import _seed  # pyright: ignore[reportPrivateUsage]

        seeds = [_seed(seed, panel.ids[s], origin) for s, origin in zip(series, origins, strict=True)]
        windows = self._cut(panel, series, origins, horizon)
        uniform = uniforms(seeds, paths, horizon)
        drawn = torch.empty(uniform.shape, dtype=torch.float64)
        with torch.no_grad():
            for index in chunks(len(series), max(ROWS // paths, 1)):
                part = windows.take(index)
                inputs = part.inputs(self._network.density.grid, horizon=False)
                z = self._network.draw(inputs, uniform[index]).double()
                z[part.constant] = part.z[part.constant, part.layout.reach - 1, None, None].double()
                unit = torch.where(part.constant, 1.0, part.unit)
                drawn[index] = z * unit[:, None, None] + part.shift[:, None, None]
        return self._supported(panel, series, origins, drawn.numpy())

    def _quantiles(self, panel: Panel, horizon: int, shares: Sequence[float], paths: int, seed: int) -> Any:
        import numpy as np

        return np.moveaxis(np.quantile(self._ahead(panel, horizon, paths, seed), shares, axis=1), 0, 1)

    def predict(self, data: Any, horizon: int | None = None, **more: Any) -> Any:
        """Medians and central intervals: unique_id, ds, SutraNet, SutraNet-lo-80, SutraNet-hi-80; options as C2FAR's."""
        return _renamed(super().predict(data, horizon, **more))

    def cross_validation(self, data: Any, **options: Any) -> Any:
        """Fit before the last windows and forecast them, as C2FAR's; columns SutraNet, SutraNet-lo-80, SutraNet-hi-80."""
        return _renamed(super().cross_validation(data, **options))

    def save(self, path: str | Path) -> None:
        """Write options, windows and weights to one file."""
        network, layout = self._ready()
        about = {
            "sutra": {"subseries": self.subseries, "order": self.order, "alternating": self.alternating},
            "options": dataclasses.asdict(self.options),
            "training": dataclasses.asdict(self.training),
            "context": layout.span,
            "step": None if self.step is None else dataclasses.asdict(self.step),
            "fitted": None if self.fitted is None else dataclasses.asdict(self.fitted),
        }
        try:
            torch.save({"format": FORMAT, "about": json.dumps(about), "weights": network.state_dict()}, path)
        except (OSError, RuntimeError) as error:
            raise ForescaleError(f"{path} cannot be written: {error}.") from None

    @classmethod
    def load(cls, path: str | Path) -> SutraNet:
        """Read what `save` wrote; `ForescaleError` for another file. No code is run from it."""
        try:
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
            if content["format"] != FORMAT:
                raise KeyError(content["format"])
        except OSError as error:
            raise ForescaleError(f"{path} cannot be read: {error.strerror or error}.") from None
        except (KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError):
            raise ForescaleError(f"{path} is not a saved SutraNet: give a file that SutraNet.save wrote.") from None
        about = json.loads(content["about"])
        made = cls(training=Training(**about["training"]), **about["sutra"], **_tuples(about["options"]))
        made.step = None if about["step"] is None else Step(**about["step"])
        made.fitted = None if about["fitted"] is None else Fitted(**about["fitted"])
        context = about["context"]
        network = made._build(context)
        network.load_state_dict(content["weights"])
        made._network = network.eval()
        made._layout = Layout(horizon=made.options.horizon, context=context + made.subseries, span=context)
        return made

    @classmethod
    def from_reference(cls, path: str | Path, **_: Any) -> Any:
        """There is no published SutraNet to read."""
        raise ForescaleError(f"{path} cannot hold a SutraNet: the authors published no weights of one.")


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Options with the defaults filled in; laws that are not of levels have shared networks alone."""
    network = "separate" if options.get("law", "levels") == "levels" else "shared"
    return {**DEFAULTS, "network": network, **options}


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for name, v in values.items()}


def _renamed(frame: Any) -> Any:
    frame = nw.from_native(frame)
    return frame.rename({name: name.replace("C2FAR", "SutraNet", 1) for name in frame.columns}).to_native()
