"""Ask for a setting, tell its loss: a search over learning rate and batch that starts from what is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.sweep.search._choice import next_setting, recommended
from forescale.sweep.search._seen import Seen, sort_out
from forescale.sweep.search._space import AXES, Axis, space_of
from forescale.sweep.search._start import Start, start_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.calibrate import Calibration
    from forescale.laws import Law
    from forescale.runs import Runs
    from forescale.workload import Workload

    Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting to run, and why."""

    learning_rate: float
    batch_tokens: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of a setting: `loss` in nats per token, infinite where it diverged, None while it runs.

    `sd` is of ln loss beyond a run's own noise, for a loss that was extrapolated; `dominated` says that the run was stopped
    because it would not have been the best: its loss is not read. `failed` says that it ended without a loss, for a reason that
    is not known: it may have diverged.
    """

    learning_rate: float
    batch_tokens: float
    loss: float | None
    sd: float = 0.0
    dominated: bool = False
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Best:
    """What a search has found. `loss_gap` is a share of the loss; the intervals are the model's 80 % of the optimum.

    The gap is borne out where it was measured (benchmarks/bench_search.py's cells); the intervals are narrow for a valley
    whose shape is unlike the measured one.
    """

    learning_rate: float  # the setting of the lowest expected gap, run or not
    batch_tokens: float
    learning_rate_interval: tuple[float, float]
    batch_tokens_interval: tuple[float, float]
    loss_gap: float  # to expect of that setting
    lowest: Run | None  # the run of the lowest loss; None before there is one
    reason: str


class Search:
    """A search for the learning rate and batch (tokens) of the lowest loss of one workload.

    `prior` is a `Law`, a `Calibration`, `Runs` (which are calibrated on) or None, the published prior. `box` maps
    `learning_rate` and `batch_tokens` to their lowest and highest value; equal ones fix it. A setting may be rounded (a batch
    to whole sequences) and told as it was run. The same runs, in whatever order, and the same `seed` give the same answer.
    Raises `ForescaleError` for a box or prior that makes no sense.
    """

    def __init__(
        self,
        workload: Workload,
        prior: Law | Calibration | Runs | None = None,
        *,
        box: Mapping[str, tuple[float, float]] | None = None,
        seed: int = 0,
    ) -> None:
        self._start = start_of(workload, prior)
        self._space = space_of(self._start, box)
        self._seed = seed
        self._runs: list[Run] = []

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every setting that was asked for or told of."""
        return tuple(self._runs)

    def ask(self) -> Setting:
        """The setting to run next; it counts as running until its loss is told, so several may be asked for at once."""
        seen = seen_of(self._runs, self._start)
        found = next_setting(self._start, self._space, seen, (self._seed, len(self._runs)))
        self._runs.append(Run(learning_rate=found.learning_rate, batch_tokens=found.batch_tokens, loss=None))
        return Setting(
            learning_rate=found.learning_rate,
            batch_tokens=found.batch_tokens,
            reason=reason(self._start, seen, found.loss_gap, found.improvement),
        )

    def tell(
        self,
        setting: Setting | tuple[float, float],
        loss: float = math.nan,
        *,
        sd: float = 0.0,
        dominated: bool = False,
        failed: bool = False,
    ) -> None:
        """Say what came of a setting, asked for or not: a `Setting`, or learning rate and batch in tokens.

        `loss` is nats per token; infinite or NaN is a run that diverged. `sd` is of its logarithm where it was
        extrapolated. `dominated` is a run that was stopped since it would not be the best, `failed` one that crashed: their
        losses are not read.
        """
        rate, batch = (
            (setting.learning_rate, setting.batch_tokens) if isinstance(setting, Setting) else map(float, setting)
        )
        run = checked(
            Run(
                learning_rate=rate,
                batch_tokens=batch,
                loss=float(loss),
                sd=float(sd),
                dominated=dominated,
                failed=failed,
            )
        )
        asked = (i for i, r in enumerate(self._runs) if r.loss is None and _at(r) == (rate, batch))
        if (i := next(asked, None)) is not None:
            del self._runs[i]
        self._runs.append(run)

    def best(self) -> Best:
        """The setting to use after these runs, and where the optimum is."""
        return best_of(self._runs, self._start, self._space, self._seed)


def best_of(runs: Sequence[Run], start: Start, space: Sequence[Axis], seed: int) -> Best:
    """What runs have shown, given what was known before."""
    seen = seen_of(runs, start)
    found = recommended(start, space, seen, (seed, len(runs)))
    finished = [r for r in runs if r.loss is not None and math.isfinite(r.loss) and not (r.dominated or r.failed)]
    return Best(
        learning_rate=found.learning_rate,
        batch_tokens=found.batch_tokens,
        learning_rate_interval=found.optimum[0],
        batch_tokens_interval=found.optimum[1],
        loss_gap=found.loss_gap,
        lowest=min(finished, key=lambda r: r.loss or math.inf, default=None),
        reason=f"the lowest expected gap, {100 * found.loss_gap:.2g} %, given {_basis(start, seen)}",
    )


def checked(run: Run) -> Run:
    """The run; `ForescaleError` for numbers that no run has."""
    for name in AXES:
        if not 0 < getattr(run, name) < math.inf:
            raise ForescaleError(f"{name} of a run must be finite and above 0; got {getattr(run, name):g}.")
    if run.loss is not None and run.loss <= 0:
        raise ForescaleError(
            f"a loss must be above 0, in nats per token; got {run.loss:g}: tell the loss itself, not a score or its log."
        )
    if not 0 <= run.sd < math.inf:
        raise ForescaleError(f"sd must be finite and not below 0; got {run.sd:g}.")
    return run


def seen_of(runs: Iterable[Run], start: Start) -> Seen:
    """The runs as the model sees them."""
    import numpy as np

    runs = list(runs)
    ended = [r for r in runs if r.loss is not None and not (r.dominated or r.failed)]
    log_loss = np.array([math.log(r.loss) if r.loss and math.isfinite(r.loss) else math.inf for r in ended])
    return sort_out(
        _points(ended, start),
        log_loss,
        np.array([r.sd for r in ended]),
        _points([r for r in runs if r.failed], start),
        _points([r for r in runs if r.dominated and not r.failed], start),
        _points([r for r in runs if r.loss is None], start),
    )


def reason(start: Start, seen: Seen, loss_gap: float, improvement: float) -> str:
    """Why a setting is asked for."""
    if not len(seen.tried):
        return f"the lowest expected gap, {100 * loss_gap:.2g} %, given {_basis(start, seen)}"
    return (
        f"expected to bring the best run {100 * improvement:.2g} % of loss closer to the optimum, more than any other "
        f"setting (its own expected gap is {100 * loss_gap:.2g} %), given {_basis(start, seen)}"
    )


def _basis(start: Start, seen: Seen) -> str:
    counts = {
        "with a loss": len(seen.points),
        "diverged": len(seen.diverged),
        "failed": len(seen.failed),
        "stopped early": len(seen.dominated),
        "running": len(seen.pending),
    }
    runs = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{start.source} and the runs so far ({runs})" if runs else f"{start.source}, no runs yet"


def _points(runs: Iterable[Run], start: Start) -> Array:
    import numpy as np

    return start.octaves(np.log(np.array([_at(r) for r in runs]).reshape(-1, 2)))


def _at(run: Run) -> tuple[float, float]:
    return run.learning_rate, run.batch_tokens
