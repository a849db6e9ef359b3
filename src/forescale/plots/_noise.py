"""The gradient noise scale along a run, beside the batch and the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, GREEN, GREY, INK, SMALL, VERMILION
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTH = 50  # points of the drawn loss that its mean is taken over, at most a tenth of them


def noise_figure(records: Sequence[Mapping[str, Any]], seq_len: int) -> Axes:
    """Noise scale (sequences) with its 95 % interval and the batch, above the loss, over tokens; returns the upper axes.

    `records` are the lines of a run's metrics.jsonl, with `batch_sequences` where the batch changes.
    """
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(7.2, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    _noise(above, [r for r in records if _finite(r, "noise_scale")])
    tokens = [r["tokens"] for r in records]
    before = [0, *tokens[:-1]]
    batches = [
        r.get("batch_sequences", (now - then) / seq_len) for r, now, then in zip(records, tokens, before, strict=True)
    ]
    above.step(tokens, batches, where="pre", color=INK, linewidth=1.2, label="batch")
    above.set(yscale="log", ylabel="sequences")
    above.legend(fontsize=SMALL, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    _loss(below, tokens, [r["loss"] for r in records])
    below.xaxis.set_major_formatter(_tokens)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL)
    return above


def _noise(axes: Any, measured: Sequence[Mapping[str, Any]]) -> None:
    tokens = [r["tokens"] for r in measured]
    values = [r["noise_scale"] for r in measured]
    most = 10 * max(values, default=1.0)  # of an interval that has no upper end
    lows = [r["noise_scale_low"] for r in measured]
    highs = [r["noise_scale_high"] if _finite(r, "noise_scale_high") else most for r in measured]
    axes.fill_between(tokens, lows, highs, color=BLUE, alpha=0.2, linewidth=0, label="95 % interval")
    axes.plot(tokens, values, color=BLUE, linewidth=1.5, label="noise scale")
    norm = [r for r in measured if _finite(r, "norm_noise_scale")]
    norms = [r["norm_noise_scale"] for r in norm]
    axes.plot(
        [r["tokens"] for r in norm], norms, color=VERMILION, linewidth=1, linestyle="--", label="of the norm layers"
    )
    if values:
        axes.set_ylim(0.5 * min(values), 3 * max(values))


def _loss(axes: Any, tokens: Sequence[float], losses: Sequence[float]) -> None:
    import numpy as np

    width = max(1, min(SMOOTH, len(losses) // 10))
    means = np.convolve(losses, np.ones(width) / width, "valid")
    axes.plot(tokens, losses, color=GREY, linewidth=0.5, alpha=0.5)
    first = (width - 1) // 2
    axes.plot(tokens[first : first + len(means)], means, color=GREEN, linewidth=1.5)
    low, high = float(means.min()), float(np.quantile(losses, 0.98))
    axes.set(
        xlabel="tokens", ylabel="loss (nats per token)", ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low))
    )


def _tokens(value: float, _: int) -> str:
    return humanize(value) if value > 0 else "0"


def _finite(record: Mapping[str, Any], name: str) -> bool:
    value = record.get(name)
    return value is not None and math.isfinite(value)
