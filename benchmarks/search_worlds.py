"""What the search benchmark searches: surfaces through real sweeps with their measured noise, and made-up labs for stress.

- Step Law's cells, dense and experts: the smooth surface (thin-plate spline of ln loss) through the cell's runs, over the
  swept box, continuous in the logarithms; beyond 12 % above the minimum the linear one, so diverged regions answer with
  their high loss. True gaps are over the surface's lowest point on a mesh.
- Noise: the residual scale of a quadratic in the runs near the minimum, with the degrees of freedom counted (it holds the
  quadratic's own misfit, so it is an upper bound of seed noise).
- Hagele and Marin swept learning rates at one batch: the surface is a curve, and only the rate is searched. Curves of
  fewer than four rates are left out, and so is misfitting, whose batches are one and whose rates are three.
- Made-up labs: parabolas in octaves whose shape and optimum contradict the landscape and the prior on purpose.

Priors never saw the cell: `other cells` is calibrated on the lab's other cells and on the published labs without this one;
`published` is the published prior without the lab, read with the landscape of Step Law's other sweep.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

import harness

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from lab_cells import hagele, marin

from forescale.fit import Cell
from forescale.fit._optima import ENOUGH, WINDOWS, near, quadratic
from forescale.fit.calibrate import calibrate
from forescale.fit.calibrate._calibrate import groups_of
from forescale.laws import Law, law
from forescale.runs import read_runs
from forescale.workload import Workload

Array = NDArray[np.float64]
MESH = 81
LEAST_RATES = 4
CURVE_NOISE = 0.001  # of ln loss, where a curve has too few runs to measure it
LAB = {"dense": "Step Law", "moe": "Step Law", "hagele": "Hagele", "marin": "Marin"}


@dataclass(frozen=True, kw_only=True)
class World:
    """Something to search: ln loss over the minimum at points (n, 2) of logarithms, over a box, with noise."""

    name: str
    kind: str  # table of the cell, or "made up"
    workload: Workload
    low: Array  # (2,), logarithms; equal ends are not searched
    high: Array
    noise: float  # sd of ln loss
    loss: float  # nats at the lowest run
    surface: Callable[[Array], Array]
    prior: Law | None  # on the lab's other cells; None where there are none
    published: Law

    @cached_property
    def lowest(self) -> float:
        """The surface's lowest value on a mesh."""
        axes = [np.linspace(a, b, MESH if b > a else 1) for a, b in zip(self.low, self.high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        return float(self.surface(points).min())

    def gap(self, point: Array) -> float:
        """The true gap (a share) of a setting."""
        return float(np.expm1(self.surface(point[None])[0] - self.lowest))


def worlds() -> Iterator[World]:
    """All of them."""
    for kind in ("dense", "moe"):
        yield from step_law(kind)
    yield from curves("hagele", hagele(harness.DATA))
    yield from curves("marin", marin(harness.DATA))
    yield from made_up()


def step_law(kind: str) -> Iterator[World]:
    """The cells of one released sweep."""
    runs = read_runs(harness.DATA / "step-law" / f"{kind}_lr_bs_loss.csv", seq_len=2048)
    other = law("step-law-moe" if kind == "dense" else "step-law").landscape
    for i, (cell, group) in enumerate(groups_of(runs)):
        rest = replace(runs, frame=runs.frame.filter(pl.col("cell") != group["cell"][0]))
        yield World(
            name=f"{kind} {i}",
            kind=kind,
            workload=cell.workload,
            low=cell.points.min(0),
            high=cell.points.max(0),
            noise=noise(cell),
            loss=cell.minimum,
            surface=smooth(cell),
            prior=calibrate(rest, target=cell.workload, without=[LAB[kind]], scored=False).law,
            published=replace(published(LAB[kind], cell.workload), landscape=other),
        )


def curves(kind: str, cells: list[Cell]) -> Iterator[World]:
    """Learning rate sweeps at one batch, the batch with most runs."""
    for i, whole in enumerate(cells):
        batches, counts = np.unique(whole.points[:, 1], return_counts=True)
        kept = whole.points[:, 1] == batches[counts.argmax()]
        cell = replace(whole, points=whole.points[kept], log_loss=whole.log_loss[kept])
        if len(cell.points) < LEAST_RATES:
            continue
        yield World(
            name=f"{kind} {i}",
            kind=kind,
            workload=cell.workload,
            low=cell.points.min(0),
            high=cell.points.max(0),
            noise=CURVE_NOISE,
            loss=cell.minimum,
            surface=smooth(cell),
            prior=None,
            published=published(LAB[kind], cell.workload),
        )


def published(lab: str, workload: Workload) -> Law:
    """The published prior without a lab, as a law."""
    return calibrate(None, target=workload, without=[lab], scored=False).law


def smooth(cell: Cell) -> Callable[[Array], Array]:
    """Ln loss over the lowest run by the cell's smooth surface."""

    def surface(points: Array) -> Array:
        return np.log1p(cell.gaps(*np.exp(points).T).smooth)

    return surface


def noise(cell: Cell) -> float:
    """Sd of ln loss around a quadratic in the runs near the minimum."""
    within = next(w for w in WINDOWS if near(cell, w).sum() > ENOUGH)
    chosen = near(cell, within)
    u, v = ((cell.points - cell.points[cell.log_loss.argmin()]) / np.log(2))[chosen].T
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    left = cell.log_loss[chosen] - cell.log_loss.min() - terms @ quadratic(cell, within)
    return math.sqrt(float(left @ left) / (len(left) - terms.shape[1]))


# name: octaves of the optimum off the prior (rate, batch); per cent of loss at one octave below and above the best rate and
# off the best batch; octaves of the best rate per octave of batch; noise
MADE_UP = {
    "as measured": (0.0, 0.0, 0.32, 0.84, 0.3, 0.44, 0.0015),
    "prior two octaves low": (2.0, 0.0, 0.32, 0.84, 0.3, 0.44, 0.0015),
    "prior two octaves high": (-2.0, 0.0, 0.32, 0.84, 0.3, 0.44, 0.0015),
    "batch two octaves off": (0.0, -2.0, 0.32, 0.84, 0.3, 0.44, 0.0015),
    "both off, across the ridge": (-1.5, 1.5, 0.32, 0.84, 0.3, 0.44, 0.0015),
    "steeper below": (0.5, -0.5, 0.84, 0.32, 0.3, 0.44, 0.0015),
    "no ridge": (0.5, -0.5, 0.5, 0.5, 0.5, 0.0, 0.0015),
    "linear ridge": (0.5, -0.5, 0.32, 0.84, 0.3, 1.0, 0.0015),
    "steep": (0.5, -0.5, 1.5, 3.0, 1.5, 0.44, 0.0015),
    "flat": (0.5, -0.5, 0.1, 0.25, 0.1, 0.44, 0.0015),
    "noisy": (0.5, -0.5, 0.32, 0.84, 0.3, 0.44, 0.005),
    "without noise": (0.5, -0.5, 0.32, 0.84, 0.3, 0.44, 0.0),
}


def made_up() -> Iterator[World]:
    """Labs that no one has, in a box of six octaves around the published prior."""
    workload = Workload(params=2e8, tokens=1e10, seq_len=2048, source="made up")
    prior = calibrate(None, target=workload, scored=False).law
    x = {"params": 2e8, "tokens": 1e10, "active_share": 1.0}
    centre = np.log([prior.predict(q, **x) / prior.formula(q).caution for q in ("learning_rate", "batch_tokens")])
    for name, shape in MADE_UP.items():
        yield World(
            name=name,
            kind="made up",
            workload=workload,
            low=centre - 3 * math.log(2),
            high=centre + 3 * math.log(2),
            noise=shape[-1],
            loss=3.0,
            surface=parabolas(centre, *shape[:-1]),
            prior=None,
            published=prior,
        )


def parabolas(
    centre: Array, rate: float, batch: float, below: float, above: float, along: float, ridge: float
) -> Callable[[Array], Array]:
    """A valley of two half parabolas across and one along."""

    def surface(points: Array) -> Array:
        u, v = ((points - centre) / math.log(2) - [rate, batch]).T
        across = u - ridge * v
        return (np.where(across < 0, below, above) * across**2 + along * v**2) / 100

    return surface
