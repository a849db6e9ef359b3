"""The picture of the search benchmark: the share of searches that are close enough after so many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from forescale.plots import save

# Okabe and Ito's colours; dashes tell the lines apart without them.
LINES = {
    "ours": ("ours, prior of the lab's other cells", {"color": "#D55E00", "linewidth": 2.4}),
    "ours, published": ("ours, prior of other labs", {"color": "#D55E00", "linewidth": 1.6, "linestyle": "--"}),
    "gp": ("Optuna GP", {"color": "#0072B2", "linestyle": "-"}),
    "cma-es": ("Optuna CMA-ES", {"color": "#009E73", "linestyle": "-."}),
    "tpe": ("Optuna TPE", {"color": "#000000", "linestyle": ":", "linewidth": 1.8}),
    "random": ("random", {"color": "#767676", "linestyle": (0, (6, 2))}),
}
TICKS = (1, 2, 5, 10, 20, 50, 100)


def draw(
    found: Mapping[str, Any], levels: Sequence[float], after: Sequence[int], caps: Mapping[str, int], path: Path
) -> None:
    """Write the picture of the pooled counts."""
    figure = Figure(figsize=(8.2, 3.9), layout="constrained")
    panels = figure.subplots(1, len(levels), sharey=True)
    for i, (axes, level) in enumerate(zip(panels, levels, strict=True)):
        for name, (label, style) in LINES.items():
            if name in found:
                seen = [n for n in after if n <= caps.get(name, caps["default"])]
                axes.plot(seen, [100 * share for share in found[name]["reached"][i][: len(seen)]], label=label, **style)
        axes.set_xscale("log")
        axes.set_xticks(TICKS, [str(t) for t in TICKS])
        axes.minorticks_off()
        axes.set_xlim(0.95, 105)
        axes.set_ylim(0, 102)
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.set_xlabel("runs")
        axes.set_title(f"within {level:g} % of the lowest loss", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("searches whose best run is (%)")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    save(figure, path)
