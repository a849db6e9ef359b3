"""What a person sees of a sweep: a table of all running runs on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import IO, Any

from forescale.quantities import humanize, humanize_duration
from forescale.sweep._job import Job, Outcome, State
from forescale.sweep.store import Store

TABLE_EVERY, LINE_EVERY, FIRST_LINE, SUM_EVERY = 1.0, 10.0, 2.0, 30.0  # seconds
WINDOW = 60  # looks that a speed is the mean over
MOST_ROWS = 24
COLUMNS = ("run", "params", "learning rate", "batch", "step", "loss")


class Board:
    """Counts of runs, where the running ones stand, tokens a second, FLOPs done and left, and the time that is left."""

    def __init__(self, store: Store, engine: str) -> None:
        self.store, self.engine = store, engine
        self.counts: Counter[State] = Counter(store.counts())
        self._compute: dict[str, float] = {}  # of runs that have not ended
        self._spent = self._trained = 0.0  # FLOPs and tokens of runs that ended under this driver
        self._resumed: dict[str, float] = {}  # share of a run that was done when this driver first saw it
        self._looks: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)  # seconds, FLOPs and tokens by then
        self._stream: IO[str] = sys.stderr
        self._live: Any = None
        self._every = TABLE_EVERY if self._stream.isatty() else LINE_EVERY
        self._sum_next = 0.0
        self._next = time.monotonic() + (0.0 if self._stream.isatty() else FIRST_LINE)

    def look(self) -> None:
        """Take in which runs are left, whoever's they are; their FLOPs now and then, for that reads every run."""
        self.counts = Counter(self.store.counts())
        if time.monotonic() >= self._sum_next:
            self._sum_next = time.monotonic() + SUM_EVERY
            left = self.store.jobs(("planned", "lost", "running"))
            self._compute = {entry.key: entry.job.compute for entry in left}

    def ended(self, key: str, job: Job, outcome: Outcome) -> None:
        """A run of this driver has ended."""
        share = _share(job, outcome.row) - self._resumed.pop(key, 0.0)
        self.counts["running"] -= 1
        self.counts[outcome.state] += 1
        if outcome.state != "lost":
            self._spent += job.compute * max(share, 0.0)
            self._trained += float(job.row.get("tokens") or 0) * max(share, 0.0)
            self._compute.pop(key, None)
        if outcome.state == "lost":
            self.say(f"{key} is planned again: {outcome.problem}")
        elif outcome.state == "failed":
            self.say(f"{key} failed: {outcome.problem}")

    def show(self, running: Mapping[str, Job]) -> None:
        """Show where things stand, if it is time to."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        latest = {key: self.store.latest(key) or {} for key in running}
        line = self._line(running, latest)
        if self._stream.isatty():
            self._draw(running, latest, line)
        else:
            print(line, file=self._stream, flush=True)

    def say(self, sentence: str) -> None:
        """Print a sentence without tearing the table."""
        if self._live is not None:
            self._live.console.print(f"forescale: {sentence}", highlight=False, markup=False)
        else:
            print(f"forescale: {sentence}", file=self._stream, flush=True)

    def close(self) -> None:
        """Take the table down, and say where things stand."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        print(self._line({}, {}), file=self._stream, flush=True)

    def _line(self, running: Mapping[str, Job], latest: Mapping[str, Mapping[str, Any]]) -> str:
        """`12 of 40 done, 1 failed, 2 running here  31K tokens/s  9.8e+12 FLOPs left  ETA 3 min`."""
        total, done = sum(self.counts.values()), self.counts["done"]
        rest = [f"{self.counts[state]} {state}" for state in ("diverged", "stopped", "failed") if self.counts[state]]
        here = [f"{len(running)} running here"] if running else []
        parts = [", ".join([f"{done} of {total} done", *rest, *here])]
        ahead = {key: job.compute * _share(job, latest[key]) for key, job in running.items()}
        for key, job in running.items():
            self._resumed.setdefault(key, _share(job, latest[key]))
        left = sum(self._compute.values()) - sum(ahead.values())
        flops, tokens = self._speeds(running, ahead)
        if tokens:
            parts.append(f"{humanize(tokens)} tokens/s")
        if left > 0:
            parts.append(f"{left:.3g} FLOPs left")
        if left > 0 and flops:
            parts.append(f"ETA {humanize_duration(left / flops)}")
        return "  ".join(parts)

    def _speeds(self, running: Mapping[str, Job], ahead: Mapping[str, float]) -> tuple[float, float]:
        """FLOPs and tokens a second over the last looks."""
        flops, tokens = self._spent, self._trained
        for key, job in running.items():
            done = max(ahead[key] - job.compute * self._resumed[key], 0.0)
            flops += done
            tokens += float(job.row.get("tokens") or 0) * done / job.compute if job.compute else 0.0
        self._looks.append((time.monotonic(), flops, tokens))
        (began, flops_then, tokens_then), now = self._looks[0], self._looks[-1][0]
        seconds = now - began
        return ((flops - flops_then) / seconds, (tokens - tokens_then) / seconds) if seconds > 0 else (0.0, 0.0)

    def _draw(self, running: Mapping[str, Job], latest: Mapping[str, Mapping[str, Any]], line: str) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for column in COLUMNS:
            table.add_column(column, justify="left" if column == "run" else "right")
        for key in list(running)[:MOST_ROWS]:
            table.add_row(*_cells(key, running[key], latest[key]))
        if len(running) > MOST_ROWS:
            table.add_row(f"and {len(running) - MOST_ROWS} more")
        if self._live is None:
            self._live = Live(console=Console(file=self._stream), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Group(Text(line), *([table] if running else [])), refresh=True)


def _cells(key: str, job: Job, latest: Mapping[str, Any]) -> tuple[str, ...]:
    row = job.row
    steps = f"/{row['steps']:,}" if row.get("steps") else ""
    loss = latest.get("loss")
    return (
        key,
        *(humanize(float(row[name])) if row.get(name) is not None else "" for name in ("params",)),
        f"{float(row['learning_rate']):.3g}" if row.get("learning_rate") is not None else "",
        humanize(float(row["batch_tokens"])) if row.get("batch_tokens") is not None else "",
        f"{latest.get('step', 0):,}{steps}",
        "" if loss is None else f"{float(loss):.4f}",
    )


def _share(job: Job, latest: Mapping[str, Any]) -> float:
    """How much of the run is done, by its newest record or its result."""
    for name in ("step", "steps", "tokens"):
        planned = job.row.get("steps" if name == "step" else name)
        if planned and latest.get(name) is not None:
            return min(float(latest[name]) / float(planned), 1.0)
    return 0.0
