"""What a reader of a calibration has to know: notes on what was read how, warnings on what may be wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from forescale.fit._problem import doubts_on_runs, name, notes_on_runs
from forescale.fit.calibrate._agreement import Agreement
from forescale.fit.calibrate._belief import Belief, design, deviation, moments
from forescale.fit.calibrate._evidence import Evidence
from forescale.fit.calibrate._prior import Prior
from forescale.fit.calibrate._valley import OCTAVE
from forescale.quantities import humanize
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.runs import Runs

OFF = 3.0  # standard deviations from the law at which a cell is named
MOST_NAMED = 5


def notes_on(
    runs: Runs | None, cells: Sequence[Evidence], prior: Prior, own: Collection[str], at: Workload, *, given: bool
) -> tuple[str, ...]:
    """How the runs were read and what the law is for."""
    return tuple(_notes(runs, cells, prior, own, at, given))


def _notes(
    runs: Runs | None, cells: Sequence[Evidence], prior: Prior, own: Collection[str], at: Workload, given: bool
) -> Iterator[str]:
    yield f"the prior is learnt from {len(prior.labs)} labs: {', '.join(lab.name for lab in prior.labs)}"
    if own:
        yield f"these runs are the table of {' and '.join(sorted(own))}, which is left out of the prior"
    place = f"N = {humanize(at.params)}, D = {humanize(at.tokens)}"
    yield (
        f"the law's choice is for {place}{'' if given else ', ten times the largest cell on both'}: it lies below the "
        "estimate of the best rate, because a rate that is too high costs more than one that is too low"
    )
    if runs is not None:
        yield from (*runs.notes, *notes_on_runs(runs, alone=0))
    kinds = [e.kind for e in cells]
    if count := kinds.count("one batch"):
        yield f"{_cells(count)} swept the learning rate at one batch: it says where the best rate is at that batch"
    if count := kinds.count("best known"):
        yield (
            f"{_cells(count)} of a single setting, taken as a setting that was thought good: the best rate within a factor "
            "of 2 and the batch within 2.8 (one standard deviation), all of them counting as one"
        )


def warnings_on(
    runs: Runs | None, cells: Sequence[Evidence], fit: Agreement, prior: Belief, belief: Belief
) -> tuple[str, ...]:
    """What may be wrong."""
    return (*(() if runs is None else doubts_on_runs(runs)), *_warnings(cells, fit, prior, belief))


def _warnings(cells: Sequence[Evidence], fit: Agreement, prior: Belief, belief: Belief) -> Iterator[str]:
    if fit.widened > 1:
        yield _contradiction(cells, fit, prior)
    kinds = [e.kind for e in cells]
    if count := kinds.count("diverged"):
        yield f"all runs of {_cells(count)} diverged: they only say that the best rate is lower"
    if cells and not any(e.cell.spread[1] for e in cells):
        yield "the batch was swept in no cell: the best batch is the prior's, moved by what the learning rates say of it"
    if cells and not any(e.cell.spread[0] for e in cells):
        yield "the learning rate was swept in no cell: these runs say little of it"
    edge = [e for e in cells if e.kind not in ("best known", "diverged") and e.cell.on_edge]
    if edge:
        yield (
            f"the best run lies on the edge of the sweep in {len(edge)} of {_cells(len(cells))} "
            f"({_some(edge)}): the optimum may lie beyond, and counts as there or beyond"
        )
    off = [e for e in cells if e.kind != "best known" and _distance(e, belief) > OFF]
    if off:
        yield f"{_some(off)}: more than {OFF:g} standard deviations from the law of all cells; check those runs"


def _contradiction(cells: Sequence[Evidence], fit: Agreement, prior: Belief) -> str:
    """How the runs differ from the prior, in octaves at the cell in the middle."""
    import numpy as np

    e = cells[len(cells) // 2]
    mean, covariance = prior.at(design(e.cell.params, e.cell.tokens, e.cell.active_params))
    at, _ = moments(e, mean, np.linalg.inv(25 * (covariance + deviation())))
    rate, batch = 2 ** ((at - mean) / OCTAVE)
    return (
        f"these runs contradict the published prior (chi-squared {fit.squared:.3g} in {fit.directions} directions, chance "
        f"{fit.chance:.1g}): at {name(e.cell)} the best learning rate is {rate:.2g} and the batch {batch:.2g} times what "
        f"labs have, so the prior's variance is multiplied by {fit.widened:.3g} in {fit.widened_in}. Check the units of "
        "batch, tokens and parameters, and which learning rate the column holds"
    )


def _distance(e: Evidence, belief: Belief) -> float:
    """How far, in standard deviations, a cell's own optimum is from the law's, on the farther axis."""
    import numpy as np

    mean, covariance = belief.at(design(e.cell.params, e.cell.tokens, e.cell.active_params))
    wide = covariance + deviation()
    at, spread = moments(e, mean, np.linalg.inv(25 * wide))
    return float((np.abs(at - mean) / np.sqrt(np.diag(spread) + np.diag(wide))).max())


def _some(cells: Sequence[Evidence]) -> str:
    shown = "; ".join(name(e.cell) for e in cells[:MOST_NAMED])
    return f"{shown} and {len(cells) - MOST_NAMED} more" if len(cells) > MOST_NAMED else shown


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
