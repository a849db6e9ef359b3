"""Leave one lab out: what the choices of a law cost on a lab's larger cells, read as that lab's data allow.

- A cell swept on both axes: linear interpolation of its losses. One batch: along its learning rates, every choice moved to
  that batch along the ridge.
- Lingle's are optima without losses: the gap of the offset in Step Law's landscape.
- Marin changed one setting at a time and tried no batch below 128 sequences, which diverges at the best rate in the largest
  cells: only the rate is judged, moved to the best batch along the ridge, by its offset from the best in that landscape.
A choice outside the sweep is read at its edge. A gap above 10 % counts as 10 %: the run diverged.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import harness

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from calibration_prior import labs as prior_labs
from lab_cells import LabCells, landscapes, swept_labs

from forescale.fit import Cell
from forescale.fit._optima import centroids
from forescale.fit.calibrate._belief import Belief, deviation, information, moments, product
from forescale.fit.calibrate._belief import design as features
from forescale.fit.calibrate._choice import best_choice, best_rate_at
from forescale.fit.calibrate._evidence import Evidence, evidence
from forescale.fit.calibrate._prior import Lab, Prior, learn, start
from forescale.fit.calibrate._valley import OCTAVE, across, floor
from forescale.laws import Z80, law, variables

Array = NDArray[np.float64]
DIVERGED = 10.0  # per cent
ONE_AT_A_TIME = 12  # runs, below which a cell on both axes is a cross
FIXED_BATCH = np.log(2e6)  # Lingle's large run: its batch was given
LOWEST_BATCH = np.log(2**15 + 1)  # the end of Lingle's grid
LANDSCAPE = landscapes()["step-law"]
THIN = tuple((u, v) for v in (-1.5, 0.0, 1.5) for u in (-1.5, 0.0, 1.5))  # octaves: three rates at three batches


def labs() -> list[LabCells]:
    """The labs to leave out, each one's cells cheapest first."""
    return swept_labs(harness.DATA)


def factors() -> list[Lab]:
    """What every lab says of the coefficients."""
    found = []
    for name, cells, source, label, _ in prior_labs(harness.DATA):
        says = product(start(), information(start(), cells)).minus(start())
        found.append(Lab(name=name, says=says, source=source, evidence=label, cells=len(cells)))
    return found


def prior_without(every: Sequence[Lab], lab: LabCells) -> Prior:
    """The prior of the other labs; Step Law's two sweeps are one lab."""
    own = "Step Law" if lab.name.startswith("Step Law") else lab.name
    return learn([each for each in every if each.name != own])


def compute(e: Evidence) -> float:
    """6 N D of all runs of a cell."""
    return 6 * e.cell.active_params * e.cell.tokens * len(e.cell.points)


def choice(belief: Belief, cell: Cell) -> tuple[Array, Array]:
    """What calibration chooses in a cell, and the covariance of the optimum that it states."""
    mean, covariance = estimate(belief, cell)
    return mean + best_choice(LANDSCAPE, covariance).offset, covariance


def estimate(belief: Belief, cell: Cell) -> tuple[Array, Array]:
    """The optimum's mean and covariance."""
    mean, covariance = belief.at(features(cell.params, cell.tokens, cell.active_params))
    return mean, covariance + deviation()


def published(name: str, cell: Cell) -> Array:
    """A catalog law's (ln learning rate, ln batch) for the cell."""
    chosen = law(name)
    x = variables(cell.workload, chosen)
    return np.log([chosen.predict("learning_rate", **x), chosen.predict("batch_tokens", **x)])


def gap(e: Evidence, point: Array) -> float:
    """Per cent of loss of a choice in a cell."""
    cell = e.cell
    if e.kind == "optimum":
        u, v = (point - cell.points[0]) / OCTAVE
        found = float(across(LANDSCAPE, np.array(u - LANDSCAPE.ridge * v)) + floor(LANDSCAPE, np.array(v)))
    elif all(cell.spread) and len(cell.points) < ONE_AT_A_TIME:
        best = cell.points[cell.log_loss.argmin()]
        found = float(across(LANDSCAPE, np.array(at_batch(point, best[1]) - best[0]) / OCTAVE))
    elif not cell.spread[1]:
        batch = cell.points[0, 1]
        found = float(cell.gaps(np.exp(at_batch(point, batch)), np.exp(batch)).linear[0])
    else:
        found = float(cell.gaps(*np.exp(point)).linear[0])
    return min(100 * found, DIVERGED)


def at_batch(point: Array, batch: float) -> float:
    """Ln of the rate that goes with another batch."""
    return float(point[0] + best_rate_at(LANDSCAPE, batch - point[1]))


def covered(e: Evidence, mean: Array, covariance: Array) -> list[bool]:
    """Whether the stated 80 % intervals hold the measured optimum; beyond the end of a sweep counts where it was the best."""
    observed, swept = _observed(e)
    if e.kind != "optimum" and not e.cell.spread[1]:
        slope = np.array([1.0, -LANDSCAPE.ridge])
        mean = np.array([at_batch(mean, e.cell.points[0, 1]), mean[1]])
        covariance = np.diag([slope @ covariance @ slope, covariance[1, 1]])
    found = []
    for axis in swept:
        low, high = e.cell.points[:, axis].min(), e.cell.points[:, axis].max()
        off, sd = observed[axis] - mean[axis], np.sqrt(covariance[axis, axis])
        beyond = e.kind != "optimum" and ((observed[axis] == high and off < 0) or (observed[axis] == low and off > 0))
        below = e.kind == "optimum" and axis == 1 and observed[1] <= LOWEST_BATCH and off > 0
        found.append(bool(beyond or below or abs(off) <= Z80 * sd))
    return found


def _observed(e: Evidence) -> tuple[Array, tuple[int, ...]]:
    cell = e.cell
    if e.kind == "optimum":
        return cell.points[0], (0,) if cell.points[0, 1] > FIXED_BATCH else (0, 1)
    full = all(cell.spread) and len(cell.points) >= ONE_AT_A_TIME
    best = centroids([cell]).at[0] if full else cell.points[cell.log_loss.argmin()]
    return best, (0, 1) if cell.spread[1] else (0,)


def thinned(e: Evidence, belief: Belief) -> Evidence:
    """A full sweep cut to the runs nearest to a design of nine around the predicted optimum."""
    cell = e.cell
    if e.kind == "optimum" or len(cell.points) <= len(THIN) or not all(cell.spread):
        return e
    mean, _ = estimate(belief, cell)
    wanted = mean + np.array(THIN) * OCTAVE
    kept = np.unique(((cell.points[None] - wanted[:, None]) ** 2).sum(2).argmin(1))
    return evidence(replace(cell, points=cell.points[kept], log_loss=cell.log_loss[kept]), LANDSCAPE)


def own_optimum(e: Evidence) -> Array:
    """What a cell alone says of its optimum, around its best run."""
    best = e.cell.points[e.cell.log_loss.argmin()]
    return moments(e, best, np.diag([1.0, 1.0]) / (2 * OCTAVE) ** 2)[0]
