"""Trials of a study as measured runs: what they teach the laws of learning rate and batch, whatever their shapes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.runs import Runs
from forescale.sweep.pareto._front import SEED
from forescale.sweep.search._space import AXES
from forescale.workload import Workload

if TYPE_CHECKING:
    import polars
    from optuna.trial import FrozenTrial

WorkloadOf = Callable[[Mapping[str, Any]], Workload]
Key = tuple[tuple[str, str], ...]
DIVERGED = 1.5  # times a cell's lowest loss, as in `Runs`


def key_of(params: Mapping[str, Any]) -> Key:
    """What two trials share if they differ in learning rate, batch and seed alone: their runs are one surface's."""
    return tuple(sorted((name, repr(value)) for name, value in params.items() if name not in (*AXES, SEED)))


def grouped(trials: Iterable[FrozenTrial]) -> dict[Key, list[FrozenTrial]]:
    """Trials by `key_of`."""
    groups: defaultdict[Key, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        groups[key_of(trial.params)].append(trial)
    return dict(groups)


def asked_workload(workload_of: WorkloadOf, params: Mapping[str, Any]) -> Workload:
    """The workload of a trial's parameters; `ForescaleError` where it needs one that the trial does not have yet."""
    try:
        return workload_of({n: v for n, v in params.items() if n not in AXES})
    except KeyError as error:
        raise ForescaleError(
            f"a trial's workload must follow from what is suggested before learning_rate and batch_tokens; it needs "
            f"{error.args[0]!r}: suggest that first."
        ) from None


def runs_of(
    trials: Iterable[FrozenTrial], workload_of: WorkloadOf, objective: int, fixed: Mapping[str, float]
) -> Runs | None:
    """The finished trials that say where an optimum is, as runs; None where there are none.

    Each `key_of` is a cell of its own, for models of one size and different shapes have different losses. A single run says
    nothing unless it diverged: the sampler itself chose it, so it is no evidence that its learning rate is a good one.
    """
    groups = [_rows(group, workload_of, objective, fixed) for group in grouped(trials).values()]
    telling = [rows for rows in groups if _tells(rows)]
    return _runs(_frame([row | {"cell": i} for i, rows in enumerate(telling) for row in rows])) if telling else None


def _rows(
    trials: Sequence[FrozenTrial], workload_of: WorkloadOf, objective: int, fixed: Mapping[str, float]
) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for trial in trials:
        settings = {**fixed, **trial.params}
        if trial.values is None or any(name not in settings for name in AXES):
            continue
        at = asked_workload(workload_of, trial.params)
        size = {"params": at.params, "active_params": at.active, "tokens": at.tokens, "seq_len": at.seq_len}
        found = {name: float(settings[name]) for name in AXES} | {"loss": float(trial.values[objective])}
        rows.append({**size, **found})
    return rows


def _tells(rows: Sequence[Mapping[str, float]]) -> bool:
    places = {tuple(row[name] for name in AXES) for row in rows}
    return len(places) > 1 or any(math.isinf(row["loss"]) for row in rows)


def _frame(rows: Sequence[Mapping[str, float]]) -> polars.DataFrame:
    import polars as pl

    limit = DIVERGED * pl.col("loss").min().over("cell")
    return pl.DataFrame(rows).with_columns(diverged=pl.col("loss").is_infinite() | (pl.col("loss") > limit))


def _runs(frame: polars.DataFrame) -> Runs:
    return Runs(
        frame=frame,
        source="the study's trials",
        columns={},
        notes=(),
        read=frame.height,
        missing_loss=0,
        diverged=int(frame["diverged"].sum()),
    )


def together(ours: Runs | None, theirs: Runs | None) -> Runs | None:
    """Two tables as one, the cells of each apart."""
    import polars as pl

    if ours is None or theirs is None:
        return ours or theirs
    moved = theirs.frame.with_columns(pl.col("cell") + ours.frame["cell"].n_unique())
    shared = [name for name in ours.frame.columns if name in moved.columns]
    return replace(
        theirs,
        frame=pl.concat([each.select(shared) for each in (ours.frame, moved)], how="vertical_relaxed"),
        source=f"{theirs.source} and {ours.source}",
        read=ours.read + theirs.read,
        diverged=ours.diverged + theirs.diverged,
    )
