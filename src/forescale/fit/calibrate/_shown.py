"""What a calibration is to be judged by: what every cell said, where the law chooses in it, what labs and prior say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._evidence import CellEvidence, Coverage, Estimate, Evidence, LawReading, cell_evidence, coverage_of
from forescale.fit._score import gap_at
from forescale.fit.calibrate._belief import INPUTS, Belief, design
from forescale.fit.calibrate._calibrate import groups_of, optimum_of
from forescale.fit.calibrate._calibrated import Calibration
from forescale.fit.calibrate._choice import RateCurve, rate_curve
from forescale.fit.calibrate._evidence import Evidence as Said
from forescale.fit.calibrate._held_out import choice_in, finite
from forescale.fit.calibrate._law import QUANTITIES, as_printed
from forescale.fit.calibrate._prior import start
from forescale.fit.calibrate._valley import landscape_of
from forescale.laws import Z80
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.fit._scores import Score
    from forescale.runs import Runs

STEP_LAW = "step-law, as published"
PRIOR = "the prior, before these runs"
TOLD = 0.5  # of the sd before any lab: a lab that leaves more says nothing of a number
NO_SWEEP = {"best known": "a single setting", "diverged": "every run diverged"}  # kinds of evidence that are no sweep


def calibration_evidence(runs: Runs, found: Calibration) -> Evidence:
    """Set a calibration beside the runs that it was made on, as `evidence` does for a law fitted to them.

    `middle` is the workload that the law's choice is for; `readings` are the law, the prior and the labs in the prior that
    say something of a number. `coverage` has the cells in the order of the calibration's. `published` is empty: the
    calibration scores what it is compared with. Raises `ForescaleError` where the runs are not those of the calibration.
    """
    groups = groups_of(runs)
    if [len(cell.points) for cell, _ in groups] != [len(e.cell.points) for e in found.cells]:
        raise ForescaleError(
            f"the prior was calibrated on {len(found.cells)} cells of {found.runs.get('source', 'no runs')}, and "
            f"{runs.source} has {len(groups)} or other ones: give the runs that it was calibrated on."
        )
    coverage = [
        replace(coverage_of(group), left_out=NO_SWEEP.get(e.kind, ""))
        for e, (_, group) in zip(found.cells, groups, strict=True)
    ]
    return Evidence(
        coverage=tuple(coverage),
        cells=tuple(_cells(found, coverage)),
        readings=tuple(_readings(found)),
        published=(),
        middle=found.at,
    )


def expected_gaps(found: Calibration) -> RateCurve:
    """The gaps that learning rates around the estimate lead one to expect at the workload that the choice is for."""
    _, covariance = optimum_of(found.belief, found.at)
    return rate_curve(landscape_of(found.at.is_moe), covariance)


def _cells(found: Calibration, coverage: Sequence[Coverage]) -> Iterator[CellEvidence]:
    """The cells with two settings that trained: where only the rate was swept, the choice is at their own batch."""
    held_out = _gaps(found.held_out, "calibrated")
    published = _gaps(found.references, STEP_LAW)
    for e, covered in zip(found.cells, coverage, strict=True):
        cell = finite(e.cell)
        if len(cell.points) > 1:
            choice = gap_at(cell, [_choice(found.belief, e)])
            yield cell_evidence(cell, covered.diverged, choice, held_out, published)


def _choice(belief: Belief, e: Said) -> tuple[float, float]:
    import numpy as np

    rate, batch = np.exp(choice_in(belief, e)).tolist()
    return rate, batch


def _gaps(scores: Sequence[Score], name: str) -> Sequence[Any]:
    return next((score.gaps for score in scores if score.name == name), ())


def _readings(found: Calibration) -> Iterator[LawReading]:
    labs = [(lab.name, lab.says.plus(start())) for lab in found.prior.labs]
    for quantity, coefficients in found.coefficients.items():
        inputs = [name for name in coefficients if name in INPUTS]
        own = _reading(found.law.name, found.belief, quantity, inputs, found.at)
        yield replace(own, own=True)
        yield _reading(PRIOR, found.prior.belief, quantity, inputs, found.at)
        for name, belief in labs:
            if told := _told(belief, quantity, found.at):
                each = _reading(name, belief, quantity, inputs, found.at)
                yield replace(each, slopes={i: slope for i, slope in each.slopes.items() if i in told})


def _reading(name: str, belief: Belief, quantity: str, inputs: Sequence[str], at: Workload) -> LawReading:
    """A belief's value at the workload, its own deviation from the laws included, and its exponents."""
    mean, covariance = optimum_of(belief, at)
    i = list(QUANTITIES).index(quantity)
    value = _estimate(mean[i], covariance[i, i])
    slopes, spread = belief.at(as_printed(quantity))
    exponents = {n: _estimate(slopes[k], spread[k, k]) for k, n in enumerate(INPUTS, start=1) if n in inputs}
    ends = {key: math.exp(end) for key, end in vars(value).items()}
    return LawReading(name=name, quantity=quantity, own=False, value=Estimate(**ends), slopes=exponents)


def _estimate(mean: float, variance: float) -> Estimate:
    half = Z80 * math.sqrt(variance)
    return Estimate(value=float(mean), low=float(mean - half), high=float(mean + half))


def _told(belief: Belief, quantity: str, at: Workload) -> list[str]:
    """The exponents that a lab says something of, behind its value; none where it says nothing of that."""
    i = list(QUANTITIES).index(quantity)
    rows = [design(at.params, at.tokens, at.active)[i], *as_printed(quantity)[1:]]
    sds = [[math.sqrt(float(row @ each.covariance @ row)) for row in rows] for each in (belief, start())]
    told = [n for n, sd, wide in zip(("value", *INPUTS), *sds, strict=True) if sd < TOLD * wide]
    return told if "value" in told else []
