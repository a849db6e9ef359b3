"""The picture of docs/concepts/racing.md: two runs that change places with their forecasts, and what the rules save."""

from __future__ import annotations

import json
import statistics
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench_race import end, hagele
from forescale.plots import save
from forescale.sweep.race import Curve, forecast
from forescale.sweep.race._forecast import BINS, bin_means
from harness import REPOSITORY, RESULTS

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"  # Okabe and Ito's
SHARE = 0.5


def main() -> None:
    figure = Figure(figsize=(12.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_curves(left, hagele(25_000))
    draw_rules(right, json.loads((RESULTS / "race.json").read_text("utf-8"))["races"])
    save(figure, REPOSITORY / "docs" / "assets" / "race.png")


def draw_curves(place: Any, curves: list[Curve]) -> None:
    """The pair that is furthest apart half way, the wrong way round, and a run that is dominated."""
    hot, cold = max(
        ((a, b) for a in curves for b in curves if end(a) < end(b)), key=lambda pair: _now(pair[0]) - _now(pair[1])
    )
    slow = max((c for c in curves if end(c) < 5), key=end)
    shown = (hot, cold, slow)
    others = [c for c in curves if c not in shown and end(c) < 5]
    ahead = forecast([*(c.until(SHARE) for c in shown), *others[::3]])
    for curve, color in zip(shown, (VERMILION, BLUE, GREY), strict=True):
        middles = (np.arange(BINS) + 0.5) / BINS
        place.plot(middles, np.exp(bin_means(curve)[0]), color=color, alpha=0.35, linewidth=1.6)
        seen = middles < SHARE
        place.plot(middles[seen], np.exp(bin_means(curve)[0])[seen], color=color, linewidth=2)
        found = ahead.end(curve.key)
        error = [[found.loss - found.low], [found.high - found.loss]]
        rate = curve.settings["learning_rate"]
        label = f"peak {rate:g}: ended at {end(curve):.3f}"
        place.errorbar([1.03], [found.loss], error, color=color, marker="o", markersize=4, capsize=3, label=label)
        place.plot([1.03], [end(curve)], "x", color="black", markersize=6, zorder=5)
    place.axvline(SHARE, color=GREY, linewidth=0.8, linestyle=":")
    place.set(xlabel="share of the run", ylabel="loss, nats per token", ylim=(2.95, 3.75), xlim=(0.1, 1.08))
    place.set_title("forecast half way (held-out end, 95 %) and the end (cross)", fontsize=10)
    place.legend(fontsize=8, frameon=False)


def _now(curve: Curve) -> float:
    return float(bin_means(curve)[0][round(SHARE * BINS) - 1])


def draw_rules(place: Any, rows: list[dict[str, Any]]) -> None:
    """Mean saving and mean regret of each rule over the cells."""
    for number, label in enumerate(dict.fromkeys(row["rule"] for row in rows), 1):
        mine = [row for row in rows if row["rule"] == label]
        saved = 100 * statistics.mean(row["saved"] for row in mine)
        regret = 100 * statistics.mean(row["regret"] for row in mine)
        look = {"color": GREEN, "marker": "o"} if label.startswith("forecast") else {"color": GREY, "marker": "s"}
        place.plot([saved], [regret], linestyle="none", label=f"{number}  {label}", **look)
        place.annotate(str(number), (saved, regret), xytext=(0, 6), textcoords="offset points", fontsize=8, ha="center")
    place.set(xlabel="compute saved, %", ylabel="regret: loss gap of the best run that finished, %")
    place.set(xlim=(0, 55), ylim=(-0.012, 0.26))
    place.legend(fontsize=7.5, frameon=False, loc="upper left")
    place.set_title("forecasts (green) and Optuna's pruners", fontsize=10)


if __name__ == "__main__":
    main()
