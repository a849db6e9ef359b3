"""Loss laws fitted to public runs: Huber losses on log L, covariance by a bootstrap over runs.

All resamples are fitted at once by damped Gauss-Newton steps with Huber weights, started at the fit of all runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from step_law_fits import resampled

Array = NDArray[np.float64]
Model = Callable[[Array], tuple[Array, Array]]  # theta (R, P) -> log L (R, n) and its derivatives (R, n, P)
DELTA = 1e-3  # Huber's threshold on the log loss, as Hoffmann et al. and Epoch use it
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Constants as the catalog prints them; covariance over E, logarithms of coefficients, exponents; rms of log L."""

    constants: dict[str, float]
    covariance: Array
    rms: float
    draws: Array


def huber_fit(model: Model, log_loss: Array, start: Array, weights: Array, rounds: int = 600) -> Array:
    """Minimize the weighted Huber losses from `start` (R, P) with counts `weights` (R, n) of each run."""
    theta, damping = start.copy(), np.full(len(start), 1e-3)
    moving = np.arange(len(start))
    for _ in range(rounds):
        now, lam, count = theta[moving], damping[moving], weights[moving]
        step = _gauss_newton(model, log_loss, now, count, lam)
        with np.errstate(all="ignore"):
            old, new = (_cost(model(at)[0] - log_loss, count) for at in (now, now - step))
        better = new <= old  # False for nan
        theta[moving] = np.where(better[:, None], now - step, now)
        damping[moving] = np.clip(np.where(better, lam / 4, lam * 8), 1e-12, 1e8)
        moving = moving[~better & (lam < 1e6) | better & (old - new > 1e-13 * old)]
        if not len(moving):
            break
    return theta


def _gauss_newton(model: Model, log_loss: Array, theta: Array, count: Array, damping: Array) -> Array:
    value, J = model(theta)
    r = value - log_loss
    w = count * np.minimum(1.0, DELTA / np.maximum(np.abs(r), 1e-300))
    JW = np.swapaxes(J * w[..., None], 1, 2)
    H, g = JW @ J, JW @ r[..., None]
    H += np.eye(H.shape[1]) * (damping[:, None, None] * H)
    return np.linalg.solve(H, g)[..., 0]


def _cost(r: Array, weights: Array) -> Array:
    a = np.abs(r)
    return (weights * np.where(a <= DELTA, r * r / 2, DELTA * (a - DELTA / 2))).sum(axis=1)


def additive(N: Array, D: Array) -> Model:
    """ln(E + A / N^alpha + B / D^beta) over theta = (E, ln A, ln B, alpha, beta)."""
    n, d = np.log(N), np.log(D)

    def model(theta: Array) -> tuple[Array, Array]:
        E, a, b, alpha, beta = (theta[:, i, None] for i in range(5))
        first, second = np.exp(a - alpha * n), np.exp(b - beta * d)
        L = E + first + second
        J = np.stack([np.ones_like(L), first, second, -n * first, -d * second], axis=-1)
        return np.log(L), J / L[..., None]

    return model


def over_training(N: Array, D: Array) -> Model:
    """ln(E + (a M^eta + b M^-eta) C^-eta), C = 6 N D, M = D / N, over theta = (E, ln a, ln b, eta)."""
    tied = additive(N, D)
    six = np.log(6)

    def model(theta: Array) -> tuple[Array, Array]:
        E, a, b, eta = (theta[:, i] for i in range(4))
        # M^eta C^-eta = (6 N^2)^-eta and M^-eta C^-eta = (6 D^2)^-eta: the additive law with one exponent, 2 eta.
        value, J = tied(np.stack([E, a - eta * six, b - eta * six, 2 * eta, 2 * eta], axis=1))
        by_eta = -six * (J[..., 1] + J[..., 2]) + 2 * (J[..., 3] + J[..., 4])
        return value, np.stack([J[..., 0], J[..., 1], J[..., 2], by_eta], axis=-1)

    return model


def skaling_form(N: Array, D: Array) -> Model:
    """ln((A / N^alpha + B / D^beta)^k + E) over theta = (E, ln A, ln B, alpha, beta, k)."""
    n, d = np.log(N), np.log(D)

    def model(theta: Array) -> tuple[Array, Array]:
        E, a, b, alpha, beta, k = (theta[:, i, None] for i in range(6))
        first, second = np.exp(a - alpha * n), np.exp(b - beta * d)
        inner = first + second
        power = inner**k
        L = power + E
        outer = k * power / inner
        parts = [np.ones_like(L), outer * first, outer * second, -n * outer * first, -d * outer * second]
        return np.log(L), np.stack([*parts, power * np.log(inner)], axis=-1) / L[..., None]

    return model


def bootstrap(model: Model, loss: Array, start: Array) -> tuple[Array, Array, float]:
    """The fit of all runs from the best of the starts (S, P), those of the resamples, and the rms of ln L."""
    y = np.log(loss)
    every = huber_fit(model, y, start, np.ones((len(start), len(y))), rounds=4000)
    best = every[[_cost(model(every)[0] - y, np.ones_like(y)).argmin()]]
    counts = np.stack([np.bincount(i, minlength=len(y)) for i in resampled(len(y), RESAMPLES)]).astype(float)
    draws = huber_fit(model, y, np.repeat(best, RESAMPLES, axis=0), counts)
    return best[0], draws, float(np.sqrt(np.mean((model(best)[0] - y) ** 2)))


def _fit(names: tuple[str, ...], model: Model, loss: Array, start: Array) -> Fit:
    best, draws, rms = bootstrap(model, loss, start)
    values = [np.exp(v) if name in ("A", "B", "a", "b") else v for name, v in zip(names, best, strict=True)]
    constants = {name: float(v) for name, v in zip(names, values, strict=True)}
    return Fit(constants=constants, covariance=np.cov(draws, rowvar=False), rms=rms, draws=draws)


def chinchilla_runs(data: Path) -> tuple[Array, Array, Array]:
    """N, D = C / (6 N) and loss of Epoch's 240 points: 245 less the five highest losses."""
    table = pl.read_csv(data / "epoch-chinchilla" / "svg_extracted_data.csv").sort("loss")[:-5]
    N, C, L = (table[c].to_numpy() for c in ("Model Size", "Training FLOP", "loss"))
    return N, C / (6 * N), L


def epoch(data: Path) -> Fit:
    """Our refit of the additive law on Epoch's points, for the covariance that the paper does not print."""
    N, D, L = chinchilla_runs(data)
    start = np.array([[1.8172, np.log(482.01), np.log(2085.43), 0.3478, 0.3658]])
    return _fit(("E", "A", "B", "alpha", "beta"), additive(N, D), L, start)


def skaling(data: Path) -> Fit:
    """The Skaling form on the same points."""
    N, D, L = chinchilla_runs(data)
    start = np.array([[1.8, np.log(482), np.log(2085), 0.35, 0.37, k] for k in (0.5, 0.8, 1.0, 1.2)])
    return _fit(("E", "A", "B", "alpha", "beta", "k"), skaling_form(N, D), L, start)


GADRE = {"gadre-c4": "c4_original", "gadre-redpajama": "rpj", "gadre-refinedweb": "rw_original"}


def gadre(data: Path) -> dict[str, Fit]:
    """Gadre et al.'s law for each training set, on the C4 validation loss of every run."""
    table = pl.read_csv(data / "gadre-overtraining" / "models_flat.csv")
    return {name: _gadre(table.filter(dataset_name=trained_on)) for name, trained_on in GADRE.items()}


def _gadre(runs: pl.DataFrame) -> Fit:
    N, D, L = (runs[c].cast(pl.Float64).to_numpy() for c in ("params", "tokens", "loss_c4_val"))
    start = np.array([[1.5, np.log(100.0), np.log(200.0), eta] for eta in (0.1, 0.14, 0.18)])
    return _fit(("E", "a", "b", "eta"), over_training(N, D), L, start)
