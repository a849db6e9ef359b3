"""The whole loop: suggest the proxies, run them, calibrate, predict; in rounds, then the target."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.sweep._job import MEASURED
from forescale.sweep.tune._budget import Budget
from forescale.sweep.tune._rounds import (
    Say,
    Tuning,
    allowed_compute,
    calibrated,
    proxy_runs,
    rounds_of,
    run_rounds,
    speed_of,
)
from forescale.sweep.tune._target import Target
from forescale.sweep.tune._tuned import Round, Tuned
from forescale.sweep.tune._verify import train_target, verify

if TYPE_CHECKING:
    from forescale.sweep.engines import Engine
    from forescale.sweep.store import Entry

STORE, TARGET = "sweep.db", "target.json"  # in the folder of a tuning
GOAL = 0.0025  # expected loss gap at which no more proxies are run


def tune(
    target: Target,
    *,
    out: str | Path,
    budget: Budget,
    engine: Engine | None = None,
    rounds: int = 3,
    seeds: Sequence[int] = (0,),
    goal: float = GOAL,
    train: bool = False,
    verify_runs: int = 0,
    say: Say | None = None,
) -> Tuned:
    """Run proxies of `target` within `budget`, calibrate the laws on them and predict the target's recipe.

    Rounds end when the expected loss gap at the target is below `goal` (a share), the budget is spent, or no proxy within
    it helps. `train` trains the target by the recipe, `verify_runs` more runs around it show its true gap. Everything is
    kept in `out`, and the same call goes on from there. `engine` None: processes of this machine.
    Raises `ForescaleError` for a folder of another target, and a budget that does not buy the smallest sweep.
    """
    from forescale.sweep.engines import LocalEngine
    from forescale.sweep.store import open_store

    if not seeds or rounds < 1:
        raise ForescaleError(f"tuning takes a round and a seed at least; got {rounds} and {len(seeds)}: give more.")
    folder = Path(out)
    _claim(folder, target)
    store = open_store(folder / STORE)
    with closing(engine or LocalEngine()) as workers:
        tuning = Tuning(
            target=target, budget=budget, store=store, engine=workers, at_once=workers.free, seeds=tuple(seeds), goal=goal,
            say=say or _silent,
        )  # fmt: skip
        tuned = _predict(tuning, run_rounds(tuning, rounds))
        return _try_target(tuning, tuned, verify_runs) if train or verify_runs else tuned


def _claim(folder: Path, target: Target) -> None:
    """Write down whose folder it is, or check that it is this target's."""
    from forescale.train._config_json import differences

    wanted, file = _described(target), folder / TARGET
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ForescaleError(f"{folder} cannot be written: {error.strerror or error}: name another --out.") from None
    except ValueError:
        raise ForescaleError(f"{file} is no tuning's: name another --out.") from None
    if changed := [f"{key} was {a}, now {b}" for key, a, b in differences(found, wanted)]:
        raise ForescaleError(
            f"{folder} holds the tuning of another target ({'; '.join(changed[:3])}): name another --out, or ask for the same."
        )


def _described(target: Target) -> dict[str, Any]:
    described: dict[str, Any] = {"target": target.workload.to_json(), "shape": target.shape}
    described |= {"settings": dict(target.settings), "chosen": dict(target.chosen)}
    return json.loads(json.dumps(described, default=_plain))


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _predict(tuning: Tuning, ended: str) -> Tuned:
    target, rounds = tuning.target, rounds_of(tuning.store)
    runs = proxy_runs(rounds)
    foresights = [calibrated(target, proxy_runs(rounds[: i + 1])).after for i in range(len(rounds))]
    return Tuned(
        target=target,
        budget=tuning.budget,
        allowed=allowed_compute(tuning),
        rounds=tuple(
            Round(number=i, entries=tuple(entries), after=after)
            for i, (entries, after) in enumerate(zip(rounds, foresights, strict=True), start=1)
        ),
        ended=ended,
        runs=runs,
        calibration=calibrated(target, runs),
        run=target.plan(runs=runs, seed=tuning.seeds[0]),
        speed=speed_of(tuning),
        notes=tuple(_notes(rounds)),
    )


def _try_target(tuning: Tuning, tuned: Tuned, verify_runs: int) -> Tuned:
    tuning.say("the target, by the recipe")
    trained = train_target(tuned, tuning.make)
    assert trained.outcome is not None
    if not verify_runs:
        return tuned.with_target(trained.outcome.loss, None)
    tuning.say(f"{verify_runs} more runs of the target, around it")
    return tuned.with_target(trained.outcome.loss, verify(tuned, trained, verify_runs, tuning.at_once, tuning.make))


def _notes(rounds: Sequence[Sequence[Entry]]) -> Iterator[str]:
    lost = [entry for each in rounds for entry in each if entry.state not in MEASURED]
    if lost:
        named = ", ".join(f"{entry.key} {entry.state}" for entry in lost[:3])
        proxies = "1 proxy has" if len(lost) == 1 else f"{len(lost)} proxies have"
        yield f"{proxies} no loss, and so nothing to teach ({named})"
    batches: dict[tuple[float, float], set[float]] = {}
    for entry in (entry for each in rounds for entry in each if entry.state in MEASURED):
        row = entry.job.row
        size = (row["params"], float(f"{row['tokens']:.2g}"))  # whole steps round the tokens
        batches.setdefault(size, set()).add(row["batch_tokens"])
    if batches and max(map(len, batches.values())) == 1:
        yield (
            "no proxies of one size had two batches: the best batch is that of other labs' runs, which a small model can be "
            "far from, and so is the gap to expect; a larger budget tries more of them"
        )


def _silent(_text: str) -> None:
    return
