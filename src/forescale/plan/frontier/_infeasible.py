"""Why no run keeps the bounds: one sentence."""

from __future__ import annotations

from forescale.plan.frontier._goal import LEAST_PARAMS, MOST_PARAMS
from forescale.plan.frontier._search import COMPUTE, SECONDS, Caps, Problem, best
from forescale.plan.frontier._world import MOST_TOKENS
from forescale.quantities import humanize, humanize_duration

INFINITY = 1e30  # parameters and tokens at which a law has only its irreducible loss left


def reason(problem: Problem) -> str:
    """The first bound that cannot be kept, the others aside where they have no part in it."""
    goal = problem.goal
    if goal.loss is not None and (sentence := _loss(problem, goal.loss)):
        return sentence
    if goal.loss is None:
        return _too_short(problem)
    cheapest = best(problem, Caps(loss=goal.loss), COMPUTE)
    if goal.compute is not None and cheapest.compute[0] > goal.compute:
        return (
            f"a loss of {goal.loss:g} takes at least {cheapest.compute[0]:.3g} FLOPs by {problem.world.loss_law.name}, more "
            f"than the {goal.compute:.3g} allowed: raise --compute or --loss."
        )
    fastest = best(problem, Caps(loss=goal.loss, compute=goal.compute or float("inf")), SECONDS)
    shown = humanize_duration(float(fastest.seconds[0]))
    return (
        f"a loss of {goal.loss:g} takes at least {shown} here, longer than the deadline of "
        f"{humanize_duration(goal.deadline or 0)}: allow more time, devices or compute, or a higher loss."
    )


def _loss(problem: Problem, loss: float) -> str:
    """A sentence for a loss that no run of this law reaches, or that any run is below; '' for one within reach."""
    law, goal = problem.world.loss_law, problem.goal
    least = float(problem.world.loss(INFINITY, INFINITY))
    unique = "" if goal.unique_tokens is None else f", with {humanize(goal.unique_tokens)} unique tokens"
    if loss <= least:
        return (
            f"no run reaches a loss of {loss:g}: the irreducible loss of {law.name} is {least:.4g} "
            f"({law.formula('loss').unit}{unique}); ask for more, or name another law."
        )
    params = goal.params or MOST_PARAMS
    if float(problem.world.loss(params, MOST_TOKENS)) > loss:
        return f"a loss of {loss:g} is beyond {humanize(params)} parameters by {law.name}, whatever the tokens: ask for more."
    if best(problem, Caps(loss=loss), COMPUTE).violation[0] > 0:
        return (
            f"no run of {law.name} with these sizes ends at a loss of {loss:g}: change --loss or what fixes the sizes."
        )
    return ""


def _too_short(problem: Problem) -> str:
    """Compute or deadline below one step of the smallest model."""
    goal, cluster = problem.goal, problem.cluster
    params = goal.params or LEAST_PARAMS
    step = float(cluster.step_seconds(params, cluster.micro_batch, goal.seq_len))
    if goal.deadline is not None and goal.deadline < step:
        return (
            f"the deadline of {humanize_duration(goal.deadline)} is too short for one step, which takes "
            f"{humanize_duration(step)} for {humanize(params)} parameters: allow more time or devices."
        )
    flops = 2 * params * (3 * cluster.micro_batch * goal.seq_len + goal.served)
    if goal.compute is not None and goal.compute < flops:
        return (
            f"{goal.compute:.3g} FLOPs are too few: one step of one sequence takes {flops:.3g} for {humanize(params)} "
            "parameters, served tokens included: raise --compute."
        )
    return "no run keeps all these bounds together: loosen one of them, or what fixes the sizes."
