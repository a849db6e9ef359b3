"""The surface's formula, its value and its derivatives, over arrays of runs and of parameter vectors.

    loss = (E + (A (N (Na/N)^share)^-alpha + B D^-beta)^k) exp(gap)
    gap  = M ln(1 + g / M),  g = S N^p D^q sum_j c_j phi(rate_j u + batch_j v),  phi(t) = exp(t) - 1 - t

u and v are the natural logarithms of learning rate and batch over their optima, which are power laws of N, D and Na/N.
phi is convex, least and flat at 0, and steeper on one side: so g is convex with its only minimum at u = v = 0, and so is
the gap below about M; beyond, it flattens but never turns (its level sets stay convex). N, D, learning rate and batch
are counted in units of a reference setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TERMS = 4
LEVEL = ("log_E", "log_A", "alpha", "log_B", "beta", "k", "share")
RATE = ("log_rate", "rate_params", "rate_tokens", "rate_active")
BATCH = ("log_batch", "batch_params", "batch_tokens", "batch_active")
SCALE = ("log_scale", "scale_params", "scale_tokens", "log_saturation")
SHAPE = tuple(f"{part}_{j + 1}" for part in ("log_weight", "along_rate", "along_batch") for j in range(TERMS))
NAMES = (*LEVEL, *RATE, *BATCH, *SCALE, *SHAPE)
SIZE = len(NAMES)
STEEPEST = 6.0  # phi goes on along its tangent beyond: a setting that far from the optimum has no known loss


@dataclass(frozen=True, kw_only=True, eq=False)
class At:
    """The parts of the formula at parameter vectors (R, P) and points (5, n): each (R, n)."""

    log_level: Array  # the logarithm of the lowest loss
    log_gap: Array  # ln(1 + loss gap)
    gradient: Array | None  # of ln loss, (R, P, n)


def evaluate(theta: Array, points: Array, *, moved: tuple[Array, Array] | None = None, gradient: bool = False) -> At:
    """Evaluate the surface at `points`: rows ln lr, ln B, ln N, ln D in reference units, and ln(Na / N).

    `moved` shifts the optimum of each point (R, n), in ln lr and ln B.
    """
    import numpy as np

    t: dict[str, Any] = {name: theta[:, i, None] for i, name in enumerate(NAMES)}
    slopes = np.zeros((len(theta), SIZE, points.shape[1])) if gradient else None
    with np.errstate(over="ignore"):
        level = _level(t, points, slopes)
        gap = _gap(t, theta, points, moved or (np.zeros(1), np.zeros(1)), slopes)
    return At(log_level=level, log_gap=gap, gradient=slopes)


def _level(t: dict[str, Any], points: Array, slopes: Array | None) -> Array:
    import numpy as np

    n, d, a = points[2:]
    size = n + t["share"] * a
    first, second = np.exp(t["log_A"] - t["alpha"] * size), np.exp(t["log_B"] - t["beta"] * d)
    both = first + second
    E, rest = np.exp(t["log_E"]), both ** t["k"]
    total = E + rest
    if slopes is not None:
        share = t["k"] * rest / total / both
        one, two = share * first, share * second
        parts = (E / total, one, -one * size, two, -two * d, rest * np.log(both) / total, -one * t["alpha"] * a)
        slopes[:, : len(LEVEL)] = np.stack(np.broadcast_arrays(*parts), axis=1)
    return np.log(total)


def _gap(t: dict[str, Any], theta: Array, points: Array, moved: tuple[Array, Array], slopes: Array | None) -> Array:
    import numpy as np

    x, y, n, d, a = points
    u = x - moved[0] - (t["log_rate"] + t["rate_params"] * n + t["rate_tokens"] * d + t["rate_active"] * a)
    v = y - moved[1] - (t["log_batch"] + t["batch_params"] * n + t["batch_tokens"] * d + t["batch_active"] * a)
    shape = theta[:, SIZE - len(SHAPE) :].reshape(-1, 3, TERMS)
    along_rate, along_batch = shape[:, 1, :, None], shape[:, 2, :, None]
    s = along_rate * u[:, None] + along_batch * v[:, None]
    scale = np.exp(t["log_scale"] + t["scale_params"] * n + t["scale_tokens"] * d)
    weight = np.exp(shape[:, 0, :, None]) * scale[:, None]
    value, steep = phi(s)
    g = (weight * value).sum(axis=1)
    M = np.exp(t["log_saturation"])
    if slopes is not None:
        rise = weight * steep
        by_u, by_v = (rise * along_rate).sum(axis=1), (rise * along_batch).sum(axis=1)
        inputs = np.stack([np.ones_like(n), n, d, a])
        damped = 1 / (1 + g / M)
        at = len(LEVEL)
        slopes[:, at : at + 4] = -(by_u * damped)[:, None] * inputs
        slopes[:, at + 4 : at + 8] = -(by_v * damped)[:, None] * inputs
        slopes[:, at + 8 : at + 11] = (g * damped)[:, None] * inputs[:3]
        slopes[:, at + 11] = M * np.log1p(g / M) - g * damped
        by_shape = (weight * value, rise * u[:, None], rise * v[:, None])
        slopes[:, SIZE - len(SHAPE) :] = np.concatenate(by_shape, axis=1) * damped[:, None]
    return M * np.log1p(g / M)


def phi(t: Any) -> tuple[Any, Any]:
    """exp(t) - 1 - t and its derivative, along the tangent beyond `STEEPEST`."""
    import numpy as np

    inside = np.minimum(t, STEEPEST)
    steep = np.expm1(inside)
    return steep - inside + steep * (t - inside), steep


def optimum(theta: Array, points: Array) -> tuple[Array, Array]:
    """Logarithms of the best learning rate and batch in reference units, (R, n), at points (n, d, a) (3, n)."""
    import numpy as np

    inputs = np.stack([np.ones_like(points[0]), *points])
    at = len(LEVEL)
    return theta[:, at : at + 4] @ inputs, theta[:, at + 4 : at + 8] @ inputs
