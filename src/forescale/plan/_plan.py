"""Workload + laws -> recipe: the whole decision, read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from forescale.laws import Law
from forescale.plan._alternatives import alternatives
from forescale.plan._batch import batch_target, batch_values, lay_out
from forescale.plan._cautions import cautions
from forescale.plan._choose import choose_laws
from forescale.plan._conventional import convention, final_lr_ratio, init_std, optimizer_value, schedule, warmup_steps
from forescale.plan._plateau import plateau, terrain
from forescale.plan._predict import predict
from forescale.plan._rates import decay, learning_rate
from forescale.plan._request import Request
from forescale.plan._values import Plan
from forescale.recipe import Recipe, Value
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.fit.calibrate import Calibration
    from forescale.noise.schedule import BatchSchedule
    from forescale.runs import Runs


def make_plan(workload: Workload, request: Request | None = None, *, runs: Runs | None = None) -> Plan:
    """Choose every hyperparameter of an AdamW run of `workload`, with reasons, intervals and rivals.

    With `runs` of your own, learning rate and batch follow the published prior calibrated on them.
    Raises `ForescaleError` where the request contradicts itself, a law has no value here, or the run is below one batch.
    """
    request = request or Request()
    calibration = None if runs is None else _calibrate(runs, workload)
    laws = choose_laws(workload, request.laws, None if calibration is None else calibration.law)
    # 1. Loss first: some batch laws are functions of it.
    loss = _loss(workload, laws["loss"])
    known = _reference(request.reference) | {"loss": loss.number}
    # 2. The batch, rounded to the devices; then the steps.
    target = batch_target(workload, request, laws, known)
    layout = lay_out(workload, target.number, request.devices, request.micro_batch)
    batch, sequences, steps = batch_values(workload, target, layout)
    known["batch_tokens"] = batch.number
    # 3. The learning rate at that batch.
    rate, moved = learning_rate(workload, request, laws, known)
    known["learning_rate"] = rate.number
    # 4. Weight decay from the averaging timescale.
    timescale, weight_decay = decay(workload, request, laws, known)
    # 5. What no law predicts.
    recipe = Recipe(
        learning_rate=rate,
        batch_tokens=batch,
        batch_sequences=sequences,
        steps=steps,
        weight_decay=weight_decay,
        timescale=timescale,
        beta1=optimizer_value("beta1", workload, laws, known),
        beta2=optimizer_value("beta2", workload, laws, known),
        epsilon=optimizer_value("epsilon", workload, laws, known),
        warmup_steps=warmup_steps(request, int(steps.number)),
        schedule=schedule(request),
        final_lr_ratio=final_lr_ratio(request),
        grad_clip=convention("grad_clip"),
        init_std=init_std(workload),
    )
    ground = terrain(laws["learning_rate"], workload, recipe, known)
    made = Plan(
        workload=workload,
        recipe=recipe,
        layout=layout,
        plateau=plateau(recipe, ground),
        terrain=ground,
        alternatives=alternatives(workload, laws["learning_rate"], ground, known),
        loss=loss,
        compute=_compute(workload),
        warnings=(),
        calibration=calibration,
    )
    made = replace(made, batch_schedule=_batches(made, request))
    return replace(made, warnings=cautions(made, request, laws, moved))


def _batches(made: Plan, request: Request) -> BatchSchedule | None:
    """The batch schedule that was asked for: up to the recipe's batch where a law drives it."""
    if request.batch_schedule is None:
        return None
    from forescale.noise.schedule import batch_schedule

    found = batch_schedule(
        request.batch_schedule,
        made.workload,
        made.layout.sequences,
        devices=request.devices,
        micro_batch=request.micro_batch,
        lr_rule=request.batch_schedule_lr,
    )
    return found.within(made.run_tokens)


def _calibrate(runs: Runs, workload: Workload) -> Calibration:
    from forescale.fit.calibrate import calibrate

    return calibrate(runs, target=workload, scored=False)


def _reference(run: Mapping[str, float]) -> dict[str, float]:
    """The reference run as variables of rules; Complete(d)P scales 1 - beta."""
    known = {f"reference_{key}": value for key, value in run.items()}
    return known | {f"reference_one_minus_{b}": 1 - run[b] for b in ("beta1", "beta2") if b in run}


def _loss(workload: Workload, law: Law) -> Value:
    """The law's loss; a dense law brackets a mixture of experts between its active and all its parameters."""
    whole = predict(law, "loss", workload, {})
    if not workload.is_moe or law.experts != "dense":
        return whole
    active = predict(law, "loss", replace(workload, params=workload.active, active_params=None), {})
    return replace(
        whole,
        value=math.sqrt(whole.number * active.number),
        high=active.high,
        reason=f"between {whole.number:.3f} for a dense model of all parameters and {active.number:.3f} for one of the active "
        f"parameters; {whole.reason}",
        interval=f"from the former's low to the latter's high; {whole.interval}",
    )


def _compute(workload: Workload) -> Value:
    with_attention = workload.flops_per_token_attention
    extra = "" if with_attention is None else f"; {with_attention * workload.tokens:.3g} with attention scores"
    return Value(
        value=workload.compute,
        reason=f"6 x active parameters x tokens{extra}",
        law="arithmetic",
        unit="FLOPs",
    )
