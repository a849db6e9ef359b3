"""From a table of runs to critical batches: one hyperbola for each model size and target loss, and their law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.noise.critical._hyperbola import FEWEST, Hyperbola, Point, fit_hyperbola
from forescale.noise.critical._law import critical_batch_law
from forescale.noise.critical._loss_curves import fit_curves, points_at, usual_targets
from forescale.quantities import humanize, positive

if TYPE_CHECKING:
    from forescale.laws import Law
    from forescale.runs import Runs

NEEDS = ("tokens", "batch_tokens", "loss")
SAME_LOSS = 1e-6  # relative: runs to one loss


@dataclass(frozen=True, kw_only=True)
class CriticalBatch:
    """What runs say of the critical batch: a hyperbola for each group and loss, and the power law through them."""

    hyperbolas: tuple[Hyperbola, ...]
    law: Law | None  # of critical_batch_tokens in D_min; None where fewer than three are known
    source: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        formula = None if self.law is None else self.law.formula("critical_batch_tokens")
        law = None
        if formula is not None:
            covariance = [list(row) for row in formula.covariance]
            law = {**formula.constants, "exponent": formula.exponents["tokens"], "covariance": covariance}
            law |= {"text": formula.text(), "covariance_of": list(formula.covariance_of)}
        return {
            "schema_version": 1,
            "source": self.source,
            "hyperbolas": [each.to_json() for each in self.hyperbolas],
            "law": law,
            "notes": list(self.notes),
        }


def critical_batch(
    runs: Runs, *, targets: Sequence[float] = (), groups: str = "params", least_batch: float = 0.0
) -> CriticalBatch:
    """Critical batches of the model sizes (the column `groups`) of a table of runs, at the losses `targets`.

    Of runs with the same batch and tokens the lowest loss counts, so learning rates may be swept. Where all runs of a group
    end at one loss (tokens to a goal), that is the target. Else each batch's loss over tokens is fitted and read at the
    targets; none given: three losses that most batches reach. Batches below `least_batch` tokens are left out: below the
    best batch the tokens rise again, and no hyperbola holds. Runs that share a learning rate schedule cut short are not
    runs of that length: give finished ones. Raises `ForescaleError` where no group determines a critical batch.
    """
    for target in targets:
        positive(target, "a target loss")
    found: list[Hyperbola] = []
    problems: list[str] = []
    for name, cells in _groups(runs, groups, least_batch):
        try:
            found += _hyperbolas(name, cells, targets)
        except ForescaleError as error:
            problems.append(str(error).rstrip("."))
    if not found:
        raise ForescaleError(f"{runs.source} does not determine a critical batch: {'; '.join(problems)}.")
    law, why = critical_batch_law(found, runs.source)
    said = [f"{each.group}, loss {each.loss:.4g}: {each.note}" for each in found if each.note]
    return CriticalBatch(
        hyperbolas=tuple(found),
        law=law,
        source=runs.source,
        notes=(*runs.notes, *problems, *said, *([why] if why else [])),
    )


def _groups(
    runs: Runs, groups: str, least_batch: float
) -> Iterator[tuple[str, Mapping[float, Sequence[tuple[float, float]]]]]:
    """Each group's name, and its {batch: (tokens, lowest loss), ...}; one group where there is no such column."""
    import polars as pl

    frame = runs.frame.filter(pl.col("loss").is_finite() & (pl.col("batch_tokens") >= least_batch))
    if groups not in frame.columns:
        if groups != "params":
            raise ForescaleError(f"the column of --groups must be in the table; got {groups!r}: name another.")
        frame = frame.with_columns(pl.lit("all runs").alias(groups))
    for (key,), part in frame.sort(groups, maintain_order=True).group_by(groups, maintain_order=True):
        cells: dict[float, list[tuple[float, float]]] = {}
        best = part.group_by("batch_tokens", "tokens").agg(pl.col("loss").min()).sort("batch_tokens", "tokens")
        for batch, tokens, loss in best.select("batch_tokens", "tokens", "loss").iter_rows():
            cells.setdefault(float(batch), []).append((float(tokens), float(loss)))
        yield (humanize(key) if isinstance(key, int | float) else str(key)), cells


def _hyperbolas(
    group: str, cells: Mapping[float, Sequence[tuple[float, float]]], targets: Sequence[float]
) -> list[Hyperbola]:
    losses = [loss for runs in cells.values() for _, loss in runs]
    if max(losses) - min(losses) <= SAME_LOSS * max(losses):
        points = [Point(batch_tokens=batch, tokens=min(t for t, _ in runs)) for batch, runs in cells.items()]
        return [fit_hyperbola(points, loss=losses[0], group=group)]
    curves = fit_curves(cells, group)
    chosen = targets or usual_targets(curves)
    if not chosen:
        raise ForescaleError(
            f"no loss is reached by {FEWEST} batches of {group} within their runs: train the batches to lengths that "
            "overlap in loss."
        )
    return [fit_hyperbola(points_at(curves, target), loss=target, group=group) for target in chosen]
