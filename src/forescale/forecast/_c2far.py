"""C2FAR: its options, its windows, and the authors' own model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from forescale.errors import ForescaleError
from forescale.forecast._forecaster import Forecaster
from forescale.forecast._options import Options, build_network, layout_for
from forescale.forecast._sample import draw_paths
from forescale.forecast._windows import Layout, Windows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from forescale.forecast._series import Panel
    from forescale.forecast._train import Training


class C2FAR(Forecaster):
    """Coarse-to-fine autoregressive forecaster (Bergsma et al., NeurIPS 2022): joint paths, likelihoods, exact quantiles.

    Options are those of `Options`, by name; `training` says how it is trained. Series are long frames with unique_id, ds
    (times or whole numbers, equally far apart) and y, of any library; answers are frames of the same library. Missing
    times and values are gaps. A window whose past is constant repeats its last value.
    """

    name = "C2FAR"

    def __init__(self, *, training: Training | None = None, **options: Any) -> None:
        super().__init__(read_options(self.name, options), training)

    def layout(self, panel: Panel) -> Layout:
        """A season of context, seven that it is normalised by, lags and calendar; see `Options`."""
        return layout_for(self.options, panel.step, [len(values) for values in panel.values])

    def network(self, layout: Layout, *, nudge: float = 0.0) -> nn.Module:
        """The network of the options, over the previous value and the windows' other inputs."""
        return build_network(self.options, layout.extra_inputs(self.options.bins), nudge)

    def draw(self, windows: Windows, uniform: Tensor) -> Tensor:
        """Value by value: each is the quantile of its law, given those before it, that its number asks for."""
        return draw_paths(self._ready()[0], windows, uniform)

    @classmethod
    def from_reference(
        cls, path: str | Path, *, horizon: int = 24, context: int = 168, low: float = -0.1, high: float = 1.3
    ) -> Self:
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


def read_options(name: str, options: dict[str, Any]) -> Options:
    """The options by their names; `ForescaleError` for one that is not there."""
    known = {field.name for field in dataclasses.fields(Options)}
    if unknown := sorted(options.keys() - known):
        raise ForescaleError(f"{', '.join(unknown)} is no option of {name}; there are {', '.join(sorted(known))}.")
    return Options(**options)
