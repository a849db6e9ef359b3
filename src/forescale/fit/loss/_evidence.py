"""What a fitted loss law is to be judged by: measured and predicted losses, and published constants of the same form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.loss._columns import loss_columns
from forescale.fit.loss._fit import LossFit
from forescale.fit.loss._law import HELD_OUT
from forescale.laws import Law, law, names
from forescale.runs import Runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.loss._robust import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class LossEvidence:
    """The runs that a loss law was fitted to, one number a run, and what it says of them.

    `inputs` are the law's (parameters, tokens ...) and compute in FLOPs; `measured` and `predicted` are in nats per
    token. `held_out` marks the most expensive runs, which the extrapolation was scored on; the predictions here are of
    the law fitted to all. `published` maps laws of the catalog of the same form to their constants. `sha256` is that of
    the numbers fitted.
    """

    inputs: Mapping[str, Array]
    measured: Array
    predicted: Array
    held_out: NDArray[np.bool_]
    published: Mapping[str, Mapping[str, float]]
    sha256: str

    @property
    def residual(self) -> Array:
        """Predicted over measured loss, less 1."""
        return self.predicted / self.measured - 1


def loss_evidence(runs: Runs | Mapping[str, Any], fit: LossFit) -> LossEvidence:
    """Set a loss law beside the runs that it was fitted to; raise `ForescaleError` where they are not those runs."""
    import numpy as np

    columns = loss_columns(runs, fit.family, None)
    if len(columns.loss) != fit.runs:
        raise ForescaleError(
            f"the law was fitted to {fit.runs} runs and {columns.source} has {len(columns.loss)}: give the runs that "
            "the law was fitted to."
        )
    predicted: Array = np.asarray(fit.law.predict("loss", **columns.x), dtype=float)
    return LossEvidence(
        inputs={**columns.x, "compute": columns.compute},
        measured=columns.loss,
        predicted=predicted,
        held_out=columns.compute > np.quantile(columns.compute, 1 - HELD_OUT),
        published=_published(fit),
        sha256=_hash([*columns.x.values(), columns.loss]),
    )


def _published(fit: LossFit) -> dict[str, Mapping[str, float]]:
    """Constants of catalog laws of this form, of those that count in our units."""
    alike = [each for name in names() if _alike(each := law(name), fit.family)]
    return {each.name: each.predicts["loss"].constants for each in alike}


def _alike(each: Law, family: str) -> bool:
    formula = each.predicts.get("loss")
    return formula is not None and formula.family == family and not formula.input_units and formula.unit_size == 1


def _hash(columns: list[Array]) -> str:
    """Whatever the order of the runs."""
    import hashlib

    import numpy as np

    table = np.stack(columns, axis=1)
    return hashlib.sha256(np.ascontiguousarray(table[np.lexsort(table.T)], dtype="<f8").tobytes()).hexdigest()
