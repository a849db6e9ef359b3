"""What tuning came to, as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate import Calibration, Foresight
from forescale.sweep.tune._budget import Budget
from forescale.sweep.tune._target import Target
from forescale.train import PlannedRun

if TYPE_CHECKING:
    from forescale.runs import Runs
    from forescale.sweep.store import Entry


@dataclass(frozen=True, kw_only=True)
class Round:
    """Proxies that were run together, and what is known of the target's optimum once they are in."""

    number: int
    entries: tuple[Entry, ...]
    after: Foresight

    @property
    def compute(self) -> float:
        """FLOPs planned."""
        return sum(entry.job.compute for entry in self.entries)

    @property
    def losses(self) -> int:
        """How many ended with a loss."""
        return sum(entry.state == "done" for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        """Counts, FLOPs and the gap (per cent) to expect."""
        states = [entry.state for entry in self.entries]
        counts = {state: states.count(state) for state in dict.fromkeys(states)}
        return {"number": self.number, "runs": len(states), **counts, "compute": self.compute, **self.after.to_json()}


@dataclass(frozen=True, kw_only=True)
class Try:
    """A run of the target: its learning rate, batch (tokens), loss (infinite where it diverged) and seed."""

    learning_rate: float
    batch_tokens: float
    loss: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Verified:
    """How close the prediction came, by more runs of the target around it; gaps are shares of the loss."""

    predicted: Try
    others: tuple[Try, ...]
    published: Try | None  # of them the one at the published law's setting, Step Law's
    best: tuple[float, float]  # learning rate and batch that these runs say are the best
    interval: tuple[tuple[float, float], tuple[float, float]]  # 80 %, of the best learning rate and batch

    @property
    def lowest(self) -> Try:
        """The run of the lowest loss."""
        return min((self.predicted, *self.others), key=lambda each: each.loss)

    @property
    def gap(self) -> float:
        """The prediction's loss over the lowest that any run reached, less 1; seeds' noise is in it."""
        return self.predicted.loss / self.lowest.loss - 1

    @property
    def published_gap(self) -> float | None:
        """The same of the published law."""
        return None if self.published is None else self.published.loss / self.lowest.loss - 1

    def to_json(self) -> dict[str, Any]:
        """The gap in per cent."""
        return {
            "predicted": _try_to_json(self.predicted),
            "runs": [_try_to_json(each) for each in self.others],
            "lowest": _try_to_json(self.lowest),
            "gap_percent": _percent(self.gap),
            "published": None if self.published is None else _try_to_json(self.published),
            "published_gap_percent": _percent(self.published_gap),
            "best": {"learning_rate": self.best[0], "batch_tokens": self.best[1]},
            "interval": {"learning_rate": list(self.interval[0]), "batch_tokens": list(self.interval[1])},
        }


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The recipe for the target, what it rests on, what it cost, and how close it came where that was tried."""

    target: Target
    budget: Budget
    allowed: float  # the budget in FLOPs
    rounds: tuple[Round, ...]
    ended: str  # why there are no more rounds
    runs: Runs | None  # the proxies that were measured
    calibration: Calibration
    run: PlannedRun  # the prediction
    speed: float | None  # FLOPs a second over all workers, of the proxies; None before there are any
    loss: float | None = None  # of the target, where it was trained by the recipe
    verified: Verified | None = None
    notes: tuple[str, ...] = ()

    @property
    def spent(self) -> float:
        """FLOPs of the proxies."""
        return sum(each.compute for each in self.rounds)

    def interval(self, quantity: str) -> tuple[float, float]:
        """80 % interval of the target's best `learning_rate` or `batch_tokens`."""
        estimate = getattr(self.calibration.after, quantity)
        return estimate.low, estimate.high

    def to_json(self) -> dict[str, Any]:
        """Everything in plain JSON types (schema_version 1); gaps in per cent."""
        target, recipe = self.target, self.run.recipe
        values: Mapping[str, Any] = {name: _plain(getattr(recipe, name)) for name in vars(recipe)}
        return {
            "schema_version": 1,
            "target": target.workload.to_json() | {"compute": target.compute},
            "budget": {"text": self.budget.text(), "compute": self.allowed, "spent": self.spent},
            "rounds": [each.to_json() for each in self.rounds],
            "ended": self.ended,
            "before": self.calibration.before.to_json(),
            "after": self.calibration.after.to_json(),
            "recipe": values,
            "interval": {q: list(self.interval(q)) for q in ("learning_rate", "batch_tokens")},
            "loss": self.loss if self.loss is None or math.isfinite(self.loss) else None,
            "verified": None if self.verified is None else self.verified.to_json(),
            "notes": list(self.notes),
        }

    def with_target(self, loss: float | None, verified: Verified | None) -> Tuned:
        """The same with the target's own runs."""
        return replace(self, loss=loss, verified=verified)


def _plain(value: Any) -> dict[str, Any]:
    return {"value": value.value, "low": value.low, "high": value.high, "reason": value.reason, "law": value.law}


def _try_to_json(each: Try) -> dict[str, Any]:
    return dict(vars(each)) | {"loss": each.loss if math.isfinite(each.loss) else None}


def _percent(share: float | None) -> float | None:
    return None if share is None or not math.isfinite(share) else 100 * share
