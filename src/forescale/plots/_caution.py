"""Why the law's choice lies below the estimate of the optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, INK, SMALL, VERMILION, legend_below, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.fit.calibrate import RateCurve

TOP = 3.0  # times the lowest expected gap, or one per cent: where the axis ends


def caution_chart(curve: RateCurve, axes: Axes | None = None) -> Axes:
    """The expected loss gap (%) of learning rates around the estimate, and its lowest point: the law's choice."""
    drawn: Any = new_axes(5.6, 3.4) if axes is None else axes
    (expected,) = drawn.plot(curve.octaves, 100 * curve.expected, color=VERMILION, linewidth=1.8)
    (known,) = drawn.plot(curve.octaves, 100 * curve.known, color=BLUE, linewidth=1.2, linestyle="dashed")
    estimate = drawn.axvline(0, color=INK, linewidth=0.9)
    star: Any = {"color": VERMILION, "markeredgecolor": INK, "markeredgewidth": 0.7, "linestyle": "none"}
    (choice,) = drawn.plot(*curve.choice(), marker="*", markersize=14, zorder=3, **star)
    top = max(TOP * float(100 * curve.expected.min()), 1.0)
    near = curve.octaves[100 * curve.expected < top]
    drawn.set(xlim=(min(float(near.min()), -1), max(float(near.max()), 1)), ylim=(0, top))
    drawn.set_xlabel("learning rate over the estimate of the best (octaves)", fontsize=SMALL)
    drawn.set_ylabel("loss gap (%)", fontsize=SMALL)
    drawn.tick_params(labelsize=SMALL)
    drawn.grid(color="#eeeeee", linewidth=0.7)
    entries = [(expected, "expected, the best rate known as it is"), (known, "if the estimate were exact")]
    legend_below(drawn, [*entries, (choice, "the law's choice"), (estimate, "the estimate")], 0.45)
    return drawn
