"""A tuning whose losses come from a closed form: a valley around an optimum that lies off published Step Law by a factor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from forescale.fit.calibrate import calibrate
from forescale.laws import law
from forescale.runs import Runs, read_runs
from forescale.sweep import Job, Outcome
from forescale.sweep.store import Entry
from forescale.sweep.store._table import table_of
from forescale.sweep.tune import Budget, Round, Target, Try, Tuned, Verified
from forescale.train import shape_for
from forescale.workload import Workload

RATE, BATCH = 0.5, 1.0  # the planted optimum over published Step Law's
SIZES = (((2e4, 4e5), (4e4, 8e5)), ((8e4, 1.6e6),))  # params, tokens of the cells of each round
RATES, BATCHES = (-2, -1, 0, 1, 2), (-1, 0, 1)  # octaves around Step Law's choice
LOST = 1.6  # octaves above the best learning rate, from where runs diverge
ROW: dict[str, Any] = {
    "seconds": 2.5,
    "corpus": {"source": "a valley", "train_tokens": 10_000_000, "tokenizer": "bytes"},
    "machine": {"system": "Linux", "processor": "x86_64", "cores": 2, "device": "cpu", "threads": 1},
    "versions": {"forescale": "0.0", "python": "3.11", "torch": "2.13.0"},
}


def target(params: float = 1e6, tokens: float = 2e7, **more: Any) -> Target:
    """A target of about that size, with the tokens of bytes."""
    shape = shape_for(params, vocab=256, seq_len=128)
    return Target(workload=Workload.from_shape(shape, tokens=tokens, seq_len=128), **more)


def optimum(params: float, tokens: float) -> tuple[float, float]:
    """The planted best learning rate and batch (tokens)."""
    step = law("step-law")
    rate, batch = (step.predict(q, params=params, tokens=tokens) for q in ("learning_rate", "batch_tokens"))
    return RATE * rate, BATCH * batch


def loss(params: float, tokens: float, rate: float, batch: float) -> float:
    """Nats per token: a bowl in octaves, steeper above the best learning rate; infinite far above it."""
    best = optimum(params, tokens)
    u, v = math.log2(rate / best[0]), math.log2(batch / best[1])
    if u > LOST:
        return math.inf
    bottom = 1.5 + 8 / params**0.15 + 8 / tokens**0.15
    return bottom * (1 + (0.004 if u > 0 else 0.003) * u * u + 0.002 * v * v - 0.001 * u * v)


def tuning(wanted: Target | None = None, *, verified: bool = True) -> Tuned:
    """Two rounds of proxies on that valley, one of them failed; where asked, five runs of the target around its optimum."""
    wanted = wanted or target()
    entries = [[_entry(job, i) for job in _jobs(wanted, cells)] for i, cells in enumerate(SIZES, start=1)]
    entries[1].append(_failed(entries[1].pop()))
    so_far = [calibrate(_runs(*entries[:n]), target=wanted.workload, scored=False) for n in (1, 2)]
    runs = _runs(*entries)
    made = Tuned(
        target=wanted,
        budget=Budget(share=0.1),
        allowed=0.1 * wanted.compute,
        rounds=tuple(
            Round(number=n, entries=tuple(each), after=found.after)
            for n, (each, found) in enumerate(zip(entries, so_far, strict=True), start=1)
        ),
        ended="the 2 rounds are over",
        runs=runs,
        calibration=so_far[-1],
        run=wanted.plan(runs=runs),
        speed=2e9,
        notes=("1 proxies have no loss and teach nothing",),
    )
    return made.with_target(*_tried(made)) if verified else made


def _jobs(wanted: Target, cells: Iterable[tuple[float, float]]) -> Iterator[Job]:
    step = law("step-law")
    for params, tokens in cells:
        proxy = wanted.proxy(params, tokens)
        rate, batch = (step.predict(q, params=params, tokens=tokens) for q in ("learning_rate", "batch_tokens"))
        for v in BATCHES:
            for u in RATES if v == 0 else (-1, 0):
                yield wanted.job(proxy, learning_rate=rate * 2.0**u, batch_tokens=batch * 2.0**v)


def _entry(job: Job, number: int) -> Entry:
    row = job.row
    reached = loss(row["params"], row["tokens"], row["learning_rate"], row["batch_tokens"])
    state = "done" if math.isfinite(reached) else "diverged"
    outcome = Outcome(state=state, loss=reached, row={**ROW, "tokens": row["tokens"], "steps": row["steps"]})
    return _ended(job, outcome, f"round {number}")


def _failed(entry: Entry) -> Entry:
    return _ended(entry.job, Outcome(state="failed", problem="it took longer than its 60 s"), entry.design)


def _ended(job: Job, outcome: Outcome, design: str) -> Entry:
    return Entry(
        key=job.key, job=job, state=outcome.state, outcome=outcome, owner="", attempts=1, design=design, created=0.0,
        started=0.0, beat=0.0, ended=2.5,
    )  # fmt: skip


def _runs(*rounds: list[Entry]) -> Runs:
    return read_runs(table_of([entry for each in rounds for entry in each if entry.state != "failed"]))


def _tried(made: Tuned) -> tuple[float, Verified]:
    at, recipe = made.target.workload, made.run.recipe
    chosen = recipe.learning_rate.number, recipe.batch_tokens.number
    rate, batch = optimum(at.params, at.tokens)
    # The second has twice the best rate: Step Law's own setting (RATE, BATCH).
    around = [(rate * 2.0**u, batch * 2.0**v) for u, v in ((0, 0), (1, 0), (-1, 0), (0, 1), (3, 0))]
    predicted, *others = (
        Try(learning_rate=rate, batch_tokens=batch, loss=loss(at.params, at.tokens, rate, batch), seed=0)
        for rate, batch in (chosen, *around)
    )
    interval = ((rate / 1.2, rate * 1.2), (batch / 1.5, batch * 1.5))
    return predicted.loss, Verified(
        predicted=predicted, others=tuple(others), published=others[1], best=(rate, batch), interval=interval
    )
