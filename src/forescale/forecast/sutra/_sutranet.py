"""SutraNet as its users meet it: C2FAR's calls, for horizons so long that errors add up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.forecast._c2far import read_options
from forescale.forecast._forecaster import Forecaster
from forescale.forecast._grid import Grid
from forescale.forecast._options import build_network, whole
from forescale.forecast._windows import Layout, Windows
from forescale.forecast.sutra._network import Order, SutraNetwork

if TYPE_CHECKING:
    from torch import Tensor

    from forescale.forecast._series import Panel
    from forescale.forecast._train import Training

DEFAULTS: dict[str, Any] = {"lags": (), "calendar": False, "low": -0.08, "high": 1.2, "bins": (12, 12, 12)}


class SutraNet(Forecaster):
    """K interleaved sub-series, a C2FAR or Gaussian network each (Bergsma, Zeyl and Guo, NeurIPS 2023).

    A signal passes over horizon / K steps instead of horizon. `order` says how a period of K values is drawn: "regular" in
    time's order, "backfill" the last first; alternating networks also read the others' period before. Other options are
    those of C2FAR but lags and calendar; the defaults of the grid and networks are the published ones. Horizon and context
    are multiples of K. Likelihoods are of each value given those drawn before it, which in backfill lie later in time.
    """

    name = "SutraNet"

    def __init__(
        self,
        *,
        subseries: int = 6,
        order: Order = "backfill",
        alternating: bool = True,
        training: Training | None = None,
        **options: Any,
    ) -> None:
        super().__init__(read_options(self.name, _defaults(options)), training)
        self.subseries = subseries
        self.order: Order = order
        self.alternating = alternating
        if order not in ("regular", "backfill"):
            raise ForescaleError(f"order must be regular or backfill; got {order!r}.")
        whole(subseries, "subseries")
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

    def layout(self, panel: Panel) -> Layout:
        """A period more than the context: members read the period before each of their own."""
        context = self.options.context or self._context(panel)
        return Layout(horizon=self.options.horizon, context=context + self.subseries, span=context)

    def _context(self, panel: Panel) -> int:
        """Seven seasons or twice the horizon, at most half the longest series; in whole periods."""
        season = self.options.season or panel.step.season
        longest = max(map(len, panel.values)) // 2
        wanted = min(max(7 * season, 2 * self.options.horizon), longest)
        return max(wanted // self.subseries, 2) * self.subseries

    def network(self, layout: Layout, *, nudge: float = 0.0) -> SutraNetwork:
        """A member a sub-series, each of C2FAR's kinds."""
        options = self.options
        return SutraNetwork(
            lambda extra: build_network(options, extra, nudge),
            Grid(bins=options.bins, low=options.low, high=options.high),
            subseries=self.subseries,
            context=layout.span // self.subseries,
            order=self.order,
            alternating=self.alternating,
            hot=options.law == "levels",
        )

    def draw(self, windows: Windows, uniform: Tensor) -> Tensor:
        """Period by period, the values of each in the order that was chosen."""
        network = self._ready()[0]
        return network.draw(windows.inputs(network.density.grid, horizon=False), uniform)

    def check_horizon(self, horizon: int) -> None:
        """Raise `ForescaleError` for one that is not of whole periods."""
        self._whole_periods(horizon, "horizon")

    def settings(self) -> dict[str, Any]:
        """Sub-series, order, and whether they alternate."""
        return {"subseries": self.subseries, "order": self.order, "alternating": self.alternating}

    def _whole_periods(self, steps: int, name: str) -> None:
        if steps % self.subseries:
            raise ForescaleError(
                f"the {name} must be a multiple of the number of sub-series, {self.subseries}; got {steps}: take "
                f"{steps // self.subseries * self.subseries + self.subseries}, or another number of sub-series."
            )

    @classmethod
    def from_reference(cls, path: str | Path, **_: Any) -> Any:
        """There is no published SutraNet to read."""
        raise ForescaleError(f"{path} cannot hold a SutraNet: the authors published no weights of one.")


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Options with the defaults filled in; other laws and backbones have shared networks alone."""
    published = options.get("law", "levels") == "levels" and options.get("backbone", "lstm") == "lstm"
    network = "separate" if published else "shared"
    return {**DEFAULTS, "network": network, **options}
