"""How often a curve law's interval holds the ends of runs: laws of three short curves of one peak, judged at later ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from curve_data import validation_curve
from forescale.curves import Curve, fit_curve_law
from forescale.errors import ForescaleError

PEAKS, LENGTHS, DRAWS = (1e-4, 5e-4, 1e-3, 2e-3), (15000, 25000, 35000), 16


def ends(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of Hägele et al.'s runs: the share of ends inside 80 %, and what width would have held 80 %, in units of the given one."""
    generator = np.random.default_rng(0)
    curves = [(row, curve) for row in runs if (curve := measured(row)) is not None]
    off: list[tuple[float, float]] = []  # error of an end, half the interval's width
    for peak in PEAKS:
        at = [each for each in curves if each[0]["peak_lr"] == peak]
        for length in LENGTHS:
            for fitted in drawn(at, peak, length, generator):
                off.extend(judged(fitted, [curve for row, curve in at if row["iterations"] >= length]))
    ratio = np.array([abs(error) / half for error, half in off])
    return {
        "ends": len(off),
        "held by 80 %": float((ratio <= 1).mean()),
        "width that would hold 80 %": float(np.quantile(ratio, 0.8)),
        "median error, nats": float(np.median([abs(error) for error, _ in off])),
    }


def measured(row: dict[str, Any]) -> Curve | None:
    """None for a run with fewer validation losses than a curve needs, or that diverged."""
    try:
        return validation_curve(row) if row["validation"] is not None and row["final_val_loss"] < 5 else None
    except ForescaleError:
        return None


def drawn(
    at: Sequence[tuple[dict[str, Any], Curve]], peak: float, length: int, generator: np.random.Generator
) -> Iterator[list[Curve]]:
    """Two finished runs of a length and the stage at the peak of a longer one, as a user would have them."""
    short = [curve for row, curve in at if row["iterations"] == length]
    longer = [curve for row, curve in at if row["iterations"] > length and row["scheduler"] == "wsd"]
    for _ in range(DRAWS if len(short) > 2 and longer else 0):
        long = longer[generator.integers(len(longer))]
        first, second = generator.permutation(len(short))[:2]
        stage = (long.learning_rate >= 0.999 * peak) & (long.step <= length)
        try:
            yield [
                short[first],
                short[second],
                Curve(long.step[stage], long.loss[stage], long.learning_rate[stage], name=long.name),
            ]
        except ForescaleError:  # the longer run was resumed: too little of its stage is on record
            continue


def judged(fitted: Sequence[Curve], others: Sequence[Curve]) -> Iterator[tuple[float, float]]:
    law, names = fit_curve_law(fitted), {curve.name for curve in fitted}
    for curve in others:
        if curve.name not in names:
            low, high = law.interval(curve.step, curve.learning_rate)
            yield curve.final_loss - law.final_loss(curve.step, curve.learning_rate), float(high[-1] - low[-1]) / 2
