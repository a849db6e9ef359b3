"""What `forescale runs` prints: the list, one run, two runs side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from forescale.quantities import humanize, humanize_duration

if TYPE_CHECKING:
    from forescale.sweep.store import Entry, Store

COUNTS = frozenset({"params", "active_params", "tokens", "batch_tokens", "compute"})
MOST = 7  # settings that the list has a column for
LOSSES = ("loss", "held_out_loss")


def finite(value: Any) -> Any:
    """A JSON value with null for what is no number or infinite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in cast("list[Any]", value)]
    return value


def run_values(store: Store, entry: Entry) -> dict[str, Any]:
    """A run as JSON."""
    outcome = entry.outcome
    names = ("key", "state", "design", "owner", "attempts", "created", "started", "ended")
    return {
        **{name: getattr(entry, name) for name in names},
        "loss": None if outcome is None else outcome.loss,
        "problem": "" if outcome is None else outcome.problem,
        "progress": _progress(store, entry),
        "compute": entry.job.compute,
        "time_limit": entry.job.time_limit,
        "folder": str(store.folder(entry.key)),
        "row": dict(entry.job.row),
    }


def list_runs(store: Store, entries: Sequence[Entry]) -> None:
    """A line on all runs, what is alike in those listed, and a line each."""
    from forescale.cli._console import Column, left_out, make_console, make_table

    console = make_console()
    counts = store.counts()
    said = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet"
    console.print(f"{store.where}: {sum(counts.values())} runs: {said}")
    if not entries:
        return
    alike, vary = _split([entry.job.row for entry in entries])
    if alike and len(entries) > 1:
        console.print("alike: " + ", ".join(f"{name} {_text(name, value)}" for name, value in alike.items()))
    columns = [Column(name="key"), Column(name="state")]
    columns += [Column(name=name, justify="right", drop=i + 2) for i, name in enumerate(vary)]
    columns += [Column(name="loss", justify="right"), Column(name="time", justify="right", drop=1)]
    columns += [Column(name="", fold=20)]
    table, missing = make_table(console, columns, [_line(store, entry, vary) for entry in entries])
    console.print()
    console.print(table)
    if missing:
        console.print(left_out(missing))
    if best := min((e for e in entries if e.state == "done"), key=_loss, default=None):
        console.print(f"\nbest: {best.key}, loss {_loss(best):.4f}")


def _split(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Settings that are alike in all rows, and the names of those that vary: what is listed of them, at most `MOST`."""
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row.get(name) for row in rows] for name in names}
    alike = {name: each[0] for name, each in values.items() if all(v == each[0] for v in each) and each[0] is not None}
    vary = [name for name in values if name not in alike and any(v is not None for v in values[name])]
    same = {"active_params": "params", "batch_sequences": "batch_tokens"}  # the same, said twice
    return alike, [n for n in vary if not (n in same and (same[n] in vary or same[n] in alike))][:MOST]


def _line(store: Store, entry: Entry, names: Sequence[str]) -> tuple[str, ...]:
    outcome = entry.outcome
    loss = "" if outcome is None or math.isnan(outcome.loss) else f"{outcome.loss:.4f}"
    settings = (_text(name, entry.job.row.get(name)) for name in names)
    return (entry.key, entry.state, *settings, loss, _took(entry), _remark(store, entry))


def _remark(store: Store, entry: Entry) -> str:
    if entry.state == "running":
        share = _progress(store, entry)
        return (
            "" if share is None else f"{share:.0%}, loss {(store.latest(entry.key) or {}).get('loss') or math.nan:.4f}"
        )
    if entry.outcome is not None and entry.outcome.problem:
        return entry.outcome.problem.partition("\n")[0]
    return f"attempt {entry.attempts}" if entry.attempts > 1 else ""


def _progress(store: Store, entry: Entry) -> float | None:
    """The share of the steps that a running run has taken, where its metrics say."""
    record = store.latest(entry.key) if entry.state == "running" else None
    for of, all_of in (("step", "steps"), ("tokens", "tokens")):
        if record and record.get(of) is not None and entry.job.row.get(all_of):
            return float(record[of]) / float(entry.job.row[all_of])
    return None


def _took(entry: Entry) -> str:
    if entry.outcome is not None and entry.outcome.row.get("seconds") is not None:
        return humanize_duration(float(entry.outcome.row["seconds"]))
    both = entry.started is not None and entry.ended is not None
    return humanize_duration(max((entry.ended or 0) - (entry.started or 0), 0.0)) if both else ""


def show_run(store: Store, entry: Entry) -> None:
    """One run: where it stands, what it came to, its settings, its curve."""
    from forescale.cli._console import Column, make_console, make_table
    from forescale.plots import run_curve
    from forescale.runs._readers._source import flatten

    console = make_console()
    console.print(f"{entry.key}: {entry.state}", markup=False)
    facts = {
        "loss": "" if entry.outcome is None or math.isnan(entry.outcome.loss) else f"{entry.outcome.loss:.5f}",
        "problem": entry.outcome.problem if entry.outcome else "",
        "design": entry.design,
        "folder": str(store.folder(entry.key)),
        "compute": f"{humanize(entry.job.compute)} FLOPs",
        "time": _took(entry),
        "attempts": str(entry.attempts or ""),
        "owner": entry.owner,
        **{name: _when(getattr(entry, name)) for name in ("created", "started", "ended")},
    }
    settings = dict(entry.job.row) | flatten(entry.job.settings)
    rows = [(name, text) for name, text in facts.items() if text]
    lines = [(name, _text(name, value)) for name, value in settings.items() if value is not None]
    console.print(make_table(console, [Column(name=""), Column(name="", fold=30)], [*rows, None, *lines])[0])
    drawn = run_curve(_curves(store, entry.key), width=min(console.width, 100))
    if drawn:
        console.print(f"\n{drawn}", markup=False)


def _curves(store: Store, key: str) -> dict[str, tuple[list[float], list[float]]]:
    metrics = store.metrics(key)
    over = next((name for name in ("tokens", "step") if name in metrics.columns), None)
    if over is None:
        return {}
    parts = {name: metrics.select(over, name).drop_nulls() for name in LOSSES if name in metrics.columns}
    return {name: (part[over].to_list(), part[name].to_list()) for name, part in parts.items()}


def show_differences(entries: Sequence[Entry], changes: Iterable[tuple[str, Any, Any]]) -> None:
    """The settings that differ between two runs, and what they came to."""
    from forescale.cli._console import Column, make_console, make_table

    console = make_console()
    columns = [Column(name=""), *(Column(name=entry.key, fold=20) for entry in entries)]
    rows: list[Sequence[str] | None] = [(name, _text(name, a), _text(name, b)) for name, a, b in changes]
    losses = [e.outcome.loss if e.outcome else math.nan for e in entries]
    rows += [None, ("state", *(e.state for e in entries))]
    if not all(map(math.isnan, losses)):
        rows.append(("loss", *("" if math.isnan(loss) else f"{loss:.5f}" for loss in losses)))
    console.print(make_table(console, columns, rows)[0])


def _loss(entry: Entry) -> float:
    loss = entry.outcome.loss if entry.outcome else math.inf
    return math.inf if math.isnan(loss) else loss


def _when(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in COUNTS and isinstance(value, int | float):
        return humanize(value, 4)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
