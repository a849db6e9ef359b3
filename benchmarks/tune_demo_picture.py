"""Draw what benchmarks/tune_demo.py found: the target's losses over learning rate and batch, and what each method cost."""

from __future__ import annotations

import json
import math
from statistics import fmean
from typing import Any

from forescale.plots import save
from forescale.plots._parts import log_axis, widened
from forescale.quantities import humanize
from harness import REPOSITORY, RESULTS

PICTURE = REPOSITORY / "docs" / "assets" / "tune-demo.png"
# Okabe and Ito's colours, a marker each: they are told apart without colour too.
LOOKS = (("#0072B2", "*"), ("#56B4E9", "v"), ("#009E73", "s"), ("#D55E00", "o"), ("#CC79A7", "D"), ("#000000", "^"))
SMALL = 8
LEVELS = (-1, 1, 2, 4, 8, 64)  # per cent
SHADES = ("#ffffff", "#f0f0f0", "#dddddd", "#c4c4c4", "#a6a6a6")


def main() -> None:
    """One picture, two panels."""
    from matplotlib.figure import Figure

    found: dict[str, Any] = json.loads((RESULTS / "tune_demo.json").read_text(encoding="utf-8"))
    figure: Any = Figure(figsize=(10.4, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    looks = dict(zip(found["methods"], LOOKS, strict=False))
    _ground(left, found)
    for name, (color, marker) in looks.items():
        at = found["methods"][name]["settings"]
        left.scatter(
            [s["batch_tokens"] for s in at], [s["learning_rate"] for s in at], color=color, marker=marker,
            s=90 if marker == "*" else 40, edgecolor="white", linewidth=0.6, label=name, zorder=3,
        )  # fmt: skip
    _costs(right, found, looks)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    save(left, PICTURE)


def _ground(axes: Any, found: dict[str, Any]) -> None:
    """The grid's runs, each with its gap to the best."""
    lowest = found["zero"]["mean"]
    runs = [run for run in found["grid"] if math.isfinite(run["loss"])]
    gaps = [100 * (run["loss"] / lowest - 1) for run in runs]
    batches, rates = ([run[name] for run in runs] for name in ("batch_tokens", "learning_rate"))
    axes.tricontourf(batches, rates, gaps, levels=LEVELS, colors=SHADES)
    for batch, rate, gap in zip(batches, rates, gaps, strict=True):
        axes.annotate(f"{gap:.1f}", (batch, rate), fontsize=SMALL - 1, ha="center", va="bottom", xytext=(0, 3),
                      textcoords="offset points")  # fmt: skip
    axes.scatter(batches, rates, s=6, color="#444444")
    seen = [*found["grid"], *(at for method in found["methods"].values() for at in method["settings"])]
    for axis, name, text in ((axes.xaxis, "batch_tokens", humanize), (axes.yaxis, "learning_rate", "{:g}".format)):
        values = [at[name] for at in seen]
        log_axis(axis, text, widened(min(values), max(values), 1.4))
    axes.set_xlabel("batch (tokens)", fontsize=SMALL + 1)
    axes.set_ylabel("peak learning rate", fontsize=SMALL + 1)
    axes.set_title("the target: loss above the grid's best, %", fontsize=SMALL + 1)
    axes.tick_params(labelsize=SMALL)


def _costs(axes: Any, found: dict[str, Any], looks: dict[str, tuple[str, str]]) -> None:
    """Each seed's gap a mark, the mean a bar; a search on the target is a mean over many."""
    lowest = found["zero"]["mean"]
    rows = [(name, [100 * (x / lowest - 1) for x in m["losses"]], looks[name]) for name, m in found["methods"].items()]
    rows += [(name, [100 * m["gap"]], ("#767676", "x")) for name, m in found["search"].items()]
    for place, (_, gaps, (color, marker)) in enumerate(rows):
        axes.barh(place, fmean(gaps), color=color, alpha=0.25)
        axes.scatter(gaps, [place] * len(gaps), color=color, marker=marker, s=30, zorder=3)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=SMALL)
    axes.invert_yaxis()
    axes.axvline(0, color="#000000", linewidth=0.8)
    axes.set_xlabel("loss above the best of the grid, %", fontsize=SMALL + 1)
    axes.set_title("what following each cost there", fontsize=SMALL + 1)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)


if __name__ == "__main__":
    main()
