"""How the calibrated law does on cells that it has not seen, beside what else one could follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._cells import Cell
from forescale.fit._held_out import hold_out
from forescale.fit._problem import make_problem
from forescale.fit._protocols import candidates
from forescale.fit._score import best_constant, constant_score, gap_at, law_gaps
from forescale.fit._scores import CellGap, Score
from forescale.fit.calibrate._belief import Belief, design, deviation
from forescale.fit.calibrate._choice import best_choice, best_rate_at
from forescale.fit.calibrate._evidence import Evidence
from forescale.fit.calibrate._valley import landscape_of
from forescale.laws import law

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.runs import Runs

    Array = NDArray[np.floating[Any]]

LEAST = 2  # cells, for one to be left out
MOST_REFITTED = 60
RIVALS = ("step-law", "deepseek")
WORTH = 0.0003  # of loss: a difference between two mean gaps that is not noise (facts: hp-laws.md 0, row 8)


def held_out(belief: Belief, factors: Sequence[Belief], cells: Sequence[Evidence]) -> tuple[Score, ...]:
    """The calibrated law in each swept cell, calibrated on the others, and the prior without any runs."""
    if len(cells) < LEAST:
        return ()
    scored = [(belief.minus(factor), e, finite(e.cell)) for factor, e in zip(factors, cells, strict=True)]
    gaps = tuple(_gap(without, e, cell) for without, e, cell in scored if len(cell.points) > 1)
    if not gaps:
        return ()
    return (Score(name="calibrated", title="the published prior and the other cells' runs", gaps=gaps),)


def refitted(runs: Runs) -> tuple[Score, ...]:
    """Laws fitted to the runs alone, on the same terms: the choice between the protocols, made without the cell."""
    try:
        problem = make_problem(runs)
    except ForescaleError:
        return ()  # too few cells for a law of their own
    if len(problem.cells) > MOST_REFITTED:
        return ()  # each pair of cells is left out once: minutes
    found = hold_out(problem, candidates(problem))
    if found.choice is None:
        return ()
    return (replace(found.choice, name="without a prior", title="the best protocol, fitted to the other cells alone"),)


def rather_alone(calibrated: Sequence[Score], refits: Sequence[Score]) -> tuple[str, ...]:
    """Whether the prior does harm on the cells that are there."""
    return tuple(
        f"on cells left out a law fitted to these runs alone has a lower gap ({100 * refit.linear.mean:.3f} %) than the "
        f"calibrated one ({100 * mine.linear.mean:.3f} %): --prior none fits it"
        for mine in calibrated
        for refit in refits
        if len(refit.gaps) == len(mine.gaps) and refit.linear.mean < mine.linear.mean - WORTH
    )


def references(prior: Belief, cells: Sequence[Evidence]) -> tuple[Score, ...]:
    """The prior alone, two published laws and the best constant setting in hindsight, on the same cells."""
    pairs = [(e, cell) for e in cells if len((cell := finite(e.cell)).points) > 1]
    if not pairs:
        return ()
    scored = [cell for _, cell in pairs]
    alone = tuple(_gap(prior, e, cell) for e, cell in pairs)
    found = [Score(name="prior alone", title="the published prior, no runs", gaps=alone)]
    for name in RIVALS:
        published = law(name)
        gaps, missing = law_gaps(scored, published)
        if gaps:
            found.append(Score(name=f"{name}, as published", title=published.title, gaps=gaps, missing=missing))
    rate, batch = best_constant(scored)
    return (*found, constant_score(scored, rate, batch, "the best constant setting in hindsight"))


def finite(cell: Cell) -> Cell:
    """The cell's runs of finite loss: the others are on no surface."""
    import numpy as np

    kept = np.isfinite(cell.log_loss)
    return cell if kept.all() else replace(cell, points=cell.points[kept], log_loss=cell.log_loss[kept])


def _gap(belief: Belief, e: Evidence, cell: Cell) -> CellGap:
    import numpy as np

    rate, batch = np.exp(choice_in(belief, e)).tolist()
    return gap_at(cell, [(rate, batch)])


def choice_in(belief: Belief, e: Evidence) -> Array:
    """(ln learning rate, ln batch) to choose in a cell; at the cell's own batch where only that was run."""
    import numpy as np

    landscape = landscape_of(e.cell.active_params < e.cell.params)
    mean, covariance = belief.at(design(e.cell.params, e.cell.tokens, e.cell.active_params))
    chosen = mean + best_choice(landscape, covariance + deviation()).offset
    if e.cell.spread[1]:
        return chosen
    batch = e.cell.points[0, 1]
    return np.array([chosen[0] + best_rate_at(landscape, batch - chosen[1]), batch])
