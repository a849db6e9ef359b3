"""Which law answers for which quantity, and which laws must not be combined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from forescale.errors import ForescaleError
from forescale.laws import Law, law
from forescale.recipe import Recipe
from forescale.workload import Workload

PLANNED = ("learning_rate", "batch_tokens", "timescale", "weight_decay", "loss")
OPTIMIZER = ("beta1", "beta2", "epsilon", "one_minus_beta1", "one_minus_beta2")  # conventions, unless a rule is named


def default_loss_law(unique_tokens: float | None) -> str:
    """The loss law where the user names none: with repeated data, one that knows what repetition costs."""
    return "epoch" if unique_tokens is None else "muennighoff"


def default_laws(workload: Workload) -> dict[str, Law]:
    """The law of each quantity where the user names none; every one verified (see `docs/concepts/plan.md`)."""
    joint = "step-law-moe" if workload.is_moe else "step-law"
    chosen = {
        "learning_rate": joint,
        "batch_tokens": joint,
        "timescale": "power-lines",
        "loss": default_loss_law(workload.unique_tokens),
    }
    return {quantity: law(name) for quantity, name in chosen.items()}


def choose_laws(workload: Workload, asked: Iterable[str], calibrated: Law | None = None) -> dict[str, Law]:
    """Default laws overridden by `NAME` (all that it predicts) or `quantity=NAME`; raise on contradictions.

    A law that is calibrated on the user's runs takes the place of the default for what it predicts.
    """
    own: dict[str, Law] = {} if calibrated is None else dict.fromkeys(calibrated.predicts, calibrated)
    for text in asked:
        quantity, _, name = text.rpartition("=")
        chosen = law(name)
        for q in _quantities(chosen, quantity):
            if q in own and own[q] != chosen:
                if own[q] is calibrated:
                    raise ForescaleError(
                        f"{q} is calibrated on the runs and named by {text!r} as well: give one of them."
                    )
                raise ForescaleError(
                    f"two laws are named for {q}: {own[q].name} and {chosen.name}; name one, or write {q}=NAME."
                )
            own[q] = chosen
    _refuse_conflicts(own)
    laws = default_laws(workload) | own
    if "weight_decay" in own:
        if "timescale" in own:
            raise ForescaleError(
                f"weight_decay ({own['weight_decay'].name}) and timescale ({own['timescale'].name}) fix the same thing, "
                "timescale = B / (learning rate x weight decay x D): name a law for one of them."
            )
        del laws["timescale"]
    _refuse_conflicts(laws)
    return laws


def _quantities(chosen: Law, quantity: str) -> tuple[str, ...]:
    if quantity:
        if quantity not in PLANNED + OPTIMIZER:
            raise ForescaleError(f"a plan takes laws for {', '.join(PLANNED + OPTIMIZER)}; got {quantity!r}.")
        chosen.formula(quantity)
        return (quantity,)
    found = tuple(q for q in PLANNED + OPTIMIZER if q in chosen.predicts)
    if not found:
        raise ForescaleError(
            f"law {chosen.name} predicts {', '.join(chosen.predicts)}, none of which a plan asks for "
            f"({', '.join(PLANNED)}); `forescale laws {chosen.name}` shows it."
        )
    return found


def _refuse_conflicts(laws: Mapping[str, Law]) -> None:
    for quantity, chosen in laws.items():
        for other_quantity, other in laws.items():
            if reason := chosen.conflicts.get(other.name):
                raise ForescaleError(
                    f"{quantity} from {chosen.name} and {other_quantity} from {other.name} must not be composed: {reason}."
                )


def cautions_on_mixing(laws: Mapping[str, Law], recipe: Recipe, moved: float) -> Iterator[tuple[str, str]]:
    """Laws measured under other conditions than the learning rate's; the recipe's schedule; the batch it was tuned with.

    `laws` are those in use. Rows 3 and 4 of the known contradictions: Power Lines holds the learning rate and moves the
    weight decay when batch or tokens change, Complete(d)P and the square-root rule move both.
    """
    joint = laws.get("learning_rate")
    if joint is None:
        return
    for quantity in ("batch_tokens", "timescale", "weight_decay"):
        other = laws.get(quantity, joint)
        if differences := _differences(joint, other):
            yield (
                "mixed-conditions",
                f"learning_rate follows {joint.name} and {quantity} follows {other.name}, measured under different "
                f"conditions: {'; '.join(differences)}.",
            )
    yield from _batch_policies(joint, laws, recipe, moved)
    if measured := _condition(joint, "schedule"):
        yield (
            "schedule",
            f"{joint.name} was measured under: {measured}; the recipe decays ({recipe.schedule.value}) to "
            f"{recipe.final_lr_ratio.number:g} of the peak.",
        )


def _differences(joint: Law, other: Law) -> list[str]:
    pairs = [(c, _condition(joint, c), _condition(other, c)) for c in ("optimizer", "schedule", "parametrization")]
    return [
        f"{c} ({joint.name}: {a}; {other.name}: {b})"
        for c, a, b in pairs
        if a and b and a != b and not (c == "optimizer" and "adam" in a.lower() and "adam" in b.lower())
    ]


def _batch_policies(joint: Law, laws: Mapping[str, Law], recipe: Recipe, moved: float) -> Iterator[tuple[str, str]]:
    """Where the batch is not the one that the learning rate's law was tuned with."""
    if laws.get("batch_tokens") != joint and (policy := joint.conditions.get("batch_policy")):
        yield (
            "batch-policy",
            f"{joint.name} was measured with: {policy}; here the batch comes from {recipe.batch_tokens.law}.",
        )
    timescale = laws.get("timescale")
    if timescale is not None and timescale.name == "power-lines" and abs(moved - 1) > 0.01:
        yield (
            "batch-rule",
            f"the learning rate followed the batch (x {moved:.3g}), while power-lines, which gives the timescale, holds the "
            "learning rate and moves only the weight decay; their product is the same, its two factors are not.",
        )


def _condition(law: Law, key: str) -> str:
    """The condition without its remark in parentheses."""
    return law.conditions.get(key, "").split(" (")[0]
