"""What the trainer shows at proxy scale: transfer of the learning rate, schedules, decay against batch, sparse muP.

Four experiments on Dickens' novels as bytes, whole runs with a held-out loss, every one resumable: `python
benchmarks/training_results.py [NAME ...] --workers 2`. Finished runs are kept in .cache/training_results/.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from forescale.check import Proxy, TransferCheck, check_transfer
from forescale.check._minimum import find_minimum
from forescale.check._run import Job
from forescale.check._store import Store
from forescale.check._transfer import run_all
from harness import DATA, REPOSITORY, write

REFERENCE_RATE = 2.0**-7  # of the decay experiment, and whose decay all rates of the schedules have
CACHE = REPOSITORY / ".cache" / "training_results"
RATES = tuple(2.0**-e for e in range(8, 3, -1))  # the check goes on below or above where a minimum lies at an end
STEPS = 120  # of the runs that look for transfer
PACKAGES = ("torch", "numpy", "forescale")


def corpus() -> tuple[str, ...]:
    """Dickens as UTF-8 in the cache: a few bytes of the original are of another encoding."""
    file = CACHE / "dickens.txt"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        raw = gzip.decompress((DATA / "text-corpora" / "silesia-dickens" / "dickens.gz").read_bytes())
        file.write_text(raw.decode("utf-8", errors="replace").replace("\r\n", "\n"), encoding="utf-8")
    return (str(file),)


def transfer(workers: int) -> None:
    """(a) Learning rate over width x 8 and depth x 8: standard against muP and CompleteP, three seeds."""
    proxy = Proxy(steps=STEPS, data=corpus())
    found: dict[str, TransferCheck] = {}
    for axis, scheme, sizes in (
        ("width", "standard", {"widths": (32, 64, 128, 256)}),
        ("width", "mup", {"widths": (32, 64, 128, 256)}),
        ("depth", "mup", {"widths": (32,), "depths": (2, 4, 8, 16)}),
        ("depth", "completep", {"widths": (32,), "depths": (2, 4, 8, 16)}),
    ):
        options: dict[str, Any] = {"learning_rates": RATES, "seeds": 3, "proxy": proxy, "workers": workers}
        check = check_transfer(scheme, **sizes, **options, folder=CACHE / "transfer", progress=progress)
        found[f"{scheme} over {axis}"] = check
        print(check.says, flush=True)
    write("training_transfer", PACKAGES, **{name: check.to_json() for name, check in found.items()})


def sparsity(workers: int) -> None:
    """(d) Best learning rate against density 1 to 1/16: sparse muP against muP."""
    proxy = Proxy(steps=STEPS, data=corpus())
    found: dict[str, TransferCheck] = {}
    for scheme in ("supar", "mup"):
        options: dict[str, Any] = {"learning_rates": RATES, "seeds": 2, "proxy": proxy, "workers": workers}
        sizes = {"widths": (128,), "densities": (1.0, 0.25, 0.0625)}
        check = check_transfer(scheme, **sizes, **options, folder=CACHE / "sparsity", progress=progress)
        found[scheme] = check
        print(check.says, flush=True)
    write("training_sparsity", PACKAGES, **{name: check.to_json() for name, check in found.items()})


SCHEDULES = {"linear to zero": "linear", "cosine to 10 %": "cosine:final=0.1", "WSD, 20 % decay": "wsd:decay=0.2"}


def schedules(workers: int) -> None:
    """(b) Linear to zero against cosine to 10 % and WSD, each at its own best rate, at 20 and 80 tokens per parameter."""
    width, depth, batch, seq_len, seeds = 32, 2, 32, 64, 2
    params = non_vocabulary_params(width, depth)
    rows: list[dict[str, Any]] = []
    for ratio in (20, 80):
        steps = round(ratio * params / (batch * seq_len))
        for label, schedule in SCHEDULES.items():
            # The timescale that Power Lines predicts for the ratio, at the reference rate of the check.
            timescale = 1.084 * ratio**-0.527
            proxy = Proxy(
                init_std=0.02,
                steps=steps,
                batch_sequences=batch,
                schedule=schedule,
                timescale=timescale,
                evaluated=256,
                data=corpus(),
            )
            rates = tuple(2.0**-e for e in ((8, 7, 6, 5, 4) if ratio == 20 else (7, 6, 5)))
            points = made(
                [(proxy, rate, seed) for rate in rates for seed in range(seeds)], width, depth, workers, "schedules"
            )
            by_rate = {rate: [points[proxy, rate, seed] for seed in range(seeds)] for rate in rates}
            best = find_minimum(ratio, by_rate)
            rows.append(
                {"tokens_per_param": ratio, "schedule": label, "steps": steps, "best": asdict(best), "losses": by_rate}
            )
            print(ratio, label, best, flush=True)
    write("training_schedules", PACKAGES, params=params, rows=rows)


def decay(workers: int) -> None:
    """(c) The best weight decay against the batch at a fixed learning rate: linear, if the timescale is what counts."""
    width, depth, seq_len, tokens, seeds = 32, 2, 64, 2**18, 2
    timescales = tuple(2.0**e for e in range(-5, 3))
    rows: list[dict[str, Any]] = []
    for batch in (4, 8, 16, 32):
        steps = tokens // (batch * seq_len)
        proxies = {
            t: Proxy(init_std=0.02, steps=steps, batch_sequences=batch, timescale=t, evaluated=256, data=corpus())
            for t in timescales
        }
        jobs = [(proxy, REFERENCE_RATE, seed) for proxy in proxies.values() for seed in range(seeds)]
        points = made(jobs, width, depth, workers, "decay")
        losses = {t: [points[proxies[t], REFERENCE_RATE, seed] for seed in range(seeds)] for t in timescales}
        rows.append({"batch_tokens": batch * seq_len, "steps": steps, "losses": losses})
    draws = [[valley(row["losses"], resample(seeds, draw)) for row in rows] for draw in range(200)]
    for row, best in zip(rows, (valley(row["losses"], range(seeds)) for row in rows), strict=True):
        own = sorted(draw[rows.index(row)] for draw in draws)
        row |= {"best_timescale": best, "timescale_80": [own[20], own[179]]}
        row["best_weight_decay"] = 1 / (best * row["steps"] * REFERENCE_RATE)
        print({k: v for k, v in row.items() if k != "losses"}, flush=True)
    slopes = sorted(exponent(rows, draw) for draw in draws)
    write(
        "training_decay",
        PACKAGES,
        params=non_vocabulary_params(width, depth),
        tokens=tokens,
        learning_rate=REFERENCE_RATE,
        exponent_of_best_decay_in_batch=exponent(rows, [row["best_timescale"] for row in rows]),
        exponent_80=[slopes[20], slopes[179]],
        rows=rows,
    )


def resample(seeds: int, draw: int) -> list[int]:
    """Seeds drawn with replacement, the same for every batch."""
    return random.Random(draw).choices(range(seeds), k=seeds)


def valley(losses: dict[float, list[float]], seeds: Sequence[int]) -> float:
    """The bottom of a parabola in log timescale through the mean losses within 2 % of the lowest; inside the grid."""
    import numpy as np

    means = {t: fmean(values[s] for s in seeds) for t, values in losses.items()}
    near = [t for t in means if means[t] < 1.02 * min(means.values())]
    bend, tilt, _ = np.polyfit(np.log(near), [means[t] for t in near], 2)
    lowest = float(-tilt / (2 * bend)) if bend > 0 else math.log(min(means, key=lambda t: means[t]))
    return math.exp(min(max(lowest, math.log(min(losses))), math.log(max(losses))))


def exponent(rows: Sequence[dict[str, Any]], timescales: Sequence[float]) -> float:
    """Of the best decay, 1 / (timescale x steps x rate), as a power of the batch."""
    x = [math.log(row["batch_tokens"]) for row in rows]
    y = [-math.log(t * row["steps"]) for t, row in zip(timescales, rows, strict=True)]
    return sum((a - fmean(x)) * (b - fmean(y)) for a, b in zip(x, y, strict=True)) / sum((a - fmean(x)) ** 2 for a in x)


def non_vocabulary_params(width: int, depth: int) -> int:
    """Of the proxies' model."""
    model = Proxy().model(width, depth, 1.0)
    return model.shape.params


def made(
    runs: Iterable[tuple[Proxy, float, int]], width: int, depth: int, workers: int, name: str
) -> dict[tuple[Proxy, float, int], float]:
    """The losses of runs under muP at its own base, which is the standard parametrization."""
    runs = list(runs)
    jobs = [
        Job(
            scheme="mup", alpha=None, base={"width": width, "depth": depth}, width=width, depth=depth, density=1.0,
            learning_rate=rate, seed=seed, size=width, proxy=proxy, optimizer="adamw", reference_rate=REFERENCE_RATE,
        )
        for proxy, rate, seed in runs
    ]  # fmt: skip
    store = Store(CACHE / name)
    run_all(jobs, store, workers, progress)
    known = store.read()
    return {run: known[job.key].loss for run, job in zip(runs, jobs, strict=True)}


def progress(point: Any, done: int, total: int) -> None:
    print(
        f"  {done}/{total} size {point.size:g} rate {point.learning_rate:.4g} seed {point.seed}: {point.loss:.4f}",
        flush=True,
    )


EXPERIMENTS = {"transfer": transfer, "schedules": schedules, "decay": decay, "sparsity": sparsity}

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(EXPERIMENTS))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for name in arguments.names:
        EXPERIMENTS[name](arguments.workers)
