"""The transfer check: train at several learning rates and sizes, and look where the minima lie."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from forescale.check._axes import Axis, called, check_counts, look_along
from forescale.check._proxy import MakeModel, Proxy
from forescale.check._run import Job, run
from forescale.check._store import Store
from forescale.check._transfer_values import COST, TOLERANCE, Point, TransferCheck, find_minima
from forescale.errors import ForescaleError

Progress = Callable[[Point, int, int], None]
EXTENSIONS = 3  # times that the grid grows by a rate where a minimum lies at its end


def check_transfer(
    scheme: Any,
    *,
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (2,),
    densities: Sequence[float] = (1.0,),
    learning_rates: Sequence[float] = tuple(2.0**-e for e in range(10, 3, -1)),
    seeds: int = 1,
    alpha: float | None = None,
    proxy: Proxy | None = None,
    make_model: MakeModel | None = None,
    batches: Any = None,
    optimizer: str = "adamw",
    tolerance: float = TOLERANCE,
    cost: float = COST,
    workers: int = 1,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> TransferCheck:
    """Held-out loss over the learning rate at several sizes, the minima, their drift in octaves, and a verdict.

    Sizes, `scheme`, `make_model` and `batches` (a pair: training batches as a function of the step, held-out sequences) as in
    `check_coords`. Every run is a whole one: warmup, linear decay to zero, and the weight decay that keeps the
    proxy's timescale at its learning rate (a fixed decay would average over fewer steps at a higher rate). Where a
    minimum lies at the end of the grid, the grid grows. With `folder`, finished runs are kept in `points.jsonl` there and not
    made again. `workers` processes share the runs, one thread each.
    """
    proxy = proxy or Proxy()
    axis = look_along(widths, depths, densities)
    check_counts(proxy.steps, seeds)
    rates = _rates(learning_rates)

    def job(at: float, rate: float, seed: int) -> Job:
        width, depth, density = axis.at(at)
        return Job(
            scheme=scheme, alpha=alpha, base={"width": axis.base_width, "depth": axis.base_depth}, width=width, depth=depth,
            density=density, learning_rate=rate, seed=seed, size=at, proxy=proxy, optimizer=optimizer,
            make_model=make_model, batches=batches,
        )  # fmt: skip

    store = Store(folder)
    points = run_all(
        [job(at, r, s) for at in axis.sizes for r in rates for s in range(seeds)], store, workers, progress
    )
    for _ in range(EXTENSIONS):
        more = _beyond(points, axis)
        if not more:
            break
        points += run_all([job(at, r, s) for at, r in more for s in range(seeds)], store, workers, progress)
    return TransferCheck(
        scheme=called(scheme),
        axis=axis.name,
        fixed=axis.fixed,
        steps=proxy.steps,
        tokens=proxy.steps * proxy.batch_sequences * proxy.seq_len,
        seeds=seeds,
        points=tuple(sorted(points, key=lambda p: (p.size, p.learning_rate, p.seed))),
        minima=find_minima(points, axis.sizes),
        tolerance=tolerance,
        cost=cost,
    )


def _rates(given: Sequence[float]) -> list[float]:
    rates = sorted(set(given))
    if len(rates) < 3 or rates[0] <= 0:
        raise ForescaleError(f"a minimum needs three or more learning rates above 0; got {', '.join(map(str, given))}.")
    return rates


def _beyond(points: Sequence[Point], axis: Axis) -> list[tuple[float, float]]:
    """Size and learning rate of the runs that would show a minimum now at an end of its grid."""
    wanted: list[tuple[float, float]] = []
    for minimum in find_minima(points, axis.sizes):
        rates = sorted({p.learning_rate for p in points if p.size == minimum.size})
        if minimum.edge and math.isfinite(minimum.loss):
            low = minimum.learning_rate == rates[0]
            wanted.append((minimum.size, rates[0] ** 2 / rates[1] if low else rates[-1] ** 2 / rates[-2]))
    return wanted


def run_all(jobs: Sequence[Job], store: Store, workers: int, progress: Progress | None) -> list[Point]:
    """The points of all jobs: those that the store has, and the others made now and stored."""
    known = store.read()
    found = [known[job.key] for job in jobs if job.key in known]
    missing = [job for job in jobs if job.key not in known]
    for done, (job, point) in enumerate(_made(missing, workers), start=len(found) + 1):
        store.add(job.key, point)
        found.append(point)
        if progress is not None:
            progress(point, done, len(jobs))
    return found


def _made(jobs: Sequence[Job], workers: int) -> Iterable[tuple[Job, Point]]:
    if workers <= 1 or len(jobs) <= 1:
        yield from ((job, run(job)) for job in jobs)
        return
    import multiprocessing

    _check_sendable(jobs[0])
    # The largest first: the last ones to finish are then short.
    order = sorted(jobs, key=lambda job: -job.width * job.width * job.depth)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        futures = {pool.submit(run, job): job for job in order}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _check_sendable(job: Job) -> None:
    """Raise `ForescaleError` for a function of the caller's own that no other process can import."""
    try:
        pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ForescaleError(
            f"several workers need functions that another process can import, from a module on its path ({error}): take 1 "
            "worker, or put them into such a module."
        ) from None


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
