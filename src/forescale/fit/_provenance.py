"""What a law fitted to runs says of them: where they are from, what they share, what they span."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forescale.laws import Source
from forescale.quantities import humanize

if TYPE_CHECKING:
    from forescale.fit._cells import Cell
    from forescale.runs import Runs


def data_hash(runs: Runs) -> str:
    """SHA-256 of the runs' numbers, whatever their order, file format and other columns."""
    import hashlib

    import numpy as np

    columns = ["params", "active_params", "tokens", "learning_rate", "batch_tokens", "loss"]
    table = runs.frame.select(columns).sort(columns).to_numpy()
    return hashlib.sha256(np.ascontiguousarray(table, dtype="<f8").tobytes()).hexdigest()


def fitted_source(runs: Runs) -> Source:
    """The source of a law that is fitted to these runs."""
    return Source(
        paper=f"own fit to {runs.source}",
        reference=f"sha256:{data_hash(runs)}",
        place=f"forescale fit, {versions()}",
        evidence="computed",
    )


def fitted_on(runs: Runs) -> str:
    """The runs in one phrase."""
    return f"{runs.source} (sha256 {data_hash(runs)[:12]})"


def law_name(runs: Runs) -> str:
    """A name that a file of laws may have."""
    return f"fit-{re.sub(r'[^A-Za-z0-9_-]+', '-', runs.source.partition('.')[0]).strip('-') or 'runs'}"


def run_counts(runs: Runs) -> dict[str, Any]:
    """The runs in numbers, for JSON."""
    return {
        "source": runs.source,
        "sha256": data_hash(runs),
        "read": runs.read,
        "missing_loss": runs.missing_loss,
        "diverged": runs.diverged,
        "columns": dict(runs.columns),
    }


def experts(cells: Sequence[Cell]) -> str:
    """dense, moe, or any where the cells are of both kinds."""
    dense = [cell.active_params == cell.params for cell in cells]
    return "dense" if all(dense) else "any" if any(dense) else "moe"


def spans(cells: Sequence[Cell]) -> dict[str, tuple[float, float]]:
    """The range of params and tokens of the cells, and of the active share where some are mixtures of experts."""
    axes = {
        "params": [cell.params for cell in cells],
        "tokens": [cell.tokens for cell in cells],
        "active_share": [cell.active_params / cell.params for cell in cells],
    }
    if min(axes["active_share"]) == 1:
        del axes["active_share"]
    return {axis: (min(values), max(values)) for axis, values in axes.items()}


def conditions(runs: Runs, cells: Sequence[Cell]) -> dict[str, str]:
    """What the runs share and the law therefore holds for."""
    batches = sorted({float(batch) for cell in cells for batch in cell.batches})
    tuned = "learning rate and batch tuned together in every cell"
    some = "learning rate and batch tuned together in some cells"
    fixed = f"the batch was not swept: {humanize(batches[0])} to {humanize(batches[-1])} tokens"
    both = [all(cell.spread) for cell in cells]
    found = {"batch_policy": tuned if all(both) else some if any(both) else fixed, "loss": "as in the runs"}
    for column in ("seq_len", "weight_decay"):
        if column in runs.frame.columns and runs.frame[column].n_unique() == 1 and runs.frame[column][0] is not None:
            found[column] = f"{runs.frame[column][0]:g}"
    return found


def versions() -> str:
    """What a fit was made with."""
    import numpy as np
    import polars as pl

    from forescale import __version__

    return f"forescale {__version__}, numpy {np.__version__}, polars {pl.__version__}"
