"""`fit_surface`: runs to a surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.fit._provenance import data_hash, versions
from forescale.fit.surface._edge import fit_edge
from forescale.fit.surface._fit import Solution, solve
from forescale.fit.surface._model import NAMES
from forescale.fit.surface._surface import Surface
from forescale.fit.surface._sweep import Sweep, make_sweep

if TYPE_CHECKING:
    from forescale.runs import Runs


def fit_surface(runs: Runs, *, name: str = "surface", seed: int = 0) -> Surface:
    """Fit one surface of loss over parameters, tokens, learning rate and batch to a sweep.

    Runs that diverged (`Runs`) teach the stability edge, all others the loss. What the sweep cannot tell stays at its
    prior and is named in the surface's `held` and `notes`. `seed` is of the starts. Raises `ForescaleError` for a sweep
    of one workload, of one learning rate in every cell, of diverged runs only, or with fewer runs than coefficients.
    """
    sweep = make_sweep(runs)
    solution = solve(sweep, seed=seed)
    edge = fit_edge(sweep.points, ~sweep.trained, sweep.log_gap)
    return Surface(
        name=_checked(name),
        reference=sweep.reference,
        parameters=dict(zip(NAMES, solution.theta.tolist(), strict=True)),
        covariance=tuple(tuple(row) for row in solution.covariance.tolist()),
        held=sweep.held,
        cell_error=solution.cell_error,
        noise_scale=solution.noise_scale,
        inflation=solution.inflation,
        edge=edge,
        range=_range(runs),
        fitted_on=runs.source,
        source={"sha256": data_hash(runs), "versions": versions()},
        notes=(*sweep.notes, *_notes(sweep, solution, edge.diverged)),
    )


def _checked(name: str) -> str:
    if not name.strip():
        raise ForescaleError("a surface needs a name, such as 'my-sweep'.")
    return name


def _range(runs: Runs) -> dict[str, tuple[float, float]]:
    import polars as pl

    trained = runs.frame.filter(~pl.col("diverged")).with_columns(
        active_share=pl.col("active_params") / pl.col("params")
    )
    axes = ("params", "active_share", "tokens", "learning_rate", "batch_tokens")
    ends = {axis: trained[axis].to_numpy() for axis in axes}
    return {axis: (float(v.min()), float(v.max())) for axis, v in ends.items()}


def _notes(sweep: Sweep, solution: Solution, diverged: int) -> list[str]:
    import numpy as np

    said: list[str] = []
    if not diverged:
        said.append("no run diverged: the stability edge is Step Law's, moved beyond every learning rate tried")
    if _collinear(sweep.points[2:4]):
        said.append("tokens per parameter hardly vary: only the priors tell the exponents of params and tokens apart")
    if (edges := _on_edge(sweep)) > 0:
        said.append(
            f"{edges} of {len(solution.left_out)} cells have their best run at the edge of the learning rates tried"
        )
    far = np.abs(solution.left_out - solution.theta).max()
    if not np.isfinite(far):
        said.append("a fit without one of the cells failed")
    return said


def _collinear(logs: object) -> bool:
    import numpy as np

    centred = np.asarray(logs) - np.asarray(logs).mean(axis=1, keepdims=True)
    spreads = np.linalg.svd(centred, compute_uv=False)
    return bool(0 < spreads[1] < 0.1 * spreads[0])


def _on_edge(sweep: Sweep) -> int:
    import numpy as np

    count = 0
    for cell in np.unique(sweep.cell[sweep.trained]):
        chosen = sweep.trained & (sweep.cell == cell)
        rates = sweep.points[0, chosen]
        best = rates[sweep.log_gap[chosen].argmin()]
        count += int(np.ptp(rates) > 0 and best in (rates.min(), rates.max()))
    return count
