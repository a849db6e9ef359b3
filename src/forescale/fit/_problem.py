"""What can be fitted to a sweep: which cells count, which quantities were swept, which exponents the cells tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._cells import Cell, make_cells
from forescale.fit._score import QUANTITIES
from forescale.quantities import humanize

if TYPE_CHECKING:
    from forescale.fit._cells import Array
    from forescale.runs import Runs

INPUTS = ("params", "tokens", "active_share")
UNTRAINED = 9.0  # nats per token: a model that guesses among 32K to 256K tokens has 10.4 to 12.5
SHORTEST = 4096.0  # tokens: if every batch is smaller, the column more likely counts sequences
STEEPEST_RATE = 1.0  # if every peak learning rate is above, the column is in other units
TOLD_APART = 0.05  # spread (ln) that an input must have beyond what the inputs before it explain


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Cells to fit, a row of ln inputs for each, and the columns of the points that were swept in them."""

    cells: tuple[Cell, ...]
    inputs: tuple[str, ...]
    features: Array
    axes: tuple[int, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the fitted law will predict."""
        return tuple(QUANTITIES[axis] for axis in self.axes)


def make_problem(runs: Runs, active_share: bool | None = None) -> Problem:
    """Sort out what a sweep can tell; raise `ForescaleError` naming what it lacks for any law at all.

    `active_share` adds the share of active parameters as an input; None adds it where it differs between cells.
    """
    made = make_cells(runs)
    _refuse_no_sweep(runs, made.cells)
    axes, cells, warnings = _swept(made.cells)
    _refuse_one(runs, cells)
    warnings += (*doubts_on_runs(runs), *_edges(runs, cells))
    inputs, features, more = _identified(cells, active_share)
    _refuse_few(runs, cells, inputs)
    return Problem(
        cells=cells,
        inputs=inputs,
        features=features,
        axes=axes,
        warnings=(*warnings, *more),
        notes=(*runs.notes, *notes_on_runs(runs, made.alone)),
    )


def _refuse_no_sweep(runs: Runs, cells: Sequence[Cell]) -> None:
    if runs.diverged == runs.frame.height or not runs.frame["loss"].is_finite().any():
        raise ForescaleError(f"every run of {runs.source} diverged: fit needs runs near the best settings.")
    lowest: Any = runs.frame["loss"].min()
    if lowest > UNTRAINED:
        raise ForescaleError(
            f"the lowest loss in {runs.source} is {lowest:.3g} nats per token, about that of guessing: every run diverged or "
            "learnt nothing, or the column is no loss per token."
        )
    if not any(cell.spread[0] for cell in cells):
        raise ForescaleError(
            f"no (params, tokens) cell of {runs.source} has runs at two learning rates: fit needs a learning rate "
            "sweep in each cell."
        )


def _swept(cells: Sequence[Cell]) -> tuple[tuple[int, ...], tuple[Cell, ...], tuple[str, ...]]:
    """Columns swept, the cells that sweep them all, and what was left out for it."""
    both = tuple(cell for cell in cells if all(cell.spread))
    if not both:
        only = tuple(cell for cell in cells if cell.spread[0])
        return (
            (0,),
            only,
            ("the batch was swept in no cell: the law has a learning rate only, at the batches of the runs",),
        )
    left = len(cells) - len(both)
    said = f"{left} of {len(cells)} cells left out: learning rate and batch were not both swept there"
    return (0, 1), both, (said,) if left else ()


def _refuse_one(runs: Runs, cells: Sequence[Cell]) -> None:
    if len(cells) == 1:
        raise ForescaleError(
            f"{runs.source} has a sweep in one (params, tokens) cell, {name(cells[0])}: one cell says nothing of how "
            "the optimum moves; add cells of other sizes and token counts."
        )


def _edges(runs: Runs, cells: Sequence[Cell]) -> tuple[str, ...]:
    edge = [cell for cell in cells if cell.on_edge]
    if len(edge) == len(cells):
        raise ForescaleError(
            f"in every cell of {runs.source} the best run lies on the edge of the sweep, so no optimum was seen: widen "
            "the learning rates and batches."
        )
    return tuple(
        f"the best run of {name(cell)} lies on the edge of its sweep: its optimum may lie beyond, and pulls the law"
        for cell in edge
    )


def _identified(cells: Sequence[Cell], active_share: bool | None) -> tuple[tuple[str, ...], Array, tuple[str, ...]]:
    """Inputs whose exponents the cells tell apart, their ln values, and what the law is without."""
    import numpy as np

    table = np.log([[c.params, c.tokens, c.active_params / c.params] for c in cells])
    wanted = [i for i in range(len(INPUTS)) if INPUTS[i] != "active_share" or active_share is not False]
    kept: list[int] = []
    warnings: list[str] = []
    for i in wanted:
        if _left_over(table[:, kept], table[:, i]) > TOLD_APART:
            kept.append(i)
        elif INPUTS[i] != "active_share" or active_share:
            warnings.append(_why_not(table[:, i], INPUTS[i], [INPUTS[k] for k in kept]))
    if active_share and 2 not in kept:
        raise ForescaleError(f"{warnings[-1]}; leave active_share out.")
    if not kept:
        raise ForescaleError(f"no exponent can be fitted: {'; '.join(warnings)}.")
    return tuple(INPUTS[i] for i in kept), table[:, kept], tuple(warnings)


def _left_over(known: Array, values: Array) -> float:
    """Spread of `values` that a linear function of the known columns does not explain."""
    import numpy as np

    design = np.column_stack([np.ones(len(values)), known])
    return float((values - design @ np.linalg.lstsq(design, values)[0]).std())


def _why_not(values: Array, name: str, kept: Sequence[str]) -> str:
    import numpy as np

    if values.std() <= TOLD_APART:
        same = float(np.exp(values.mean()))
        shown = f"{same:.3g}" if name == "active_share" else humanize(same)
        return f"{name} is {shown} in every cell, so its exponent is unknown and left out of the law: add cells of other {name}"
    return (
        f"{name} follows from {' and '.join(kept)} in these cells, so their exponents cannot be told apart and {name} "
        "is left out of the law, which holds along that line only: add cells off it"
    )


def _refuse_few(runs: Runs, cells: Sequence[Cell], inputs: Sequence[str]) -> None:
    needed = len(inputs) + 2
    if len(cells) < needed:
        raise ForescaleError(
            f"{runs.source} has {len(cells)} cells for {len(inputs) + 1} coefficients (a constant and exponents of "
            f"{', '.join(inputs)}): fit needs at least {needed}, so that each can be left out once; add cells."
        )


def notes_on_runs(runs: Runs, alone: int) -> tuple[str, ...]:
    counts = (
        (runs.missing_loss, f"{runs.missing_loss} runs without a loss dropped"),
        (
            runs.diverged,
            f"{runs.diverged} diverged runs (loss above 1.5 times the lowest of the cell) kept out of every optimum",
        ),
        (alone, f"{alone} cells of a single setting left out"),
    )
    return tuple(text for count, text in counts if count)


def _units(runs: Runs) -> tuple[str, ...]:
    """Values that no run has in the units of their column, where no other column could have shown it."""
    found: list[str] = []
    batch: Any = runs.frame["batch_tokens"].max()
    rate: Any = runs.frame["learning_rate"].min()
    if batch < SHORTEST and not _in_sequences(runs, batch):
        found.append(
            f"every batch is at most {batch:.4g} tokens, about one sequence: if the column counts sequences, say --columns "
            "batch_sequences=COLUMN --seq-len LENGTH, or the law's batch is too small by that length"
        )
    if rate > STEEPEST_RATE:
        found.append(f"every learning rate is {rate:.3g} or more, which no optimizer of ours takes: check its units")
    return tuple(found)


def _in_sequences(runs: Runs, batch: float) -> bool:
    """Whether the runs say how long their sequences are, and their batches hold at least one."""
    if "seq_len" not in runs.frame.columns or runs.frame["seq_len"].null_count():
        return False
    longest: Any = runs.frame["seq_len"].max()
    return bool(batch >= longest)


def doubts_on_runs(runs: Runs) -> tuple[str, ...]:
    """What may be wrong with the runs themselves: their units, settings that were run more than once."""
    return (*_units(runs), *_repeats(runs))


def _repeats(runs: Runs) -> tuple[str, ...]:
    """Settings run more than once with different finite losses, and how far apart these are."""
    import polars as pl

    loss = pl.col("loss")
    groups = runs.frame.filter(loss.is_finite()).group_by("cell", "learning_rate", "batch_tokens")
    spread: Any = groups.agg(spread=loss.max() / loss.min() - 1).filter(pl.col("spread") > 0)["spread"]
    if not len(spread):
        return ()
    return (
        f"{len(spread)} settings were run more than once with different losses (up to {100 * spread.max():.2g} % apart): "
        "the lowest counts, which flatters what was run often",
    )


def name(cell: Cell) -> str:
    active = f" ({humanize(cell.active_params)} active)" if cell.active_params < cell.params else ""
    return f"N = {humanize(cell.params)}{active}, D = {humanize(cell.tokens)}"
