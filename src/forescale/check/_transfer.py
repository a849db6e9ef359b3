"""The transfer check: train at several learning rates and sizes, and look where the minima lie."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from forescale.check._axes import Axis, called, check_counts, look_along
from forescale.check._identity import digest_of, name_of
from forescale.check._proxy import MakeModel, Proxy, rules_of, sequences_loss
from forescale.check._transfer_values import COST, TOLERANCE, Point, TransferCheck, find_minima
from forescale.errors import ForescaleError

Progress = Callable[[Point, int, int], None]
EXTENSIONS = 3  # times that the grid grows by a rate where a minimum lies at its end


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run to make."""

    scheme: Any
    alpha: float | None
    base: dict[str, int]
    width: int
    depth: int
    density: float
    learning_rate: float
    seed: int
    size: float  # of the three, the one that the check looks along
    proxy: Proxy
    optimizer: str
    reference_rate: float | None = (
        None  # whose decay every learning rate has; None: each keeps the timescale with its own
    )
    make_model: MakeModel | None = field(default=None, compare=False)
    batches: Any = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """What identifies the run in a folder of results."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("make_model", "batches")}
        known["proxy"] = asdict(self.proxy)
        if self.make_model is not None:
            known["make_model"] = self.make_model
        if self.batches is not None:
            known["batches"] = digest_of(self.batches)
        return blake2b(json.dumps(known, sort_keys=True, default=name_of).encode(), digest_size=12).hexdigest()


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

    store = _Store(folder)
    points = _run_all(
        [job(at, r, s) for at in axis.sizes for r in rates for s in range(seeds)], store, workers, progress
    )
    for _ in range(EXTENSIONS):
        more = _beyond(points, axis)
        if not more:
            break
        points += _run_all([job(at, r, s) for at, r in more for s in range(seeds)], store, workers, progress)
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


def _run_all(jobs: Sequence[Job], store: _Store, workers: int, progress: Progress | None) -> list[Point]:
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


def run(job: Job) -> Point:
    """Train once; the loss is that of held-out text, infinite where the run diverged."""
    import torch

    from forescale.optimizers import make_optimizer
    from forescale.schedules import by_name, factors

    make_rules = rules_of(job.scheme, job.base["width"], job.base["depth"], job.alpha, job.proxy.init_std)
    rules = make_rules(job.width, job.depth, job.density)
    model = (job.make_model or job.proxy.model)(job.width, job.depth, job.density)
    train, held_out = job.batches or _data(job.proxy)
    rules.initialize_(model, job.seed)
    decay = 1 / (job.proxy.timescale * job.proxy.steps * (job.reference_rate or job.learning_rate))
    recipe = {"learning_rate": job.learning_rate, "weight_decay": decay, "beta2": job.proxy.beta2}
    made = make_optimizer(job.optimizer, rules.param_groups(model, recipe, optimizer=job.optimizer))
    schedule = by_name(job.proxy.schedule, warmup=job.proxy.warmup)
    peaks = [group["lr"] for group in made.param_groups]
    parameters = [p for group in made.param_groups for p in group["params"]]
    for step, factor in enumerate(factors(schedule, job.proxy.steps)):
        for group, peak in zip(made.param_groups, peaks, strict=True):
            group["lr"] = peak * float(factor)
        made.zero_grad()
        loss = sequences_loss(model, train(step + job.seed * job.proxy.steps))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        made.step()
        if step % 10 == 0 and not math.isfinite(float(loss.detach())):
            return _point(job, math.inf)
    return _point(job, _held_out_loss(model, held_out))


def _held_out_loss(model: Any, sequences: Any) -> float:
    import torch

    model.eval()
    with torch.no_grad():
        parts = [float(sequences_loss(model, part, objective=False)) for part in sequences.split(16)]
    return sum(parts) / len(parts)


def _point(job: Job, loss: float) -> Point:
    lost = not math.isfinite(loss)
    return Point(size=job.size, learning_rate=job.learning_rate, seed=job.seed, loss=math.inf if lost else loss)


@lru_cache(maxsize=4)
def _data(proxy: Proxy) -> tuple[Callable[[int], Any], Any]:
    from forescale.train import Batches

    corpus = proxy.corpus()
    order = Batches(corpus.train, seq_len=proxy.seq_len)
    held = Batches(corpus.held_out, seq_len=proxy.seq_len, shuffle=False)
    count = min(proxy.evaluated, held.sequences)
    return lambda step: order.at(step * proxy.batch_sequences, proxy.batch_sequences), held.at(0, count)


class _Store:
    """Finished runs, a JSON line each: a line cut short by a crash is not one."""

    def __init__(self, folder: str | Path | None) -> None:
        self.file = None if folder is None else Path(folder) / "points.jsonl"
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Point]:
        """Key of a job -> its point."""
        if self.file is None or not self.file.exists():
            return {}
        found: dict[str, Point] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                loss = math.inf if row["loss"] is None else row["loss"]
                found[row["key"]] = Point(**{k: row[k] for k in ("size", "learning_rate", "seed")}, loss=loss)
            except (ValueError, KeyError):
                continue
        return found

    def add(self, key: str, point: Point) -> None:
        """Append one."""
        if self.file is None:
            return
        row = {"key": key, **asdict(point), "loss": point.loss if math.isfinite(point.loss) else None}
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
