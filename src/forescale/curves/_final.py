"""Final loss over learning rate, schedule, horizon, parameters and tokens: one law of finished runs.

L = E + a N^-ν + A P^-α + B n at the last step, with progress P and noise n those of the memory law (`_families`), time in
tokens, and learning rates absolute: runs of several peaks share one fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from forescale.curves._curve import checked_schedule
from forescale.curves._families import MEMORY, Shape
from forescale.curves._solve import UNIT, reweighted
from forescale.errors import ForescaleError
from forescale.quantities import positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

SHAPES: Mapping[str, Shape] = MEMORY | {
    "ln_c": Shape(start=6.0, low=-4.0, high=14.0, spread=1.0),  # ends alone, all at rate 0, would leave it open
    "u": Shape(start=0.5, low=-1.0, high=1.2, spread=0.3),
    "nu": Shape(start=0.34, low=0.05, high=1.5, spread=0.05),  # Hoffmann et al. 2022, arXiv:2203.15556: 0.34
}
TIGHT = 4.0  # the tighter of the curve law's priors: a run's end says little of its memory
BEND = 2e-3  # of Huber's loss on relative residuals: runs repeated with the same seed differ by up to 0.002 nats
KNOTS = 64  # of a schedule
EVALUATIONS = 80
FEWEST = 10  # runs


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A finished run: its schedule (steps and learning rates, sorted), and its final loss in nats per token.

    `params` and `tokens_per_step` matter where runs differ in them.
    """

    step: ArrayLike
    learning_rate: ArrayLike
    loss: float
    params: float = 1.0
    tokens_per_step: float = 1.0
    name: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalLaw:
    """Final loss of any schedule, as `fit_final_law` learnt it from finished runs.

    `shapes` and `amplitudes` are in units of the longest run's tokens, the middle peak and the middle size; `error` is the mean
    relative error of the runs themselves, which is below that of runs to come; `left_out` counts runs that ended above
    1.5 times the lowest loss, as diverged, and `peak`, `tokens` and `params` are the ranges of the others.
    """

    shapes: Mapping[str, float]
    amplitudes: tuple[float, ...]
    error: float
    left_out: int
    peak: tuple[float, float]
    tokens: tuple[float, float]
    params: tuple[float, float]
    units: tuple[float, float, float] = field(repr=False)

    def predict(
        self, step: ArrayLike, learning_rate: ArrayLike, *, params: float | None = None, tokens_per_step: float = 1.0
    ) -> float:
        """The final loss (nats per token) of a schedule; `params` by default the middle of the runs'."""
        run = FinishedRun(
            step=step,
            learning_rate=learning_rate,
            loss=1.0,
            params=self.units[2] if params is None else params,
            tokens_per_step=tokens_per_step,
        )
        return float((_columns(_batch([run], self.units), self.shapes) @ _array(self.amplitudes))[0])

    def beyond(
        self, step: ArrayLike, learning_rate: ArrayLike, *, params: float | None = None, tokens_per_step: float = 1.0
    ) -> dict[str, float]:
        """How far a run lies above the range of the fitted ones, as factors: a higher `peak` warns that it may diverge."""
        steps, rates = checked_schedule(step, learning_rate, "a schedule")
        factors = {
            "peak": float(rates.max()) / self.peak[1],
            "tokens": float(steps[-1]) * tokens_per_step / self.tokens[1],
            "params": (self.params[1] if params is None else params) / self.params[1],
        }
        return {name: factor for name, factor in factors.items() if factor > 1 + 1e-6}


def fit_final_law(runs: Sequence[FinishedRun]) -> FinalLaw:
    """The law of final loss that finished runs of one data set show; those that diverged are counted and left out.

    Needs 10 runs. The shapes have the curve law's priors, the tighter ones. Raises `ForescaleError` for fewer runs, and for a
    schedule, a loss or a size that is none.
    """
    import numpy as np

    listed = list(runs)
    lowest = min((positive(run.loss, "a final loss") for run in listed if run.loss == run.loss), default=1.0)
    kept = [run for run in listed if run.loss < 1.5 * lowest]
    if len(kept) < FEWEST:
        raise ForescaleError(
            f"a law of final loss needs {FEWEST} runs that did not diverge; got {len(kept)}: add runs."
        )
    peaks = [float(checked_schedule(run.step, run.learning_rate, _called(run))[1].max()) for run in kept]
    tokens = [float(_array(run.step)[-1]) * positive(run.tokens_per_step, "tokens_per_step") for run in kept]
    sizes = [positive(run.params, "params") for run in kept]
    units = max(tokens), float(np.median(peaks)), float(np.median(sizes))
    shapes, amplitudes, left = _solve(_batch(kept, units), _array([run.loss for run in kept]))
    return FinalLaw(
        shapes=shapes,
        amplitudes=tuple(amplitudes.tolist()),
        error=float(np.mean(np.abs(left))),
        left_out=len(listed) - len(kept),
        peak=(min(peaks), max(peaks)),
        tokens=(min(tokens), max(tokens)),
        params=(min(sizes), max(sizes)),
        units=units,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Schedules at as many knots each: (runs, knots) of time and rate, (runs, knots - 1) of width and mean rate."""

    time: Array
    rate: Array
    width: Array
    held: Array
    size: Array


def _batch(runs: Sequence[FinishedRun], units: tuple[float, float, float]) -> _Batch:
    import numpy as np

    every = [_knots(run, units) for run in runs]
    time, rate, area = (np.stack(each) for each in zip(*every, strict=True))
    width = np.diff(time, axis=1)
    held = np.diff(area, axis=1) / np.where(width > 0, width, 1.0)
    return _Batch(time=time, rate=rate, width=width, held=held, size=_array([run.params for run in runs]) / units[2])


def _knots(run: FinishedRun, units: tuple[float, float, float]) -> tuple[Array, Array, Array]:
    """Time, rate and accumulated rate where time and the rate's changes are shared evenly, from the peak on."""
    import numpy as np

    steps, rates = checked_schedule(run.step, run.learning_rate, _called(run))
    first = int(np.argmax(rates >= 0.99 * rates.max()))
    time, rate = steps[first:] * run.tokens_per_step / units[0], rates[first:] / units[1]
    if len(time) == 1:
        raise ForescaleError(f"{_called(run)} must go on after its peak; got a rate that rises to the end.")
    area = np.append(0.0, np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(time)))
    changes = np.abs(np.diff(rate))
    share = changes / max(float(changes.sum()), 1e-300) + np.diff(time) / (time[-1] - time[0]) / 2
    measure = np.append(0.0, np.cumsum(share))
    at = np.interp(np.linspace(0.0, float(measure[-1]), KNOTS), measure, time)
    return at, np.interp(at, time, rate), np.interp(at, time, area)


def _columns(batch: _Batch, at: Mapping[str, float]) -> Array:
    """The columns at the last step, (runs, 4): 1, N^-ν, P^-α, n."""
    import numpy as np

    risen = batch.time[:, 0] * batch.rate[:, 0] ** at["q"] / (1 + at["q"])
    progress = risen + (batch.width * batch.held ** at["q"]).sum(axis=1)
    middle = (batch.time[:, 1:] + batch.time[:, :-1]) / 2
    ticks = batch.width * batch.held ** at["kappa"] * middle ** -at["u"]
    passed = ticks[:, ::-1].cumsum(axis=1)[:, ::-1] - ticks / 2
    power = batch.rate ** at["r"]
    changes = np.diff(power, axis=1)
    response = 1 - (1 + np.exp(at["ln_c"]) * passed) ** -np.exp(at["ln_beta"])
    noise = power[:, 0] + np.maximum(changes, 0).sum(axis=1) + (np.minimum(changes, 0) * response).sum(axis=1)
    size = batch.size ** -at["nu"]
    return np.column_stack([np.ones_like(size), size, progress ** -at["alpha"], noise])


def _solve(batch: _Batch, losses: Array) -> tuple[dict[str, float], Array, Array]:
    """Shapes, amplitudes and relative residuals: variable projection, as of a curve law."""
    import numpy as np
    from scipy.optimize import least_squares

    names, shapes = list(SHAPES), list(SHAPES.values())
    low, high = np.array([s.low for s in shapes]), np.array([s.high for s in shapes])
    centre = np.array([s.start for s in shapes])
    spread = np.array([s.spread or 1.0 for s in shapes])

    one_size = np.array([1.0, float(np.ptp(batch.size) > 0), 1.0, 1.0])  # runs of one size say nothing of another

    def project(values: Array) -> tuple[Array, Array]:
        columns = _columns(batch, dict(zip(names, values.tolist(), strict=True)))
        return reweighted(columns * one_size / losses[:, None], BEND)

    def residuals(values: Array) -> Array:
        return np.concatenate([project(values)[1], TIGHT * UNIT * (values - centre) / spread])

    found: Any = least_squares(
        residuals,
        centre,
        bounds=(low, high),
        loss="huber",
        f_scale=BEND,
        x_scale=spread,
        max_nfev=EVALUATIONS,
        ftol=1e-6,
    )
    amplitudes, left = project(found.x)
    return dict(zip(names, found.x.tolist(), strict=True)), amplitudes, left


def _called(run: FinishedRun) -> str:
    return f"the run {run.name}" if run.name else "a run"


def _array(values: ArrayLike) -> Array:
    import numpy as np

    return np.asarray(values, float)
