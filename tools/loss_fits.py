"""Loss laws fitted to public runs with the package's own fitter: constants, and their covariance by a bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from step_law_fits import resampled

from forescale.fit.loss._families import make_form
from forescale.fit.loss._robust import minimise
from forescale.fit.loss._search import search
from forescale.laws._families import FAMILIES

Array = NDArray[np.float64]
DELTA = 1e-3  # Huber's threshold on the log loss, as Hoffmann et al. and Epoch use it
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Constants as the catalog prints them; covariance over E, logarithms of coefficients, exponents; rms of log L."""

    constants: dict[str, float]
    covariance: Array
    rms: float
    draws: dict[str, Array]


def fit_law(family: str, columns: dict[str, Array], loss: Array) -> Fit:
    """The fit of all runs and those of the resamples that every derived number of the catalog is taken over."""
    form, y = make_form(family, columns, loss), np.log(loss)
    best = search(form, y, DELTA).theta
    counts = np.stack([np.bincount(i, minlength=len(y)) for i in resampled(len(y), RESAMPLES)]).astype(float)
    theta, _ = minimise(form.model, y, np.repeat(best[None], RESAMPLES, axis=0), counts, DELTA)
    names = FAMILIES[family].constants
    made, draws = form.constants(best[None]), form.constants(theta)
    table = [np.log(draws[n]) if n in form.positive else draws[n] for n in names]
    return Fit(
        constants={n: float(made[n][0]) for n in names},
        covariance=np.cov(np.stack(table)),
        rms=float(np.sqrt(np.mean((form.model.value(best[None])[0] - y) ** 2))),
        draws={n: draws[n] for n in names},
    )


def chinchilla_runs(data: Path) -> tuple[Array, Array, Array]:
    """N, D = C / (6 N) and loss of Epoch's 240 points: 245 less the five highest losses."""
    table = pl.read_csv(data / "epoch-chinchilla" / "svg_extracted_data.csv").sort("loss")[:-5]
    N, C, L = (table[c].to_numpy() for c in ("Model Size", "Training FLOP", "loss"))
    return N, C / (6 * N), L


def epoch(data: Path) -> Fit:
    """Our refit of the additive law on Epoch's points, for the covariance that the paper does not print."""
    N, D, L = chinchilla_runs(data)
    return fit_law("additive", {"params": N, "tokens": D}, L)


def skaling(data: Path) -> Fit:
    """The Skaling form on the same points."""
    N, D, L = chinchilla_runs(data)
    return fit_law("skaling", {"params": N, "tokens": D}, L)


GADRE = {"gadre-c4": "c4_original", "gadre-redpajama": "rpj", "gadre-refinedweb": "rw_original"}


def gadre(data: Path) -> dict[str, Fit]:
    """Gadre et al.'s law for each training set, on the C4 validation loss of every run."""
    table = pl.read_csv(data / "gadre-overtraining" / "models_flat.csv")
    return {name: _gadre(table.filter(dataset_name=trained_on)) for name, trained_on in GADRE.items()}


def _gadre(runs: pl.DataFrame) -> Fit:
    N, D, L = (runs[c].cast(pl.Float64).to_numpy() for c in ("params", "tokens", "loss_c4_val"))
    return fit_law("over-training", {"params": N, "tokens": D, "compute": 6 * N * D}, L)
