"""The pictures of docs/concepts/transfer.md, from the JSON that training_results.py wrote."""

from __future__ import annotations

import json
from typing import Any

from matplotlib.figure import Figure

from forescale.check import Minimum, Point, TransferCheck
from forescale.plots import save, transfer_chart
from harness import REPOSITORY, RESULTS

ASSETS = REPOSITORY / "docs" / "assets"
COLORS = ("#0072B2", "#D55E00", "#009E73")  # Okabe and Ito's
SMALL = 8


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def check_of(document: dict[str, Any]) -> TransferCheck:
    """The check that a result's JSON describes."""
    known = {k: v for k, v in document.items() if k in TransferCheck.__dataclass_fields__}
    points = tuple(Point(**{**p, "loss": float("inf") if p["loss"] is None else p["loss"]}) for p in document["points"])
    minima = tuple(Minimum(**m) for m in document["minima"])
    return TransferCheck(**known | {"points": points, "minima": minima})


def transfer_figure(name: str, panels: list[str], file: str, columns: int) -> None:
    """One panel a check, with the same scale where they look along the same axis."""
    document = load(name)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.4 * columns, 4.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for place, panel in zip(axes, panels, strict=True):
        transfer_chart(check_of(document[panel]), place)
    for row in range(rows):
        line = axes[row * columns : (row + 1) * columns]
        bottom = min(a.get_ylim()[0] for a in line)
        top = max(a.get_ylim()[1] for a in line)
        for place in line:
            place.set_ylim(bottom, top)
    save(figure, ASSETS / file)


def schedules_and_decay_figure() -> None:
    """Loss over the peak learning rate of every schedule, and the best decay over the batch."""
    schedules, decay = load("training_schedules"), load("training_decay")
    figure = Figure(figsize=(13.2, 4.2), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    for place, ratio in ((first, 20), (second, 80)):
        rows = [row for row in schedules["rows"] if row["tokens_per_param"] == ratio]
        for color, row in zip(COLORS, rows, strict=True):
            rates = [float(r) for r in row["losses"]]
            means = [sum(v) / len(v) for v in row["losses"].values()]
            place.plot(rates, means, "-", color=color, label=row["schedule"])
            for rate, losses in row["losses"].items():
                place.plot([float(rate)] * len(losses), losses, ".", color=color, markersize=4)
            place.plot([row["best"]["learning_rate"]], [row["best"]["loss"]], "*", color=color, mec="black", ms=13)
        place.set_xscale("log", base=2)
        lowest = min(row["best"]["loss"] for row in rows)
        place.set_ylim(lowest * 0.995, lowest * 1.06)
        finish(place, "peak learning rate", "held-out loss (nats per byte)", f"{ratio} tokens per parameter")
        place.legend(fontsize=SMALL, frameon=False)
    batches = [row["batch_tokens"] for row in decay["rows"]]
    best = [row["best_weight_decay"] for row in decay["rows"]]
    third.plot(batches, best, "o", color=COLORS[0], label="best weight decay")
    middle = len(batches) // 2
    third.plot(
        batches,
        [best[middle] * b / batches[middle] for b in batches],
        ":",
        color="#767676",
        label="linear in the batch",
    )
    third.set(xscale="log", yscale="log")
    third.set_xticks(batches, [f"{b:,}" for b in batches], minor=False)
    third.set_xticks([], minor=True)
    exponent = decay["exponent_of_best_decay_in_batch"]
    finish(third, "batch (tokens)", "best weight decay", f"decay against batch: exponent {exponent:.2f}")
    third.legend(fontsize=SMALL, frameon=False)
    save(figure, ASSETS / "training-schedules-decay.png")


def finish(axes: Any, across: str, up: str, title: str) -> None:
    axes.set_xlabel(across, fontsize=SMALL + 1)
    axes.set_ylabel(up, fontsize=SMALL + 1)
    axes.set_title(title, fontsize=SMALL + 2, loc="left")
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#e6e6e6", linewidth=0.6)


if __name__ == "__main__":
    panels = ["standard over width", "mup over width", "mup over depth", "completep over depth"]
    transfer_figure("training_transfer", panels, "training-transfer.png", 2)
    transfer_figure("training_sparsity", ["mup", "supar"], "training-sparsity.png", 2)
    schedules_and_decay_figure()
