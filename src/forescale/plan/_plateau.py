"""What being wrong costs: bands and factors from a measured landscape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forescale.laws import Landscape, Law, Slice, law
from forescale.plan._predict import predict
from forescale.plan._values import Axis, Band, Cost, Plateau, Terrain
from forescale.recipe import Recipe
from forescale.workload import Workload

LOSS_GAPS_PERCENT = (0.25, 1.0)
FACTORS = (0.25, 0.5, 2.0, 4.0)


def landscape_for(chosen: Law, workload: Workload) -> tuple[Landscape, str]:
    """The law's own landscape, else Step Law's for the kind of model, and the name of the law that carries it."""
    if chosen.landscape is not None:
        return chosen.landscape, chosen.name
    for name in ("step-law-moe", "step-law") if workload.is_moe else ("step-law",):
        default = law(name)
        if default.landscape is not None:
            return default.landscape, name
    raise AssertionError("the catalog's Step Law carries a landscape")


def terrain(chosen: Law, workload: Workload, recipe: Recipe, known: Mapping[str, float]) -> Terrain:
    """The landscape centred on what the law itself would choose, whatever the user fixed."""
    landscape, name = landscape_for(chosen, workload)
    own = {**known, "batch_tokens": recipe.batch_tokens.number}
    batch = (
        predict(chosen, "batch_tokens", workload, known) if "batch_tokens" in chosen.predicts else recipe.batch_tokens
    )
    rate = (
        predict(chosen, "learning_rate", workload, own) if "learning_rate" in chosen.predicts else recipe.learning_rate
    )
    return Terrain(landscape=landscape, law=name, learning_rate=rate.number, batch_tokens=batch.number)


def plateau(recipe: Recipe, ground: Terrain) -> Plateau:
    """Bands around the recipe's learning rate and the best batch, and what factors of 2 and 4 cost on each axis."""
    landscape = ground.landscape
    return Plateau(
        learning_rate=_axis(
            landscape.learning_rate, recipe.learning_rate.number, lambda factor: landscape.gap(factor, 1.0)
        ),
        batch_tokens=_axis(landscape.batch_tokens, ground.batch_tokens, lambda factor: landscape.gap(1.0, factor)),
        source=f"{ground.law}: {landscape.source}",
    )


def _axis(measured: Slice, centre: float, gap: Callable[[float], float | None]) -> Axis:
    bands: list[Band] = []
    for percent in LOSS_GAPS_PERCENT:
        low, high = measured.band(percent / 100)
        bands.append(Band(loss_gap_percent=percent, low=centre * 2**low, high=centre * 2**high))
    costs = [Cost(factor=f, loss_gap_percent=100 * g) for f in FACTORS if (g := gap(f)) is not None]
    return Axis(bands=tuple(bands), costs=tuple(costs))
