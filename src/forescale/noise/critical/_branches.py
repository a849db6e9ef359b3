"""Critical batches along one run, from branches: the largest batch whose loss is not worse (Merrill et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.quantities import as_float, humanize, positive

if TYPE_CHECKING:
    from forescale.runs import Runs

EPSILON, ALPHA = 0.01, 0.5  # nats per token; weight of the past in the moving average (arXiv:2505.23971)
DRAWS = 2000
COVERAGE = 0.8
FEWEST = 8  # losses of a curve that its noise is read from


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One branch: `factor` times the run's batch from a checkpoint on; its loss after smoothing, and that loss's noise."""

    factor: float
    loss: float
    noise: float | None = None  # standard deviation of `loss`; None: not known


@dataclass(frozen=True, kw_only=True)
class Branched:
    """The critical batch at one checkpoint: `factor` times the run's batch. Tokens; losses in nats per token.

    `next_batch` is the next larger batch that was tried, which was worse; None where the largest tried was not, so that the
    critical batch is at least this. `low` and `high` are the 80 % interval over the noise of the losses.
    """

    checkpoint_tokens: float
    batch_tokens: float  # of the run that was branched
    factor: float
    critical_batch: float
    next_batch: float | None
    low: float | None
    high: float | None
    branches: tuple[Branch, ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**vars(self), "branches": [dict(vars(branch)) for branch in self.branches]}


def ema(losses: Sequence[float], alpha: float = ALPHA) -> float:
    """The last value of the exponential moving average s <- alpha s + (1 - alpha) x, begun at the first loss."""
    if not losses:
        raise ForescaleError("a branch needs one loss at least; got none.")
    if not 0 <= as_float(alpha, "alpha") < 1:
        raise ForescaleError(f"alpha is the weight of the past, at least 0 and below 1; got {alpha:g}.")
    smooth = losses[0]
    for loss in losses[1:]:
        smooth = alpha * smooth + (1 - alpha) * loss
    return smooth


def ema_noise(losses: Sequence[float], alpha: float = ALPHA) -> float | None:
    """Standard deviation of `ema(losses)`, from differences of neighbours in the second half; None for a short curve.

    Independent noise of variance v is v (1 - alpha) / (1 + alpha) after averaging, and 2 v in differences.
    """
    half = list(losses)[len(losses) // 2 :]
    if len(losses) < FEWEST:
        return None
    squares = [(b - a) ** 2 for a, b in pairwise(half)]
    return math.sqrt(sum(squares) / len(squares) / 2 * (1 - alpha) / (1 + alpha))


def largest_factor(losses: Mapping[float, float], epsilon: float = EPSILON) -> float:
    """The largest k with L_k <= L_k' + epsilon for all smaller k'."""
    factors = sorted(losses)
    return max(k for k in factors if all(losses[k] <= losses[j] + epsilon for j in factors if j < k))


def branched(
    checkpoint_tokens: float,
    batch_tokens: float,
    branches: Sequence[Branch],
    *,
    epsilon: float = EPSILON,
    seed: int = 0,
) -> Branched:
    """The critical batch at a checkpoint, with its interval over the noise of the branches' losses.

    Raises `ForescaleError` for fewer than two branches, or two of the same factor.
    """
    positive(batch_tokens, "batch_tokens")
    if as_float(epsilon, "epsilon") < 0:
        raise ForescaleError(f"epsilon is the loss that counts as none, 0 or more; got {epsilon:g}.")
    branches = tuple(sorted(branches, key=lambda branch: branch.factor))
    factors = [branch.factor for branch in branches]
    if len(factors) < 2 or len(set(factors)) < len(factors):
        raise ForescaleError(
            f"a checkpoint needs two branches or more, each of its own factor; at {humanize(checkpoint_tokens)} tokens there "
            f"are {', '.join(f'{factor:g}' for factor in factors)}."
        )
    factor = largest_factor({branch.factor: branch.loss for branch in branches}, epsilon)
    larger = [each for each in factors if each > factor]
    low, high = _interval(branches, epsilon, seed)
    return Branched(
        checkpoint_tokens=checkpoint_tokens,
        batch_tokens=batch_tokens,
        factor=factor,
        critical_batch=factor * batch_tokens,
        next_batch=larger[0] * batch_tokens if larger else None,
        low=None if low is None else low * batch_tokens,
        high=None if high is None else high * batch_tokens,
        branches=branches,
        note=_note(factor, factors, low),
    )


def _interval(branches: Sequence[Branch], epsilon: float, seed: int) -> tuple[float | None, float | None]:
    """Ends of the central 80 % of the factor over draws of the losses' noise; None where a noise is not known."""
    import numpy as np

    noise = [branch.noise for branch in branches]
    if any(each is None for each in noise):
        return None, None
    rng = np.random.default_rng(seed)
    drawn = np.array([b.loss for b in branches]) + np.array(noise, dtype=float) * rng.normal(
        size=(DRAWS, len(branches))
    )
    lowest = np.minimum.accumulate(drawn, axis=1)
    passed = np.hstack([np.ones((DRAWS, 1), dtype=bool), drawn[:, 1:] <= lowest[:, :-1] + epsilon])
    largest = passed.shape[1] - 1 - np.argmax(passed[:, ::-1], axis=1)
    found = np.sort(np.array([b.factor for b in branches])[largest])
    ends = (round((1 - COVERAGE) / 2 * (DRAWS - 1)), round((1 + COVERAGE) / 2 * (DRAWS - 1)))
    return float(found[ends[0]]), float(found[ends[1]])


def _note(factor: float, factors: Sequence[float], low: float | None) -> str:
    said: list[str] = []
    if factor == factors[-1]:
        said.append("the largest batch tried is not worse: a bound from below; try larger ones")
    elif factor == factors[0]:
        said.append("every larger batch tried is worse: the critical batch may be smaller yet")
    if low is None:
        said.append(f"no interval: a curve of {FEWEST} losses or more a branch tells its noise")
    return "; ".join(said)


def branched_runs(runs: Runs, *, epsilon: float = EPSILON, alpha: float = ALPHA, seed: int = 0) -> tuple[Branched, ...]:
    """The critical batch at every checkpoint of a table of branches, in order.

    Columns beside loss and batch_tokens (each branch's own batch): `checkpoint_tokens` and `factor` (k). Rows that share
    both are one branch's loss curve, in the order of `tokens` where there is such a column; a single row is a loss that was
    smoothed already. Raises `ForescaleError` for a column that is missing.
    """
    frame = runs.frame
    for name in ("checkpoint_tokens", "factor"):
        if name not in frame.columns:
            raise ForescaleError(
                f"a table of branches has the columns checkpoint_tokens, factor, batch_tokens and loss; {name} is missing "
                f"in {runs.source}: add it."
            )
    order = [name for name in ("checkpoint_tokens", "factor", "tokens") if name in frame.columns]
    return tuple(
        _checkpoint(part, epsilon, alpha, seed)
        for _, part in frame.sort(order, maintain_order=True).group_by("checkpoint_tokens", maintain_order=True)
    )


def doublings(found: Sequence[Branched]) -> tuple[float, ...]:
    """The tokens at which to double the run's batch: once the critical batch is twice the batch (Merrill et al. 2025).

    Between checkpoints the critical batch is interpolated in logarithms; before the first and beyond the last nothing is
    known, and nothing doubles. For `double:SEQUENCES:TOKENS,...` of a batch schedule.
    """
    if not found:
        raise ForescaleError("doublings need a checkpoint; got none.")
    path = sorted((each.checkpoint_tokens, each.critical_batch) for each in found)
    batch, at = found[0].batch_tokens, list[float]()
    while (tokens := _reached(path, 2 * batch)) is not None:
        at.append(max(tokens, math.nextafter(at[-1], math.inf) if at else 0.0))
        batch *= 2
    return tuple(at)


def _reached(path: Sequence[tuple[float, float]], wanted: float) -> float | None:
    """Where the path of (tokens, batch) first reaches `wanted`."""
    if path[0][1] >= wanted:
        return path[0][0]
    for (t0, b0), (t1, b1) in pairwise(path):
        if b0 < wanted <= b1:
            share = math.log(wanted / b0) / math.log(b1 / b0)
            return t0 * (t1 / t0) ** share
    return None


def _checkpoint(part: Any, epsilon: float, alpha: float, seed: int) -> Branched:
    curves: dict[float, list[float]] = {}
    batches: dict[float, float] = {}
    for factor, batch, loss in part.select("factor", "batch_tokens", "loss").iter_rows():
        curves.setdefault(float(positive(factor, "factor")), []).append(float(loss))
        batches[float(factor)] = float(batch)
    found = [Branch(factor=k, loss=ema(losses, alpha), noise=ema_noise(losses, alpha)) for k, losses in curves.items()]
    bases = {round(batch / factor, 6) for factor, batch in batches.items()}
    if len(bases) > 1:
        shown = ", ".join(f"{humanize(batch)} at {factor:g}" for factor, batch in batches.items())
        raise ForescaleError(
            f"the batch of a branch must be its factor times the run's; got {shown}: give each branch's own batch_tokens."
        )
    return branched(float(part["checkpoint_tokens"][0]), bases.pop(), found, epsilon=epsilon, seed=seed)
