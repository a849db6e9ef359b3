"""A fitted surface as a value: loss, gap, optimum and plateau of any setting, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.surface._edge import Edge
from forescale.fit.surface._fit import OPTIMUM, noise, spread_at
from forescale.fit.surface._model import BATCH, NAMES, RATE, evaluate, optimum
from forescale.fit.surface._sweep import Reference

if TYPE_CHECKING:
    from forescale.fit.surface._model import Array

SHARE = 0.8  # of outcomes that an interval holds
REACH = 12.0  # of ln learning rate or ln batch around an optimum: farther, nothing is looked for
HALVINGS = 60
DRAWS = 256
SAFE = 0.01  # of runs may diverge at a learning rate that is called best


@dataclass(frozen=True, kw_only=True)
class Best:
    """A workload's best learning rate and batch (tokens), with 80 % intervals, and the loss there.

    `capped`: the learning rate is below the formula's own, so that at most 1 % of runs diverge.
    """

    learning_rate: float
    batch_tokens: float
    learning_rate_interval: tuple[float, float]
    batch_tokens_interval: tuple[float, float]
    loss: float
    capped: bool


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """How far learning rate or batch alone may move, the other at its best, before the loss gap exceeds `loss_gap`."""

    loss_gap: float
    learning_rate: tuple[float, float]
    batch_tokens: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpectedGap:
    """Loss gaps (shares) of settings: at the fitted surface, their mean over what the runs leave open, 80 % intervals."""

    value: Array
    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Loss over parameters, tokens, learning rate and batch, fitted to a sweep by `fit_surface`.

    `parameters` are the coefficients of the formula (`forescale.fit.surface`), in units of `reference`; those named in
    `held` stayed at their prior, for the reasons in `notes`. `covariance` is theirs, in the same order. `cell_error` is
    the standard deviation of ln loss of a new workload beyond it, `noise_scale` that of a run over the usual one,
    `inflation` widens both to what cells left out were off by. `range` is what the runs cover.
    """

    name: str
    reference: Reference
    parameters: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...]
    held: tuple[str, ...]
    cell_error: float
    noise_scale: float
    inflation: float
    edge: Edge
    range: Mapping[str, tuple[float, float]]
    fitted_on: str
    source: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def predict(
        self, params: Any, tokens: Any, learning_rate: Any, batch_tokens: Any, active_params: Any = None
    ) -> Array:
        """Loss (nats per token) of runs that do not diverge; arguments are numbers or arrays that broadcast."""
        import numpy as np

        points, shape = self._points(params, tokens, learning_rate, batch_tokens, active_params)
        at = evaluate(self._theta, points)
        return (self.reference.loss * np.exp(at.log_level + at.log_gap)[0]).reshape(shape)

    def interval(
        self,
        params: Any,
        tokens: Any,
        learning_rate: Any,
        batch_tokens: Any,
        active_params: Any = None,
        *,
        share: float = SHARE,
    ) -> tuple[Array, Array]:
        """Low and high loss that hold `share` of such runs: what the fit leaves open, a new workload's error, run noise."""
        import numpy as np

        points, shape = self._points(params, tokens, learning_rate, batch_tokens, active_params)
        at = evaluate(self._theta, points)
        sd = np.sqrt(self.inflation**2 * self._spread(points) + (self.noise_scale * noise(at.log_gap[0])) ** 2)
        z = _quantile(share)
        middle = at.log_level[0] + at.log_gap[0]
        low, high = (self.reference.loss * np.exp(middle + sign * z * sd) for sign in (-1, 1))
        return low.reshape(shape), high.reshape(shape)

    def gap(self, params: Any, tokens: Any, learning_rate: Any, batch_tokens: Any, active_params: Any = None) -> Array:
        """Loss gap (a share of the lowest loss of the workload); 0 at `best` where that is not capped."""
        import numpy as np

        points, shape = self._points(params, tokens, learning_rate, batch_tokens, active_params)
        return np.expm1(evaluate(self._theta, points).log_gap[0]).reshape(shape)

    def expected_gap(
        self,
        params: Any,
        tokens: Any,
        learning_rate: Any,
        batch_tokens: Any,
        active_params: Any = None,
        *,
        share: float = SHARE,
    ) -> ExpectedGap:
        """The loss gap with what the runs leave open: the optimum's uncertainty makes its mean positive even at `best`."""
        import numpy as np

        points, shape = self._points(params, tokens, learning_rate, batch_tokens, active_params)
        moved = self.inflation * OPTIMUM * np.random.default_rng(1).normal(size=(2, DRAWS, 1))
        drawn = np.expm1(evaluate(self._draws, points, moved=(moved[0], moved[1])).log_gap)
        low, high = np.quantile(drawn, [(1 - share) / 2, (1 + share) / 2], axis=0)
        value = np.expm1(evaluate(self._theta, points).log_gap[0])
        made = (value, drawn.mean(axis=0), low, high)
        return ExpectedGap(**dict(zip(("value", "mean", "low", "high"), (m.reshape(shape) for m in made), strict=True)))

    def divergence(
        self, params: Any, tokens: Any, learning_rate: Any, batch_tokens: Any, active_params: Any = None
    ) -> Array:
        """The share of such runs that diverge."""
        points, shape = self._points(params, tokens, learning_rate, batch_tokens, active_params)
        return self.edge.probability(points).reshape(shape)

    def best(
        self, params: float, tokens: float, *, active_params: float | None = None, batch_tokens: float | None = None
    ) -> Best:
        """The best learning rate and batch of a workload; with `batch_tokens`, the best learning rate at that batch."""
        import numpy as np

        points, _ = self._points(
            params, tokens, self.reference.learning_rate, self.reference.batch_tokens, active_params
        )
        rate, batch = (float(part[0, 0]) for part in optimum(self._theta, points[2:]))
        if batch_tokens is not None:
            points, _ = self._points(params, tokens, self.reference.learning_rate, batch_tokens, active_params)
            batch = float(points[1, 0])
            rate = _lowest(partial(self._log_gap_at, points, 0), rate)
        points[1, 0] = batch
        safe = float(self.edge.log_rate(points)[0]) + self.edge.width * float(np.log(SAFE / (1 - SAFE)))
        points[0, 0] = min(rate, safe)
        at = evaluate(self._theta, points)
        ends = [np.exp(np.array([-1, 1]) * _quantile(SHARE) * sd) for sd in self._optimum_spread(points)]
        lr = self.reference.learning_rate * float(np.exp(points[0, 0]))
        size = self.reference.batch_tokens * float(np.exp(batch))
        around = (size, size) if batch_tokens is not None else (size * float(ends[1][0]), size * float(ends[1][1]))
        return Best(
            learning_rate=lr,
            batch_tokens=size,
            learning_rate_interval=(lr * float(ends[0][0]), lr * float(ends[0][1])),
            batch_tokens_interval=around,
            loss=self.reference.loss * float(np.exp(at.log_level + at.log_gap)[0, 0]),
            capped=rate > safe,
        )

    def plateau(
        self, params: float, tokens: float, loss_gap: float = 0.005, *, active_params: float | None = None
    ) -> Plateau:
        """Ranges of learning rate and of batch around the optimum, one at a time, within the share `loss_gap`."""
        import numpy as np

        if not 0 < loss_gap < np.inf:
            raise ForescaleError(f"loss_gap must be a finite share above 0, such as 0.005; got {loss_gap!r}.")
        best = self.best(params, tokens, active_params=active_params)
        points, _ = self._points(params, tokens, best.learning_rate, best.batch_tokens, active_params)
        points[:2] = [part[0] for part in optimum(self._theta, points[2:])]
        most = float(np.log1p(loss_gap))
        ends = [
            float(np.exp(_crossing(partial(self._log_gap_at, points, row), most, float(points[row, 0]), sign)))
            for row in (0, 1)
            for sign in (-1.0, 1.0)
        ]
        rate, batch = self.reference.learning_rate, self.reference.batch_tokens
        return Plateau(
            loss_gap=loss_gap,
            learning_rate=(rate * ends[0], rate * ends[1]),
            batch_tokens=(batch * ends[2], batch * ends[3]),
        )

    def outside(self, params: float, tokens: float, *, active_params: float | None = None) -> dict[str, float]:
        """By what factor the workload lies beyond the range of the runs, for each variable that does."""
        asked = {"params": params, "tokens": tokens, "active_share": (active_params or params) / params}
        factors = {k: max(self.range[k][0] / v, v / self.range[k][1]) for k, v in asked.items()}
        return {k: f for k, f in factors.items() if f > 1 + 1e-6}

    @cached_property
    def _theta(self) -> Array:
        import numpy as np

        return np.array([[self.parameters[name] for name in NAMES]])

    @cached_property
    def _draws(self) -> Array:
        """Parameter vectors drawn from the fit's normal approximation; always the same."""
        import numpy as np

        values, vectors = np.linalg.eigh(np.array(self.covariance))
        root = vectors * np.sqrt(np.maximum(values, 0.0)) * self.inflation
        return self._theta + np.random.default_rng(0).normal(size=(DRAWS, len(NAMES))) @ root.T

    def _points(
        self, params: Any, tokens: Any, learning_rate: Any, batch_tokens: Any, active_params: Any
    ) -> tuple[Array, tuple[int, ...]]:
        import numpy as np

        active = params if active_params is None else active_params
        given = {
            "params": params,
            "tokens": tokens,
            "learning_rate": learning_rate,
            "batch_tokens": batch_tokens,
            "active_params": active,
        }
        arrays = {name: _positive(name, value) for name, value in given.items()}
        if np.any(arrays["active_params"] > arrays["params"]):
            raise ForescaleError("active_params must not exceed params: they are a part of them.")
        flat = np.broadcast_arrays(*arrays.values())
        return self.reference.points(*(a.ravel() for a in flat)), flat[0].shape

    def _spread(self, points: Array) -> Array:
        import numpy as np

        return spread_at(self._theta[0], np.array(self.covariance), points) + self.cell_error**2

    def _optimum_spread(self, points: Array) -> list[float]:
        """Standard deviations of a new cell's best ln lr and ln B."""
        import numpy as np

        inputs = np.concatenate([[1.0], points[2:, 0]])
        covariance = np.array(self.covariance)
        made: list[float] = []
        for names in (RATE, BATCH):
            at = [NAMES.index(name) for name in names]
            made.append(float(self.inflation * np.sqrt(inputs @ covariance[np.ix_(at, at)] @ inputs + OPTIMUM**2)))
        return made

    def _log_gap_at(self, points: Array, row: int, value: float) -> float:
        moved = points[:, :1].copy()
        moved[row, 0] = value
        return float(evaluate(self._theta, moved).log_gap[0, 0])


def _positive(name: str, value: Any) -> Array:
    import numpy as np

    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ForescaleError(f"{name} must be numbers; got {value!r}.") from None
    if not (np.isfinite(array) & (array > 0)).all():
        raise ForescaleError(f"{name} must be finite and above 0; got {value!r}.")
    return array


def _quantile(share: float) -> float:
    if not 0 < share < 1:
        raise ForescaleError(f"share must lie between 0 and 1; got {share!r}.")
    return NormalDist().inv_cdf((1 + share) / 2)


def _lowest(f: Callable[[float], float], start: float) -> float:
    from scipy.optimize import minimize_scalar

    found: Any = minimize_scalar(f, bounds=(start - REACH, start + REACH), method="bounded", options={"xatol": 1e-9})
    return float(found.x)


def _crossing(f: Callable[[float], float], most: float, start: float, sign: float) -> float:
    """Where `f`, rising from 0 at `start` in one direction, reaches `most`; the end of the reach where it does not."""
    near, far = start, start + sign * REACH
    if f(far) < most:
        return far
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        near, far = (middle, far) if f(middle) < most else (near, middle)
    return (near + far) / 2
