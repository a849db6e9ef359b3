"""Protocols: the ways from a sweep's cells to a law's coefficients, each refitted to any weighting of the cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.fit._bowl import bowl
from forescale.fit._cells import Cell
from forescale.fit._optima import Points, argmins, centroids, near_points, vertices
from forescale.fit._problem import Problem
from forescale.fit._regression import Regression, regression
from forescale.laws import SYMBOLS

if TYPE_CHECKING:
    from forescale.fit._cells import Array

    Solver = Callable[[Any], tuple[Array, ...]]  # counts (fits, cells) -> coefficients of each quantity (fits, 1 + p)

STEP_LAW, BOWL = "step-law", "bowl"
ONLY_TOKENS, PARAMS_TOO = ("tokens",), ("params", "tokens")
POINTS: Mapping[str, Callable[[Sequence[Cell]], Points]] = {
    STEP_LAW: near_points,
    "near-0.5": partial(near_points, within=0.005),
    "centroid": centroids,
    "vertex": vertices,
    "argmin": argmins,
}
TITLES = {
    STEP_LAW: "every run within 0.25 % of its cell's lowest loss",
    "near-0.5": "every run within 0.5 %",
    "centroid": "the mean of the runs within 0.25 %, every cell counting once",
    "vertex": "the vertex of a quadratic in each cell",
    "argmin": "each cell's best run",
    BOWL: "all losses within 1 %, one bowl whose centre follows the law",
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A protocol and what its batch may depend on (beside the active share, where that is an input)."""

    protocol: str
    batch_inputs: tuple[str, ...]

    @property
    def name(self) -> str:
        """As tables show it: `step-law, B ~ D`."""
        return (
            f"{self.protocol}, B ~ {', '.join(SYMBOLS[i] for i in self.batch_inputs)}"
            if self.batch_inputs
            else self.protocol
        )

    @property
    def title(self) -> str:
        """What the protocol takes as the optimum."""
        return TITLES[self.protocol]

    def uses(self, problem: Problem) -> list[tuple[int, ...]]:
        """For each quantity the columns of the features that it depends on."""
        every = tuple(range(len(problem.inputs)))
        of_batch = tuple(i for i in every if problem.inputs[i] in (*self.batch_inputs, "active_share"))
        return [every if axis == 0 else of_batch for axis in problem.axes]


def candidates(problem: Problem) -> tuple[Candidate, ...]:
    """Every protocol with every batch that the cells can tell; a bowl's centre depends on all inputs."""
    told = [tuple(i for i in inputs if i in problem.inputs) for inputs in (ONLY_TOKENS, PARAMS_TOO)]
    variants = [()] if 1 not in problem.axes else [v for v in dict.fromkeys(told) if v]
    made = [Candidate(protocol=p, batch_inputs=v) for p in POINTS for v in variants]
    return (*made, Candidate(protocol=BOWL, batch_inputs=variants[-1]))


def allowed(
    every: Sequence[Candidate], protocol: str, batch_inputs: Sequence[str] | None, problem: Problem
) -> list[Candidate]:
    """The candidates that the caller leaves to choose from; raise `ForescaleError` where there are none."""
    if protocol not in ("auto", *TITLES):
        raise UnknownNameError(f"no protocol is named {protocol!r}; there are auto, {', '.join(TITLES)}.")
    wanted = tuple(batch_inputs) if batch_inputs is not None else ONLY_TOKENS if protocol == STEP_LAW else None
    if wanted is not None and 1 in problem.axes:
        _check_batch(wanted, problem)
    found = [
        c
        for c in every
        if protocol in ("auto", c.protocol) and (not c.batch_inputs or wanted in (None, c.batch_inputs))
    ]
    if not found:
        raise ForescaleError(
            f"protocol {protocol} has no batch of {', '.join(wanted or ())} alone: the bowl's centre depends on every "
            "input; use another protocol."
        )
    return found


def _check_batch(wanted: tuple[str, ...], problem: Problem) -> None:
    if wanted not in (ONLY_TOKENS, PARAMS_TOO, ("params",)):
        raise ForescaleError(f"batch_inputs are ('tokens',) or ('params', 'tokens'); got {wanted!r}.")
    if unknown := [i for i in wanted if i not in problem.inputs]:
        raise ForescaleError(
            f"the batch cannot depend on {', '.join(unknown)}: these cells do not tell the exponent "
            f"({'; '.join(problem.warnings)})."
        )


def solver(problem: Problem, candidate: Candidate) -> Solver:
    """The coefficients of each quantity for counts of cells, one row a fit."""
    if candidate.protocol == BOWL:
        return bowl(problem.cells, problem.features, problem.axes).solve
    return point_regression(problem, candidate, by_cell=True).solve


def point_regression(problem: Problem, candidate: Candidate, *, by_cell: bool) -> Regression:
    """The regression of a protocol that takes points; its units are cells, or single points."""
    points = POINTS[candidate.protocol](problem.cells)
    return regression(
        problem.features[points.cell],
        points.at[:, list(problem.axes)],
        candidate.uses(problem),
        groups=points.cell if by_cell else None,
    )
