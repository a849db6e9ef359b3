"""Where runs of one cell will end: how their curves differ from those of finished runs, carried on to the end.

What all runs of a cell have in common (how text gets learnt, which batches were hard) is left free at every point of
the run, so it cancels. Only differences are forecast, in ln loss: one that stays; one that falls with the area under the
learning rate, S^-ALPHA, for a run whose rate is low is behind and catches up or not; and one that is there while the rate
is high and goes as it decays, rate^GAMMA. Each is a smooth function of the settings, and each run wanders a little
on its own, more where it is far from the best. All of it is one Gaussian process, with the interval of a Student t.

The two powers are those of the laws of whole curves with schedules (Tissue et al., arXiv:2408.11029; Luo et al.,
arXiv:2503.12811). The constants gave the ends of the runs of `benchmarks/bench_race.py` about the highest likelihood, the
three differences between settings twice as wide, so that two or three finished runs do not seem to say more than they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.sweep.race._curve import Curve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS, FIRST = 16, 0.15  # parts of a run whose losses are averaged; what lies before FIRST says little of the end
ALPHA, GAMMA = 0.5, 0.65
BEHIND, HOT, LEVEL = 0.07, 0.055, 0.09  # standard deviations, in ln loss, of the three differences between settings
OCTAVES = 4.0  # over which the settings forget one another
OWN, DRIFT, MEMORY = 0.0035, 0.002, 0.3  # of each run: a level, and a drift that lasts so long a share of the run
FAR = 0.02  # ln loss above the best at which these have doubled
COMMON = 0.3  # free: far more than what it stands for
NOISE = 0.2  # of the variance of a batch's loss is the run's own, the rest that of its data
FREEDOM = 2.0  # of Student's t, and one more for each finished run: few say little of how wide the interval should be


@dataclass(frozen=True, kw_only=True)
class End:
    """Where a run will end, as a held-out loss in nats per token."""

    key: str
    loss: float  # median
    scale: float  # of the Student t of ln loss; 0: it is known
    freedom: float  # its degrees

    @property
    def low(self) -> float:
        """The end of the 95 % interval that is better."""
        return self.quantile(0.025)

    @property
    def high(self) -> float:
        """The end of the 95 % interval that is worse."""
        return self.quantile(0.975)

    def quantile(self, probability: float) -> float:
        """The loss that it stays below with this probability."""
        from scipy.special import stdtrit

        return self.loss * math.exp(self.scale * float(stdtrit(self.freedom, probability)))

    def probability_below(self, loss: float) -> float:
        """The probability that it ends below `loss`."""
        return below(math.log(loss / self.loss), self.scale, self.freedom)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The ends of the curves of a cell together: what they share, they share in their errors too."""

    keys: tuple[str, ...]
    log_loss: NDArray[np.float64]  # medians; shape (curves,)
    covariance: NDArray[np.float64]  # of the errors, zero for what has finished; shape (curves, curves)
    freedom: float  # degrees of the Student t of an error

    def end(self, key: str) -> End:
        """The end of one of the runs."""
        i = self.keys.index(key)
        scale = math.sqrt(max(float(self.covariance[i, i]), 0.0))
        return End(key=key, loss=math.exp(self.log_loss[i]), scale=scale, freedom=self.freedom)

    def chance(self, key: str, other: str, margin: float = 0.0) -> float:
        """The probability that a run ends below (1 + `margin`) times the loss of the other."""
        i, j = self.keys.index(key), self.keys.index(other)
        variance = self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j]
        ahead = float(self.log_loss[j] - self.log_loss[i]) + math.log1p(margin)
        return below(ahead, math.sqrt(max(float(variance), 0.0)), self.freedom)


def below(ahead: float, scale: float, freedom: float) -> float:
    """The probability that a Student t of this scale is below `ahead`; of what is known exactly, 0 or 1."""
    from scipy.special import stdtr

    return float(stdtr(freedom, ahead / scale)) if scale > 0 else float(ahead > 0)


def forecast_end(curve: Curve, references: Sequence[Curve]) -> End:
    """Where a run will end, by its curve and the finished runs of its cell; see `forecast`."""
    return forecast([curve, *references]).end(curve.key)


def forecast(curves: Sequence[Curve]) -> Forecast:
    """Where the runs of one cell will end, given all of their curves; those with an `end` have finished.

    Raises `ForescaleError` where no run has finished: one has to show how much is still to come.
    """
    import numpy as np
    from scipy.linalg import cho_factor, cho_solve

    if all(curve.end is None for curve in curves):
        raise ForescaleError("a forecast needs a finished run of the same cell to compare with; got none: let one end.")
    points = _points(curves)
    covariance = _covariance(points)
    seen = np.isfinite(points["log_loss"])
    ends = np.flatnonzero(points["bin"] == BINS)
    values = points["log_loss"][seen]
    to_ends = covariance[np.ix_(ends, seen)]
    inside = covariance[np.ix_(seen, seen)] + 1e-9 * np.eye(len(values))
    solved: NDArray[np.float64] = cho_solve(cho_factor(inside), np.column_stack([values - values.mean(), to_ends.T]))
    mean = values.mean() + to_ends @ solved[:, 0]
    error = covariance[np.ix_(ends, ends)] - to_ends @ solved[:, 1:]
    known = np.array([curve.end is not None for curve in curves])
    mean[known] = [math.log(curve.end) for curve in curves if curve.end is not None]
    error[known] = error[:, known] = 0.0
    keys = tuple(curve.key for curve in curves)
    return Forecast(keys=keys, log_loss=mean, covariance=error, freedom=FREEDOM + int(known.sum()))


def bins_of(curve: Curve) -> int:
    """How many parts of the run are over, out of `BINS`."""
    return int(curve.share * BINS + 1e-6)


def bin_means(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean ln loss of each part of the run and the variance of that mean by its noise; NaN for one that is not over."""
    import numpy as np

    finite = np.isfinite(curve.loss) & (curve.loss > 0)
    # Other trainers log a loss before the first step too: it belongs to the first part.
    place = np.maximum(np.ceil(curve.progress[finite] * BINS - 1e-6).astype(int) - 1, 0)
    log_loss = np.log(curve.loss[finite])
    count = np.bincount(place, minlength=BINS)[:BINS]
    total = np.bincount(place, weights=log_loss, minlength=BINS)[:BINS]
    over = (np.arange(BINS) < bins_of(curve)) & (count > 0)
    means = np.where(over, total / np.maximum(count, 1), np.nan)
    late = np.diff(log_loss[place >= FIRST * BINS])
    noise = float(np.mean(late**2)) / 2 if len(late) else 0.0
    return means, noise / np.maximum(count, 1)


def _points(curves: Sequence[Curve]) -> dict[str, NDArray[Any]]:
    """Everything that is known of the curves, a row a bin, and a row for each end; NaN for an end that is to come."""
    import numpy as np

    averaged = [bin_means(curve) for curve in curves]
    gaps = _gaps([means for means, _ in averaged])
    place = settings_in_octaves(curves)
    rows: list[tuple[Any, ...]] = []
    for i, (curve, (means, noise)) in enumerate(zip(curves, averaged, strict=True)):
        rate, area = _rate_and_area(curve.rate)
        used = [b for b in range(BINS) if (b + 0.5) / BINS >= FIRST and math.isfinite(means[b])]
        rows += [(i, b, (b + 0.5) / BINS, means[b], noise[b], rate[b], area[b]) for b in used]
        rows.append((i, BINS, 1.0, math.log(curve.end) if curve.end else math.nan, 0.0, rate[BINS], area[BINS]))
    run, bins, share, log_loss, noise, rate, area = map(np.array, zip(*rows, strict=True))
    names = {"run": run, "bin": bins, "share": share, "log_loss": log_loss, "noise": noise, "place": place[run]}
    peak = np.exp(np.mean([np.log(curve.rate.max()) for curve in curves]))
    whole = np.exp(np.mean([np.log(curve.rate.mean()) for curve in curves]))
    return names | {
        "seed": np.array([curve.seed for curve in curves])[run],
        "unrest": (1 + gaps / FAR)[run],
        "hot": (rate / peak) ** GAMMA,
        "behind": (area / whole) ** -ALPHA,
    }


def _covariance(points: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Of ln loss between all points; shape (points, points)."""
    import numpy as np

    def same(name: str) -> NDArray[np.bool_]:
        return points[name][:, None] == points[name]

    def outer(name: str) -> NDArray[np.float64]:
        return np.outer(points[name], points[name])

    squares = (points["place"] ** 2).sum(1)
    apart = np.maximum(squares[:, None] + squares - 2 * points["place"] @ points["place"].T, 0.0)
    alike = np.exp(-apart / (2 * OCTAVES**2))
    lasting = np.exp(-np.abs(points["share"][:, None] - points["share"]) / MEMORY)
    together = same("bin")
    between = alike * (LEVEL**2 + BEHIND**2 * outer("behind") + HOT**2 * outer("hot"))
    own = same("run") * outer("unrest") * (OWN**2 + DRIFT**2 * lasting)
    noise = together * np.sqrt(outer("noise")) * (NOISE * same("run") + (1 - NOISE) * same("seed"))
    return 1.0 + COMMON**2 * together + between + own + noise


def settings_in_octaves(curves: Sequence[Curve]) -> NDArray[np.float64]:
    """Where each run's settings lie, numbers in octaves (of 1 - beta for betas); shape (curves, settings that differ)."""
    import numpy as np

    columns: list[NDArray[np.float64]] = []
    for name in dict.fromkeys(name for curve in curves for name in curve.settings):
        values = [curve.settings.get(name) for curve in curves]
        if len(set(values)) > 1:
            columns += _columns(name, values)
    return np.array(columns).T if columns else np.zeros((len(curves), 1))


def _columns(name: str, values: Sequence[Any]) -> list[NDArray[np.float64]]:
    import numpy as np

    if not all(isinstance(value, int | float) for value in values):
        return [
            np.array([OCTAVES * (str(value) == each) for value in values]) for each in sorted(set(map(str, values)))
        ]
    numbers = 1 - np.array(values, float) if name.startswith("beta") else np.array(values, float)
    least = numbers[numbers > 0].min(initial=1.0) / 4  # 0 (a decay that is off) lies two octaves below the lowest
    return [np.log2(np.maximum(numbers, least))]


def _rate_and_area(rate: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The learning rate in each bin and at the end, and the area under it until there, as a mean over the run."""
    import numpy as np

    fine = np.interp(_middles(BINS * 32), _middles(len(rate)), rate)
    area = np.cumsum(fine) / len(fine)
    parts = [np.append(each.reshape(BINS, 32).mean(1), each[-1]) for each in (fine, area)]
    return parts[0], np.maximum(parts[1], 1e-12 * area[-1])


def _middles(count: int) -> NDArray[np.float64]:
    import numpy as np

    return (np.arange(count, dtype=float) + 0.5) / count


def _gaps(means: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """How far each curve lies, where it ends, above the lowest of those that have come as far, in ln loss."""
    import numpy as np

    table = np.array(means)
    gaps = np.zeros(len(table))
    for i, row in enumerate(table):
        if len(reached := np.flatnonzero(np.isfinite(row))):
            last = table[:, max(reached[-1] - 1, 0) : reached[-1] + 1]
            with_it = last[np.isfinite(last).all(1)].mean(1)
            gaps[i] = max(float(last[i][np.isfinite(last[i])].mean()) - with_it.min(initial=math.inf), 0.0)
    return gaps
