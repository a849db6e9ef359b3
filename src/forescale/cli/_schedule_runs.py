"""`forescale schedule --runs`: candidate schedules ranked by the law that loss curves show."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.curves import BestSchedule, CurveLaw, Ranked
    from forescale.schedules import Schedule

NOTICED, TO_ZERO = 1.02, 1000.0  # factors outside the curves: those worth a word, and that of a rate that goes to 0
CANDIDATES = ("linear", "cosine", "wsd", "wsd:decay=0.1", "wsd:decay=0.4", "wsd-sqrt", "tenth", "step", "constant")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What the command found: the law, its candidates from the best on, and the best schedule of all."""

    law: CurveLaw
    steps: int
    peak: float
    floor: float
    schedules: Mapping[str, Schedule]
    ranked: Sequence[Ranked]
    best: BestSchedule


def read_law(files: Sequence[Path]) -> CurveLaw:
    """The law of the files' curves; what the reader did to them goes to standard error."""
    from forescale.curves import fit_curve_law, read_curves

    curves = read_curves(*files)
    for name, curve in curves.items():
        if curve.note:
            print(f"forescale: {name}: {curve.note}.", file=sys.stderr)
    return fit_curve_law(list(curves.values()))


def warmup_of(law: CurveLaw, steps: int) -> float:
    """The curves' own warmup as a share of a run, at most a tenth."""
    reached = min(float(c.step[int((c.learning_rate >= 0.99 * c.peak).argmax())]) for c in law.curves)
    return min(reached / steps, 0.1)


def rank(
    law: CurveLaw, schedules: Mapping[str, Schedule], steps: int, peak: float | None, floor: float, warmup: float
) -> Ranking:
    """The candidates' final losses, and the best schedule from the peak down to the floor (a share of the peak)."""
    from forescale.curves import rank_schedules

    height = law.rate_unit if peak is None else peak
    if not 0 <= floor < 1:
        raise ForescaleError(f"--final is a share of the peak, at least 0 and below 1; got {floor:g}.")
    ranked = rank_schedules(law, schedules, steps, height)
    best = law.best_schedule(steps, height, floor * height, warmup=warmup * steps)
    return Ranking(law=law, steps=steps, peak=height, floor=floor, schedules=schedules, ranked=ranked, best=best)


def as_document(found: Ranking) -> dict[str, Any]:
    """The ranking as JSON writes it (schema_version 1)."""
    law = found.law
    return {
        "schema_version": 1,
        "law": law.name,
        "reason": law.reason,
        "left_out_error": law.left_out_error,
        "steps": found.steps,
        "peak": found.peak,
        "schedules": [
            {"schedule": each.name, "loss": each.loss, "low": each.low, "high": each.high, "beyond": dict(each.beyond)}
            for each in found.ranked
        ],
        "best": {
            "loss": found.best.loss,
            "compared": dict(found.best.compared),
            "beyond": dict(found.best.beyond),
            "points": [list(pair) for pair in found.best.points],
        },
        "baselines": law.baselines(found.steps),
    }


def print_ranking(found: Ranking) -> None:
    """The ranking as a table, with what it rests on."""
    from rich.text import Text

    from forescale.cli._console import Column, make_console, make_table

    console, law = make_console(), found.law
    console.print(Text(f"{found.steps:,} steps · peak {found.peak:g} · floor {found.floor:g} of it", style="bold"))
    console.print(Text(f"the {law.name} law of {len(law.curves)} curves; {law.reason}"))
    console.print()
    columns = [
        Column(name="schedule", fold=16),
        *(Column(name=name, justify="right") for name in ("final loss", "80 %", "behind the best")),
        Column(name="outside the curves", fold=20),
    ]
    best = ("best in the law", f"{found.best.loss:.4f}", "", "", outside(found.best.beyond))
    rows = [best, *(_row(each, found.best.loss) for each in found.ranked)]
    console.print(make_table(console, columns, rows)[0])
    console.print()
    for line in _remarks(found):
        console.print(Text(line))


def _row(each: Ranked, best: float) -> tuple[str, ...]:
    width = (each.high - each.low) / 2
    return each.name, f"{each.loss:.4f}", f"± {width:.4f}", f"{each.loss - best:+.4f}", outside(each.beyond)


def outside(beyond: Mapping[str, float]) -> str:
    """How far a schedule lies outside the fitted curves, in words."""
    far = {name: factor for name, factor in beyond.items() if factor > NOTICED}
    return (
        ", ".join(f"{name} {factor:.3g}x" if factor < TO_ZERO else f"{name} 0" for name, factor in far.items()) or "no"
    )


def _remarks(found: Ranking) -> list[str]:
    law, lines = found.law, list[str]()
    if law.left_out[law.name]:
        errors = ", ".join(f"{name} {fmean(values):.2%}" for name, values in law.left_out.items() if values)
        lines.append(f"mean error on curves left out: {errors}")
    else:
        lines.append("one curve alone: nothing was left out to check the law by, and the intervals are too narrow")
    said = ", ".join(f"{name} {loss:.4f}" for name, loss in law.baselines(found.steps).items())
    lines.append(f"without a law: {said}" if said else "without a law: no curve is as short as this run")
    return lines
