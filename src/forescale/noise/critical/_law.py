"""The power law of the critical batch in D_min, with its covariance."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from forescale.laws import Formula, Law, Source
from forescale.noise.critical._hyperbola import Hyperbola

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST = 3
LEAST_SPAN = 2.0  # largest D_min over the smallest, below which an exponent means nothing


def critical_batch_law(hyperbolas: Sequence[Hyperbola], source: str) -> tuple[Law | None, str]:
    """The law through the critical batches that are known, and why there is none, in words.

    Least squares of ln B_crit on ln D_min; the covariance is that of the line, from the scatter about it.
    """
    known = [h for h in hyperbolas if h.known]
    if len(known) < FEWEST:
        return (
            None,
            f"no law: {len(known)} of {len(hyperbolas)} critical batches are determined, and a law needs {FEWEST}",
        )
    span = max(h.min_tokens for h in known) / min(h.min_tokens for h in known)
    if span < LEAST_SPAN:
        return None, f"no law: D_min spans a factor of {span:.2g} only; add sizes, or losses that lie farther apart"
    theta, covariance = _line(known)
    formula = Formula(
        quantity="critical_batch_tokens",
        family="power",
        constants={"coefficient": math.exp(theta[0])},
        exponents={"tokens": float(theta[1])},
        unit="tokens per optimizer step",
        evidence="computed",
        note="The argument is D_min, the tokens needed at a small batch; D = D_min (1 + B / B_crit).",
        covariance_of=("log coefficient", "tokens"),
        covariance=tuple(tuple(float(v) for v in row) for row in covariance),
    )
    return _law(formula, known, source), ""


def _line(known: Sequence[Hyperbola]) -> tuple[Array, Array]:
    import numpy as np

    x = np.log([h.min_tokens for h in known])
    y = np.log([h.critical_batch or math.nan for h in known])
    design: Array = np.stack([np.ones(len(known)), x], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    theta: Array = inverse @ design.T @ y
    residual = y - design @ theta
    return theta, inverse * float(residual @ residual) / (len(known) - 2)


def _law(formula: Formula, known: Sequence[Hyperbola], source: str) -> Law:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", source.partition(".")[0]).strip("-") or "runs"
    groups = len({h.group for h in known})
    repeated = "" if groups == len(known) else "; losses of one group share its runs, so the covariance is too small"
    return Law(
        name=f"critical-{name}",
        title=f"Critical batch of {source}",
        kind="hyperparameters",
        predicts={formula.quantity: formula},
        source=Source(
            paper=f"own fit to {source}", reference=source, place="forescale critical-batch", evidence="computed"
        ),
        params_means="unstated",
        range={"tokens": (min(h.min_tokens for h in known), max(h.min_tokens for h in known))},
        notes=(
            f"{len(known)} critical batches of {groups} groups, each from D_B = D_min (1 + B / B_crit) at one loss{repeated}.",
            "The covariance is that of the least-squares line in logarithms.",
        ),
        fitted_on=source,
    )
