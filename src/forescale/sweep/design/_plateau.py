"""Settings spread over a plateau: where learning rate and batch may move before the loss rises by a given share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.plan import Request, make_plan
from forescale.sweep.design._common import Common
from forescale.sweep.design._design import Design, make_design
from forescale.sweep.design._make import workload_of
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.fit.surface import Surface

REACH, FINE = 6.0, 1 / 16  # octaves around the best value that are looked at, and how finely
DECIDED = ("learning_rate", "batch_tokens", "batch_sequences")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A landscape of loss in place: `gaps` of learning rates at a batch (tokens), None beyond what is known of it."""

    learning_rate: float  # the best
    batch_tokens: float
    gaps: Callable[[Sequence[float], float], Sequence[float | None]]
    source: str


def plateau(
    common: Common,
    *,
    loss_gap: float = 0.01,
    batches: int = 3,
    rates: int = 3,
    surface: Surface | None = None,
    sizes: Sequence[Mapping[str, Any]] = ({},),
    seeds: Sequence[int] = (),
    name: str = "plateau",
) -> Design:
    """Learning rates and batches spread evenly (in logarithms) over where the loss gap is at most `loss_gap` (a share).

    The plateau is that of the law that plans the run, or of a `surface` fitted to runs. The batches are the middles of equal
    parts of its width, and at each of them `rates` learning rates go from its lower edge to its upper. `sizes` are values of
    several workloads. Raises `ForescaleError` where learning rate or batch are given, and for a plateau of no width.
    """
    if given := [each for each in DECIDED if each in common.values or any(each in size for size in sizes)]:
        raise ForescaleError(f"a plateau decides {' and '.join(given)}, and a value is given too: leave it out.")
    if not 0 < loss_gap < 1 or min(batches, rates) < 1:
        raise ForescaleError(
            f"a plateau takes a loss gap between 0 and 1 and at least one batch and one rate; got {loss_gap:g}, {batches} "
            f"and {rates}: correct it."
        )
    settings: list[dict[str, Any]] = []
    notes: list[str] = []
    for size in sizes:
        workload = workload_of({**common.values, **size}, needs_shape=common.command is None)
        ground = _ground(common, workload) if surface is None else _surface_ground(surface, workload)
        settings += [{**size, **point} for point in _spread(ground, loss_gap, batches, rates, int(workload.seq_len))]
        notes.append(f"the plateau of {loss_gap:.2%} is that of {ground.source}")
    return make_design(common, settings, name=name, seeds=seeds, notes=dict.fromkeys(notes))


def _ground(common: Common, workload: Workload) -> Ground:
    """The landscape of the law that plans, or the one that stands in for it, around the best of that law."""
    plan = make_plan(workload, Request(laws=common.laws), runs=common.runs)
    terrain, law = plan.terrain, plan.recipe.learning_rate.law
    rate, batch = plan.recipe.learning_rate.number, plan.recipe.batch_tokens.number
    if terrain.law == law:
        rate, batch = terrain.learning_rate, terrain.batch_tokens
    return Ground(
        learning_rate=rate,
        batch_tokens=batch,
        gaps=lambda rates, b: [terrain.landscape.gap(r / rate, b / batch) for r in rates],
        source=law if terrain.law == law else f"{terrain.law}, around the choice of {law}",
    )


def _surface_ground(surface: Surface, workload: Workload) -> Ground:
    size, active = (workload.params, workload.tokens), workload.active
    best = surface.best(*size, active_params=active)
    return Ground(
        learning_rate=best.learning_rate,
        batch_tokens=best.batch_tokens,
        gaps=lambda rates, batch: surface.gap(*size, list(rates), batch, active).tolist(),
        source=f"the surface {surface.name}",
    )


def _spread(ground: Ground, loss_gap: float, batches: int, rates: int, seq_len: int) -> Iterator[dict[str, float]]:
    """Batches in the middles of equal parts of the plateau, rates from edge to edge of it at each."""
    edges = {batch: span for batch in _around(ground.batch_tokens) if (span := _span(ground, batch, loss_gap))}
    if not edges:
        raise ForescaleError(f"a plateau of {loss_gap:.2g} has no width here: give a larger loss_gap.")
    low, high = math.log(max(min(edges), seq_len)), math.log(max(max(edges), seq_len))
    for part in range(batches):
        batch = math.exp(low + (high - low) * (part + 0.5) / batches)
        span = _span(ground, batch, loss_gap) or (ground.learning_rate, ground.learning_rate)
        for rate in _between(*span, rates):
            yield {"batch_tokens": batch, "learning_rate": rate}


def _span(ground: Ground, batch: float, loss_gap: float) -> tuple[float, float] | None:
    """The learning rates between which the gap at a batch is small enough; None where it nowhere is."""
    rates = _around(ground.learning_rate)
    gaps = zip(rates, ground.gaps(rates, batch), strict=True)
    inside = [rate for rate, gap in gaps if gap is not None and gap <= loss_gap]
    return (min(inside), max(inside)) if inside else None


def _around(centre: float) -> list[float]:
    steps = round(REACH / FINE)
    return [centre * 2.0 ** (k * FINE) for k in range(-steps, steps + 1)]


def _between(low: float, high: float, count: int) -> list[float]:
    if count == 1:
        return [math.sqrt(low * high)]
    return [low * (high / low) ** (k / (count - 1)) for k in range(count)]
