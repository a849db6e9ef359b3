"""Curve laws: curves and schedules not fitted, final losses of runs not seen, rankings, a collapse; beside going without.

The published figures of the Multi-Power Law are means over six unseen curves, three of which are not in the data folder; ours are
over the three that are. Nothing here is chosen by an unseen curve: `fit_curve_law` sees the fitted ones alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

import harness
from curve_data import FITTED, SIZE, annealed, finished, hagele, of_gpt, of_size, validation_curve
from curve_intervals import ends
from forescale.curves import Curve, CurveLaw, collapse, fit_curve_law, fit_final_law
from forescale.curves._families import FAMILIES
from forescale.curves._fit import _bend, _points  # pyright: ignore[reportPrivateUsage]
from forescale.curves._solve import solve
from forescale.errors import ForescaleError

LAWS = ("auto", *FAMILIES)
PUBLISHED = {25: 0.00110, 100: 0.00142, 400: 0.00168}
Row = dict[str, Any]


def main() -> None:
    """Write every part."""
    runs = hagele(harness.DATA, parameters=SIZE)
    harness.write(
        "curves",
        ["forescale", "numpy", "scipy"],
        errors="pred_e: mean relative error over a curve; final: predicted less measured last loss, nats per token",
        multi_power={size: sizes(size) for size in PUBLISHED},
        gpt100m={
            f"{fitted} -> {unseen}": one_curve(fitted, unseen)
            for fitted, unseen in (("cosine", "811"), ("811", "cosine"))
        },
        prior=prior(runs),
        intervals=ends(runs),
        final=final_losses([row for row in runs if annealed(row)]),
        sizes=unseen_sizes(),
        divergence=divergence(runs),
        collapse=collapsed(),
    )


def sizes(size: int) -> Row:
    """One model size: each law on the curves that were not fitted."""
    curves = of_size(harness.DATA, size)
    fitted, unseen = [curves[name] for name in FITTED], [c for name, c in curves.items() if name not in FITTED]
    said = fit_curve_law(
        fitted, law="linear"
    )  # baselines are of the curves, whatever the law; and the first fit loads scipy
    found: Row = {
        "published pred_e (six curves)": PUBLISHED[size],
        "without a law": {c.name: without(said, c) for c in unseen},
    }
    for name in LAWS:
        wall, start = time.perf_counter(), time.process_time()
        law = fit_curve_law(fitted, law=name)
        seconds = {"cpu": time.process_time() - start, "wall": time.perf_counter() - wall}
        found[name] = {
            "law": law.name,
            "left_out": fmean(law.left_out[law.name]),
            "seconds": seconds,
            **scored(law, unseen),
        }
    return found


def scored(law: CurveLaw, unseen: Sequence[Curve]) -> Row:
    """Errors of each curve and their mean."""
    each = {curve.name: errors(law, curve) for curve in unseen}
    return {"pred_e": fmean(e["pred_e"] for e in each.values()), "curves": each}


def errors(law: CurveLaw, curve: Curve) -> Row:
    predicted = law.predict(curve.step, curve.learning_rate)
    low, high = law.interval(curve.step, curve.learning_rate)
    relative = np.abs(predicted / curve.loss - 1)
    return {
        "pred_e": float(relative.mean()),
        "worst": float(relative.max()),
        "final": float(predicted[-1] - curve.loss[-1]),
        "covered by 80 %": float(np.mean((low <= curve.loss) & (curve.loss <= high))),
        "end held by 80 %": bool(low[-1] <= curve.loss[-1] <= high[-1]),
    }


def without(law: CurveLaw, curve: Curve) -> Row:
    """What the two baselines say of a curve's last loss, less what was measured."""
    return {name: loss - float(curve.loss[-1]) for name, loss in law.baselines(float(curve.step[-1])).items()}


def one_curve(fitted: str, unseen: str) -> Row:
    """Fitted on one run alone: root mean square error against the smoothed other, from step 1000 on, and its end."""
    known, other = of_gpt(harness.DATA, fitted), of_gpt(harness.DATA, unseen)
    smooth: Any = smoothed(other.loss)
    found = Row()
    for name in LAWS:
        law = fit_curve_law(known, law=name)
        off: Any = law.predict(other.step, other.learning_rate) - smooth
        found[name] = {"rmse": float((off[1000:] ** 2).mean() ** 0.5), "final": float(off[-1])}
    return found


def smoothed(losses: Any, span: int = 201) -> Any:
    """An exponential moving average of this span."""
    kept, value = np.empty_like(losses), losses[0]
    for place, loss in enumerate(losses):
        value += 2 / (span + 1) * (loss - value)
        kept[place] = value
    return kept


def prior(runs: Sequence[Row]) -> Row:
    """The memory law's shapes on all validation curves of a peak, its priors all but off."""
    found = Row()
    for peak in (1e-4, 5e-4, 1e-3, 2e-3):
        rows = [row for row in runs if row["peak_lr"] == peak and row["final_val_loss"] < 5]
        curves = [curve for row in rows if (curve := validation_curve_or_none(row)) is not None]
        units = max(float(c.step[-1]) for c in curves), peak
        points = [_points(curve, 1 / 12, *units) for curve in curves]
        solution = solve(FAMILIES["memory"], points, bend=_bend(points), tightness=0.1)
        found[f"{peak:g}"] = {"curves": len(curves), **{name: round(v, 3) for name, v in solution.shapes.items()}}
    return found


def validation_curve_or_none(row: Row) -> Curve | None:
    """None for a run with fewer losses than a curve needs."""
    try:
        return validation_curve(row)
    except ForescaleError:
        return None


SPLITS: dict[str, tuple[Callable[[Row], bool], Callable[[Row], bool]]] = {
    "horizons to 35k -> 50k": (lambda r: r["iterations"] <= 35000, lambda r: r["iterations"] == 50000),
    "wsd -> cosine": (lambda r: r["scheduler"] == "wsd", lambda r: r["scheduler"] == "cos"),
    "peaks to 1e-3 -> 2e-3, 3e-3": (lambda r: r["peak_lr"] <= 1e-3, lambda r: r["peak_lr"] > 1e-3),
}


def final_losses(rows: Sequence[Row]) -> Row:
    """Errors of the final-loss law on each split, its ranking, and the ranking without a law."""
    found = Row()
    for name, (fitted, unseen) in SPLITS.items():
        known, other = [r for r in rows if fitted(r)], [r for r in rows if unseen(r)]
        start = time.process_time()
        law = fit_final_law([finished(row) for row in known])
        seconds = time.process_time() - start
        predicted = np.array([law.predict(r["steps"], r["rates"], tokens_per_step=r["tokens_per_step"]) for r in other])
        measured = np.array([r["final_val_loss"] for r in other])
        off = np.abs(predicted / measured - 1)
        order = np.argsort(predicted)
        found[name] = {
            "runs": [len(known), len(other)],
            "error": {"mean": float(off.mean()), "median": float(np.median(off)), "worst": float(off.max())},
            "regret of the top pick": float(measured[order[0]] - measured.min()),
            "regret of the top two": float(measured[order[:2]].min() - measured.min()),
            "cpu_seconds": seconds,
        }
    found["top-2 hits at 50k"] = top_two(rows)
    return found


def top_two(rows: Sequence[Row]) -> Row:
    """How often the best schedule of a peak at 50k steps is among the first two of a ranking made from runs to 35k."""
    known = [row for row in rows if row["iterations"] <= 35000]
    law = fit_final_law([finished(row) for row in known])
    hits: dict[str, list[bool]] = {"law": [], "reuse the best at the longest shorter horizon": []}
    for peak in sorted({row["peak_lr"] for row in rows}):
        at = best_of([r for r in rows if r["iterations"] == 50000 and r["peak_lr"] == peak])
        longest = max((r["iterations"] for r in known if r["peak_lr"] == peak), default=0)
        short = best_of([r for r in known if r["iterations"] == longest and r["peak_lr"] == peak])
        if len(at) < 4 or len(short) < 4:
            continue
        winner = min(at, key=lambda shape: at[shape]["final_val_loss"])
        said = {
            shape: law.predict(r["steps"], r["rates"], tokens_per_step=r["tokens_per_step"]) for shape, r in at.items()
        }
        hits["law"].append(winner in sorted(said, key=lambda shape: said[shape])[:2])
        before = sorted(short, key=lambda shape: short[shape]["final_val_loss"])[:2]
        hits["reuse the best at the longest shorter horizon"].append(winner in before)
    return {name: f"{sum(each)} of {len(each)}" for name, each in hits.items()}


def best_of(rows: Sequence[Row]) -> dict[Any, Row]:
    """One run of each schedule."""
    return {(r["scheduler"], r["wsd_fract_decay"], r["decay_type"] if r["scheduler"] == "wsd" else ""): r for r in rows}


def unseen_sizes() -> Row:
    """Fitted below 300M parameters, the 360M runs."""
    rows = [row for row in hagele(harness.DATA) if annealed(row)]
    known, other = [r for r in rows if r["parameters"] < 3e8], [r for r in rows if r["parameters"] >= 3e8]
    law = fit_final_law([finished(row) for row in known])
    off = [
        law.predict(r["steps"], r["rates"], params=r["parameters"], tokens_per_step=r["tokens_per_step"])
        / r["final_val_loss"]
        - 1
        for r in other
    ]
    return {"runs": [len(known), len(other)], "mean error": float(np.mean(np.abs(off))), "bias": float(np.mean(off))}


def divergence(runs: Sequence[Row]) -> Row:
    """A run is warned of where its peak is above those that trained, each run left out in turn; one run diverged."""
    warned = [
        row["peak_lr"] > max(r["peak_lr"] for r in runs if r is not row and r["final_val_loss"] < 5) for row in runs
    ]
    diverged = [row["final_val_loss"] > 5 for row in runs]
    return {
        "diverged": sum(diverged),
        "f1": f1(warned, diverged),
        "f1 of no warning": f1([False] * len(runs), diverged),
    }


def f1(said: Sequence[bool], so: Sequence[bool]) -> float:
    hits = sum(a and b for a, b in zip(said, so, strict=True))
    return 2 * hits / (sum(said) + sum(so)) if hits else 0.0


def collapsed() -> Row:
    """Cosine runs at 17 to 32 tokens a parameter: smaller sizes as the reference, the ends of the larger from their starts."""
    rows = [
        row
        for row in hagele(harness.DATA, scheduler="cos")
        if row["decay_type"] is None and 17 < row["total_tokens"] / row["parameters"] < 32 and not row["resumed"]
    ]
    small = [validation_curve(row) for row in rows if row["parameters"] < 2e8]
    reference, found = collapse(small), Row()
    for row in (row for row in rows if row["parameters"] >= 2e8):
        curve = validation_curve(row)
        total, end = float(curve.step[-1]), curve.final_loss
        said = {
            f"{until:.0%}": reference.final_loss(curve, total, until=until)[0] / end - 1 for until in (0.1, 0.25, 0.5)
        }
        found[f"{row['parameters'] / 1e6:.0f}M, {total:.0f} steps"] = said
    return {
        "reference curves": len(small),
        "deviation at half": float(reference.deviation[25]),
        "end error, left out": reference.end_error,
        "relative error of the end": found,
    }


if __name__ == "__main__":
    main()
