"""What a fitted law is to be judged by: which runs it saw, where it chooses and where the optimum was, what others say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit._cells import Cell, Terrain
from forescale.fit._fitted import FittedLaw
from forescale.fit._problem import Problem, make_problem
from forescale.fit._score import QUANTITIES, catalog_laws, law_gaps, score_all
from forescale.fit._scores import CellGap, Score
from forescale.laws import Z80, Formula, Law, variables
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.runs import Runs

PLATEAU = 0.0025  # of loss: what Step Law's authors count as as good as the best
STEP = 1e-4  # of a logarithm, for slopes

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The runs of one (params, active_params, tokens), and why no law was fitted to them ('' where one was)."""

    params: float
    active_params: float
    tokens: float
    runs: int
    diverged: int
    settings: int  # distinct learning rates and batches among the runs of finite loss
    learning_rates: Span
    batches: Span  # tokens
    lowest_loss: float  # nats per token; infinite where every run diverged
    left_out: str


@dataclass(frozen=True, kw_only=True, eq=False)
class CellEvidence:
    """One cell of the fit: its measured optimum, and what was chosen there.

    `optimum` is (learning rate, batch in tokens) at the lowest point of the smooth surface; `plateau` the learning
    rates and batches between which that surface is within 0.25 % of the lowest loss. `choice` is the law's, `held_out`
    that of the law fitted (or the prior calibrated) without this cell, `published` that of published Step Law.
    """

    cell: Cell
    diverged: int
    terrain: Terrain
    optimum: Span
    plateau: tuple[Span, Span] | None
    choice: CellGap
    held_out: CellGap | None
    published: CellGap | None

    def octaves(self, quantity: str, choice: CellGap) -> float:
        """How far (log2) a choice's learning_rate or batch_tokens lies above the measured optimum."""
        return math.log2(getattr(choice, quantity) / self.optimum[QUANTITIES.index(quantity)])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 80 % interval, None where none is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class LawReading:
    """What one law says of one quantity at the middle of the sweep: its value there, and its slopes.

    A slope is d ln quantity / d ln input, so for a power law its exponent; laws of other forms are read the same way.
    """

    name: str
    quantity: str
    own: bool  # whether this is the law that was fitted
    value: Estimate
    slopes: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """All that a report shows beside the fit. `middle` is the geometric mean of the fitted cells.

    `published` scores the catalog's verified laws of the same quantities and of such models on the fitted cells, by
    ascending linear gap; last those that were fitted to released sweeps, which these may be.
    """

    coverage: tuple[Coverage, ...]
    cells: tuple[CellEvidence, ...]
    readings: tuple[LawReading, ...]
    published: tuple[Score, ...]
    middle: Workload


def evidence(runs: Runs, fitted: FittedLaw) -> Evidence:
    """Set the law that was fitted to `runs` beside what these runs measured and what the catalog's laws say.

    Raises `ForescaleError` where the runs are not those of the fit.
    """
    problem = make_problem(runs)
    if len(problem.cells) != fitted.cells:
        raise ForescaleError(
            f"the law was fitted to {fitted.cells} cells and {runs.source} has {len(problem.cells)}: give the runs that "
            "the law was fitted to."
        )
    middle = _middle(problem.cells)
    rivals = [each for each in catalog_laws() if set(each.predicts) & set(problem.quantities) and _suits(each, problem)]
    return Evidence(
        coverage=tuple(_coverage(runs, problem)),
        cells=tuple(_cells(runs, problem, fitted)),
        readings=tuple(_readings(fitted, rivals, middle)),
        published=_published(problem, rivals),
        middle=middle,
    )


def _coverage(runs: Runs, problem: Problem) -> Iterator[Coverage]:
    fitted = {_key(cell) for cell in problem.cells}
    for _, group in sorted(runs.frame.group_by("cell", maintain_order=True)):
        found = coverage_of(group)
        yield found if _key(found) in fitted else replace(found, left_out=_why_left_out(found.settings))


def coverage_of(group: Any) -> Coverage:
    """What the runs of one cell cover, nothing left out."""
    trained = group.filter(group["loss"].is_finite())
    seen = trained if trained.height else group
    params, active, tokens = (float(seen[c].median()) for c in ("params", "active_params", "tokens"))
    settings = trained.select("learning_rate", "batch_tokens").n_unique() if trained.height else 0
    return Coverage(
        params=params,
        active_params=active,
        tokens=tokens,
        runs=group.height,
        diverged=int(group["diverged"].sum()),
        settings=settings,
        learning_rates=(float(group["learning_rate"].min()), float(group["learning_rate"].max())),
        batches=(float(group["batch_tokens"].min()), float(group["batch_tokens"].max())),
        lowest_loss=float(group["loss"].min()),
        left_out="",
    )


def _why_left_out(settings: int) -> str:
    if settings == 0:
        return "every run diverged"
    return "a single setting" if settings == 1 else "learning rate and batch were not both swept"


def _cells(runs: Runs, problem: Problem, fitted: FittedLaw) -> Iterator[CellEvidence]:
    chosen, _ = law_gaps(problem.cells, fitted.law)
    held_out = next(s for s in fitted.held_out if s.name == fitted.chosen).gaps
    published = fitted.references[0].gaps
    diverged = {_key(c): c.diverged for c in _coverage(runs, problem)}
    for cell, choice in zip(problem.cells, chosen, strict=True):
        yield cell_evidence(cell, diverged[_key(cell)], choice, held_out, published)


def cell_evidence(
    cell: Cell, diverged: int, choice: CellGap, held_out: Iterable[CellGap], published: Iterable[CellGap]
) -> CellEvidence:
    """A cell with the choice in it, and those in it among the gaps of many cells; its losses must be finite."""
    terrain, here = cell.terrain(), _key(cell)
    return CellEvidence(
        cell=cell,
        diverged=diverged,
        terrain=terrain,
        optimum=cell.smooth_optimum(),
        plateau=terrain.within(PLATEAU),
        choice=choice,
        held_out=next((gap for gap in held_out if _key(gap) == here), None),
        published=next((gap for gap in published if _key(gap) == here), None),
    )


def _key(at: Cell | CellGap | Coverage) -> tuple[float, float, float]:
    return at.params, at.active_params, at.tokens


def _published(problem: Problem, rivals: Sequence[Law]) -> tuple[Score, ...]:
    """Laws that choose all that was swept, so that none is handed a part of the answer."""
    alike = [each for each in rivals if set(problem.quantities) <= set(each.predicts)]
    scored, _ = score_all(problem.cells, alike)
    fair = [s for s in scored if not s.given or len(problem.axes) == 1]
    return tuple(sorted(fair, key=lambda s: (bool(s.fitted_on), s.linear.mean)))


def _suits(each: Law, problem: Problem) -> bool:
    """A law of dense models says nothing of a sweep of experts, nor the other way round."""
    kinds = {"moe" if cell.active_params < cell.params else "dense" for cell in problem.cells}
    return each.experts == "any" or each.experts in kinds


def _middle(cells: Sequence[Cell]) -> Workload:
    from statistics import geometric_mean

    params, active, tokens = (geometric_mean(v) for v in zip(*map(_key, cells), strict=True))
    return Workload(params=params, active_params=min(active, params), tokens=tokens, seq_len=cells[0].seq_len)


def _readings(fitted: FittedLaw, rivals: Sequence[Law], middle: Workload) -> Iterator[LawReading]:
    for quantity, coefficients in fitted.coefficients.items():
        inputs = fitted.law.predicts[quantity].exponents
        slopes = {n: Estimate(value=c.value, low=c.low, high=c.high) for n, c in coefficients.items() if n in inputs}
        own = _value(fitted.law, quantity, middle)
        yield LawReading(name=fitted.law.name, quantity=quantity, own=True, value=own, slopes=slopes)
        for each in rivals:
            if quantity in each.predicts and (reading := _reading(each, quantity, middle, tuple(inputs))):
                yield reading


def _reading(each: Law, quantity: str, middle: Workload, inputs: Sequence[str]) -> LawReading | None:
    """None where the law needs what a sweep does not say, such as a width or a loss."""
    try:
        value = _value(each, quantity, middle)
        slopes = {name: _slope(each, quantity, middle, name) for name in inputs}
    except ForescaleError:
        return None
    return LawReading(name=each.name, quantity=quantity, own=False, value=value, slopes=slopes)


def _predict(each: Law, quantity: str, at: Workload) -> tuple[float, dict[str, Any]]:
    """The law's value and the variables it was read at; a law that predicts a batch is read at its own."""
    x = variables(at, each)
    if quantity != "batch_tokens" and "batch_tokens" in each.predicts:
        x["batch_tokens"] = each.predict("batch_tokens", **x)
    return float(each.predict(quantity, **x)), x


def _value(each: Law, quantity: str, at: Workload) -> Estimate:
    value, x = _predict(each, quantity, at)
    sd = each.predicts[quantity].log_sd(x)
    if sd is None:
        return Estimate(value=value)
    return Estimate(value=value, low=value * math.exp(-Z80 * sd), high=value * math.exp(Z80 * sd))


def _slope(each: Law, quantity: str, at: Workload, name: str) -> Estimate:
    """By a difference, so that a law in compute, or in tokens per parameter, has slopes in params and tokens too."""
    ends = [_predict(each, quantity, moved)[0] for moved in _moved(at, name)]
    value = math.log(ends[1] / ends[0]) / STEP
    half = _exponent_error(each.predicts[quantity], name)
    return Estimate(value=value) if half is None else Estimate(value=value, low=value - half, high=value + half)


def _moved(at: Workload, name: str) -> tuple[Workload, Workload]:
    """The workload at both ends of a small step in the logarithm of one input, the others as they are."""
    share = at.active / at.params

    def made(params: float, share: float, tokens: float) -> Workload:
        return Workload(params=params, active_params=params * share, tokens=tokens, seq_len=at.seq_len)

    low, high = math.exp(-STEP / 2), math.exp(STEP / 2)
    if name == "params":
        return made(at.params * low, share, at.tokens), made(at.params * high, share, at.tokens)
    if name == "tokens":
        return made(at.params, share, at.tokens * low), made(at.params, share, at.tokens * high)
    return made(at.params, share * math.exp(-STEP), at.tokens), at


def _exponent_error(formula: Formula, name: str) -> float | None:
    """Half of the exponent's 80 % interval, where the law states it."""
    if formula.family != "power" or name not in formula.exponents:
        return None
    if name in formula.covariance_of:
        i = formula.covariance_of.index(name)
        return Z80 * math.sqrt(formula.covariance[i][i])
    if name in formula.intervals:
        low, high = formula.intervals[name]
        return (high - low) / 2
    return None
