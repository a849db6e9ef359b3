"""A store's calls: runs are added, claimed, recorded; each call is one transaction."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, func, select, true, update
from sqlalchemy.engine import Connection, Engine

from forescale.errors import ForescaleError, UnknownNameError
from forescale.sweep._job import ENDED, MEASURED, STATES, Job, Outcome, State
from forescale.sweep._run import RESULT, STOP
from forescale.sweep.store._database import now, transaction
from forescale.sweep.store._entry import Entry, entry_of, job_of, job_text, outcome_text
from forescale.sweep.store._metrics import keep_metrics, latest, read_metrics
from forescale.sweep.store._schema import about
from forescale.sweep.store._schema import runs as rows

if TYPE_CHECKING:
    import polars

    from forescale.runs import Runs

CLAIMABLE: tuple[State, ...] = ("planned", "lost")
RETRIABLE: tuple[State, ...] = ("failed", "diverged", "stopped", "lost")
SHOWN = 4  # keys that a message lists
# Two drivers that add one design at once do it one after the other, also where transactions do not.
ADDERS_WAIT = select(about.c.value).where(about.c.name == "version").with_for_update()


@dataclass(frozen=True, kw_only=True)
class Store:
    """A sweep's runs by key, safe between drivers. Every call may raise `ForescaleError` for what is wrong with the database.

    A driver claims runs, beats its heart while they run, and records what they came to. Folders of runs are the truth about
    what has finished: a driver that finds a result there records it.
    """

    where: str
    runs: Path  # the folder of the runs' folders
    engine: Engine
    patience: float  # seconds to wait for another's lock
    notes: tuple[str, ...] = ()  # what opening it changed

    def folder(self, key: str) -> Path:
        """Where the run of this key has its files."""
        return self.runs / key

    def add(self, jobs: Iterable[Job], *, design: str = "") -> int:
        """Plan the jobs that are not there yet, in this order; how many were new.

        A job that is there keeps its state. Where it has yet to run, or to run again, it takes on what its key leaves
        open: how it is carried out, and its time limit.
        """
        given = {job.key: job_text(job) for job in jobs}
        with self._transaction(write=True) as connection:
            connection.execute(ADDERS_WAIT)
            known = {row.key: row for row in connection.execute(select(rows.c.key, rows.c.state, rows.c.job))}
            for key, text in given.items():
                if key in known and known[key].job != text and known[key].state not in (*MEASURED, "running"):
                    connection.execute(update(rows).where(rows.c.key == key).values(job=text))
            row = {"state": "planned", "design": design, "created": now(connection)}
            new = [{"key": key, "job": text, **row} for key, text in given.items() if key not in known]
            if new:
                connection.execute(rows.insert(), new)
        return len(new)

    def claim(self, owner: str, limit: int) -> list[Job]:
        """Up to `limit` planned or lost runs, in the order they were added; they are running now, and this owner's alone."""
        with self._transaction(write=True) as connection:
            ready = rows.c.state.in_(CLAIMABLE)
            query = select(rows.c.key, rows.c.job).where(ready).order_by(rows.c.number).limit(max(limit, 0))
            found = connection.execute(query.with_for_update(skip_locked=True)).all()
            at = now(connection)
            values = {"state": "running", "owner": owner, "started": at, "beat": at, "ended": None, "outcome": None}
            taken = [
                row for row in found if _change(connection, row.key, ready, attempts=rows.c.attempts + 1, **values)
            ]
        return [job_of(row.job) for row in taken]

    def beat(self, owner: str) -> None:
        """Say that the owner of running runs is alive."""
        with self._transaction(write=True) as connection:
            mine = (rows.c.state == "running") & (rows.c.owner == owner)
            connection.execute(update(rows).where(mine).values(beat=now(connection)))

    def lose_silent(self, older_than: float) -> list[str]:
        """The running runs whose owner has not beaten for so many seconds; they are lost now, and can be claimed again."""
        with self._transaction(write=True) as connection:
            silent = (rows.c.state == "running") & (rows.c.beat < now(connection) - older_than)
            keys = connection.execute(select(rows.c.key).where(silent).order_by(rows.c.number)).scalars().all()
            return [key for key in keys if _change(connection, key, silent, state="lost")]

    def record(self, key: str, outcome: Outcome, owner: str | None = None) -> bool:
        """What a run came to, and its metrics as Parquet; whether that was news.

        What was measured stands against all that others say, and the first measurement stays. Any other end counts only
        for a run that has not ended, and from its `owner` where one is given. A run that is `lost` can be claimed again.
        """
        if outcome.state not in (*ENDED, "lost"):
            raise ForescaleError(f"a run ends as one of {', '.join((*ENDED, 'lost'))}; got {outcome.state}.")
        keep_metrics(self.folder(key))
        measured = outcome.state in MEASURED
        open_ = rows.c.state.not_in(MEASURED if measured else ENDED)
        mine = true() if measured or owner is None else rows.c.owner == owner
        with self._transaction(write=True) as connection:
            _state(connection, key)
            ended = None if outcome.state == "lost" else now(connection)
            values = {"state": outcome.state, "outcome": outcome_text(outcome), "ended": ended}
            return _change(connection, key, open_ & mine, **values)

    def release(self, key: str, owner: str | None = None) -> None:
        """Plan a running run again, as its interrupted driver asks; not if another `owner` has it by now."""
        mine = true() if owner is None else rows.c.owner == owner
        with self._transaction(write=True) as connection:
            _state(connection, key)
            _change(connection, key, (rows.c.state == "running") & mine, state="planned", owner="")

    def jobs(self, states: Sequence[State] | None = None) -> list[Entry]:
        """All runs, or those in some states, in the order they were added."""
        query = select(rows).order_by(rows.c.number)
        if states is not None:
            query = query.where(rows.c.state.in_(states))
        with self._transaction() as connection:
            return [entry_of(row) for row in connection.execute(query)]

    def entry(self, key: str) -> Entry:
        """One run; raises `UnknownNameError` for a key that is not there."""
        with self._transaction() as connection:
            _state(connection, key)
            return entry_of(connection.execute(select(rows).where(rows.c.key == key)).one())

    def match(self, start: str) -> str:
        """The one key that begins so; raises `UnknownNameError` where none or several do."""
        begins = rows.c.key.startswith(start, autoescape=True)
        with self._transaction() as connection:
            keys = connection.execute(select(rows.c.key).where(begins).order_by(rows.c.number)).scalars().all()
        if start in keys or len(keys) == 1:
            return start if start in keys else keys[0]
        if not keys:
            raise UnknownNameError(
                f"no run of {self.where} has a key that begins with {start!r}: `runs ls` lists them."
            )
        raise UnknownNameError(
            f"{len(keys)} runs have keys that begin with {start!r} ({_some(keys)}): give more of it."
        )

    def counts(self) -> dict[State, int]:
        """How many runs are in each state that there is."""
        query = select(rows.c.state, func.count()).group_by(rows.c.state)
        with self._transaction() as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {state: found[state] for state in STATES if state in found}

    def retry(self, keys: Sequence[str]) -> int:
        """Plan runs again that failed, diverged, stopped or were lost; how many.

        They go on from their checkpoints; one that diverged starts anew. Raises `ForescaleError` for any other state.
        """
        with self._transaction(write=True) as connection:
            states: dict[str, State] = {key: _state(connection, key) for key in keys}
            if wrong := [key for key in keys if states[key] not in RETRIABLE]:
                raise ForescaleError(
                    f"a run that is made again must be one of {', '.join(RETRIABLE)}; {wrong[0]} is {states[wrong[0]]}."
                )
            for key in states:
                self._forget_end(key, states[key])
                values = {"state": "planned", "owner": "", "attempts": 0, "outcome": None, "ended": None}
                connection.execute(update(rows).where(rows.c.key == key).values(**values))
        return len(states)

    def remove(self, keys: Sequence[str]) -> int:
        """Delete runs and their folders; how many. Raises `ForescaleError` where one is running, and deletes none."""
        with self._transaction(write=True) as connection:
            states: dict[str, State] = {key: _state(connection, key) for key in keys}
            if running := [key for key in states if states[key] == "running"]:
                raise ForescaleError(
                    f"a run that is removed must not be running; {_some(running)} {'is' if len(running) == 1 else 'are'}: "
                    "end the driver first."
                )
            for key in states:
                self._delete(self.folder(key))
                connection.execute(rows.delete().where(rows.c.key == key))
        return len(states)

    def metrics(self, key: str) -> polars.DataFrame:
        """The run's metrics so far, one row a step."""
        return read_metrics(self.folder(key))

    def latest(self, key: str) -> Mapping[str, Any] | None:
        """The newest record of a run's metrics; None before the first."""
        return latest(self.folder(key))

    def table(self, states: Sequence[State] | None = None) -> polars.DataFrame:
        """One row a run, the columns of a runs table first, then the store's; losses are infinite where a run diverged."""
        from forescale.sweep.store._table import table_of

        return table_of(self.jobs(states))

    def as_runs(self, **options: Any) -> Runs:
        """The runs that were measured (done and diverged), for fits; `options` are those of `read_runs`."""
        from forescale.runs import read_runs

        found = self.table(MEASURED)
        if not found.height:
            counts = ", ".join(f"{count} {state}" for state, count in self.counts().items()) or "no runs at all"
            raise ForescaleError(f"the store {self.where} has no run with a loss yet ({counts}).")
        return replace(read_runs(found, **options), source=self.where)

    def _transaction(self, *, write: bool = False) -> AbstractContextManager[Connection]:
        return transaction(self.engine, self.where, self.patience, write=write)

    def _forget_end(self, key: str, state: State) -> None:
        """Leave nothing in the folder that would end the run again before its first step."""
        folder = self.folder(key)
        if state == "diverged":
            self._delete(folder)
            return
        for name in (RESULT, STOP):
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise ForescaleError(f"{folder / name} cannot be removed: {error.strerror or error}.") from None

    def _delete(self, folder: Path) -> None:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ForescaleError(f"the folder {folder} cannot be removed: {error.strerror or error}.") from None


def _change(connection: Connection, key: str, still: ColumnElement[bool], **values: Any) -> bool:
    """Change one run if it still is what was read; whether it was. No database lets two drivers both succeed."""
    return connection.execute(update(rows).where((rows.c.key == key) & still).values(**values)).rowcount == 1


def _state(connection: Connection, key: str) -> State:
    """The run's state, which stays so until a transaction that writes ends."""
    query = select(rows.c.state).where(rows.c.key == key).with_for_update()
    state = connection.execute(query).scalar_one_or_none()
    if state is None:
        raise UnknownNameError(f"the store has no run {key}: `forescale runs ls` lists them.")
    return cast("State", state)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
