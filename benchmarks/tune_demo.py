"""How close tuning on proxies comes, and what published laws, a search on the target and muP transfer come to instead.

The target is a small decoder on Dickens' novels, as large as an hour on two cores allows for its exhaustive grid. Proxies cost
at most 5 %, or 20 %, of one run of the target. `python benchmarks/tune_demo.py [--workers 2]`; everything resumes, and finished
runs are kept in .cache/tune_demo/. Writes results/tune_demo.json and docs/assets/tune-demo.png.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from statistics import fmean, stdev
from typing import Any

import forescale as fs
from forescale.sweep import Job, train_job
from forescale.sweep.engines import LocalEngine, drive
from forescale.sweep.store import Store, open_store
from forescale.sweep.tune import Budget, Target, Tuned, tune
from forescale.train import shape_for
from harness import DATA, REPOSITORY, write

CACHE = REPOSITORY / ".cache" / "tune_demo"
PARAMS, TOKENS, SEQ_LEN = 128e3, 2.56e6, 128
RATES = tuple(0.004 * 2.0**k for k in range(4))  # of the grid
BATCHES = (4, 8, 16, 32)  # sequences
# Around its best run, which lies in a corner, down to batches of one sequence.
BEYOND = ((0.004, 2), (0.002, 2), (0.004, 1), (0.008, 2), (0.002, 4))
SEEDS = (0, 1, 2)
BUDGETS = (0.2, 0.05)  # of one run of the target
LAWS = {"Step Law, as published": "step-law", "DeepSeek": "deepseek"}
TPE_SEEDS = 200
PACKAGES = ("torch", "numpy", "optuna", "forescale")


def target() -> Target:
    """128K parameters, 20 tokens a parameter, bytes of English prose."""
    shape = shape_for(PARAMS, vocab=256, seq_len=SEQ_LEN)
    corpus = DATA / "text-corpora" / "silesia-dickens" / "dickens.gz"
    settings = {"data": (str(corpus),), "errors": "replace", "eval_tokens": 2**16, "threads": 1, "device": "cpu"}
    return Target(workload=fs.Workload.from_shape(shape, tokens=TOKENS, seq_len=SEQ_LEN), settings=settings)


def grid(wanted: Target) -> list[Job]:
    """Every rate at every batch, and what lies around the best."""
    settings = [(rate, batch) for batch in BATCHES for rate in RATES] + [*BEYOND]
    return [wanted.job(learning_rate=rate, batch_tokens=batch * SEQ_LEN) for rate, batch in settings]


def run(store: Store, jobs: Sequence[Job], design: str, workers: int) -> list[float]:
    """Losses of the jobs, infinite where a run diverged."""
    store.add(jobs, design=design)
    with closing(LocalEngine(workers=workers, threads=1, device="cpu")) as engine:
        drive(store, engine)
    outcomes = [store.entry(job.key).outcome for job in jobs]
    return [math.inf if o is None or math.isnan(o.loss) else o.loss for o in outcomes]


def tuned(wanted: Target, share: float, seed: int, workers: int) -> Tuned:
    """The recipe that proxies of one seed lead to."""
    with closing(LocalEngine(workers=workers, threads=1, device="cpu")) as engine:
        out = CACHE / f"tune-{share:g}-{seed}"
        return tune(wanted, out=out, budget=Budget(share=share), engine=engine, seeds=(seed,))


def transferred(wanted: Target, found: Tuned, seed: int) -> Job:
    """The best proxy's learning rate and batch, carried over to the target by muP."""
    entries = [e for each in found.rounds for e in each.entries if e.state == "done" and e.outcome is not None]
    largest = max(e.job.row["params"] for e in entries)
    best = min((e for e in entries if e.job.row["params"] == largest), key=lambda e: e.outcome.loss)  # type: ignore[union-attr]
    width, depth = best.job.row["width"], best.job.row["depth"]
    same = {"scheme": "mup", "base": fs.Shape(width=width, depth=depth)}
    carried = Target(workload=wanted.workload, settings={**wanted.settings, **same})
    row = best.job.row
    return train_job(
        carried.plan(learning_rate=row["learning_rate"], batch_tokens=row["batch_tokens"], seed=seed).config
    )


def setting(job: Job) -> dict[str, float]:
    return {"learning_rate": job.row["learning_rate"], "batch_tokens": job.row["batch_tokens"]}


def measured(store: Store, name: str, jobs: Sequence[Job], workers: int) -> dict[str, Any]:
    """A method's settings, one a seed, and the target's losses there."""
    losses = run(store, jobs, name, workers)
    print(name, [f"{loss:.4f}" for loss in losses], flush=True)
    return {"settings": [setting(job) for job in jobs], "losses": losses}


def tpe_gap(surface: list[tuple[float, float, float]], lowest: float, trials: int) -> list[float]:
    """Gaps of TPE after `trials` runs of the target, read off the grid: linear in logs, the nearest run beyond its hull."""
    import numpy as np
    import optuna
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = np.log([(rate, batch) for rate, batch, _ in surface])
    inside, near = (
        make(points, [loss for *_, loss in surface]) for make in (LinearNDInterpolator, NearestNDInterpolator)
    )
    (low, high) = points.min(0), points.max(0)
    gaps: list[float] = []
    for seed in range(TPE_SEEDS):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        best = math.inf
        for _ in range(trials):
            trial = study.ask()
            at = [trial.suggest_float(n, *bounds) for n, *bounds in (("u", low[0], high[0]), ("v", low[1], high[1]))]
            loss = float(inside(*at))
            loss = float(near(*at)) if math.isnan(loss) else loss  # a corner of the box beyond the grid's runs
            study.tell(trial, loss)
            best = min(best, loss)
        gaps.append(best / lowest - 1)
    return gaps


def main() -> None:
    """Every stage; what is finished is not made again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    workers = parser.parse_args().workers
    wanted, store = target(), open_store(_made(CACHE) / "target.db")
    whole = grid(wanted)
    losses = run(store, whole, "grid", workers)
    best = min(range(len(whole)), key=lambda i: losses[i])
    again = [wanted.job(**_request(whole[best]), seed=seed) for seed in SEEDS]
    zero = measured(store, "best of the grid", again, workers)
    lowest = fmean(zero["losses"])
    surface = [(*setting(job).values(), loss) for job, loss in zip(whole, losses, strict=True) if math.isfinite(loss)]
    results: dict[str, Any] = {
        "target": {"params": wanted.workload.params, "tokens": TOKENS, "compute": wanted.compute, "seq_len": SEQ_LEN},
        "grid": [setting(job) | {"loss": loss} for job, loss in zip(whole, losses, strict=True)],
        "zero": zero | {"mean": lowest, "seed_sd": stdev(zero["losses"]) / lowest, "setting": setting(whole[best])},
        "methods": {},
        "search": {f"TPE on the target, {n} runs": _tpe(surface, n) for n in (1, 2, 5, 10)},
    }
    for method in methods(wanted, store, workers):
        for name, found in method.items():
            results["methods"][name] = found | {"gap": fmean(found["losses"]) / lowest - 1}
        write("tune_demo", PACKAGES, **results)


def methods(wanted: Target, store: Store, workers: int) -> Iterator[dict[str, Any]]:
    """Every method's settings and the target's losses there; one that takes long comes late."""
    for share in BUDGETS:
        found = [tuned(wanted, share, seed, workers) for seed in SEEDS]
        cost = {"cost": fmean(each.spent for each in found) / wanted.compute}
        name = f"tune, proxies {share:.0%}"
        said = {
            "expected_gap": [each.calibration.after.loss_gap for each in found],
            "intervals": [{q: each.interval(q) for q in ("learning_rate", "batch_tokens")} for each in found],
        }
        yield {name: measured(store, name, [train_job(each.run.config) for each in found], workers) | cost | said}
        if share < max(BUDGETS):
            continue  # the larger budget's best proxy is the better one to carry over
        for law, catalog in LAWS.items():
            yield {
                law: measured(store, law, [wanted.job(laws=(catalog,), seed=s) for s in SEEDS], workers) | {"cost": 0.0}
            }
        name = f"muP from the best proxy of {share:.0%}"
        carried = [transferred(wanted, each, seed) for each, seed in zip(found, SEEDS, strict=True)]
        yield {name: measured(store, name, carried, workers) | cost}


def _tpe(surface: list[tuple[float, float, float]], trials: int) -> dict[str, Any]:
    gaps = tpe_gap(surface, min(loss for *_, loss in surface), trials)
    return {"cost": trials, "gap": fmean(gaps), "seeds": TPE_SEEDS}


def _request(job: Job) -> dict[str, float]:
    return setting(job)


def _made(folder: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
