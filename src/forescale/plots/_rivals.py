"""What the laws that a plan did not follow would choose: points on a map of batch and learning rate, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import INK
from forescale.quantities import humanize

if TYPE_CHECKING:
    from forescale.plan import Alternative, Plan

# What a law leaves open is drawn where its loss gap was read: at the best value of the other axis.
BARS = {"both": None, "learning rate": "_", "batch": "|"}


@dataclass(frozen=True)
class Frame:
    """The lowest and highest batch and learning rate in the picture."""

    batch: tuple[float, float]
    rate: tuple[float, float]

    def clip(self, batch: float, rate: float) -> tuple[float, float]:
        """The nearest point in the picture."""
        return min(max(batch, self.batch[0]), self.batch[1]), min(max(rate, self.rate[0]), self.rate[1])


@dataclass(frozen=True)
class Rival:
    """A rival law's marker and label; no point for a law without a value here."""

    label: str
    point: tuple[float, float] | None = None
    says: str = "both"  # a key of BARS
    measured: bool = False
    arrow: str = ""  # the marker of a choice beyond the frame


def rival_of(plan: Plan, other: Alternative, frame: Frame) -> Rival:
    """Where another law would go, or the frame's edge towards it."""
    if other.learning_rate is None and other.batch_tokens is None:
        return Rival(f"{other.law}: no value here")
    ground = plan.terrain
    batch = ground.batch_tokens if other.batch_tokens is None else other.batch_tokens
    on_ridge = ground.learning_rate * (batch / ground.batch_tokens) ** ground.landscape.ridge
    rate = on_ridge if other.learning_rate is None else other.learning_rate
    says = "batch" if other.learning_rate is None else "learning rate" if other.batch_tokens is None else "both"
    point = frame.clip(batch, rate)
    arrow = _arrow(point, batch, rate)
    label = _label(other, beyond=bool(arrow))
    return Rival(label, point, says, bool(other.in_range), arrow)


def _label(other: Alternative, *, beyond: bool) -> str:
    """The law, its loss gap, and, as the marker does not show it, what it says beyond the frame."""
    known = other.loss_gap_percent is not None
    details = [] if known else ["gap unknown"]
    if beyond and other.batch_tokens is not None:
        details.append(f"{humanize(other.batch_tokens)} tokens")
    if beyond and other.learning_rate is not None:
        details.append(f"{other.learning_rate:.2g}")
    gap = f" +{other.loss_gap_percent:.2f} %" if known else ""
    return f"{other.law}{gap} ({', '.join(details)})" if details else f"{other.law}{gap}"


def _arrow(shown: tuple[float, float], batch: float, rate: float) -> str:
    """The marker that points from the frame's edge to a choice beyond it; '' for a choice in the frame."""
    if rate != shown[1]:
        return "^" if rate > shown[1] else "v"
    return "" if batch == shown[0] else ">" if batch > shown[0] else "<"


def draw_rivals(axes: Any, rivals: Iterable[Rival]) -> None:
    """Their markers; `label_in_margin` names them."""
    for each in rivals:
        if each.point is not None:
            for marker in _markers(each):
                axes.plot(*each.point, **marker, clip_on=False, zorder=7)  # above the star, which is larger


def _markers(each: Rival) -> list[dict[str, Any]]:
    """A dot, full where the law was measured, with a bar along what the law says nothing about."""
    bar = BARS[each.says]
    dot = {"marker": each.arrow or "o", "markersize": 7 if each.arrow else 4.8, "color": INK, "linestyle": "none"}
    dot |= {"markerfacecolor": INK if each.measured else "white"}
    crossing = {"marker": bar, "markersize": 13, "color": INK, "markeredgewidth": 1.3, "linestyle": "none"}
    return [crossing, dot] if bar and not each.arrow else [dot]


def rival_entries(rivals: Sequence[Rival]) -> list[tuple[Any, str]]:
    """What the markers mean, for a legend."""
    from matplotlib.lines import Line2D

    def sign(**how: Any) -> Any:
        return tuple(Line2D([], [], **marker) for marker in _markers(Rival("", **how)))

    said = {each.says for each in rivals if each.point and not each.arrow}
    entries: list[tuple[Any, str]] = [
        (sign(measured=True), "a law, measured on such a workload"),
        (sign(), "a law beyond its range, or stating none"),
    ]
    return entries + [
        (sign(says=says), f"a law of the {says} only") for says in ("learning rate", "batch") if says in said
    ]
