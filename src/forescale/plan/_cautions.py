"""What the reader should know before following a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forescale.laws import Law
from forescale.plan._choose import cautions_on_mixing
from forescale.plan._values import Caution, Layout, Terrain
from forescale.recipe import Recipe, Value
from forescale.workload import Workload

CROSSOVER_TOKENS_PER_PARAM = 4  # below, linear-to-zero loses to a 10x decay (Bergsma et al. 2025, arXiv:2502.15938)
SHORT_RUN_STEPS = 500


def cautions(
    workload: Workload, laws: Mapping[str, Law], recipe: Recipe, layout: Layout, loss: Value, ground: Terrain
) -> tuple[Caution, ...]:
    """Every caution that applies, in the order of the recipe."""
    found = [Caution(code=code, message=message) for code, message in _facts(workload, laws, recipe, layout, loss)]
    found += list(_missed(recipe, ground))
    used = {q: law for q, law in laws.items() if getattr(recipe, q, None) is None or getattr(recipe, q).law != "user"}
    if "learning_rate" in used:
        found += cautions_on_mixing(used, str(recipe.schedule.value), recipe.final_lr_ratio.number)
    return tuple(found)


def _facts(
    workload: Workload, laws: Mapping[str, Law], recipe: Recipe, layout: Layout, loss: Value
) -> Iterator[tuple[str, str]]:
    named = ("learning_rate", "batch_tokens", "timescale", "weight_decay")
    yield from _extrapolations({q: getattr(recipe, q) for q in named} | {"loss": loss})
    for quantity, law in laws.items():
        if quantity in law.predicts and law.predicts[quantity].evidence == "unverified":
            lacking = ", ".join(law.predicts[quantity].unverified) or "its constants"
            yield "unverified", f"{quantity} from {law.name}: {lacking} could not be verified in a source."
        if law.experts == ("dense" if workload.is_moe else "moe"):
            yield "experts", f"{quantity} from {law.name}, a law measured on {law.experts} models only."
    rounding = layout.sequences * workload.seq_len / layout.target_tokens
    if not 0.9 < rounding < 1.1:
        yield (
            "batch-rounded",
            f"the devices allow a batch {rounding:.2f} times the target: see --devices and --micro-batch.",
        )
    steps, ratio = recipe.steps.number, workload.tokens_per_param
    if steps < SHORT_RUN_STEPS:
        yield "short-run", f"the run has {steps:.0f} steps; every law here was measured on runs of thousands."
    if ratio < CROSSOVER_TOKENS_PER_PARAM and recipe.final_lr_ratio.number == 0:
        yield (
            "few-tokens",
            (
                f"{ratio:.2g} tokens per parameter: below about {CROSSOVER_TOKENS_PER_PARAM}, decay to a tenth ended lower than "
                "decay to zero (arXiv:2502.15938); consider --final-lr-ratio 0.1."
            ),
        )
    if not 0.003 < recipe.weight_decay.number < 3:
        yield "weight-decay", f"a weight decay of {recipe.weight_decay.number:.3g} lies outside what runs have used."
    if workload.sparsity > 0:
        yield (
            "sparse",
            "no hyperparameter law here was measured on sparse weights; the dense law is applied to all parameters.",
        )
    if workload.unique_tokens is not None and workload.unique_tokens < workload.tokens:
        yield (
            "repeated",
            (
                f"the data repeats {workload.tokens / workload.unique_tokens:.2g} times; every hyperparameter law here was "
                "measured on unique tokens."
            ),
        )
    yield (
        "loss",
        (
            f"the loss is that of {laws['loss'].title}'s corpus and tokenizer"
            + (f" ({laws['loss'].conditions['loss']})" if "loss" in laws["loss"].conditions else "")
            + "; compare it between plans, not with your own logs, until you have runs of your own."
        ),
    )


def _missed(recipe: Recipe, ground: Terrain) -> Iterator[Caution]:
    """What the user's own batch or learning rate is expected to cost."""
    gap = ground.loss_gap_percent(recipe.learning_rate.number, recipe.batch_tokens.number)
    cost = "more than the landscape covers" if gap is None else f"about {gap:.2g} % of loss"
    if gap is None or gap > 0.1:
        factors = [
            f"{name} is {value.number / best:.3g} times the law's best"
            for name, value, best in (
                ("learning_rate", recipe.learning_rate, ground.learning_rate),
                ("batch_tokens", recipe.batch_tokens, ground.batch_tokens),
            )
        ]
        yield Caution(code="off-optimum", message=f"{' and '.join(factors)}: expected to cost {cost} ({ground.law}).")


def _extrapolations(values: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """One sentence a law, for all that it was asked beyond its measured range."""
    beyond: dict[tuple[str, str], list[str]] = {}
    for quantity, value in values.items():
        if value.outside:
            axes = ", ".join(f"{axis} by {factor:.3g}x" for axis, factor in value.outside.items())
            beyond.setdefault((value.law, axes), []).append(quantity)
    for (law, axes), quantities in beyond.items():
        yield "extrapolation", f"{law} was not measured here (beyond its range in {axes}): {', '.join(quantities)}."
