"""The picture of docs/concepts/sutranets.md: error and interval by hours ahead, of SutraNets and the plain model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forescale.plots import save
from harness import REPOSITORY, RESULTS

BLUE, GREEN, VERMILION, GREY = "#0072B2", "#009E73", "#D55E00", "#767676"  # Okabe and Ito's
LOOKS = {
    "plain, equal steps": (GREY, "--"),
    "plain, more steps": (GREY, "-"),
    "backfill, alternating": (BLUE, "-"),
    "regular, alternating": (VERMILION, "-"),
}


def main() -> None:
    found = json.loads((RESULTS / "forecast_uses.json").read_text("utf-8"))["sutranets"]
    figure = Figure(figsize=(12.4, 3.9), layout="constrained")
    error, coverage, width = figure.subplots(1, 3)
    hours, blocks = np.arange(24) + 0.5, 4 * np.arange(6) + 2
    for name, each in found["models"].items():
        color, line = LOOKS[name]
        look: dict[str, Any] = {"color": color, "linestyle": line, "linewidth": 1.8}
        error.plot(hours, 100 * np.array(each["nd_by_hour"]), label=name, **look)
        coverage.plot(blocks, 100 * np.array(each["coverage_80_by_four_hours"]), marker="o", markersize=4, **look)
        width.plot(blocks, 100 * np.array(each["width_80_by_four_hours"]), marker="o", markersize=4, **look)
    coverage.axhline(80, color=GREY, linewidth=0.8, linestyle=":")
    error.set(ylabel="ND of the median, %", title="error")
    coverage.set(ylabel="values inside, %", title="the 80 % interval: coverage", ylim=(0, 100))
    width.set(ylabel="share of the mean value, %", title="its width")
    for place in (error, coverage, width):
        place.set_xlabel("hours ahead")
        place.set_xlim(0, 24)
        place.set_xticks(range(0, 25, 4))
        place.spines[["top", "right"]].set_visible(False)
        place.title.set_fontsize(10)
    error.set_ylim(bottom=0)
    width.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    save(figure, REPOSITORY / "docs" / "assets" / "sutranets.png")


if __name__ == "__main__":
    main()
