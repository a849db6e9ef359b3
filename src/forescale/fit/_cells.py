"""A cell: the runs of one workload over learning rate and batch, and three readings of the loss between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from forescale.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.runs import Runs

    Array = NDArray[np.float64]
    Surface = Callable[[Array], Array]

NEAR_MINIMUM = 0.12  # in ln loss: the smooth surface sees the runs within 12 % of the minimum, so none that diverged
SMOOTHING = 0.02  # of the thin-plate spline
MESH = 81  # points a side, to find the smooth surface's minimum
ON_A_LINE = 1e-3  # points whose second spread is this share of the first vary along one line only
SEQ_LEN = 2048  # where the runs do not say; only attention FLOPs depend on it


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaps:
    """Loss gaps (shares) at some points, read three ways, and which points were moved into the swept box."""

    nearest: Array
    linear: Array
    smooth: Array
    clipped: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Terrain:
    """A cell's smooth surface on a mesh: loss gaps (shares, NaN beyond the runs' hull) at learning rates and batches.

    Rows are learning rates and columns batches; where the runs vary along one line, all three are one row of points.
    """

    learning_rates: Array
    batches: Array
    loss_gap: Array

    def within(self, loss_gap: float) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Lowest and highest learning rate and batch at which the gap is at most `loss_gap`; None where it never is."""
        import numpy as np

        low = np.nan_to_num(self.loss_gap, nan=np.inf) <= loss_gap
        if not low.any():
            return None
        rates, batches = (v[low] for v in np.broadcast_arrays(self.learning_rates, self.batches))
        return (float(rates.min()), float(rates.max())), (float(batches.min()), float(batches.max()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """The runs of one (params, active_params, tokens).

    `points` are (ln learning rate, ln batch in tokens), distinct, in the order of the runs; `log_loss` the lowest
    ln loss at each. Where the points vary along one line (one batch only, say), surfaces are curves along it.
    """

    params: float
    active_params: float
    tokens: float
    seq_len: int
    points: Array
    log_loss: Array

    @property
    def workload(self) -> Workload:
        """What the runs trained, as numbers."""
        return Workload(
            params=self.params,
            active_params=self.active_params,
            tokens=self.tokens,
            seq_len=self.seq_len,
            source="runs",
        )

    @property
    def minimum(self) -> float:
        """The lowest loss, nats per token."""
        return math.exp(float(self.log_loss.min()))

    @property
    def learning_rates(self) -> Array:
        """The swept peak learning rates, ascending."""
        return _levels(self.points[:, 0])

    @property
    def batches(self) -> Array:
        """The swept batches in tokens, ascending."""
        return _levels(self.points[:, 1])

    @property
    def on_edge(self) -> bool:
        """Whether the best run lies on the edge of the swept box, so that the optimum may lie beyond."""
        import numpy as np

        low, high = self._box
        best = self.points[self.log_loss.argmin()]
        return bool(np.any((high > low) & ((best == low) | (best == high))))

    @property
    def spread(self) -> tuple[bool, bool]:
        """Whether the learning rate and the batch were swept: more than one level, rounding aside."""
        rate, batch = (float(levels[-1] / levels[0]) > 1 + ON_A_LINE for levels in (self.learning_rates, self.batches))
        return rate, batch

    @property
    def has_smooth(self) -> bool:
        """Whether enough runs lie near the minimum for a smooth surface; if not, the linear one stands in."""
        return self._smooth is not None

    def gaps(self, learning_rate: Any, batch_tokens: Any) -> Gaps:
        """Loss gaps to the lowest loss at learning rates and batches (arrays that broadcast, or floats).

        A point outside the swept box is moved to its edge first. Nearest is by distance in the two logarithms. Linear
        is over the Delaunay triangles (nearest outside their hull); a regular grid leaves their diagonals free, and
        Qhull's choice depends on the order of the runs. Smooth is a thin-plate spline of ln loss through the runs near
        the minimum, so it may be below 0; where the nearest run is not one of those, the linear reading stands in.
        """
        import numpy as np

        wanted = np.column_stack(np.broadcast_arrays(np.log(np.ravel(learning_rate)), np.log(np.ravel(batch_tokens))))
        low, high = self._box
        inside = np.clip(wanted, low, high)
        nearest = self.log_loss[_squared(inside, self.points).argmin(1)]
        linear = self._linear(inside)
        linear = np.where(np.isfinite(linear), linear, nearest)
        smooth = linear if self._smooth is None else np.where(nearest < self._ceiling, self._smooth(inside), linear)
        best = self.log_loss.min()
        return Gaps(
            nearest=np.expm1(nearest - best),
            linear=np.expm1(linear - best),
            smooth=np.expm1(smooth - best),
            clipped=np.any(np.abs(inside - wanted) > 1e-6, axis=1),
        )

    def smooth_optimum(self) -> tuple[float, float]:
        """Learning rate and batch (tokens) at the lowest point of the smooth surface among the runs, on a mesh."""
        import numpy as np

        best = self.points[self.log_loss.argmin()]
        if self._smooth is not None:
            mesh = self._seen(self._mesh())
            ascending = mesh[self._smooth(mesh).argsort()]
            # The first within the runs' hull: on a full grid the first of all.
            best = next((p for p in ascending if np.isfinite(self._linear(p[None])[0])), best)
        return float(np.exp(best[0])), float(np.exp(best[1]))

    def terrain(self) -> Terrain:
        """The smooth surface on a mesh over the swept box, or along the line that the runs lie on."""
        import numpy as np

        mesh = self._mesh()
        rates, batches = np.exp(mesh).T
        inside = np.isfinite(self._linear(mesh))
        gaps = np.where(inside, self.gaps(rates, batches).smooth, np.nan)
        shape = (MESH, MESH) if self._axis is None else (1, len(mesh))
        return Terrain(
            learning_rates=rates.reshape(shape), batches=batches.reshape(shape), loss_gap=gaps.reshape(shape)
        )

    @cached_property
    def _box(self) -> tuple[Array, Array]:
        return self.points.min(0), self.points.max(0)

    @property
    def _ceiling(self) -> float:
        """The ln loss up to which the smooth surface sees runs."""
        return float(self.log_loss.min()) + NEAR_MINIMUM

    @cached_property
    def _axis(self) -> Array | None:
        """The direction of the line that the points lie on; None where they span the plane."""
        return _axis(self.points)

    def _along(self, points: Array) -> Array:
        """Coordinates to interpolate in: both logarithms, or the one along the line."""
        return points if self._axis is None else (points @ self._axis)[:, None]

    @cached_property
    def _linear(self) -> Surface:
        import numpy as np
        from scipy.interpolate import LinearNDInterpolator

        if self._axis is None:
            triangles: Any = LinearNDInterpolator(self.points, self.log_loss)
            return lambda points: np.asarray(triangles(points), dtype=float)
        along = self._along(self.points)[:, 0]
        order = along.argsort()
        xs, ys = along[order], self.log_loss[order]
        return lambda points: np.interp(self._along(points)[:, 0], xs, ys)

    @cached_property
    def _smooth(self) -> Surface | None:
        from scipy.interpolate import RBFInterpolator

        near = self.log_loss < self._ceiling
        known = self.points[near]
        if len(known) < 3 or (self._axis is None and _axis(known) is not None):
            return None
        spline: Any = RBFInterpolator(
            self._along(known), self.log_loss[near], smoothing=SMOOTHING, kernel="thin_plate_spline"
        )
        return lambda points: spline(self._along(points))

    def _seen(self, mesh: Array) -> Array:
        """The points whose nearest run is one that the smooth surface sees."""
        return mesh[self.log_loss[_squared(mesh, self.points).argmin(1)] < self._ceiling]

    def _mesh(self) -> Array:
        import numpy as np

        low, high = self._box
        if self._axis is not None:
            position = self._along(self.points)[:, 0]
            ends = self.points[[position.argmin(), position.argmax()]]
            return ends[0] + np.linspace(0, 1, MESH * MESH)[:, None] * (ends[1] - ends[0])
        along = np.linspace(0, 1, MESH)
        shares = np.column_stack([np.repeat(along, MESH), np.tile(along, MESH)])
        return low + shares * (high - low)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The cells of a table of runs that can be scored, and what was left out to make them."""

    cells: tuple[Cell, ...]
    alone: int  # cells left out: a single learning rate and batch
    repeated: int  # runs left out: another run at the same place in the same cell has a lower loss


def make_cells(runs: Runs) -> Cells:
    """Group runs into cells, in the order of params, active_params and tokens; runs of infinite loss are left out."""
    import polars as pl

    frame = runs.frame.filter(pl.col("loss").is_finite())
    groups = [cell_of(group) for _, group in sorted(frame.group_by("cell", maintain_order=True))]
    usable = tuple(cell for cell in groups if len(cell.points) > 1)
    kept = sum(len(cell.points) for cell in groups)
    return Cells(cells=usable, alone=len(groups) - len(usable), repeated=frame.height - kept)


def cell_of(group: Any) -> Cell:
    """The cell of some rows of `Runs.frame`, infinite losses included."""
    import numpy as np
    import polars as pl

    best = group.group_by("learning_rate", "batch_tokens", maintain_order=True).agg(pl.col("loss").min())
    logs = np.log(best.select("learning_rate", "batch_tokens", "loss").to_numpy())
    first: Mapping[str, float | None] = group.row(0, named=True)
    return Cell(
        params=float(first["params"] or 0),
        active_params=float(first["active_params"] or 0),
        tokens=float(group["tokens"].median()),
        seq_len=int(first.get("seq_len") or SEQ_LEN),
        points=logs[:, :2],
        log_loss=logs[:, 2],
    )


def _axis(points: Array) -> Array | None:
    import numpy as np

    _, spreads, directions = np.linalg.svd(points - points.mean(0), full_matrices=False)
    return directions[0] if spreads[1] <= ON_A_LINE * spreads[0] else None


def _squared(a: Array, b: Array) -> Array:
    return (a[:, None, 0] - b[:, 0]) ** 2 + (a[:, None, 1] - b[:, 1]) ** 2


def _levels(logs: Array) -> Array:
    import numpy as np

    return np.exp(np.unique(logs))
