"""What a frontier rests on, each with its reason, and what to know before following it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forescale.plan._values import Caution
from forescale.plan.frontier._search import BATCH_SHARES, Problem
from forescale.plan.frontier._values import Doubt, Point
from forescale.plan.frontier._world import World
from forescale.quantities import humanize, humanize_duration
from forescale.recipe import Value

SHORT_RUN_STEPS = 500
Found = Iterator[tuple[str, str]]


def assumptions(problem: Problem) -> dict[str, Value]:
    """Name -> what was assumed, why, and by whom."""
    return dict([*_laws(problem.world), *_time(problem), *_bounds(problem)])


def _laws(made: World) -> Iterator[tuple[str, Value]]:
    for quantity, law in (("loss_law", made.loss_law), ("critical_batch_law", made.critical_law)):
        formula = law.formula("loss" if quantity == "loss_law" else "critical_batch_tokens")
        argument = "" if quantity == "loss_law" else ", at the tokens D_min that a small batch needs"
        reason = f"{law.title}: {formula.text()} [{formula.unit}]{argument}"
        yield (
            quantity,
            Value(value=law.name, reason=reason, law=law.label, evidence=formula.evidence, unit=formula.unit),
        )
    yield (
        "batch_cost",
        _said(
            "D = D_min (1 + B / B_crit)",
            "a batch B needs more tokens than a small one, and steps S = S_min (1 + B_crit / B): the hyperbola of McCandlish "
            "et al. 2018; the loss law's tokens are taken as those of a small batch, though its own runs had batches too",
        ),
    )


def _time(problem: Problem) -> Iterator[tuple[str, Value]]:
    cluster = problem.cluster
    if cluster.seconds_per_step is not None:
        yield (
            "step_time",
            _user(cluster.seconds_per_step, "every step takes as long, whatever the model and the batch", "seconds"),
        )
        return
    overhead = f" + {cluster.step_overhead:g} s" if cluster.step_overhead else ""
    yield (
        "step_time",
        _said(
            f"6 N x tokens of a replica / (model_parallel x flops x utilisation){overhead}",
            "replicas share the batch evenly, and one that has a micro-batch does not wait: communication is hidden but for "
            "step_overhead; our model, as that of Power Lines could not be verified",
        ),
    )
    yield "flops", _speed(problem)
    yield from _numbers(problem)


def _speed(problem: Problem) -> Value:
    cluster = problem.cluster
    if not isinstance(cluster.flops, str):
        return _user(cluster.flops, "given by the user: peak of one device", "FLOP/s")
    device = cluster.device
    return Value(
        value=device.flops,
        reason=f"{device.title}, peak dense bf16 [{device.source}]",
        law="convention",
        unit="FLOP/s",
        evidence="secondary",
    )


def _numbers(problem: Problem) -> Iterator[tuple[str, Value]]:
    cluster, default = problem.cluster, type(problem.cluster).__dataclass_fields__
    if cluster.devices is None:
        yield "devices", _said("unlimited", "none given: every micro-batch of a step has a replica of its own")
    else:
        yield (
            "devices",
            _user(cluster.devices, "at most; a run uses as many as its batch has micro-batches for", "devices"),
        )
    for name, reason, unit in (
        ("utilisation", "share of the peak that 6 N FLOPs a token reach, the same for every size and batch", ""),
        ("model_parallel", "device(s) share one replica; whether the model fits there is not checked", ""),
        ("micro_batch", "sequence(s) that a replica takes at once", ""),
        ("step_overhead", "of every step, whatever the devices", "seconds"),
    ):
        value: Any = getattr(cluster, name)
        if value == default[name].default:
            yield name, Value(value=value, reason=f"{reason}; our default", law="convention", unit=unit)
        else:
            yield name, _user(value, reason, unit)
    if cluster.price is not None or cluster.watts is not None:
        yield (
            "billing",
            _said("devices in use", "cost and energy are of the devices that a run uses, for its whole time"),
        )


def _bounds(problem: Problem) -> Iterator[tuple[str, Value]]:
    goal = problem.goal
    low, high = BATCH_SHARES
    yield (
        "batch_range",
        _said(
            f"{low:g} to {high:g} x B_crit",
            "below, less than a tenth of the compute is left to save, and the hyperbola knows no batch that is too small; above, "
            "less than a tenth of the steps; the lower end is that of the cheapest run under the same bounds",
        ),
    )
    yield "seq_len", _user(goal.seq_len, "tokens of a sequence", "tokens")
    if goal.served:
        reason = "the model serves these at 2 N FLOPs a token, which count as much as those of training"
        yield "inference_tokens", _user(goal.served, reason, "tokens")
    if goal.trade[0] == "seconds":
        meaning = "of the logarithm of time, the rest being that of compute"
        if goal.loss is None:
            meaning += "; the point is the one that these weights would choose for its own loss"
        given = "our default" if goal.weight is None else "given by the user"
        yield "weight", Value(value=goal.time_weight, reason=f"{meaning}; {given}", law="convention")
    else:
        yield "weight", _said("lowest loss", "with a deadline, the lowest loss within it is chosen")


def _said(value: str, reason: str) -> Value:
    return Value(value=value, reason=reason, law="arithmetic")


def _user(value: float, reason: str, unit: str) -> Value:
    return Value(value=value, reason=reason, law="user", unit=unit)


def reasons(problem: Problem, chosen: Point, loss: Value) -> dict[str, str]:
    """How the chosen point follows: name -> one line."""
    goal, share = problem.goal, chosen.batch_tokens / chosen.critical_batch_tokens
    each = chosen.seconds / chosen.steps
    served = "" if not goal.served else f"; {chosen.lifetime_compute:.3g} with 2 N for each token served"
    used = (
        ""
        if chosen.devices is None
        else f" on {chosen.devices:,} devices, computing {chosen.efficiency:.0%} of the time"
    )
    return {
        "choice": _why(problem),
        "loss": f"{loss.reason} (D here: the tokens of a small batch)",
        "tokens": f"D = D_min (1 + B / B_crit) = {humanize(chosen.small_batch_tokens)} x (1 + {share:.3g}); B_crit = "
        f"{humanize(chosen.critical_batch_tokens)} tokens by {problem.world.critical_law.name}",
        "steps": f"D / B, whole: {chosen.tokens:.4g} / {chosen.batch_tokens:,}",
        "seconds": f"{chosen.steps:,} steps x {humanize_duration(each)}{used}",
        "compute": f"6 N D{served}",
    }


def _why(problem: Problem) -> str:
    goal, w = problem.goal, problem.goal.time_weight
    if goal.trade == ("compute", "loss"):
        return "the lowest loss within the deadline"
    if goal.loss is None:
        return f"what time^{w:g} x compute^{1 - w:g} would choose for its loss, the budget being spent"
    return f"the least time^{w:g} x compute^{1 - w:g}"


def cautions(problem: Problem, chosen: Point, doubts: Sequence[Doubt]) -> tuple[Caution, ...]:
    """Every caution that applies to the chosen point."""
    found = [
        *_extrapolations(problem.world, chosen),
        *_evidence(problem.world),
        *_loss_scale(problem.world),
        *_critical(chosen, doubts),
        *_schedules(problem.world),
        *_sizes(problem, chosen),
    ]
    return tuple(Caution(code=code, message=message) for code, message in found)


def _extrapolations(made: World, chosen: Point) -> Found:
    for name, axes in chosen.outside.items():
        beyond = ", ".join(f"{axis} by {factor:.3g}x" for axis, factor in axes.items())
        quantity = "loss" if name == made.loss_law.name else "critical batch"
        yield (
            "extrapolation",
            f"{name} was not measured here (beyond its range in {beyond}): {quantity} of the chosen point.",
        )
    for law in (made.loss_law, made.critical_law):
        if not law.range:
            yield "no-range", f"{law.name} states no range, so how far this extrapolates is not known."


def _evidence(made: World) -> Found:
    for law, quantity in ((made.loss_law, "loss"), (made.critical_law, "critical_batch_tokens")):
        formula = law.formula(quantity)
        if formula.evidence == "unverified":
            yield (
                "unverified",
                f"{quantity} from {law.name}: {', '.join(formula.unverified) or 'its constants'} could not be verified in a "
                "source.",
            )
        if law.experts == "moe":
            yield (
                "experts",
                f"{quantity} from {law.name}, a law measured on mixtures of experts; the frontier is of dense models.",
            )


def _loss_scale(made: World) -> Found:
    law = made.loss_law
    where = law.conditions.get("loss", f"{law.name}'s corpus and tokenizer")
    yield (
        "loss",
        f"a loss is that of {law.title} ({where}); compare losses between points, not with your own logs, until you have "
        "runs of your own.",
    )
    if law.params_means == "all":
        yield "params-count", f"params are counted as {law.name} counts them: with the vocabulary."


def _critical(chosen: Point, doubts: Sequence[Doubt]) -> Found:
    losses = [d.loss for d in doubts if d.factor != 1]
    if losses and max(losses) - min(losses) > 0.001 * chosen.loss:
        yield (
            "critical-batch",
            f"were the critical batch half or twice as large, the chosen run would end at {max(losses):.3f} or "
            f"{min(losses):.3f} instead of {chosen.loss:.3f}.",
        )


def _schedules(made: World) -> Found:
    if schedule := made.critical_law.conditions.get("schedule"):
        length = made.critical_law.conditions.get("seq_len", "an unstated number of")
        yield (
            "conditions",
            f"the critical batch of {made.critical_law.name} was measured with: {schedule.split(' (')[0]}, sequences of {length} "
            "tokens; another recipe's may differ.",
        )


def _sizes(problem: Problem, chosen: Point) -> Found:
    cluster, goal = problem.cluster, problem.goal
    share = chosen.batch_tokens / chosen.critical_batch_tokens
    if chosen.steps < SHORT_RUN_STEPS:
        yield "short-run", f"the chosen run has {chosen.steps} steps; every law here was measured on runs of thousands."
    if chosen.devices is not None and cluster.devices is not None and chosen.devices < cluster.devices:
        yield (
            "idle-devices",
            f"the chosen batch keeps {chosen.devices} of {cluster.devices} devices busy: more would cost compute or time.",
        )
    if share <= BATCH_SHARES[0] * 1.5 and goal.weight != 0 and cluster.devices is not None:
        yield (
            "batch-floor",
            f"the chosen batch is {share:.2g} of the critical batch, the least that is looked for: the devices are too few for a "
            "larger one to save time; `forescale plan` chooses the batch by other laws.",
        )
    if chosen.tokens_per_param < 1:
        yield "few-tokens", f"{chosen.tokens_per_param:.2g} tokens per parameter: no law here was measured so low."
    if chosen.devices is not None and cluster.devices is None:
        yield (
            "unlimited-devices",
            f"no --devices given: the chosen run keeps {humanize(chosen.devices)} of them busy for "
            f"{humanize_duration(chosen.seconds)}.",
        )
