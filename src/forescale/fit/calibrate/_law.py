"""From a belief about a lab's coefficients to a law that plans and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.fit._provenance import conditions, experts, fitted_on, fitted_source, law_name, spans
from forescale.fit.calibrate._belief import CENTRE, DEVIATION, INPUTS, SIZE, Belief
from forescale.laws import Formula, Landscape, Law, Source, TransferError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit._cells import Cell
    from forescale.runs import Runs

    Array = NDArray[np.floating[Any]]

QUANTITIES = {"learning_rate": "peak learning rate", "batch_tokens": "tokens per optimizer step"}
LOG_COEFFICIENT = "log coefficient"


def as_printed(quantity: str) -> Array:
    """(4, 8): theta to (log coefficient, exponents) of a quantity, N and D in counts instead of around the centre."""
    import numpy as np

    first = list(QUANTITIES).index(quantity) * SIZE
    rows = np.zeros((SIZE, 2 * SIZE))
    rows[:, first : first + SIZE] = np.eye(SIZE)
    for i, centre in enumerate(CENTRE.values(), start=1):
        rows[0, first + i] = -math.log(centre)
    return rows


def calibrated_law(
    runs: Runs | None,
    cells: Sequence[Cell],
    belief: Belief,
    caution: Mapping[str, float],
    landscape: Landscape | None,
    notes: Sequence[str],
    *,
    share: bool,
) -> Law:
    """The belief as a law with its covariance; with the active share as an input where `share`."""
    return Law(
        name="published-prior" if runs is None else law_name(runs),
        title="The published prior" if runs is None else f"The published prior, calibrated on {runs.source}",
        kind="hyperparameters",
        predicts={q: _formula(q, belief, caution[q], share) for q in QUANTITIES},
        source=PRIOR_SOURCE if runs is None else fitted_source(runs),
        experts="any" if share else experts(cells) if cells else "dense",
        range=spans(cells) if cells else {},
        transfer_errors={
            q: TransferError(octaves=sd / math.log(2), measured_on="cells around the law of their own lab")
            for q, sd in zip(QUANTITIES, DEVIATION, strict=True)
        },
        landscape=landscape,
        notes=tuple(notes),
        fitted_on="" if runs is None else fitted_on(runs),
        conditions={} if runs is None else conditions(runs, cells),
    )


PRIOR_SOURCE = Source(
    paper="forescale, the labs of prior.toml",
    reference="tools/calibration_prior.py",
    place="mean over labs",
    evidence="computed",
)


def _formula(quantity: str, belief: Belief, caution: float, share: bool) -> Formula:
    use = [0, 1, 2, 3] if share else [0, 1, 2]
    (log_coefficient, *exponents), covariance = belief.at(as_printed(quantity)[use])
    inputs = INPUTS[: len(exponents)]
    return Formula(
        quantity=quantity,
        family="power",
        constants={"coefficient": math.exp(log_coefficient)},
        exponents={name: float(e) for name, e in zip(inputs, exponents, strict=True)},
        unit=QUANTITIES[quantity],
        caution=caution,
        evidence="computed",
        covariance_of=(LOG_COEFFICIENT, *inputs),
        covariance=tuple(tuple(float(v) for v in row) for row in covariance),
    )
