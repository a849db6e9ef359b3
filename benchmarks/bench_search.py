"""How many runs a search needs: ours against Optuna's random, TPE, GP and CMA-ES samplers.

Counted, in each world of `search_worlds`, until the incumbent's true gap is at most 0.25 % and 0.1 %; the incumbent is the
run of the lowest observed loss (`recommended`: of ours also the setting that its model recommends). All samplers have their
default options and logarithmic distributions on the same box, and go through the same loop of `study.ask` and `study.tell`;
`+ prior` starts a rival at our prior's point (`study.enqueue_trial`). A count above the cap is the cap plus one. The GP
sampler is the slow one: it is capped lower, and counted on Step Law's cells alone.

Counts are kept in a file (FORESCALE_SEARCH_CACHE, default in the temporary folder), so that the benchmark resumes; name
samplers to count them again: `python benchmarks/bench_search.py ours "ours, published"`; `--so-far` counts nothing more. How
many searches a number is of stands beside it (`counts`).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

import harness
from forescale.laws import Law
from forescale.sweep.search import ForescaleSampler
from search_picture import draw
from search_worlds import Array, World, worlds

CACHE = Path(os.environ.get("FORESCALE_SEARCH_CACHE", Path(tempfile.gettempdir()) / "forescale-search.jsonl"))
LEVELS = (0.0025, 0.001)
AXES = ("learning_rate", "batch_tokens")
SEEDS = 20
SO_FAR = "--so-far"
FEWER = {"gp + prior": 5}  # seeds
CAPS = {"gp": 40, "gp + prior": 40}  # a fit of a Gaussian process a run takes its time
CAP = 100
RIVALS = {
    "random": optuna.samplers.RandomSampler,
    "tpe": optuna.samplers.TPESampler,
    "cma-es": optuna.samplers.CmaEsSampler,
    "gp": optuna.samplers.GPSampler,
}
OURS = {"ours": "prior", "ours, published": "published"}
SEEDED = [f"{name} + prior" for name in RIVALS]
AFTER = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100]
PICTURE = harness.REPOSITORY / "docs" / "assets" / "search.png"


def main() -> None:
    """Count what is not counted yet, then write the summary."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")  # experimental samplers
    again = set(sys.argv[1:]) - {SO_FAR}
    known = {key: counts for key, counts in kept() if key[1] not in again}
    CACHE.write_text("".join(line(*item) for item in known.items()), encoding="utf-8")
    every = list(worlds())
    for key, world in wanted(every):
        if key not in known and SO_FAR not in sys.argv:
            known[key] = count(world, key[1], key[2])
            with CACHE.open("a", encoding="utf-8") as file:
                file.write(line(key, known[key]))
    found = summary(every, known)
    harness.write("search", ["forescale", "optuna", "cmaes", "torch", "numpy", "scipy"], **found)
    draw(found["step_law"], found["levels_percent"], AFTER, found["caps"], PICTURE)


Key = tuple[str, str, int]  # world, sampler, seed
Counts = dict[str, list[int]]  # incumbent -> runs to each level


def wanted(every: Sequence[World]) -> Iterator[tuple[Key, World]]:
    """What is to be counted, the quick ones first and a seed at a time, so that a part of it is balanced."""
    names = [*OURS, *(n for n in (*RIVALS, *SEEDED) if not n.startswith("gp")), "gp", "gp + prior"]
    for name in names:
        for seed in range(FEWER.get(name, SEEDS)):
            yield from (((w.name, name, seed), w) for w in every if counted(w, name))


def counted(world: World, name: str) -> bool:
    """Whether a sampler runs in a world."""
    return world.prior is not None or name not in ("ours", "gp", *SEEDED)


def count(world: World, name: str, seed: int) -> Counts:
    """Runs until the incumbent's true gap is at most each level."""
    sampler = sampler_of(world, name, seed)
    study = optuna.create_study(sampler=sampler)
    if name in SEEDED:
        study.enqueue_trial(start(world))
    noise = np.random.default_rng((seed, 1))
    losses: list[float] = []
    gaps: list[float] = []
    found: dict[str, dict[float, int]] = {"lowest": {}, "recommended": {}}
    for n in range(1, cap(name) + 1):
        trial = study.ask()
        point = ask(world, trial)
        gaps.append(world.gap(point))
        losses.append(world.loss * (1 + gaps[-1]) * float(np.exp(world.noise * noise.standard_normal())))
        study.tell(trial, losses[-1])
        incumbents = {"lowest": gaps[int(np.argmin(losses))]}
        if isinstance(sampler, ForescaleSampler) and len(found["recommended"]) < len(LEVELS):
            best = sampler.best(study)
            incumbents["recommended"] = world.gap(np.log([best.learning_rate, best.batch_tokens]))
        for which, gap in incumbents.items():
            for level in LEVELS:
                if gap <= level:
                    found[which].setdefault(level, n)
        if all(len(found[which]) == len(LEVELS) for which in incumbents):
            break
    return {which: [levels.get(x, cap(name) + 1) for x in LEVELS] for which, levels in found.items()}


def ask(world: World, trial: Any) -> Array:
    """The trial's setting, as logarithms."""
    found = world.low.copy()
    for i, name in enumerate(AXES):
        if world.high[i] > world.low[i]:
            ends = np.exp([world.low[i], world.high[i]]).tolist()
            found[i] = np.log(trial.suggest_float(name, *ends, log=True))
    return found


def sampler_of(world: World, name: str, seed: int) -> Any:
    """A sampler with its default options."""
    if name in OURS:
        fixed = {"batch_tokens": float(np.exp(world.low[1]))} if world.low[1] == world.high[1] else {}
        prior: Law = getattr(world, OURS[name])
        return ForescaleSampler(world.workload, prior, fixed=fixed, seed=seed)
    return RIVALS[name.removesuffix(" + prior")](seed=seed)


def start(world: World) -> dict[str, float]:
    """Our prior's point, inside the box."""
    first = ForescaleSampler(world.workload, world.prior).middle
    ends = np.exp([world.low, world.high])
    return {name: float(np.clip(first[name], *ends[:, i])) for i, name in enumerate(AXES)}


def cap(name: str) -> int:
    """Runs at most."""
    return CAPS.get(name, CAP)


def summary(every: Sequence[World], known: dict[Key, Counts]) -> dict[str, Any]:
    """Medians and 90th percentiles by world, and pooled by kind of world."""
    kinds: dict[str, list[World]] = {}
    for world in every:
        kinds.setdefault(world.kind, []).append(world)
    step_law = [*kinds["dense"], *kinds["moe"]]
    return {
        "levels_percent": [100 * level for level in LEVELS],
        "seeds": {"default": SEEDS, **FEWER},
        "caps": {"default": CAP, **CAPS},
        "reached_after": AFTER,
        "cells": {w.name: {"noise_percent": round(100 * w.noise, 3), **by_sampler([w], known)} for w in every},
        "pooled": {kind: by_sampler(group, known) for kind, group in kinds.items()},
        "step_law": {
            name: found | {"reached": reached(counts_of(step_law, known, name, "lowest"))}
            for name, found in by_sampler(step_law, known).items()
        },
        "goals": {kind: goals(group, known) for kind, group in kinds.items()},
    }


def by_sampler(group: Sequence[World], known: dict[Key, Counts]) -> dict[str, Any]:
    """Sampler -> median and 90th percentile of the counts, for each level."""
    found = {name: counts_of(group, known, name, "lowest") for name in (*OURS, *RIVALS, *SEEDED)}
    found |= {f"{name}, recommended": counts_of(group, known, name, "recommended") for name in OURS}
    return {name: describe(counts) for name, counts in found.items() if len(counts)}


def describe(counts: Array) -> dict[str, Any]:
    """Median and 90th percentile at each level."""
    return {
        "median": np.median(counts, axis=0).tolist(),
        "p90": np.percentile(counts, 90, axis=0).round(1).tolist(),
        "counts": len(counts),
    }


def reached(counts: Array) -> list[list[float]]:
    """The share of searches that have come to each level after `AFTER` runs."""
    return [[round(float((c <= n).mean()), 3) for n in AFTER] for c in counts.T] if len(counts) else []


def counts_of(group: Sequence[World], known: dict[Key, Counts], name: str, which: str) -> Array:
    """(n, levels) counts of a sampler in some worlds."""
    rows = [known[key][which] for w in group for seed in range(SEEDS) if (key := (w.name, name, seed)) in known]
    return np.array(rows, dtype=float).reshape(-1, len(LEVELS))


def goals(group: Sequence[World], known: dict[Key, Counts]) -> dict[str, Any]:
    """By how many cells ours keeps to a third of the best rival's median, and is not above its 90th percentile."""
    found: dict[str, Any] = {}
    for name in OURS:
        if not len(counts_of(group, known, name, "lowest")):
            continue
        ours = [describe(counts_of([w], known, name, "lowest")) for w in group]
        rivals = [[describe(c) for rival in RIVALS if len(c := counts_of([w], known, rival, "lowest"))] for w in group]
        found[name] = {
            f"{100 * level:g} %": {
                "cells": len(group),
                "a_third_at_the_median": sum(third(o, rs, i) for o, rs in zip(ours, rivals, strict=True)),
                "not_worse_at_p90": sum(
                    o["p90"][i] <= min(r["p90"][i] for r in rs) for o, rs in zip(ours, rivals, strict=True)
                ),
                "ratio_at_the_median": ratio(group, known, name, i),
            }
            for i, level in enumerate(LEVELS)
        }
    return found


def third(ours: dict[str, Any], rivals: Iterable[dict[str, Any]], i: int) -> bool:
    """A median of one run cannot be a third of two."""
    return ours["median"][i] <= max(1.0, min(r["median"][i] for r in rivals) / 3)


def ratio(group: Sequence[World], known: dict[Key, Counts], name: str, i: int) -> float:
    """Ours over the best rival, of the pooled medians."""
    rivals = (counts_of(group, known, rival, "lowest") for rival in RIVALS)
    best = min(float(np.median(counts[:, i])) for counts in rivals if len(counts))
    return round(float(np.median(counts_of(group, known, name, "lowest")[:, i])) / best, 3)


def kept() -> Iterator[tuple[Key, Counts]]:
    """What has been counted before."""
    for text in CACHE.read_text(encoding="utf-8").splitlines() if CACHE.exists() else ():
        world, name, seed, counts = json.loads(text)
        yield (world, name, seed), counts


def line(key: Key, counts: Counts) -> str:
    """A row of the cache."""
    return json.dumps([*key, counts]) + "\n"


if __name__ == "__main__":
    main()
