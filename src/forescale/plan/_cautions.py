"""What the reader should know before following a plan: one sentence each, with a stable code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forescale.laws import Law
from forescale.plan._choose import OPTIMIZER, cautions_on_mixing
from forescale.plan._request import Request
from forescale.plan._values import Caution, Plan
from forescale.recipe import Value

CROSSOVER_TOKENS_PER_PARAM = 4  # below, linear-to-zero loses to a 10x decay (Bergsma et al. 2025, arXiv:2502.15938)
SHORT_RUN_STEPS = 500
Found = Iterator[tuple[str, str]]


def cautions(made: Plan, request: Request, laws: Mapping[str, Law], moved: float) -> tuple[Caution, ...]:
    """Every caution that applies; `moved` is the factor by which the learning rate followed the batch."""
    used = {q: law for q, law in laws.items() if _law_of(made, q) not in ("user", "arithmetic", "convention")}
    found = [
        *_extrapolations(made),
        *_evidence(made, used),
        *_sizes(made),
        *_layout(made),
        *_off_optimum(made),
        *_data(made, laws["loss"]),
        *_batches(made),
        *_ignored(made, request, laws, moved),
        *cautions_on_mixing(used, made.recipe, moved),
        *(("runs", f"{warning}.") for warning in (made.calibration.warnings if made.calibration else ())),
    ]
    return tuple(Caution(code=code, message=message) for code, message in found)


def _law_of(made: Plan, quantity: str) -> str:
    name = quantity.removeprefix("one_minus_")
    return made.loss.law if quantity == "loss" else getattr(made.recipe, name).law


def _extrapolations(made: Plan) -> Found:
    """One sentence a law, for all that it was asked beyond its measured range."""
    recipe = made.recipe
    values: dict[str, Value] = {
        "learning_rate": recipe.learning_rate,
        "batch_tokens": recipe.batch_tokens,
        "timescale": recipe.timescale,
        "weight_decay": recipe.weight_decay,
        "loss": made.loss,
    }
    beyond: dict[tuple[str, str], list[str]] = {}
    for quantity, value in values.items():
        if value.outside:
            beyond.setdefault((value.law, _axes(value.outside)), []).append(quantity)
    for (law, axes), quantities in beyond.items():
        yield "extrapolation", f"{law} was not measured here (beyond its range in {axes}): {', '.join(quantities)}."
    if made.terrain.outside:
        yield (
            "landscape",
            f"what being wrong costs was measured elsewhere ({made.terrain.law}, beyond its range in "
            f"{_axes(made.terrain.outside)}); the basin narrows or widens slowly with size, so take it as a rough guide.",
        )


def _axes(outside: Mapping[str, float]) -> str:
    return ", ".join(f"{axis} by {factor:.3g}x" for axis, factor in outside.items())


def _evidence(made: Plan, used: Mapping[str, Law]) -> Found:
    for quantity, law in used.items():
        if quantity in law.predicts and law.predicts[quantity].evidence == "unverified":
            lacking = ", ".join(law.predicts[quantity].unverified) or "its constants"
            yield "unverified", f"{quantity} from {law.name}: {lacking} could not be verified in a source."
        if law.experts == ("dense" if made.workload.is_moe else "moe"):
            counted = "; its D/N counts active parameters" if quantity == "timescale" else ""
            yield "experts", f"{quantity} from {law.name}, a law measured on {law.experts} models only{counted}."


def _sizes(made: Plan) -> Found:
    workload, recipe = made.workload, made.recipe
    steps, ratio = recipe.steps.number, workload.tokens_per_param
    if workload.max_seq_len is not None and workload.seq_len < workload.max_seq_len:
        yield (
            "seq-len",
            f"planned for sequences of {workload.seq_len} tokens; the config allows {workload.max_seq_len}: see --seq-len.",
        )
    if steps < SHORT_RUN_STEPS:
        yield "short-run", f"the run has {steps:.0f} steps; every law here was measured on runs of thousands."
    if ratio < CROSSOVER_TOKENS_PER_PARAM and recipe.final_lr_ratio.number == 0:
        yield (
            "few-tokens",
            f"{ratio:.2g} tokens per parameter: below about {CROSSOVER_TOKENS_PER_PARAM}, decay to a tenth ended lower than "
            "decay to zero (arXiv:2502.15938); consider --final-lr-ratio 0.1.",
        )
    if not 0.003 < recipe.weight_decay.number < 3:
        yield "weight-decay", f"a weight decay of {recipe.weight_decay.number:.3g} lies outside what runs have used."


def _layout(made: Plan) -> Found:
    rounding = made.recipe.batch_tokens.number / made.layout.target_tokens
    if not 0.9 < rounding < 1.1:
        yield (
            "batch-rounded",
            f"the devices allow a batch {rounding:.2f} times the target: see --devices and --micro-batch.",
        )


def _off_optimum(made: Plan) -> Found:
    """What the recipe is expected to cost where it is not what the landscape's law would choose."""
    ground, recipe = made.terrain, made.recipe
    meant_rate, meant_batch = _caution(made)
    gap = ground.loss_gap_percent(recipe.learning_rate.number / meant_rate, recipe.batch_tokens.number / meant_batch)
    if gap is not None and gap <= 0.1:
        return
    cost = "more than the landscape covers" if gap is None else f"about {gap:.2g} % of loss"
    rate = recipe.learning_rate.number / ground.learning_rate
    batch = recipe.batch_tokens.number / ground.batch_tokens
    yield (
        "off-optimum",
        f"learning_rate is {rate:.3g} and batch_tokens {batch:.3g} times what {ground.law} would choose: by its landscape "
        f"that costs {cost}.",
    )


def _caution(made: Plan) -> tuple[float, float]:
    """The factors by which a calibrated law stays off the estimated optimum on purpose."""
    if made.calibration is None:
        return 1.0, 1.0
    predicts = made.calibration.law.predicts
    return predicts["learning_rate"].caution, predicts["batch_tokens"].caution


def _data(made: Plan, law: Law) -> Found:
    workload = made.workload
    if workload.sparsity > 0:
        yield (
            "sparse",
            "no hyperparameter law here was measured on sparse weights; the dense law is applied to all parameters.",
        )
    if workload.unique_tokens is not None:
        yield (
            "repeated",
            f"the data repeats {workload.tokens / workload.unique_tokens:.2g} times; every hyperparameter law here was "
            "measured on unique tokens.",
        )
    corpus = f" ({law.conditions['loss']})" if "loss" in law.conditions else ""
    yield (
        "loss",
        f"the loss is that of {law.title}'s corpus and tokenizer{corpus}; compare it between plans, not with your own logs, "
        "until you have runs of your own.",
    )


def _batches(made: Plan) -> Found:
    """What a batch that changes leaves open."""
    schedule = made.batch_schedule
    if schedule is None:
        return
    recipe = made.recipe.batch_sequences.value
    yield (
        "batch-schedule",
        f"the recipe was chosen for a batch of {recipe} sequences throughout: its steps and warmup count at that batch, and "
        f"stand for tokens. The learning rate follows the schedule by the rule {schedule.lr_rule!r}; at fixed weight decay the "
        "averaging timescale, in tokens, grows with the batch unless the learning rate does.",
    )
    if unverified := [reason for reason in schedule.reasons if reason.startswith("unverified")]:
        yield (
            "batch-schedule",
            f"the batch schedule rests on constants that could not be verified: {'; '.join(unverified)}.",
        )


def _ignored(made: Plan, request: Request, laws: Mapping[str, Law], moved: float) -> Found:
    """Settings that changed nothing."""
    rules = [law for law in laws.values() if law.kind == "rule"]
    if request.reference and not rules:
        yield "ignored", "--reference describes a run that none of these laws scales: it changed nothing."
    if request.batch_rule != "landscape" and moved == 1:
        yield (
            "ignored",
            f"--batch-rule {request.batch_rule} changed nothing: the learning rate did not have to follow the batch.",
        )
    kept = [q for q in OPTIMIZER if q in laws and _law_of(made, q) == "convention"]
    if kept:
        names = ", ".join(q.removeprefix("one_minus_") for q in kept)
        yield (
            "partial",
            f"{laws[kept[0]].name} scales {names} as well: give them in --reference; the recipe keeps the conventions.",
        )
