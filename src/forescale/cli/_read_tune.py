"""From the options of `forescale tune` to a target, a budget, and what they will come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._read_train import read_held_out, read_model, vocabulary
from forescale.errors import ForescaleError, MissingExtraError
from forescale.quantities import humanize, parse_quantity
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.fit.calibrate import Foresight
    from forescale.sweep import Job
    from forescale.sweep.engines import Engine
    from forescale.sweep.tune import Budget, Target

MODEL = ("depth", "width", "heads", "experts", "kv_heads", "norm", "qk_norm", "tied", "top_k", "shared_experts")
SEEDS, ROUNDS = 1, 3


@dataclass(frozen=True, kw_only=True)
class Before:
    """What tuning will run first, what it may cost and what it will buy."""

    target: Target
    budget: Budget
    allowed: float  # FLOPs
    jobs: tuple[Job, ...]  # as they would be without rounds: after the first, the next depend on what it showed
    before: Foresight
    after: Foresight
    speed: float  # FLOPs a second, over all workers
    target_runs: int

    @property
    def compute(self) -> float:
        """FLOPs of the proxies."""
        return sum(job.compute for job in self.jobs)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; gaps in per cent, times in seconds."""
        return {
            "schema_version": 1,
            "target": self.target.workload.to_json() | {"compute": self.target.compute, "runs": self.target_runs},
            "budget": {"text": self.budget.text(), "compute": self.allowed},
            "proxies": [dict(job.row) | {"compute": job.compute, "key": job.key} for job in self.jobs],
            "compute": self.compute,
            "estimated_seconds": {
                "proxies": self.compute / self.speed,
                "target": self.target_runs * self.target.compute / self.speed,
            },
            "before": self.before.to_json(),
            "after": self.after.to_json(),
        }


def with_defaults(options: Mapping[str, Any], small: Mapping[str, Any]) -> dict[str, Any]:
    """The options; those of the small target where neither text nor target are given."""
    made = dict(options)
    if all(made[name] is None for name in ("data", "target_params", "target_tokens", "shape")):
        made |= {name: value for name, value in small.items() if made[name] in (None, False)}
    return made


def read_target(options: Mapping[str, Any]) -> Target:
    """The target: its shape, its tokens and the settings that all runs share."""
    from forescale.sweep.tune import Target

    if options["target_tokens"] is None:
        raise ForescaleError("the target's length is missing: give --target-tokens.")
    if (options["target_params"] is None) == (options["shape"] is None):
        raise ForescaleError("the target's size is missing or said twice: give --target-params or --shape.")
    asked = {**dict.fromkeys(MODEL), "position": "rotary", **options, "params": options["target_params"]}
    shape, seq_len, _ = read_model(asked, vocabulary(options["tokenizer"]))
    tokens = parse_quantity(options["target_tokens"], "--target-tokens")
    settings: dict[str, Any] = {name: options[name] for name in ("tokenizer", "key", "errors", "optimizer", "device")}
    settings |= {"data": tuple(map(_absolute, options["data"] or ())), "threads": options["threads"] or 1}
    settings["held_out"] = read_held_out(options["held_out"])
    chosen = {} if options["schedule"] is None else {"schedule": options["schedule"]}
    workload = Workload.from_shape(shape, tokens=tokens, seq_len=seq_len)
    return Target(workload=workload, settings=settings, chosen=chosen)


def _absolute(source: str) -> str:
    return source if source.startswith("hf:") else str(Path(source).expanduser().absolute())


def read_spend(text: str | None) -> Budget:
    """The budget."""
    from forescale.sweep.tune import read_budget

    if text is None:
        raise ForescaleError("what the proxies may cost is missing: give --budget 10%, 30min or FLOPs.")
    return read_budget(text)


def read_rounds(options: Mapping[str, Any]) -> dict[str, Any]:
    """Rounds, seeds, goal and what is done with the target, as `tune` takes them."""
    made: dict[str, Any] = {
        "rounds": options["rounds"] or ROUNDS,
        "seeds": tuple(range(options["seeds"] or SEEDS)),
        "train": options["train_target"],
        "verify_runs": options["verify"] or 0,
    }
    if options["goal"] is not None:
        made["goal"] = parse_quantity(options["goal"].strip().removesuffix("%"), "--goal") / 100
    return made


def default_out(target: Target) -> Path:
    """A folder named after the target."""
    return Path("tuning") / f"{humanize(target.workload.params)}-{humanize(target.workload.tokens)}"


def foresee(target: Target, spend: Budget, engine: Engine, options: Mapping[str, Any]) -> Before:
    """What the whole budget would buy at once, and how long it may take."""
    from forescale.sweep.design import speed_here
    from forescale.sweep.tune._proxies import next_proxies

    rounds = read_rounds(options)
    found = speed_here([target.job()], engine.free, device=options["device"])
    if found is None:
        raise MissingExtraError("tuning trains its proxies with torch: pip install 'forescale[train]'.")
    speed = found.flops_per_second
    allowed = spend.flops(target.compute, lambda: speed)
    proposed = next_proxies(target, allowed, None, rounds["seeds"])
    return Before(
        target=target,
        budget=spend,
        allowed=allowed,
        jobs=proposed.jobs,
        before=proposed.suggestion.before,
        after=proposed.suggestion.after,
        speed=speed,
        target_runs=rounds["verify_runs"] + 1 if rounds["verify_runs"] or rounds["train"] else 0,
    )
