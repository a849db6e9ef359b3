"""A table of runs as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars

DIVERGED = 1.5  # times the lowest loss of the cell
SAME_TOKENS = 0.01  # runs whose tokens differ by less (rounding to whole steps) belong to one cell


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Runs under the package's column names, one row each, in the order of the source.

    `frame` has params, active_params (params where dense), tokens, learning_rate, batch_tokens, loss (nats per token),
    those of seq_len, weight_decay and steps that the source has, and two derived columns. `cell` numbers the groups of
    equal params, active_params and tokens (within 1 %). `diverged` marks a loss that is infinite or above 1.5 times the
    lowest of its cell: on the Step Law sweeps no run lies between 1.2 and 1.7 times, so the exact factor is immaterial.
    All other columns of the source follow under their own names, behind `source.` where that is one of ours.
    `columns` maps our names to the source's; `notes` are the choices that the reader made.
    """

    frame: polars.DataFrame
    source: str
    columns: Mapping[str, str]
    notes: tuple[str, ...]
    read: int  # rows in the source
    missing_loss: int  # of those, dropped: the loss is empty or NaN
    diverged: int  # of those kept, marked
    unfinished: int = 0  # of those read, left out: crashed, killed, pruned, still running, or short of their steps
