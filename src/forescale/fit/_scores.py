"""The scores of laws on a sweep, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

READINGS = ("nearest", "linear", "smooth")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Loss gaps over the cells, as shares of the lowest loss."""

    mean: float
    median: float
    max: float

    def to_json(self) -> dict[str, float]:
        """The gaps in per cent."""
        return {"mean": 100 * self.mean, "median": 100 * self.median, "max": 100 * self.max}


@dataclass(frozen=True, kw_only=True)
class CellGap:
    """A choice in one cell and its loss gap (a share), read three ways.

    Where `clipped`, the choice lies outside the swept box: it was read at the box's edge, so the true gap is larger.
    `outside` maps a variable to the factor by which the cell lies beyond the range on which the law was measured.
    """

    params: float
    active_params: float
    tokens: float
    learning_rate: float
    batch_tokens: float
    nearest: float
    linear: float
    smooth: float
    clipped: bool
    outside: Mapping[str, float] = field(default_factory=dict[str, float])

    def to_json(self) -> dict[str, Any]:
        """The gap in per cent and the choice in package units."""
        return {
            "params": self.params,
            "active_params": self.active_params,
            "tokens": self.tokens,
            "learning_rate": self.learning_rate,
            "batch_tokens": self.batch_tokens,
            **{reading: 100 * getattr(self, reading) for reading in READINGS},
            "clipped": self.clipped,
            "outside_range": dict(self.outside),
        }


@dataclass(frozen=True, kw_only=True)
class Score:
    """One law, or one constant setting, over the cells.

    `given` is what the law was handed because it does not predict it: the swept batch or learning rate that suits it
    best, the cell's lowest loss. A law that is handed something does not compare with one that is not.
    """

    name: str
    title: str
    gaps: tuple[CellGap, ...]
    given: tuple[str, ...] = ()
    evidence: str = ""
    missing: str = ""  # why some cells have no value
    fitted_on: str = ""  # released runs that the law was fitted on
    states_range: bool = True  # whether the law says on what range it was measured
    misfit: str = ""  # that the law is one of other models than those of some cells, dense or mixtures of experts

    @property
    def nearest(self) -> Summary:
        """Gap at the nearest run."""
        return self._summary("nearest")

    @property
    def linear(self) -> Summary:
        """Gap by linear interpolation."""
        return self._summary("linear")

    @property
    def smooth(self) -> Summary:
        """Gap on the smooth surface."""
        return self._summary("smooth")

    @property
    def clipped(self) -> int:
        """Choices outside the swept box; where there are any, every gap is a lower bound."""
        return sum(gap.clipped for gap in self.gaps)

    @property
    def outside(self) -> int:
        """Cells outside the range on which the law was measured."""
        return sum(bool(gap.outside) for gap in self.gaps)

    @property
    def held_in(self) -> str:
        """That a law scores well on the runs that it was fitted on; '' for one that says nothing of the kind."""
        if not self.fitted_on:
            return ""
        return f"{self.name} was fitted on {self.fitted_on}: on those runs its gap is not held out"

    def _summary(self, reading: str) -> Summary:
        values = [float(getattr(gap, reading)) for gap in self.gaps]
        return Summary(mean=fmean(values), median=median(values), max=max(values))

    def to_json(self, *, cells: bool = False) -> dict[str, Any]:
        """Gaps in per cent; `cells` adds the choice and the gap of each cell."""
        return {
            **{reading: self._summary(reading).to_json() for reading in READINGS},
            "clipped": self.clipped,
            "lower_bound": self.clipped > 0,
            "cells": len(self.gaps),
            "outside_range": self.outside if self.states_range else None,
            "fitted_on": self.fitted_on or None,
            "misfit": self.misfit or None,
            "given": list(self.given),
            "evidence": self.evidence or None,
            "missing": self.missing or None,
            **({"by_cell": [gap.to_json() for gap in self.gaps]} if cells else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Laws by ascending smooth mean, constant settings, the floor, and what could not be scored.

    The last of `baselines` is the best constant setting in hindsight, over the sweep's own grid. `floor` is each cell's
    own smooth minimum: what no law can beat by more than the noise of the runs.
    """

    laws: tuple[Score, ...]
    baselines: tuple[Score, ...]
    floor: Score
    cells: int
    not_applicable: Mapping[str, str]
    notes: tuple[str, ...]
    runs: Mapping[str, Any]

    def to_json(self, *, cells: bool = False) -> dict[str, Any]:
        """Everything in plain JSON types, gaps in per cent."""
        return {
            "schema_version": 1,
            "unit": "per cent of loss",
            "runs": dict(self.runs),
            "cells": self.cells,
            "laws": {s.name: s.to_json(cells=cells) for s in self.laws},
            "baselines": {s.name: s.to_json(cells=cells) for s in self.baselines},
            "floor": self.floor.to_json(cells=cells),
            "not_applicable": dict(self.not_applicable),
            "notes": list(self.notes),
        }
