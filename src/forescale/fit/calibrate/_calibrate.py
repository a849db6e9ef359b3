"""Calibrate the published prior on runs: the whole of it, read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._basin import measured_landscape
from forescale.fit._cells import Cell, cell_of
from forescale.fit._provenance import data_hash, run_counts
from forescale.fit.calibrate._agreement import agreement
from forescale.fit.calibrate._belief import Belief, design, deviation, information, product
from forescale.fit.calibrate._calibrated import Calibration, Estimate, Foresight, Learnt
from forescale.fit.calibrate._choice import Choice, best_choice
from forescale.fit.calibrate._evidence import Evidence, evidence
from forescale.fit.calibrate._held_out import held_out, rather_alone, references, refitted
from forescale.fit.calibrate._law import LOG_COEFFICIENT, QUANTITIES, as_printed, calibrated_law
from forescale.fit.calibrate._notes import notes_on, warnings_on
from forescale.fit.calibrate._prior import labs_of, published_prior
from forescale.fit.calibrate._valley import OCTAVE, landscape_of
from forescale.laws import Z80, Landscape
from forescale.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.runs import Runs

    Array = NDArray[np.floating[Any]]

FARTHER = 10.0  # times the params and the tokens of the largest cell: where a law without a target is to be used
ENOUGH_CELLS = 5  # swept on both axes, for a landscape of their own


def calibrate(
    runs: Runs | None, *, target: Workload | None = None, without: Collection[str] = (), scored: bool = True
) -> Calibration:
    """Update the published prior of the laws of learning rate and batch with a lab's own runs.

    `target` is the workload to plan for; without one it is ten times the parameters and tokens of the largest cell.
    Without runs (None) the answer is the prior. `without` leaves labs out of the prior; a lab whose own table the runs are
    is left out in any case. One cell is enough, and so is a single learning rate sweep at one batch; runs without a sweep
    count as settings that someone thought good. `scored` false skips the cells left out one at a time.
    Raises `ForescaleError` where there are neither runs nor a target.
    """
    cells = () if runs is None else cells_of(runs)
    own = () if runs is None else labs_of(data_hash(runs))
    prior = published_prior({*without, *own})
    at = target or _ahead(cells)
    seen = evidence_of(cells)
    fit = agreement(prior.belief, [e for e in seen if e.kind != "diverged"])
    factors = information(fit.prior, seen)
    belief = product(fit.prior, factors)
    notes = notes_on(runs, seen, prior, own, at, given=target is not None)
    calibrated = held_out(belief, factors, seen) if scored else ()
    refits = refitted(runs) if scored and runs is not None else ()
    warnings = (*warnings_on(runs, seen, fit, prior.belief, belief), *rather_alone(calibrated, refits))
    share = at.is_moe or any(c.active_params < c.params for c in cells)
    return Calibration(
        law=calibrated_law(
            runs,
            cells,
            belief,
            _caution(best_choice(landscape_of(at.is_moe), optimum_of(belief, at)[1])),
            _own_landscape(cells) or landscape_of(at.is_moe),
            [f"{text}." for text in (*notes, *warnings)],
            share=share,
        ),
        prior=prior,
        start=fit.prior,
        belief=belief,
        cells=seen,
        at=at,
        before=foresight(prior.belief, at),
        after=foresight(belief, at),
        coefficients={q: _learnt(q, prior.belief, belief, share) for q in QUANTITIES},
        widened=fit.widened,
        left_out_labs=tuple({*without, *own}),
        held_out=(*calibrated, *refits),
        references=references(prior.belief, seen) if scored else (),
        runs={} if runs is None else run_counts(runs),
        warnings=warnings,
        notes=notes,
    )


def cells_of(runs: Runs) -> tuple[Cell, ...]:
    """Every cell of the runs, those of a single setting and of diverged runs (loss infinite) too."""
    return tuple(cell for cell, _ in groups_of(runs))


def groups_of(runs: Runs) -> list[tuple[Cell, Any]]:
    """Every cell with its rows of the table, by compute."""
    groups = [(cell_of(group), group) for _, group in sorted(runs.frame.group_by("cell", maintain_order=True))]
    return sorted(groups, key=lambda pair: pair[0].active_params * pair[0].tokens)


def evidence_of(cells: Sequence[Cell]) -> tuple[Evidence, ...]:
    """The evidence of each cell, read with the landscape of its kind of model."""
    alone = sum(len(cell.points) == 1 for cell in cells)
    return tuple(evidence(cell, landscape_of(cell.active_params < cell.params), 1 / max(alone, 1)) for cell in cells)


def _ahead(cells: Sequence[Cell]) -> Workload:
    if not cells:
        raise ForescaleError("calibration needs runs or a target: give at least one of them.")
    largest = cells[-1]
    return Workload(
        params=FARTHER * largest.params,
        active_params=FARTHER * largest.active_params if largest.active_params < largest.params else None,
        tokens=FARTHER * largest.tokens,
        seq_len=largest.seq_len,
        source="ten times the largest cell",
    )


def foresight(belief: Belief, at: Workload) -> Foresight:
    """What a belief says of a workload's optimum."""
    import numpy as np

    mean, covariance = optimum_of(belief, at)
    choice = best_choice(landscape_of(at.is_moe), covariance)
    sds = np.sqrt(np.diag(covariance))
    rate, batch = (_estimate(float(m), float(sd)) for m, sd in zip(mean, sds, strict=True))
    correlation = float(covariance[0, 1] / sds.prod())
    return Foresight(learning_rate=rate, batch_tokens=batch, correlation=correlation, loss_gap=choice.gap)


def optimum_of(belief: Belief, at: Workload) -> tuple[Array, Array]:
    """Mean and covariance of a workload's best (ln learning rate, ln batch), its own deviation from the laws included."""
    mean, covariance = belief.at(design(at.params, at.tokens, at.active))
    return mean, covariance + deviation()


def _estimate(mean: float, sd: float) -> Estimate:
    low, value, high = (math.exp(mean + z * sd) for z in (-Z80, 0.0, Z80))
    return Estimate(value=value, low=low, high=high, octaves=sd / OCTAVE)


def _caution(choice: Choice) -> dict[str, float]:
    import numpy as np

    return dict(zip(QUANTITIES, np.exp(choice.offset).tolist(), strict=True))


def _own_landscape(cells: Sequence[Cell]) -> Landscape | None:
    """The landscape that the cells show themselves, where enough of them were swept on both axes."""
    import numpy as np

    swept = [cell for cell in cells if all(cell.spread) and np.isfinite(cell.log_loss).all()]
    return measured_landscape(swept) if len(swept) >= ENOUGH_CELLS else None


def _learnt(quantity: str, prior: Belief, belief: Belief, share: bool) -> dict[str, Learnt]:
    names = (LOG_COEFFICIENT, "params", "tokens", *(("active_share",) if share else ()))
    X = as_printed(quantity)[: len(names)]
    both = [_intervals(each, X) for each in (prior, belief)]
    return {name: Learnt(prior=both[0][i], posterior=both[1][i]) for i, name in enumerate(names)}


def _intervals(belief: Belief, X: Array) -> list[tuple[float, float, float, float]]:
    import numpy as np

    mean, covariance = belief.at(X)
    return [
        (float(m), float(s), float(m - Z80 * s), float(m + Z80 * s))
        for m, s in zip(mean, np.sqrt(np.diag(covariance)), strict=True)
    ]
