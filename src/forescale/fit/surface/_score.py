"""A surface against runs, those it was fitted to or others: loss, choice, intervals, divergence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._cells import make_cells
from forescale.fit._provenance import data_hash
from forescale.fit._score import gap_at
from forescale.fit._scores import CellGap, Score, Summary
from forescale.fit.surface._surface import Surface

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.surface._model import Array
    from forescale.runs import Runs

    Flags = NDArray[np.bool_]

NEAR = 0.05  # of the lowest loss of the cell: above, runs scatter by a per cent and more


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well losses are met: R2 against the mean of those runs (None where they are all alike), errors in nats."""

    runs: int
    r2: float | None
    mae: float | None
    bias: float | None  # mean of ln predicted over measured
    covered: float | None  # share of runs inside the 80 % interval

    def to_json(self) -> dict[str, Any]:
        """The five numbers."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class CellScore:
    """One workload: the fit of its runs that trained, of those near its best, and the gap of the surface's choice."""

    params: float
    active_params: float
    tokens: float
    all: Fit
    near: Fit
    choice: CellGap | None  # None where the cell has a single setting
    outside: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, gaps in per cent."""
        return {
            "params": self.params,
            "active_params": self.active_params,
            "tokens": self.tokens,
            **self.all.to_json(),
            "near": self.near.to_json(),
            "choice": self.choice.to_json() if self.choice is not None else None,
            "outside_range": dict(self.outside),
        }


@dataclass(frozen=True, kw_only=True)
class SurfaceScore:
    """A surface scored on runs.

    `all` is over the runs that trained, `near` over those within 5 % of their cell's lowest loss, `with_diverged` over
    every finite loss, those of diverged runs included, each predicted as the mean over whether it diverges. `called`
    counts diverged and trained runs by what the stability edge said. `choice` is the gap of the surface's own learning
    rate and batch; None where no cell was swept.
    """

    surface: str
    fitted_on: str
    same_runs: bool
    all: Fit
    near: Fit
    with_diverged: Fit
    cells: tuple[CellScore, ...]
    choice: Score | None
    called: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def r2(self) -> float | None:
        """R2 over the runs that trained."""
        return self.all.r2

    @property
    def mae(self) -> float | None:
        """Mean absolute error over the runs that trained, nats per token."""
        return self.all.mae

    def to_json(self) -> dict[str, Any]:
        """Everything in plain JSON types: gaps in per cent, errors in nats per token."""
        return {
            "schema_version": 1,
            "surface": self.surface,
            "fitted_on": self.fitted_on,
            "same_runs": self.same_runs,
            "r2": self.r2,
            "mae": self.mae,
            "runs": self.all.runs,
            "bias": self.all.bias,
            "covered": self.all.covered,
            "near": self.near.to_json(),
            "with_diverged": self.with_diverged.to_json(),
            "gap": {name: _summary(self.choice, name) for name in ("nearest", "linear", "smooth")},
            "divergence": dict(self.called),
            "cells": [cell.to_json() for cell in self.cells],
            "notes": list(self.notes),
        }


def score_surface(runs: Runs, surface: Surface) -> SurfaceScore:
    """Score a surface on runs; held out where `same_runs` is false. Raises `ForescaleError` if every run diverged."""
    import numpy as np

    frame = runs.frame
    where = [frame[name].to_numpy() for name in ("params", "tokens", "learning_rate", "batch_tokens", "active_params")]
    loss, trained = frame["loss"].to_numpy(), ~frame["diverged"].to_numpy()
    if not trained.any():
        raise ForescaleError(
            f"all {len(loss)} runs of {runs.source} diverged: a surface is scored on runs that trained."
        )
    predicted, chance = surface.predict(*where), surface.divergence(*where)
    inside = np.logical_and(
        *(sign * (loss - end) >= 0 for sign, end in zip((1, -1), surface.interval(*where), strict=True))
    )
    cell = frame["cell"].to_numpy()
    lowest = _lowest(loss, cell)
    near = trained & (loss <= (1 + NEAR) * lowest)
    finite = np.isfinite(loss)
    plateau = surface.predict(*where) / (1 + surface.gap(*where))
    mixed = (1 - chance) * predicted + chance * plateau * np.exp(surface.edge.log_level)
    choices = _choices(runs, surface)
    cells = tuple(
        CellScore(
            params=params,
            active_params=active,
            tokens=tokens,
            all=_fit(loss, predicted, inside, trained & (cell == c)),
            near=_fit(loss, predicted, inside, near & (cell == c)),
            choice=choices.get((params, active, tokens)),
            outside=surface.outside(params, tokens, active_params=active),
        )
        for c, (params, active, tokens) in _workloads(runs)
    )
    made = [cell.choice for cell in cells if cell.choice is not None]
    return SurfaceScore(
        surface=surface.name,
        fitted_on=surface.fitted_on,
        same_runs=surface.source.get("sha256") == data_hash(runs),
        all=_fit(loss, predicted, inside, trained),
        near=_fit(loss, predicted, inside, near),
        with_diverged=_fit(loss, mixed, None, finite),
        cells=cells,
        choice=Score(name=surface.name, title="the surface's own choice", gaps=tuple(made)) if made else None,
        called=_called(~trained, chance > 0.5),
        notes=(*runs.notes, *_notes(cells, surface)),
    )


def _lowest(loss: Array, cell: NDArray[np.int64]) -> Array:
    import numpy as np

    _, number = np.unique(cell, return_inverse=True)
    lowest = np.full(int(number.max()) + 1, np.inf)
    np.minimum.at(lowest, number, loss)
    return lowest[number]


def _fit(loss: Array, predicted: Array, inside: Flags | None, chosen: Flags) -> Fit:
    import numpy as np

    if not chosen.any():
        return Fit(runs=0, r2=None, mae=None, bias=None, covered=None)
    y, p = loss[chosen], predicted[chosen]
    total = float(((y - y.mean()) ** 2).sum())
    return Fit(
        runs=int(chosen.sum()),
        r2=1 - float(((y - p) ** 2).sum()) / total if total > 0 else None,
        mae=float(np.abs(y - p).mean()),
        bias=float(np.log(p / y).mean()),
        covered=float(inside[chosen].mean()) if inside is not None else None,
    )


def _workloads(runs: Runs) -> list[tuple[int, tuple[float, float, float]]]:
    """Params, active params and tokens of the numbered cells that have a run that trained."""
    import polars as pl

    trained = runs.frame.filter(pl.col("loss").is_finite())
    table = trained.group_by("cell").agg(
        pl.col("params").first(), pl.col("active_params").first(), pl.col("tokens").median()
    )
    return [(int(c), (float(n), float(a), float(d))) for c, n, a, d in table.sort("cell").rows()]


def _choices(runs: Runs, surface: Surface) -> dict[tuple[float, float, float], CellGap]:
    """The gap of the surface's choice in each swept cell; where one batch was run, of its learning rate at that batch."""
    made: dict[tuple[float, float, float], CellGap] = {}
    for cell in make_cells(runs).cells:
        only = float(cell.batches[0]) if not cell.spread[1] else None
        best = surface.best(cell.params, cell.tokens, active_params=cell.active_params, batch_tokens=only)
        outside = surface.outside(cell.params, cell.tokens, active_params=cell.active_params)
        gap = gap_at(cell, [(best.learning_rate, best.batch_tokens)], outside=outside)
        made[cell.params, cell.active_params, cell.tokens] = gap
    return made


def _called(diverged: Flags, said: Flags) -> dict[str, int]:
    return {
        "diverged": int(diverged.sum()),
        "foretold": int((diverged & said).sum()),
        "missed": int((diverged & ~said).sum()),
        "false_alarms": int((~diverged & said).sum()),
        "trained": int((~diverged).sum()),
    }


def _summary(choice: Score | None, reading: str) -> dict[str, float] | None:
    summary: Summary | None = getattr(choice, reading) if choice is not None else None
    return summary.to_json() if summary is not None else None


def _notes(cells: tuple[CellScore, ...], surface: Surface) -> list[str]:
    said: list[str] = []
    outside = sum(bool(cell.outside) for cell in cells)
    if outside:
        said.append(f"{outside} of {len(cells)} cells lie outside what the surface was fitted to")
    if any(cell.choice is not None and cell.choice.clipped for cell in cells):
        said.append("some choices lie outside the swept box: their gaps are read at its edge and are lower bounds")
    return [*said, *surface.notes]
