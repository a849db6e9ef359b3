"""What a surface is fitted to: a sweep as arrays in reference units, and which coefficients it can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.fit.surface._model import BATCH, NAMES, RATE, SCALE, SHAPE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.surface._model import Array
    from forescale.runs import Runs

SAME = 0.01  # of a logarithm: values this close are one
RUNS_A_COEFFICIENT = 3  # for every coefficient; with fewer runs the basin's shape is held
LEVELS = 6  # learning rates in the usual cell; with fewer, an optimum elsewhere with another shape fits as well
CELLS = 8  # from here on the level's bend is fitted
BASIN = (*SHAPE, "log_saturation")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The setting in whose units the surface counts: the middle of the sweep, at published Step Law's optimum."""

    params: float
    tokens: float
    learning_rate: float
    batch_tokens: float
    loss: float

    def points(
        self, params: Array, tokens: Array, learning_rate: Array, batch_tokens: Array, active_params: Array
    ) -> Array:
        """Logarithms of lr, B, N and D in these units, and ln(Na / N): (5, n)."""
        import numpy as np

        pairs = (
            (learning_rate, self.learning_rate),
            (batch_tokens, self.batch_tokens),
            (params, self.params),
            (tokens, self.tokens),
            (active_params, params),
        )
        return np.stack([np.log(value) - np.log(unit) for value, unit in pairs])


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """Runs with a finite loss as arrays; `trained` marks those that did not diverge, `cell` numbers their workloads."""

    reference: Reference
    points: Array
    log_loss: Array  # in units of the reference loss; infinite where a run has none
    log_gap: Array  # to the lowest of the cell
    trained: NDArray[np.bool_]
    cell: NDArray[np.int64]
    held: tuple[str, ...]  # coefficients that stay at their prior
    notes: tuple[str, ...]


def make_sweep(runs: Runs) -> Sweep:
    """Arrays of `runs`, and what they cannot tell; raise `ForescaleError` where they tell no surface."""
    import numpy as np

    frame = runs.frame
    columns = {name: frame[name].to_numpy() for name in COLUMNS}
    log_loss, trained = np.log(frame["loss"].to_numpy()), ~frame["diverged"].to_numpy()
    _, cell = np.unique(frame["cell"].to_numpy(), return_inverse=True)
    if not trained.any():
        raise ForescaleError(f"all {len(trained)} runs of {runs.source} diverged: a surface needs runs that trained.")
    lowest = np.full(int(cell.max()) + 1, np.inf)
    np.minimum.at(lowest, cell, log_loss)
    reference = _reference({k: v[trained] for k, v in columns.items()}, lowest)
    points = reference.points(**columns)
    _refuse(runs.source, points[:, trained], cell[trained])
    held, notes = _held(points[:, trained], cell[trained])
    _refuse_few(runs.source, int(trained.sum()), len(NAMES) - len(held))
    return Sweep(
        reference=reference,
        points=points,
        log_loss=log_loss - np.log(reference.loss),
        log_gap=log_loss - lowest[cell],
        trained=trained,
        cell=cell,
        held=held,
        notes=notes,
    )


COLUMNS = ("params", "tokens", "learning_rate", "batch_tokens", "active_params")


def _reference(columns: dict[str, Array], lowest: Array) -> Reference:
    import numpy as np

    from forescale.laws import law

    params, tokens = (float(np.exp(np.log(columns[name]).mean())) for name in ("params", "tokens"))
    published = law("step-law")
    return Reference(
        params=params,
        tokens=tokens,
        learning_rate=published.predict("learning_rate", params=params, tokens=tokens),
        batch_tokens=published.predict("batch_tokens", params=params, tokens=tokens),
        loss=float(np.exp(lowest[np.isfinite(lowest)].mean())),
    )


def _refuse(source: str, points: Array, cell: NDArray[np.int64]) -> None:
    import numpy as np

    if len(np.unique(cell)) == 1:
        raise ForescaleError(
            f"{source} has one (params, tokens) cell: a surface needs at least two workloads; fit that cell's optimum "
            "with forescale score, or add cells."
        )
    if not _swept(points[0], cell).any():
        raise ForescaleError(
            f"no cell of {source} has runs at two learning rates: a surface needs a sweep of the learning rate."
        )


def _refuse_few(source: str, runs: int, coefficients: int) -> None:
    if runs <= coefficients:
        raise ForescaleError(
            f"{source} has {runs} runs that trained, and the surface {coefficients} coefficients to fit: add runs."
        )


def _swept(values: Array, cell: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which cells have two values of a logarithm."""
    import numpy as np

    return np.array([np.ptp(values[cell == c]) > SAME for c in np.unique(cell)])


def _levels(values: Array, cell: NDArray[np.int64]) -> float:
    """Median over the swept cells of the number of values of a logarithm."""
    import numpy as np

    counts = [len(np.unique(np.round(values[cell == c] / SAME))) for c in np.unique(cell)]
    return float(np.median([count for count in counts if count > 1]))


def _held(points: Array, cell: NDArray[np.int64]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Coefficients that these runs cannot tell, and a sentence for each reason."""
    import numpy as np

    held: dict[str, None] = {}
    notes: list[str] = []

    def hold(names: tuple[str, ...], note: str = "") -> None:
        held.update(dict.fromkeys(names))
        notes.extend([note] if note else [])

    for row, variable, level in ((2, "params", "alpha"), (3, "tokens", "beta")):
        if np.ptp(points[row]) <= SAME:
            hold(
                (level, *(n for n in (*RATE, *BATCH, *SCALE) if n.endswith(f"_{variable}"))),
                f"one value of {variable}: how loss and optimum depend on it is held at published exponents",
            )
    if np.ptp(points[4]) <= SAME:
        hold(("share", "rate_active", "batch_active"))
    if not _swept(points[1], cell).any():
        hold(
            (*BATCH, *(n for n in SHAPE if n.startswith("along_batch"))),
            "no cell has two batches: the best batch is held at published Step Law, what missing it costs at Step "
            "Law's landscape",
        )
    if len(np.unique(cell)) < CELLS:
        hold(("k",))
    few = points.shape[1] < RUNS_A_COEFFICIENT * (len(NAMES) - len(held))
    if few:
        hold(("scale_params", "scale_tokens"))
    if few or _levels(points[0], cell) < LEVELS:
        reason = "few runs" if few else f"fewer than {LEVELS} learning rates in most cells"
        hold(BASIN, f"{reason}: the basin's shape is held at Step Law's landscape, its depth is fitted")
    return tuple(name for name in NAMES if name in held), tuple(notes)
