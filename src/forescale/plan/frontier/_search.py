"""The best run under caps: a search over parameters, nested around one over the batch, many caps at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from forescale.plan.frontier._cluster import Cluster
from forescale.plan.frontier._goal import LEAST_PARAMS, MOST_PARAMS, Goal
from forescale.plan.frontier._world import World

Array = Any
# Where the batch is looked for: from a share of the critical batch that the cheapest run under the same caps would have (not
# of a run's own: at a bound that moves with the tokens, the batch would settle the size) to a multiple of its own.
BATCH_SHARES = (0.1, 10.0)
MOST_BATCH = 1e14  # tokens
SEARCH_STEPS = 3  # of Newton
SLACK = 1e-9  # of a cap, for rounding
PENALTY = 1e6  # above any logarithm of loss, FLOPs or seconds
UNREACHABLE = 1e4  # the violation of a loss that no number of tokens reaches; below it, others are finite


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What every search shares."""

    world: World
    cluster: Cluster
    goal: Goal


@dataclass(frozen=True, kw_only=True)
class Caps:
    """Bounds of a search, one run for each: nats per token, FLOPs, seconds. Numbers, or arrays of one length.

    With a finite loss the run takes just the steps that reach it; otherwise as many as compute and seconds allow.
    """

    loss: Array = float("inf")
    compute: Array = float("inf")
    seconds: Array = float("inf")
    params: Array = None  # fixed; None: the goal's, or free


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs as arrays of one shape; `violation` is how far, in logarithms, a run is beyond its caps."""

    params: Array
    sequences: Array
    steps: Array
    tokens: Array
    small_batch_tokens: Array  # D_min
    critical: Array  # critical batch, tokens
    loss: Array
    compute: Array  # training and serving
    seconds: Array
    violation: Array


Objective = tuple[float, float, float]  # weights of ln loss, ln compute and ln seconds
LOSS, COMPUTE, SECONDS = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def best(problem: Problem, caps: Caps, objective: Objective) -> Runs:
    """The run of least objective under each of the caps; where none keeps them, `violation` is above 0."""
    import numpy as np

    params = problem.goal.params if caps.params is None else caps.params
    given = (caps.loss, caps.compute, caps.seconds, 1.0 if params is None else params)
    count = max(np.size(cap) for cap in given)

    tenth = BATCH_SHARES[0] * _calm(problem, caps, params, count).critical
    least = problem.cluster.whole_batch(tenth / problem.goal.seq_len, rounding=0) * problem.goal.seq_len * (1 - SLACK)

    def at(log_params: Array) -> Array:
        return _score(_over_batch(problem, caps, objective, log_params, least), objective)

    chosen = _over_params(at, params, count)
    found = _over_batch(problem, caps, objective, chosen[:, None], least, rounds=10)
    return Runs(**{name: value[:, 0] for name, value in vars(found).items()})


def _calm(problem: Problem, caps: Caps, params: Array, count: int) -> Runs:
    """The cheapest run to train, or that of the lowest loss, were time no matter: its batch is the smallest there is."""
    import numpy as np

    goal, cluster = problem.goal, problem.cluster
    speed = cluster.replicas * cluster.model_parallel * cluster.peak * cluster.utilisation
    with np.errstate(invalid="ignore"):
        spent = np.fmin(caps.compute, np.asarray(caps.seconds) * speed + 2 * LEAST_PARAMS * goal.served)
    by_loss = bool(np.isfinite(caps.loss).all())
    free = Caps(loss=caps.loss) if by_loss else Caps(compute=spent)
    objective = COMPUTE if by_loss else LOSS
    if by_loss:
        problem = replace(problem, goal=replace(goal, inference_tokens=None))

    def runs(log_params: Array) -> Runs:
        made = np.exp(log_params)[..., None]
        return _runs(problem, free, made, cluster.micro_batch, _floor(problem, free, made), 0.0)

    chosen = _over_params(lambda x: _score(runs(x), objective)[..., 0], params, count)
    return Runs(**{name: value[:, 0, 0] for name, value in vars(runs(chosen[:, None])).items()})


def _over_params(at: Callable[[Array], Array], params: Array, count: int) -> Array:
    """The logarithm of the best params, or of those fixed."""
    import numpy as np

    if params is not None:
        return np.broadcast_to(np.log(params), (count,))
    low, high = (np.full(count, np.log(end)) for end in (LEAST_PARAMS, MOST_PARAMS))
    return zoom(at, low, high, points=15, rounds=5)


def zoom(f: Callable[[Array], Array], low: Array, high: Array, *, points: int, rounds: int) -> Array:
    """Where f is least between low and high, for each of them at once; f sees one more axis, of `points` places.

    The places are narrowed `rounds` times to the neighbours of the best, so f must fall and then rise.
    """
    import numpy as np

    share = np.linspace(0, 1, points)
    x = low
    for _ in range(rounds):
        places = low[..., None] + (high - low)[..., None] * share
        i = np.argmin(f(places), axis=-1)[..., None]
        x, low, high = (np.take_along_axis(places, np.clip(i + k, 0, points - 1), -1)[..., 0] for k in (0, -1, 1))
    return x


def _over_batch(
    problem: Problem, caps: Caps, objective: Objective, log_params: Array, least: Array, rounds: int = 5
) -> Runs:
    """The best batch for parameters of shape (caps, n): runs of that shape."""
    import numpy as np

    params = np.exp(log_params)[..., None]
    seq_len = problem.goal.seq_len
    low = np.full(log_params.shape, np.log(problem.cluster.micro_batch))
    high = np.full(log_params.shape, np.log(max(MOST_BATCH / seq_len, 2.0 * problem.cluster.micro_batch)))
    floor = _floor(problem, caps, params)

    def at(log_sequences: Array) -> Array:
        return _score(_runs(problem, caps, params, np.exp(log_sequences), floor, least), objective)

    sequences = np.exp(zoom(at, low, high, points=13, rounds=rounds))[..., None]
    runs = _runs(problem, caps, params, sequences, floor, least)
    return Runs(**{name: value[..., 0] for name, value in vars(runs).items()})


def _floor(problem: Problem, caps: Caps, params: Array) -> Array:
    """D_min of the loss that the caps ask for; None where the steps follow from something else."""
    import numpy as np

    by_loss = np.isfinite(caps.loss).all() and problem.goal.tokens_per_param is None
    return problem.world.least_tokens(params, _column(caps.loss)) if by_loss else None


def _column(cap: Array) -> Array:
    """A cap as (caps, 1, 1), against parameters and batches."""
    import numpy as np

    return np.asarray(cap, dtype=float).reshape(-1, 1, 1)


def _score(runs: Runs, objective: Objective) -> Array:
    """What to make least: the objective, and far above it the violation."""
    import numpy as np

    value = np.asarray(weighted(runs, objective), dtype=float)
    return np.where(runs.violation > 0, PENALTY + runs.violation, value)


def weighted(runs: Runs, objective: Objective) -> Array:
    """The objective's sum of logarithms."""
    import numpy as np

    parts = zip(objective, (runs.loss, runs.compute, runs.seconds), strict=True)
    logs: list[Array] = [weight * np.log(value) for weight, value in parts if weight]
    return sum(logs[1:], start=logs[0])


def _runs(problem: Problem, caps: Caps, params: Array, sequences: Array, floor: Array, least_batch: Array) -> Runs:
    """Every run of these parameters and batches, with whole batches and whole steps.

    `floor` is D_min of the loss wanted, if one is; a batch below `least_batch` tokens is a violation.
    """
    import numpy as np

    goal, cluster, world = problem.goal, problem.cluster, problem.world
    sequences = cluster.whole_batch(sequences)
    batch = sequences * goal.seq_len
    each = cluster.step_seconds(params, sequences, goal.seq_len)
    compute_cap, seconds_cap, loss_cap = (_column(c) for c in (caps.compute, caps.seconds, caps.loss))
    if goal.tokens_per_param is not None:
        wanted = goal.tokens_per_param * params / batch
        steps = np.floor(wanted * (1 + SLACK))
    elif floor is not None:
        wanted = np.minimum(floor, 1e30) * (1 + batch / world.critical(params, floor)) / batch
        steps = np.ceil(np.maximum(wanted * (1 - SLACK), 1))
    else:
        training = np.maximum(compute_cap - 2 * params * goal.served, 1.0)
        wanted = np.minimum(training / (6 * params * batch), seconds_cap / each)
        steps = np.floor(wanted * (1 + SLACK))
    violation = np.maximum(-np.log(np.maximum(wanted, 1e-300)), 0) * (steps < 1)
    steps = np.maximum(steps, 1)
    tokens = steps * batch
    if floor is None:
        least = world.small_batch_tokens(params, tokens, batch, SEARCH_STEPS)
        loss = world.loss(params, least)
        violation = violation + _beyond(loss, loss_cap)
    else:
        least, loss = np.broadcast_to(floor, tokens.shape), np.broadcast_to(loss_cap, tokens.shape)
        violation = violation + np.where(np.isfinite(least), 0, UNREACHABLE)
    critical = world.critical(params, least)
    compute = 2 * params * (3 * tokens + goal.served)
    seconds = steps * each
    violation = violation + _beyond(compute, compute_cap) + _beyond(seconds, seconds_cap)
    violation = violation + _off_batch(batch, _column(least_batch), critical, cluster.micro_batch * goal.seq_len)
    shape = np.broadcast_shapes(tokens.shape, violation.shape)
    arrays = (params, sequences, steps, tokens, least, critical, loss, compute, seconds, violation)
    return Runs(**dict(zip(Runs.__dataclass_fields__, (np.broadcast_to(a, shape) for a in arrays), strict=True)))


def _beyond(value: Array, cap: Array) -> Array:
    """By how much, in logarithms, a value is above its cap."""
    import numpy as np

    with np.errstate(all="ignore"):
        over = np.log(value / cap)
    return np.where(over > SLACK, over, 0)  # not for a cap that is infinite


def _off_batch(batch: Array, least: Array, critical: Array, smallest: float) -> Array:
    """How far, in logarithms, the batch lies beyond its bounds; the smallest batch of all is never too large."""
    import numpy as np

    above = np.log(np.maximum(batch / critical, 1e-30) / BATCH_SHARES[1])
    below = np.log(np.maximum(least, 1e-30) / batch)
    return np.maximum(below, 0) + np.where(batch > 1.5 * smallest, np.maximum(above, 0), 0)
