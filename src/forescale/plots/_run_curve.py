"""A run's loss over its tokens, drawn in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

MARKERS = ("braille", "dot")


def run_curve(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, width: int = 78, height: int = 16
) -> str:
    """Losses (nats per token) over tokens, one line a name of `curves`; '' where nothing can be drawn."""
    from forescale.quantities import humanize

    plotext: Any = import_module("plotext")
    drawn = {name: points for name, points in curves.items() if len(points[0]) > 1}
    if not drawn:
        return ""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, height)
    for marker, (name, (tokens, losses)) in zip(MARKERS, drawn.items(), strict=False):
        plotext.plot(list(tokens), list(losses), label=name, marker=marker)
    ends = [tokens for tokens, _ in drawn.values()]
    low, high = min(map(min, ends)), max(map(max, ends))
    ticks = [low + (high - low) * i / 4 for i in range(5)]
    plotext.xticks(ticks, [humanize(tick) for tick in ticks])
    plotext.xlabel("tokens")
    return plotext.uncolorize(plotext.build())
