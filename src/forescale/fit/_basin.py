"""What missing the optimum costs, measured on cells: slices through each cell's best run, and their interaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from forescale.fit._cells import Cell
from forescale.fit._optima import near, quadratic
from forescale.laws import Landscape, Slice

WITHIN = 0.02  # of the lowest loss: the runs that a cell's quadratic is fitted to
COEFFICIENTS = 6  # of that quadratic
LEAST_SHARE = 0.5  # offsets seen in fewer cells are left out: their medians mix different cells
SAME = 0.005  # octaves: a sweep's levels may be rounded


def slices(cells: Sequence[Cell], least: float = LEAST_SHARE) -> tuple[dict[float, float], dict[float, float]]:
    """Median loss gap (%) at offsets along learning rate (half octaves) and batch (octaves) from each cell's best run.

    Offsets seen in less than the share `least` of the cells are left out.
    """
    import numpy as np

    along_rate: dict[float, list[float]] = {}
    along_batch: dict[float, list[float]] = {}
    for cell in cells:
        best = cell.log_loss.argmin()
        u, v = ((cell.points - cell.points[best]) / np.log(2)).T
        percent = 100 * np.expm1(cell.log_loss - cell.log_loss[best])
        for i in np.flatnonzero(np.abs(v) < SAME):
            along_rate.setdefault(round(2 * float(u[i])) / 2, []).append(float(percent[i]))
        for i in np.flatnonzero(np.abs(u) < SAME):
            along_batch.setdefault(float(round(float(v[i]))), []).append(float(percent[i]))
    return _medians(along_rate, least * len(cells)), _medians(along_batch, least * len(cells))


def _medians(values: Mapping[float, list[float]], least: float) -> dict[float, float]:
    from statistics import median

    medians = {k: median(v) for k, v in sorted(values.items()) if len(v) >= least}
    return medians | {0.0: 0.0}  # grid steps below half an octave round to 0: the best run itself has no gap


def interaction_and_ridge(cells: Sequence[Cell], within: float = WITHIN) -> tuple[float, float]:
    """Median over cells of -d² gap / du dv (% per octave squared) and of d log2 lr* / d log2 B, by a quadratic each."""
    from statistics import median

    fits = [quadratic(cell, within) for cell in cells]
    return median(-100 * float(f[4]) for f in fits), median(-float(f[4] / (2 * f[3])) for f in fits)


def measured_landscape(cells: Sequence[Cell]) -> Landscape | None:
    """The landscape of the cells, gaps to four digits; None where they do not show a valley on both axes."""
    bowls = [c for c in cells if all(c.spread) and near(c, WITHIN).sum() > COEFFICIENTS]
    rate, batch = (_valley(values) for values in slices(cells))
    if not bowls or rate is None or batch is None:
        return None
    interaction, ridge = interaction_and_ridge(bowls)
    if not -4 <= ridge <= 4:
        return None
    return Landscape(
        learning_rate=rate,
        batch_tokens=batch,
        interaction=_digits(interaction) / 100,
        ridge=_digits(ridge),
        source=f"slices: medians over {len(cells)} cells; interaction and ridge: medians of a quadratic in "
        f"{len(bowls)} cells",
    )


def _valley(percent: Mapping[float, float]) -> Slice | None:
    """The part of a slice that rises from 0 on both sides; None where a side has none."""
    left, right = (
        list(_rising((o, _digits(percent[o])) for o in sorted(percent, key=abs) if sign * o > 0)) for sign in (-1, 1)
    )
    if not left or not right:
        return None
    points = [*reversed(left), (0.0, 0.0), *right]
    return Slice(octaves=tuple(o for o, _ in points), loss_gap=tuple(p / 100 for _, p in points))


def _rising(points: Iterable[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    for before, point in pairwise([(0.0, 0.0), *points]):
        if point[1] <= before[1]:
            return
        yield point


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
