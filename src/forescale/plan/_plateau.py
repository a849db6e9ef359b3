"""What being wrong costs: bands and factors from a measured landscape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forescale.laws import Landscape, Law, Slice, law, variables
from forescale.plan._predict import predict
from forescale.plan._values import Axis, Band, Cost, Plateau, Terrain
from forescale.recipe import Recipe
from forescale.workload import Workload

LOSS_GAPS_PERCENT = (0.25, 1.0)
FACTORS = (0.25, 0.5, 2.0, 4.0)


def landscape_for(chosen: Law, workload: Workload) -> tuple[Landscape, Law]:
    """The law's own landscape, else that of Step Law for the kind of model, and the law that carries it."""
    owner = chosen if chosen.landscape is not None else law("step-law-moe" if workload.is_moe else "step-law")
    assert owner.landscape is not None
    return owner.landscape, owner


def terrain(chosen: Law, workload: Workload, recipe: Recipe, known: Mapping[str, float]) -> Terrain:
    """The landscape, centred on what the law that carries it would choose, whatever the recipe does."""
    landscape, owner = landscape_for(chosen, workload)
    predicted = [
        predict(owner, q, workload, {**known, "batch_tokens": recipe.batch_tokens.number}).number
        / owner.formula(q).caution
        if q in owner.predicts
        else getattr(recipe, q).number
        for q in ("learning_rate", "batch_tokens")
    ]
    return Terrain(
        landscape=landscape,
        law=owner.name,
        learning_rate=predicted[0],
        batch_tokens=predicted[1],
        outside=owner.outside(variables(workload, owner)),
    )


def plateau(recipe: Recipe, ground: Terrain) -> Plateau:
    """Bands around the best learning rate at the recipe's batch and around the best batch, and what factors cost."""
    landscape = ground.landscape
    best_rate = ground.learning_rate * (recipe.batch_tokens.number / ground.batch_tokens) ** landscape.ridge
    return Plateau(
        learning_rate=_axis(landscape.learning_rate, best_rate, lambda factor: landscape.gap(factor, 1.0)),
        batch_tokens=_axis(landscape.batch_tokens, ground.batch_tokens, lambda factor: landscape.gap(1.0, factor)),
        source=f"{ground.law}: {landscape.source}",
        in_range=not ground.outside,
        outside=ground.outside,
    )


def _axis(measured: Slice, centre: float, gap: Callable[[float], float | None]) -> Axis:
    bands: list[Band] = []
    for percent in LOSS_GAPS_PERCENT:
        low, high = measured.band(percent / 100)
        bands.append(Band(loss_gap_percent=percent, low=centre * 2**low, high=centre * 2**high))
    costs = [Cost(factor=f, loss_gap_percent=100 * g) for f in FACTORS if (g := gap(f)) is not None]
    return Axis(bands=tuple(bands), costs=tuple(costs), centre=centre)
