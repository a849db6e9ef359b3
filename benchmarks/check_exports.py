"""Run exported files in the trainers themselves: real config classes, and the learning rate of every step against ours.

    PYTHONPATH=src python benchmarks/check_exports.py --target torchtitan            (in an environment with the package)
    PYTHONPATH=src python benchmarks/check_exports.py --target lingua --checkout DIR --commit ID       (others)

The plan has the shape of Llama 3 8B. What a level of checking means is in docs/concepts/exports.md.
Prints one line a check and exits with 1 on a mismatch; a target that is not there is reported as such. Results are
merged into benchmarks/results/check_exports.json. Learning rates are compared as shares of the peak: with our schedule,
and with the deviation that the exported file's notes state (a warmup that starts at 0, a decay one step ahead).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "plan" / "export"), str(ROOT / "benchmarks")]

from export_fixtures import build_plan, llama_shape, schedule_factor  # noqa: E402

import export_checkouts as checkouts  # noqa: E402
import export_trainers as trainers  # noqa: E402
from export_common import Run  # noqa: E402
from forescale.plan.export import TARGETS, export  # noqa: E402

STEPS, WARMUP, ACCUMULATION = 397, 37, 4
PLANS = (("linear", 0.0), ("cosine", 0.1))
SCHEDULED, SOURCE, KEYS = "instantiated + scheduler", "scheduler and keys from source", "key table only"
BASE_CLASSES = "fields and scheduler of Megatron-LM's base classes; Megatron-Bridge itself not run"


def same(kind: str, step: int, ratio: float) -> float:
    return (step + 1) / WARMUP if step < WARMUP else schedule_factor(kind, step, STEPS, WARMUP, ratio)


def from_zero(kind: str, step: int, ratio: float) -> float:
    return step / WARMUP if step < WARMUP else same(kind, step, ratio)


def last_micro_batch(kind: str, step: int, ratio: float) -> float:
    moment = step + (ACCUMULATION - 1) / ACCUMULATION
    return moment / WARMUP if moment < WARMUP else schedule_factor(kind, moment, STEPS, WARMUP, ratio)


def counted_from_one(kind: str, step: int, ratio: float) -> float:
    return (step + 1) / WARMUP if step < WARMUP else schedule_factor(kind, step + 1, STEPS, WARMUP, ratio)


@dataclass(frozen=True, kw_only=True)
class Check:
    """How one target is checked: `run(export, checkout)` gives what the trainer holds and its learning rates."""

    run: Callable[[Any, Path | None], Run]
    stated: Callable[[str, int, float], float]  # the factor on the peak that the export's notes promise
    level: str
    package: str | None = None  # None: needs a checkout
    plans: tuple[tuple[str, float], ...] = PLANS
    tolerance: float = 1e-14  # of the peak


CHECKS: dict[str, Check] = {
    "huggingface": Check(run=trainers.huggingface, stated=from_zero, level=SCHEDULED, package="transformers"),
    "torchtitan": Check(run=trainers.torchtitan, stated=same, level=SCHEDULED, package="torchtitan"),
    "torchtitan-main": Check(run=trainers.torchtitan, stated=same, level=SCHEDULED),
    "litgpt": Check(
        run=trainers.litgpt, stated=last_micro_batch, level=SCHEDULED, package="litgpt", plans=(("cosine", 0.1),)
    ),
    "olmo-core": Check(run=trainers.olmo_core, stated=counted_from_one, level=SCHEDULED, package="ai2-olmo-core"),
    # JAX computes schedules in single precision.
    "levanter": Check(run=trainers.levanter, stated=from_zero, level=SCHEDULED, package="levanter", tolerance=1e-6),
    "megatron-lm": Check(run=checkouts.megatron_lm, stated=from_zero, level=SOURCE),
    "megatron-bridge": Check(run=checkouts.megatron_bridge, stated=from_zero, level=BASE_CLASSES),
    "nanotron": Check(run=checkouts.nanotron, stated=from_zero, level=SOURCE),
    "lingua": Check(run=checkouts.lingua, stated=from_zero, level=SOURCE),
    "nanochat": Check(run=checkouts.nanochat, stated=same, level=SOURCE, plans=(("linear", 0.0), ("linear", 0.1))),
}


@dataclass
class Report:
    """What one target's checks found."""

    target: str
    ok: bool = True
    values: int = 0
    from_plan: float = 0.0
    from_stated: float = 0.0
    lines: list[str] = field(default_factory=list)

    def add(self, what: str, ok: bool, detail: str) -> None:
        """Print and keep one line."""
        self.ok &= ok
        print(f"{'ok  ' if ok else 'FAIL'} {self.target}: {what}: {detail}")
        self.lines.append(f"{what}: {detail}")


def check(name: str, checkout: Path | None) -> Report | None:
    """None: the target is not here."""
    how, report = CHECKS[name], Report(name)
    if not _here(how, checkout):
        print(f"--   {name}: {'no checkout given' if how.package is None else 'not installed'}")
        return None
    for kind, ratio in how.plans:
        plan = build_plan(schedule=kind, final_lr_ratio=ratio, accumulation=ACCUMULATION, shape=llama_shape())
        run = how.run(export(plan, name), checkout)
        _compare_values(report, kind, run)
        _compare_rates(report, kind, ratio, run, how)
    return report


def _here(how: Check, checkout: Path | None) -> bool:
    if how.package is None:
        return checkout is not None
    try:
        importlib.metadata.version(how.package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _compare_values(report: Report, kind: str, run: Run) -> None:
    for what, (got, wanted) in run.values.items():
        report.values += 1
        report.add(f"{kind}: {what}", got == wanted, f"{got!r}" + ("" if got == wanted else f", not {wanted!r}"))


def _compare_rates(report: Report, kind: str, ratio: float, run: Run, how: Check) -> None:
    peak = run.peak
    factors = [lr / peak for lr in run.learning_rates]
    plan = max(abs(f - same(kind, i, ratio)) for i, f in enumerate(factors))
    stated = max(abs(f - how.stated(kind, i, ratio)) for i, f in enumerate(factors))
    report.from_plan, report.from_stated = max(report.from_plan, plan), max(report.from_stated, stated)
    ok = len(factors) == STEPS and stated <= how.tolerance
    detail = (
        f"{len(factors)} steps, at most {stated:.2g} of the peak from what its notes state, {plan:.2g} from the plan"
    )
    report.add(f"{kind}: learning rates", ok, detail)


def _record(path: Path, report: Report, commit: str | None) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    how = CHECKS[report.target]
    known[report.target] = {
        "exported_for": TARGETS[report.target].version,
        "checked_in": commit if how.package is None else f"{how.package} {importlib.metadata.version(how.package)}",
        "checked": how.level,
        "ok": report.ok,
        "values_compared": report.values,
        "steps_compared": STEPS * len(how.plans),
        "max_lr_difference_from_stated": report.from_stated,
        "max_lr_difference_from_plan": report.from_plan,
    }
    _write(path, known)


def _write(path: Path, known: dict[str, Any]) -> None:
    for name in TARGETS:
        unchecked = {"exported_for": TARGETS[name].version, "checked": KEYS}
        known.setdefault(name, unchecked)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: known[name] for name in TARGETS}, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check exports in the trainers' own code.")
    parser.add_argument("--target", choices=tuple(CHECKS), action="append")
    parser.add_argument("--checkout", type=Path, help="a working tree of a trainer that is not a package")
    parser.add_argument("--commit", help="the checkout's commit, for the record")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "check_exports.json")
    args = parser.parse_args()
    reports = [r for name in args.target or CHECKS if (r := check(name, args.checkout)) is not None]
    for report in reports:
        _record(args.output, report, args.commit)
    return int(not all(r.ok for r in reports))


if __name__ == "__main__":
    raise SystemExit(main())
