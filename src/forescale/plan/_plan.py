"""Workload + laws -> recipe: the whole decision, read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from forescale.errors import ForescaleError
from forescale.laws import Law, conventions
from forescale.plan._alternatives import alternatives
from forescale.plan._batch import count_steps, lay_out
from forescale.plan._cautions import cautions
from forescale.plan._choose import choose_laws
from forescale.plan._plateau import landscape_for, plateau, terrain
from forescale.plan._predict import predict
from forescale.plan._values import Layout, Plan
from forescale.quantities import humanize, positive
from forescale.recipe import Recipe, Value
from forescale.schedules import SCHEDULES
from forescale.workload import Workload

BATCH_RULES = {"landscape": None, "hold": 0.0, "square-root": 0.5, "linear": 1.0}
REFERENCE_KEYS = ("params", "tokens", "batch_tokens", "learning_rate", "weight_decay", "epsilon", "width")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user fixes: everything else follows from laws. Tokens, ratios, steps; `None` leaves it to the laws."""

    laws: tuple[str, ...] = ()  # NAME or quantity=NAME; a catalog name or a path ending in .toml
    reference: Mapping[str, float] = field(default_factory=dict[str, float])  # a run you have, for rules that scale one
    batch_tokens: float | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup_steps: int | None = None
    schedule: str = "linear"
    final_lr_ratio: float | None = None
    batch_rule: str = "landscape"  # how the learning rate follows a batch that is not the law's own
    devices: int = 1
    micro_batch: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "learning_rate", "weight_decay"):
            if (value := getattr(self, name)) is not None:
                positive(value, name)
        for key, value in self.reference.items():
            if key not in REFERENCE_KEYS:
                raise ForescaleError(f"a reference run has {', '.join(REFERENCE_KEYS)}; got {key!r}.")
            positive(value, f"reference {key}")
        for name, options in (("schedule", SCHEDULES), ("batch_rule", BATCH_RULES)):
            if getattr(self, name) not in options:
                raise ForescaleError(f"{name} must be one of {', '.join(options)}; got {getattr(self, name)!r}.")
        if self.final_lr_ratio is not None and not 0 <= self.final_lr_ratio <= 1:
            raise ForescaleError(f"final_lr_ratio must lie between 0 and 1; got {self.final_lr_ratio:g}.")
        if self.learning_rate is not None and self.learning_rate >= 1:
            raise ForescaleError(f"learning_rate must be below 1 for AdamW; got {self.learning_rate:g}.")


def make_plan(workload: Workload, request: Request | None = None) -> Plan:
    """Choose every hyperparameter of an AdamW run of `workload`, with reasons, intervals and rivals.

    Raises `ForescaleError` where the request contradicts itself, a law has no value here, or the run is below one batch.
    """
    request = request or Request()
    laws = choose_laws(workload, request.laws)
    # 1. Loss first: some batch laws are functions of it.
    loss = _loss(workload, laws["loss"])
    known: dict[str, float] = {f"reference_{k}": v for k, v in request.reference.items()} | {"loss": loss.number}
    # 2. The batch, rounded to the devices; then the steps.
    target = _batch_target(workload, request, laws, known)
    layout = lay_out(workload, target.number, request.devices, request.micro_batch)
    batch, sequences, steps = _batch_values(workload, target, layout)
    known["batch_tokens"] = batch.number
    # 3. The learning rate at that batch.
    learning_rate = _learning_rate(workload, request, laws, known)
    known["learning_rate"] = learning_rate.number
    # 4. Weight decay from the averaging timescale, tau = B / (lr wd D) (Power Lines, arXiv:2505.13738).
    timescale, weight_decay = _decay(workload, request, laws, known)
    # 5. What no law predicts.
    recipe = Recipe(
        learning_rate=learning_rate,
        batch_tokens=batch,
        batch_sequences=sequences,
        steps=steps,
        weight_decay=weight_decay,
        timescale=timescale,
        beta1=_convention("beta1"),
        beta2=_convention("beta2"),
        epsilon=_convention("epsilon"),
        warmup_steps=_warmup(request, int(steps.number)),
        schedule=_schedule(request),
        final_lr_ratio=_final_lr_ratio(request),
        grad_clip=_convention("grad_clip"),
        init_std=_init_std(workload),
    )
    ground = terrain(laws["learning_rate"], workload, recipe, known)
    return Plan(
        workload=workload,
        recipe=recipe,
        layout=layout,
        plateau=plateau(recipe, ground),
        terrain=ground,
        alternatives=alternatives(workload, laws["learning_rate"], ground, known),
        loss=loss,
        compute=_compute(workload),
        warnings=cautions(workload, laws, recipe, layout, loss, ground),
    )


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


def _batch_target(workload: Workload, request: Request, laws: Mapping[str, Law], known: Mapping[str, float]) -> Value:
    if request.batch_tokens is not None:
        return Value(value=request.batch_tokens, reason="given by the user", law="user")
    return predict(laws["batch_tokens"], "batch_tokens", workload, known)


def _batch_values(workload: Workload, target: Value, layout: Layout) -> tuple[Value, Value, Value]:
    tokens, steps = layout.sequences * workload.seq_len, count_steps(workload, layout)
    shape = f"{layout.devices} (devices) x {layout.micro_batch} (micro-batch) x {layout.accumulation} (accumulated)"
    rounded = (
        f"target {humanize(target.number, 4)}, {tokens / target.number - 1:+.1%} after rounding to {shape} sequences"
    )
    batch = replace(target, value=tokens, unit="tokens", reason=f"{target.reason}; {rounded}")
    low, high = (None if v is None else v / workload.seq_len for v in (target.low, target.high))
    sequences = replace(
        batch, value=layout.sequences, low=low, high=high, unit="sequences", reason=f"batch_tokens / {workload.seq_len}"
    )
    left = workload.tokens - steps * tokens
    steps_value = Value(
        value=steps,
        # More tokens a step are fewer steps: the batch's interval, turned round.
        low=None if target.high is None else max(1.0, workload.tokens / max(target.high, tokens)),
        high=None if target.low is None else workload.tokens / min(target.low, tokens),
        reason=f"tokens / batch_tokens, whole steps ({humanize(left)} tokens left over)",
        law="arithmetic",
        unit="steps",
        interval="from the interval of the batch",
    )
    return batch, sequences, steps_value


def _learning_rate(workload: Workload, request: Request, laws: Mapping[str, Law], known: Mapping[str, float]) -> Value:
    if request.learning_rate is not None:
        return Value(value=request.learning_rate, reason="given by the user", law="user", unit="peak learning rate")
    law = laws["learning_rate"]
    value = predict(law, "learning_rate", workload, known)
    if "batch_tokens" in law.formula("learning_rate").inputs or "batch_tokens" not in law.predicts:
        return value
    own_batch = predict(law, "batch_tokens", workload, known).number
    away = known["batch_tokens"] / own_batch
    own_choice = request.batch_tokens is None and laws["batch_tokens"] == law
    if own_choice and abs(math.log2(away)) < 0.25:  # rounding: below 0.05 % of loss on the landscape
        return value
    exponent, why = _batch_exponent(request.batch_rule, law, workload)
    factor = away**exponent
    return replace(
        value,
        value=value.number * factor,
        low=None if value.low is None else value.low * factor,
        high=None if value.high is None else value.high * factor,
        reason=f"{value.reason}; x {factor:.3g} because the batch is {away:.3g} times the law's own "
        f"({humanize(own_batch)}): {why}",
    )


def _batch_exponent(rule: str, law: Law, workload: Workload) -> tuple[float, str]:
    exponent = BATCH_RULES[rule]
    if exponent is not None:
        return exponent, f"batch rule {rule}, exponent {exponent:g}"
    landscape, name = landscape_for(law, workload)
    return landscape.ridge, f"the best learning rate moves by {landscape.ridge:g} octaves an octave of batch ({name})"


def _decay(
    workload: Workload, request: Request, laws: Mapping[str, Law], known: Mapping[str, float]
) -> tuple[Value, Value]:
    run = known["batch_tokens"] / (known["learning_rate"] * workload.tokens)  # timescale x weight decay
    if request.weight_decay is not None:
        decay = Value(value=request.weight_decay, reason="given by the user", law="user")
    elif "weight_decay" in laws:
        decay = predict(laws["weight_decay"], "weight_decay", workload, known)
    else:
        timescale = predict(laws["timescale"], "timescale", workload, known)
        return timescale, replace(
            timescale,
            value=run / timescale.number,
            low=None if timescale.high is None else run / timescale.high,
            high=None if timescale.low is None else run / timescale.low,
            reason="B / (learning rate x timescale x D), with the learning rate of the hidden matrices",
            unit="PyTorch AdamW weight decay",
            interval="from the interval of the timescale, at this learning rate",
        )
    timescale = Value(
        value=run / decay.number,
        reason="B / (learning rate x weight decay x D)",
        law="arithmetic",
        unit="share of the run",
    )
    return timescale, decay


def _convention(name: str) -> Value:
    c = conventions()[name]
    return Value(
        value=c.value,
        low=c.low,
        high=c.high,
        reason=f"{c.reason} [{c.source}]",
        law="convention",
        evidence=c.evidence,
        interval="" if c.low is None else "the range that the sources use",
    )


def _warmup(request: Request, steps: int) -> Value:
    if request.warmup_steps is not None:
        if not 0 <= request.warmup_steps < steps:
            raise ForescaleError(
                f"warmup_steps must be at least 0 and below the {steps} steps; got {request.warmup_steps}."
            )
        return Value(value=request.warmup_steps, reason="given by the user", law="user", unit="steps")
    most, share = _convention("warmup_steps"), conventions()["warmup_share"]
    capped = math.floor(share.value * steps)
    if capped >= most.number:
        return replace(most, value=int(most.number), unit="steps")
    low = None if share.low is None else math.floor(share.low * steps)
    return replace(most, value=capped, low=low, high=capped, reason=f"{share.reason} [{share.source}]", unit="steps")


def _schedule(request: Request) -> Value:
    if request.schedule == "linear":
        reason = "linear warmup, then a straight line down: it ended about 0.1 % lower than cosine at every learning rate tried"
        return Value(
            value="linear",
            reason=f"{reason} [Straight to Zero, arXiv:2502.15938]",
            law="convention",
            evidence="secondary",
        )
    return Value(value=request.schedule, reason="given by the user", law="user")


def _final_lr_ratio(request: Request) -> Value:
    if request.final_lr_ratio is None:
        return _convention("final_lr_ratio")
    return Value(value=request.final_lr_ratio, reason="given by the user", law="user")


def _init_std(workload: Workload) -> Value:
    value = _convention("init_std")
    if workload.shape is None:
        return value
    small = math.sqrt(2 / (5 * workload.shape.width))
    low, high = sorted((small, value.number))
    return replace(
        value,
        low=low,
        high=high,
        interval=f"between the convention and sqrt(2 / (5 width)) = {small:.3g}, litgpt's rule",
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
