"""`forescale runs`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import Flag
from forescale.errors import ForescaleError, UnknownNameError

if TYPE_CHECKING:
    from forescale.sweep._job import State
    from forescale.sweep.store import Store

SUFFIXES = (".csv", ".parquet", ".json")


def runs(
    action: str,
    /,
    *names: str,
    store: str = "sweep.db",
    state: str | None = None,
    failed: Flag = False,
    diverged: Flag = False,
    stopped: Flag = False,
    lost: Flag = False,
    yes: Flag = False,
    json: Flag = False,
) -> None:
    """Look after the runs of a sweep's store: `ls`, `show KEY`, `export FILE`, `diff KEY KEY`, `retry KEY...`, `rm KEY...`.

    A run's key may be shortened to any beginning that no other key has. Retried runs are planned again, and made by the next
    `forescale sweep` on the store: from their checkpoints, or anew where they diverged.

    Parameters
    ----------
    action
        ls, show, export, diff, retry or rm.
    names
        Keys of runs; for export the file: .csv, .parquet or .json.
    store
        The store: a file, or a database's address.
    state
        Of ls, export, retry and rm: only runs in these states: planned, running, done, stopped, diverged, failed, lost (default
        of export: done,diverged, those that a fit learns from).
    failed
        The same as --state failed; several of these add up.
    diverged
        The same as --state diverged.
    stopped
        The same as --state stopped.
    lost
        The same as --state lost.
    yes
        Of rm: do not ask.
    json
        Print JSON.
    """
    if action not in ACTIONS:
        raise UnknownNameError(f"runs takes one of {', '.join(ACTIONS)}; got {action!r}.")
    flags = {"failed": failed, "diverged": diverged, "stopped": stopped, "lost": lost}
    states = _states(state, [name for name, given in flags.items() if given])
    if states and action in ("show", "diff"):
        raise ForescaleError(f"runs {action} looks at the runs that it is given: leave --state and its like out.")
    if yes and action != "rm":
        raise ForescaleError(f"--yes means nothing to runs {action}: leave it out.")
    if action == "export":
        _check_export(names, store)
    opened = _open(store)
    shown = ACTIONS[action](opened, names, states, **({"yes": yes} if action == "rm" else {}), json=json)
    if shown is not None:
        _print_json({"schema_version": 1, "store": opened.where, **shown})


def _states(text: str | None, flags: Sequence[str]) -> tuple[State, ...]:
    from forescale.sweep._job import STATES

    given = [*(part.strip() for part in (text or "").split(",") if part.strip()), *flags]
    if text is not None and not given:
        raise ForescaleError(f"--state takes states, separated by commas: {', '.join(STATES)}; got {text!r}.")
    if unknown := [name for name in given if name not in STATES]:
        raise UnknownNameError(f"--state takes states, separated by commas: {', '.join(STATES)}; got {unknown[0]!r}.")
    return tuple(state for state in STATES if state in given)


def _open(where: str) -> Store:
    from forescale.sweep.store import open_store

    opened = open_store(where, create=False)
    for note in opened.notes:
        print(f"forescale: {note}.", file=sys.stderr)
    return opened


def _ls(store: Store, names: Sequence[str], states: Sequence[State], *, json: bool) -> Mapping[str, Any] | None:
    from forescale.cli._render_runs import list_runs, run_values

    if names:
        raise ForescaleError(f"runs ls takes no keys; got {names[0]}: runs show KEY shows one run.")
    entries = store.jobs(states or None)
    if json:
        return {"counts": store.counts(), "runs": [run_values(store, entry) for entry in entries]}
    list_runs(store, entries)
    return None


def _show(store: Store, names: Sequence[str], _states: Sequence[State], *, json: bool) -> Mapping[str, Any] | None:
    from forescale.cli._render_runs import run_values, show_run

    (key,) = _keys(store, "show", names, 1)
    entry = store.entry(key)
    if json:
        how = {"trainer": entry.job.trainer, "settings": entry.job.settings, "execution": entry.job.execution}
        return {"run": run_values(store, entry) | how, "outcome": entry.outcome and entry.outcome.row}
    show_run(store, entry)
    return None


def _diff(store: Store, names: Sequence[str], _states: Sequence[State], *, json: bool) -> Mapping[str, Any] | None:
    from forescale.cli._render_runs import run_values, show_differences
    from forescale.train._config_json import differences

    keys = _keys(store, "diff", names, 2)
    if keys[0] == keys[1]:
        raise ForescaleError(f"runs diff compares two runs; got {keys[0]} twice.")
    one, two = entries = [store.entry(key) for key in keys]
    jobs = [{"trainer": e.job.trainer, **e.job.settings, "execution": e.job.execution} for e in (one, two)]
    changes = list(differences(*jobs))
    if json:
        return {
            "settings": {name: [a, b] for name, a, b in changes},
            "runs": [run_values(store, entry) for entry in entries],
        }
    show_differences(entries, changes)
    return None


def _export(store: Store, names: Sequence[str], states: Sequence[State], *, json: bool) -> Mapping[str, Any] | None:
    from forescale.cli._outputs import write
    from forescale.sweep._job import MEASURED

    path = Path(names[0])
    table = store.table(states or MEASURED)
    if not table.height:
        counts = ", ".join(f"{count} {state}" for state, count in store.counts().items()) or "no runs"
        raise ForescaleError(
            f"the store {store.where} has no run that is {' or '.join(states or MEASURED)} (it has {counts}): nothing to "
            "export."
        )
    done = write(path, _file(table, path.suffix.lower()))
    found = {state: int((table["state"] == state).sum()) for state in states or MEASURED}
    said = ", ".join(f"{count} {state}" for state, count in found.items() if count)
    print(f"forescale: {done} {path}: {said}", file=sys.stderr)
    return {"file": str(path), "runs": found} if json else None


def _retry(store: Store, names: Sequence[str], states: Sequence[State], *, json: bool) -> Mapping[str, Any] | None:
    keys = _chosen(store, "retry", names, states)
    store.retry(keys)
    print(f"forescale: {_count(keys)} planned again: `forescale sweep` on {store.where} makes them", file=sys.stderr)
    return {"planned": keys} if json else None


def _rm(
    store: Store, names: Sequence[str], states: Sequence[State], *, yes: bool, json: bool
) -> Mapping[str, Any] | None:
    keys = _chosen(store, "rm", names, states)
    for entry in (store.entry(key) for key in keys[:20]):
        loss = f", loss {entry.outcome.loss:.4f}" if entry.state == "done" and entry.outcome else ""
        print(f"forescale: {entry.key} ({entry.state}{loss}) and {store.folder(entry.key)}", file=sys.stderr)
    if len(keys) > 20:
        print(f"forescale: and {len(keys) - 20} more", file=sys.stderr)
    if not yes and not _agreed(f"Delete {_count(keys)} with what is in their folders? [y/N] "):
        raise ForescaleError(f"nothing was deleted: say --yes to delete {_count(keys)} with what is in their folders.")
    store.remove(keys)
    print(f"forescale: deleted {_count(keys)}", file=sys.stderr)
    return {"deleted": keys} if json else None


ACTIONS: Mapping[str, Callable[..., Mapping[str, Any] | None]] = {
    "ls": _ls,
    "show": _show,
    "export": _export,
    "diff": _diff,
    "retry": _retry,
    "rm": _rm,
}


def _keys(store: Store, action: str, names: Sequence[str], count: int) -> list[str]:
    if len(names) != count:
        wanted = {1: "the key of one run", 2: "the keys of two runs"}[count]
        raise ForescaleError(f"runs {action} takes {wanted}; got {len(names)}: `forescale runs ls` lists them.")
    return [store.match(name) for name in names]


def _chosen(store: Store, action: str, names: Sequence[str], states: Sequence[State]) -> list[str]:
    """The runs that are named, or all in some states."""
    if bool(names) == bool(states):
        raise ForescaleError(
            f"runs {action} takes keys of runs or states (--failed, --state stopped,lost), one of the two."
        )
    if names:
        return list(dict.fromkeys(store.match(name) for name in names))
    keys = [entry.key for entry in store.jobs(states)]
    if not keys:
        raise ForescaleError(f"the store {store.where} has no run that is {' or '.join(states)}.")
    return keys


def _count(keys: Sequence[str]) -> str:
    return "1 run" if len(keys) == 1 else f"{len(keys)} runs"


def _agreed(question: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _check_export(names: Sequence[str], store: str) -> None:
    from forescale.cli._outputs import check_destinations

    if len(names) != 1 or not names[0].strip():
        raise ForescaleError(f"runs export takes one file; got {len(names)}: runs export runs.csv")
    if Path(names[0]).suffix.lower() not in SUFFIXES:
        raise ForescaleError(f"runs export writes {', '.join(SUFFIXES)}; got {names[0]}.")
    check_destinations({"the file of the runs": Path(names[0])}, [] if "://" in store else [Path(store)])


def _file(table: Any, suffix: str) -> bytes:
    """The table as CSV, Parquet or JSON; JSON has no infinity, so that of a run that diverged is the text Infinity."""
    import io
    import json

    if suffix == ".csv":
        return table.write_csv().encode()
    if suffix == ".parquet":
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        return buffer.getvalue()
    rows = [{k: "Infinity" if v == float("inf") else v for k, v in row.items()} for row in table.to_dicts()]
    return (json.dumps(rows, indent=2) + "\n").encode()


def _print_json(document: Mapping[str, Any]) -> None:
    import json

    from forescale.cli._render_runs import finite

    print(json.dumps(finite(document), indent=2))
