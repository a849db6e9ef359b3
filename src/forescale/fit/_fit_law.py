"""Runs to a law: `fit_law`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._basin import measured_landscape
from forescale.fit._bootstrap import bootstrap, coefficients
from forescale.fit._fitted import Bootstrap, FittedLaw
from forescale.fit._held_out import HeldOut, best, hold_out
from forescale.fit._problem import TOLD_APART, Problem, make_problem
from forescale.fit._protocols import Candidate, allowed, candidates, solver
from forescale.laws import Formula, Law, Source
from forescale.quantities import humanize

if TYPE_CHECKING:
    from forescale.fit._cells import Array
    from forescale.runs import Runs

LOG_COEFFICIENT = "log coefficient"
WIDEST = 10.0  # standard error in the coefficient's own size (1 at least): what a law file may state
STEEPEST = 20.0  # exponent of a law file
UNITS = {"learning_rate": "peak learning rate", "batch_tokens": "tokens per optimizer step"}


def fit_law(
    runs: Runs,
    *,
    protocol: str = "auto",
    batch_inputs: Sequence[str] | None = None,
    active_share: bool | None = None,
    over: str = "cells",
    bootstraps: int = 1000,
    seed: int = 0,
) -> FittedLaw:
    """Fit power laws of the best learning rate and batch to a sweep's cells.

    `protocol` is one of step-law, near-0.5, centroid, vertex, argmin and bowl; auto takes the one of the lowest loss
    gap on cells left out. `batch_inputs` is ("tokens",), as Step Law has it, or ("params", "tokens"); None leaves it
    to the held-out gap (step-law: tokens). `active_share` adds the active share of experts as an input (None: where it
    differs between cells). `over` resamples whole cells, or single points as Step Law's authors do.
    Raises `ForescaleError` for a sweep that cannot tell a law: one cell, one learning rate, every optimum on an edge.
    """
    problem = make_problem(runs, active_share)
    every = candidates(problem)
    among = allowed(every, protocol, batch_inputs, problem)
    held_out = hold_out(problem, every)
    chosen = best(held_out.scores, among)
    draws, summary = bootstrap(problem, chosen, over=over, resamples=bootstraps, seed=seed)
    return _fitted(runs, problem, chosen, len(among), held_out, draws, summary)


def _fitted(
    runs: Runs,
    problem: Problem,
    chosen: Candidate,
    choices: int,
    held_out: HeldOut,
    draws: Sequence[Array],
    summary: Bootstrap,
) -> FittedLaw:
    import numpy as np

    thetas = [theta[0] for theta in solver(problem, chosen)(np.ones((1, len(problem.cells))))]
    predicts = {
        quantity: _formula(quantity, [problem.inputs[i] for i in use], theta, draw)
        for quantity, use, theta, draw in zip(problem.quantities, chosen.uses(problem), thetas, draws, strict=True)
    }
    because = _because(chosen, choices, held_out)
    return FittedLaw(
        law=_law(runs, problem, predicts, because, summary),
        protocol=chosen.protocol,
        batch_inputs=chosen.batch_inputs,
        chosen_because=because,
        coefficients={
            quantity: coefficients(formula.covariance_of, theta, draw)
            for (quantity, formula), theta, draw in zip(predicts.items(), thetas, draws, strict=True)
        },
        bootstrap=summary,
        held_out=tuple(sorted(held_out.scores.values(), key=lambda s: s.linear.mean if s.gaps else math.inf)),
        choice=held_out.choice,
        references=held_out.references,
        cells=len(problem.cells),
        runs=_counts(runs),
        warnings=(*problem.warnings, *_doubts(chosen, held_out, summary)),
        notes=problem.notes,
    )


def _formula(quantity: str, inputs: Sequence[str], theta: Array, draws: Array) -> Formula:
    import numpy as np

    names = (LOG_COEFFICIENT, *inputs)
    covariance = np.cov(draws, rowvar=False)
    for name, value, error in zip(names, theta, np.sqrt(np.diag(covariance)), strict=True):
        _refuse_unpinned(quantity, name, float(value), float(error))
    return Formula(
        quantity=quantity,
        family="power",
        constants={"coefficient": math.exp(theta[0])},
        exponents={name: float(slope) for name, slope in zip(inputs, theta[1:], strict=True)},
        unit=UNITS[quantity],
        evidence="computed",
        covariance_of=names,
        covariance=tuple(tuple(float(v) for v in row) for row in covariance),
    )


def _refuse_unpinned(quantity: str, name: str, value: float, error: float) -> None:
    steepest = 700.0 if name == LOG_COEFFICIENT else STEEPEST
    if not abs(value) <= steepest or not error <= WIDEST * max(abs(value), 1.0):
        raise ForescaleError(
            f"these cells do not pin the {name} of {quantity}: it is {value:.3g} with a standard error of {error:.2g}; "
            "add cells that lie farther apart in params and tokens."
        )


def _because(chosen: Candidate, choices: int, held_out: HeldOut) -> str:
    score = held_out.scores[chosen]
    gap = f"{100 * score.linear.mean:.3f} %" if score.gaps else "unknown"
    left_out = f"{gap} of loss on cells left out (linear surface)"
    if choices == 1:
        return f"{chosen.name} ({chosen.title}) was asked for; its gap is {left_out}"
    return f"{chosen.name} ({chosen.title}) has the lowest gap of {choices} protocols, {left_out}"


def _doubts(chosen: Candidate, held_out: HeldOut, summary: Bootstrap) -> tuple[str, ...]:
    score, (published, constant) = held_out.scores[chosen], held_out.references
    doubts: list[str] = []
    if score.missing:
        doubts.append(f"{chosen.name} has no held-out gap in {score.missing}")
    for rival, what in ((published, "published Step Law"), (constant, "one constant setting, the best in hindsight,")):
        if score.gaps and rival.gaps and rival.linear.mean < score.linear.mean:
            doubts.append(
                f"on these cells {what} has a lower gap ({100 * rival.linear.mean:.3f} %) than this law has on cells "
                f"left out ({100 * score.linear.mean:.3f} %): a law of your own buys nothing here yet"
            )
    if summary.dropped > summary.resamples / 10:
        doubts.append(
            f"{summary.dropped} of {summary.resamples} resamples hardly tell the exponents apart and were dropped: the "
            "intervals are too narrow; add cells"
        )
    return tuple(doubts)


def _law(
    runs: Runs,
    problem: Problem,
    predicts: Mapping[str, Formula],
    because: str,
    summary: Bootstrap,
) -> Law:
    return Law(
        name=f"fit-{re.sub(r'[^A-Za-z0-9_-]+', '-', runs.source.partition('.')[0]).strip('-') or 'runs'}",
        title=f"Fit to {len(problem.cells)} cells of {runs.source}",
        kind="hyperparameters",
        predicts=predicts,
        source=Source(
            paper=f"own fit to {runs.source}",
            reference=f"sha256:{data_hash(runs)}",
            place=f"forescale fit, {_versions()}",
            evidence="computed",
        ),
        experts=_experts(problem),
        range=_range(problem),
        conditions=_conditions(runs, problem),
        landscape=measured_landscape(problem.cells) if len(problem.axes) == 2 else None,
        notes=(
            f"{because}.",
            f"The covariance is from {summary.resamples - summary.dropped} resamples of {summary.over}.",
            *(f"{warning}." for warning in problem.warnings),
        ),
        fitted_on=f"{runs.source} (sha256 {data_hash(runs)[:12]})",
    )


def data_hash(runs: Runs) -> str:
    """SHA-256 of the runs' numbers, whatever their order, file format and other columns."""
    import hashlib

    import numpy as np

    columns = ["params", "active_params", "tokens", "learning_rate", "batch_tokens", "loss"]
    table = runs.frame.select(columns).sort(columns).to_numpy()
    return hashlib.sha256(np.ascontiguousarray(table, dtype="<f8").tobytes()).hexdigest()


def _versions() -> str:
    import numpy as np
    import polars as pl

    from forescale import __version__

    return f"forescale {__version__}, numpy {np.__version__}, polars {pl.__version__}"


def _experts(problem: Problem) -> str:
    dense = [cell.active_params == cell.params for cell in problem.cells]
    return "dense" if all(dense) else "any" if any(dense) else "moe"


def _range(problem: Problem) -> dict[str, tuple[float, float]]:
    """What the cells span; with tokens per parameter where the two could not be told apart."""
    axes = {
        "params": [cell.params for cell in problem.cells],
        "tokens": [cell.tokens for cell in problem.cells],
        "active_share": [cell.active_params / cell.params for cell in problem.cells],
    }
    if min(axes["active_share"]) == 1:
        del axes["active_share"]
    if "params" in problem.inputs and "tokens" not in problem.inputs and _vary(axes["tokens"]):
        axes["tokens_per_param"] = [cell.workload.tokens_per_param for cell in problem.cells]
    return {axis: (min(values), max(values)) for axis, values in axes.items()}


def _vary(values: Sequence[float]) -> bool:
    return max(values) > min(values) * (1 + TOLD_APART)


def _conditions(runs: Runs, problem: Problem) -> dict[str, str]:
    """What the runs share and the law therefore holds for."""
    batches = sorted({float(batch) for cell in problem.cells for batch in cell.batches})
    tuned = "learning rate and batch tuned together in every cell"
    fixed = f"the batch was not swept: {humanize(batches[0])} to {humanize(batches[-1])} tokens"
    conditions = {"batch_policy": tuned if len(problem.axes) == 2 else fixed, "loss": "as in the runs"}
    for column in ("seq_len", "weight_decay"):
        if column in runs.frame.columns and runs.frame[column].n_unique() == 1 and runs.frame[column][0] is not None:
            conditions[column] = f"{runs.frame[column][0]:g}"
    return conditions


def _counts(runs: Runs) -> dict[str, Any]:
    return {
        "source": runs.source,
        "sha256": data_hash(runs),
        "read": runs.read,
        "missing_loss": runs.missing_loss,
        "unfinished": runs.unfinished,
        "diverged": runs.diverged,
        "columns": dict(runs.columns),
    }
