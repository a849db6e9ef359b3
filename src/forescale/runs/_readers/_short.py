"""Runs that stopped early where no state says so: shorter than others of the same workload and batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forescale.runs._columns import LAST_STEP, is_called
from forescale.runs._readers._source import Run, number

WORKLOAD = ("params", "active_params", "tokens", "steps", "batch_tokens", "batch_sequences", "seq_len")
_SHAPE_WORDS = (
    "hidden_size d_model n_embd dim width n_layer n_layers num_layers num_hidden_layers depth layers model size "
    "gradient_accumulation_steps epochs num_epochs num_train_epochs max_epochs"
)
SHAPE = frozenset(_SHAPE_WORDS.split())
SHORT = 0.9  # of the longest: the last report of a run need not fall on its last step


def mark_short(runs: Sequence[Run], measure: str) -> list[Run]:
    """Mark as stopped the runs whose `measure` (a result, or the last step of a loss curve) is short of its group's."""
    groups = [tuple(sorted((key, str(v)) for key, v in run.settings.items() if _tells_length(key))) for run in runs]
    lengths = [_length(run, measure) for run in runs]
    longest = {
        group: max(length for g, length in zip(groups, lengths, strict=True) if g == group) for group in set(groups)
    }
    return [
        replace(run, state="STOPPED") if _finished(run) and length < SHORT * longest[group] else run
        for run, length, group in zip(runs, lengths, groups, strict=True)
    ]


def _finished(run: Run) -> bool:
    return run.state in (None, "TERMINATED")


def _tells_length(key: str) -> bool:
    last = key.replace("/", ".").rsplit(".", 1)[-1].lower()
    return last in SHAPE or any(is_called(key, name) for name in WORKLOAD)


def _length(run: Run, measure: str) -> float:
    if measure != LAST_STEP:
        return number(run.results.get(measure)) or 0.0
    steps = [max(steps) for key, (steps, _) in run.curves.items() if steps and is_called(key, "loss")]
    return max(steps, default=0.0)
