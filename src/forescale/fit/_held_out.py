"""Which protocol when: each refitted without one cell and scored on it, and the choice between them scored alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.fit._problem import Problem
from forescale.fit._protocols import Candidate, solver
from forescale.fit._regression import all_but_one
from forescale.fit._score import best_constant, constant_score, gap_at, law_gaps
from forescale.fit._scores import CellGap, Score
from forescale.laws import law

if TYPE_CHECKING:
    from forescale.fit._cells import Array

PUBLISHED = "step-law"
CHOSEN = "the choice itself"
FARTHEST = 60.0  # of a logarithm: a fit that runs away stays a number


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Scores of every protocol on cells left out, by candidate, of the choice between them, and of two references."""

    scores: Mapping[Candidate, Score]
    choice: Score | None
    references: tuple[Score, ...]


def hold_out(problem: Problem, every: Sequence[Candidate]) -> HeldOut:
    """Leave each cell out once."""
    cells = len(problem.cells)
    without_one = {c: predictions(problem, c, all_but_one(cells)) for c in every}
    scores = {c: _score(problem, c, _own(found)) for c, found in without_one.items()}
    return HeldOut(scores=scores, choice=_choice(problem, scores), references=_references(problem))


def best(scores: Mapping[Candidate, Score], among: Sequence[Candidate]) -> Candidate:
    """The candidate of the lowest mean held-out gap on the linear surface; one that fails in no cell goes first."""
    return min(among, key=lambda c: (len(scores[c].missing) > 0, scores[c].linear.mean if scores[c].gaps else 0.0))


def predictions(problem: Problem, candidate: Candidate, counts: Array) -> Array:
    """Choices (fits, cells, 2) in logarithms, of each fit for each cell; a quantity not swept is the best run's."""
    import numpy as np

    at_best = np.array([cell.points[cell.log_loss.argmin()] for cell in problem.cells])
    found = np.repeat(at_best[None], len(counts), axis=0)
    for axis, use, theta in zip(problem.axes, candidate.uses(problem), solver(problem, candidate)(counts), strict=True):
        found[:, :, axis] = theta[:, :1] + theta[:, 1:] @ problem.features[:, list(use)].T
    return np.clip(found, -FARTHEST, FARTHEST)


def _own(found: Array) -> Array:
    """Of fits that leave one cell out, each one's choice for its own cell."""
    import numpy as np

    return np.stack([found[i, i] for i in range(len(found))])


def _score(problem: Problem, candidate: Candidate, choices: Array) -> Score:
    import numpy as np

    gaps = [_gap(problem, i, choice) for i, choice in enumerate(choices) if np.isfinite(choice).all()]
    lost = len(choices) - len(gaps)
    missing = f"{lost} of {len(choices)} cells: the others do not determine the law without it" if lost else ""
    return Score(name=candidate.name, title=candidate.title, gaps=tuple(gaps), missing=missing)


def _gap(problem: Problem, i: int, choice: Array) -> CellGap:
    import numpy as np

    rate, batch = np.exp(choice).tolist()
    return gap_at(problem.cells[i], [(rate, batch)])


def _choice(problem: Problem, scores: Mapping[Candidate, Score]) -> Score | None:
    """The choice between protocols, made for each cell without its help: its gap on the cell that was left out.

    For cell i the protocols are compared on the other cells j, each by the law fitted without i and j.
    """
    import numpy as np

    sound = [c for c, score in scores.items() if not score.missing]
    cells = len(problem.cells)
    if not sound or cells < len(problem.inputs) + 3:
        return None
    chosen = np.array([_inner(problem, c) for c in sound]).argmin(0)
    gaps = tuple(scores[sound[k]].gaps[i] for i, k in enumerate(chosen))
    return Score(name=CHOSEN, title="the protocol chosen on the other cells", gaps=gaps)


def _inner(problem: Problem, candidate: Candidate) -> Array:
    """For each cell i the mean linear gap on the others j of the laws fitted without i and j."""
    import numpy as np

    cells = len(problem.cells)
    pairs = (all_but_one(cells)[:, None] * all_but_one(cells)[None]).reshape(-1, cells)
    found = predictions(problem, candidate, pairs).reshape(cells, cells, cells, 2)
    gaps = np.array([_linear(problem, j, found[:, j, j]) for j in range(cells)])
    np.fill_diagonal(gaps, 0.0)
    return gaps.sum(0) / (cells - 1)


def _linear(problem: Problem, j: int, choices: Array) -> Array:
    """Linear gaps in cell j of several choices; infinite where a fit failed."""
    import numpy as np

    sound = np.isfinite(choices).all(1)
    gaps = np.full(len(choices), np.inf)
    if sound.any():
        gaps[sound] = problem.cells[j].gaps(*np.exp(choices[sound]).T).linear
    return gaps


def _references(problem: Problem) -> tuple[Score, ...]:
    """Published Step Law, and the best constant setting in hindsight, on the same cells."""
    published = law(PUBLISHED)
    gaps, _ = law_gaps(problem.cells, published)
    rate, batch = best_constant(problem.cells)
    return (
        Score(name=f"{PUBLISHED}, as published", title=published.title, gaps=gaps),
        constant_score(problem.cells, rate, batch, "the best constant setting in hindsight"),
    )
