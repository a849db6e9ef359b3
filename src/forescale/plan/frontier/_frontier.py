"""Goal + cluster + laws -> the frontier, its choice, and what both rest on."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from forescale.errors import ForescaleError
from forescale.laws import law, names
from forescale.plan._predict import predict
from forescale.plan.frontier._cluster import Cluster
from forescale.plan.frontier._goal import GIVE_ONE, LEAST_PARAMS, MOST_PARAMS, Goal
from forescale.plan.frontier._notes import assumptions, cautions, reasons
from forescale.plan.frontier._search import COMPUTE, LOSS, Caps, Objective, Problem, Runs, best
from forescale.plan.frontier._trade import Trace, trace
from forescale.plan.frontier._values import Doubt, Frontier, OtherSize, Point
from forescale.plan.frontier._world import LEAST_TOKENS, World, world
from forescale.recipe import Value
from forescale.workload import Workload

Array = Any
SIZES = (1 / 4, 1 / 2, 2.0, 4.0, 8.0)  # of the chosen model: the other sizes that are shown
LEAST_WORKLOAD = 1e4  # tokens: a workload has no fewer
DOUBTS = (0.5, 2.0)  # factors on the critical batch


def make_frontier(goal: Goal, cluster: Cluster | None = None) -> Frontier:
    """The Pareto set of (params, tokens, batch) for a loss, a compute budget or a deadline, and the point to take.

    Raises `ForescaleError` for goals that nothing reaches, laws that do not fit, and bounds that contradict each other.
    """
    cluster = cluster or Cluster()
    _check(goal, cluster)
    problem = Problem(world=world(goal), cluster=cluster, goal=goal)
    traced = trace(problem)
    _refuse_edges(problem, traced)
    points = tuple(_point(problem, traced.runs, i) for i in range(len(traced.runs.params)))
    chosen = points[traced.chosen]
    doubts, loss = _doubts(problem, chosen), _loss(problem.world, chosen, goal.seq_len)
    return Frontier(
        problem=problem,
        points=points,
        chosen=chosen,
        other_sizes=_other_sizes(problem, chosen),
        doubts=doubts,
        loss=loss,
        reasons=reasons(problem, chosen, loss),
        assumptions=assumptions(problem),
        warnings=cautions(problem, chosen, doubts),
    )


def _check(goal: Goal, cluster: Cluster) -> None:
    if goal.loss is None and goal.compute is None and cluster.devices is None:
        raise ForescaleError(
            f"a deadline alone bounds nothing: without --devices, more of them always reach a lower loss; {GIVE_ONE}"
        )
    if cluster.micro_batch * goal.seq_len > 1e13:
        raise ForescaleError("micro_batch sequences of seq_len tokens exceed any batch: lower one of them.")


def _refuse_edges(problem: Problem, traced: Trace) -> None:
    """A choice at the end of the search is the search's, not the laws'."""
    i = traced.chosen
    params, least = float(traced.runs.params[i]), float(traced.runs.small_batch_tokens[i])
    if problem.goal.params is None and not LEAST_PARAMS * 1.01 < params < MOST_PARAMS / 1.01:
        raise ForescaleError(
            f"the best model lies at the end of the search, {params:.3g} parameters (from {LEAST_PARAMS:.0e} to "
            f"{MOST_PARAMS:.0e}): the laws say nothing useful here; change the goal or fix --params."
        )
    if least < LEAST_TOKENS * 1.01:
        raise ForescaleError(
            f"the best run has {float(traced.runs.tokens[i]):.3g} tokens, fewer than any that laws were measured on: ask for a "
            "lower loss, or allow more compute or time."
        )


def _point(problem: Problem, runs: Runs, i: int) -> Point:
    run = {f.name: float(getattr(runs, f.name)[i]) for f in fields(runs)}
    goal, cluster, made = problem.goal, problem.cluster, problem.world
    params, tokens, sequences = run["params"], run["tokens"], run["sequences"]
    # Whole steps end a little below a loss that was asked for: read it from the tokens that are really there.
    least = float(made.small_batch_tokens(params, tokens, sequences * goal.seq_len))
    busy = float(
        cluster.busy_seconds(params, sequences, goal.seq_len) / cluster.step_seconds(params, sequences, goal.seq_len)
    )
    simulated = cluster.seconds_per_step is None
    devices = int(cluster.devices_used(sequences)) if simulated else None
    device_seconds = None if devices is None else devices * run["seconds"]
    value = _value(made, params, least, goal.seq_len)
    outside = _outside(made, params, least)
    return Point(
        params=params,
        tokens=tokens,
        batch_tokens=int(sequences) * goal.seq_len,
        sequences=int(sequences),
        steps=int(run["steps"]),
        compute=6 * params * tokens,
        lifetime_compute=6 * params * tokens + 2 * params * goal.served,
        seconds=run["seconds"],
        loss=float(made.loss(params, least)),
        loss_low=value.low,
        loss_high=value.high,
        tokens_per_param=tokens / params,
        small_batch_tokens=least,
        critical_batch_tokens=float(made.critical(params, least)),
        devices=devices,
        efficiency=busy if simulated else 1.0,
        device_seconds=device_seconds,
        cost=_times(device_seconds, cluster.price, 1 / 3600),
        joules=_times(device_seconds, cluster.watts, 1.0),
        in_range=not outside,
        outside=outside,
    )


def _times(seconds: float | None, rate: float | None, unit: float) -> float | None:
    return None if seconds is None or rate is None else seconds * rate * unit


def _value(made: World, params: float, least: float, seq_len: int) -> Value:
    """The law's loss with interval and reason, by the same route as a plan's."""
    tokens = max(least, float(seq_len), LEAST_WORKLOAD)
    unique = made.unique_tokens
    work = Workload(
        params=params,
        tokens=tokens,
        seq_len=seq_len,
        unique_tokens=None if unique is None else max(min(unique, tokens), float(seq_len)),
    )
    return predict(made.loss_law, "loss", work, {})


def _loss(made: World, point: Point, seq_len: int) -> Value:
    return _value(made, point.params, point.small_batch_tokens, seq_len)


def _outside(made: World, params: float, least: float) -> dict[str, dict[str, float]]:
    """Law -> what it was not measured on; the laws' tokens are those of a small batch."""
    x = {name: float(v) for name, v in made.variables(params, least).items()} | {
        "loss": float(made.loss(params, least))
    }
    beyond = {each.name: each.outside(x) for each in (made.loss_law, made.critical_law)}
    return {name: axes for name, axes in beyond.items() if axes}


def _other_sizes(problem: Problem, chosen: Point) -> tuple[OtherSize, ...]:
    """What models of other sizes would do; none where the goal fixes the size."""
    import numpy as np

    goal = problem.goal
    if goal.params is not None or goal.tokens_per_param is not None:
        return ()
    sizes = np.clip(chosen.params * np.array(SIZES), LEAST_PARAMS, MOST_PARAMS)
    if goal.loss is None:
        caps = Caps(compute=goal.compute or chosen.lifetime_compute, seconds=chosen.seconds, params=sizes)
        runs = best(problem, caps, LOSS)
        dominated = runs.loss > chosen.loss * (1 + 1e-9)
    else:
        weights: Objective = (0.0, 1 - goal.time_weight, goal.time_weight)
        runs = best(problem, Caps(loss=goal.loss, params=sizes), weights)
        rivals = best(problem, Caps(loss=goal.loss, seconds=runs.seconds), COMPUTE)
        dominated = (rivals.violation == 0) & (rivals.compute < runs.compute * (1 - 1e-3))
    return tuple(
        OtherSize(point=_point(problem, runs, i), dominated=bool(dominated[i]))
        for i in range(len(sizes))
        if runs.violation[i] == 0
    )


def _doubts(problem: Problem, chosen: Point) -> tuple[Doubt, ...]:
    """The chosen run under other critical batches: halved, doubled, and by every other law of dense models."""
    own = problem.world.critical_law
    others = [law(name) for name in names() if name != own.name]
    rivals = [(own, factor) for factor in DOUBTS]
    rivals += [(each, 1.0) for each in others if "critical_batch_tokens" in each.predicts and each.experts != "moe"]
    return tuple(_doubt(problem.world, chosen, each, factor) for each, factor in rivals)


def _doubt(made: World, chosen: Point, rival: Any, factor: float) -> Doubt:
    other = World(loss_law=made.loss_law, critical_law=rival, unique_tokens=made.unique_tokens)
    # A critical batch times a factor is a batch divided by it.
    least = float(other.small_batch_tokens(chosen.params, chosen.tokens, chosen.batch_tokens / factor))
    outside = _outside(other, chosen.params, least).get(rival.name)
    return Doubt(
        law=rival.name,
        factor=factor,
        critical_batch_tokens=factor * float(other.critical(chosen.params, least)),
        loss=float(other.loss(chosen.params, least)),
        evidence=rival.formula("critical_batch_tokens").evidence,
        in_range=not outside if rival.range else None,
    )
