"""Which law answers for which quantity, and which laws must not be combined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from forescale.errors import ForescaleError
from forescale.laws import Law, law
from forescale.plan._values import Caution
from forescale.workload import Workload

PLANNED = ("learning_rate", "batch_tokens", "timescale", "weight_decay", "loss")


def default_laws(workload: Workload) -> dict[str, Law]:
    """The law of each quantity where the user names none; every one verified (see `docs/concepts/plan.md`)."""
    joint = "step-law-moe" if workload.is_moe else "step-law"
    repeated = workload.unique_tokens is not None and workload.unique_tokens < workload.tokens
    chosen = {
        "learning_rate": joint,
        "batch_tokens": joint,
        "timescale": "power-lines",
        "loss": "muennighoff" if repeated else "epoch",
    }
    return {quantity: law(name) for quantity, name in chosen.items()}


def choose_laws(workload: Workload, asked: Iterable[str]) -> dict[str, Law]:
    """Default laws overridden by `NAME` (all that it predicts) or `quantity=NAME`; raise on contradictions."""
    own: dict[str, Law] = {}
    for text in asked:
        quantity, _, name = text.rpartition("=")
        chosen = law(name)
        for q in _quantities(chosen, quantity):
            if q in own and own[q] != chosen:
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
        if quantity not in PLANNED:
            raise ForescaleError(f"a plan takes laws for {', '.join(PLANNED)}; got {quantity!r}.")
        chosen.formula(quantity)
        return (quantity,)
    found = tuple(q for q in PLANNED if q in chosen.predicts)
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
                    f"{quantity} from {chosen.name} and {other_quantity} from {other.name} must not be composed: {reason}"
                )


def cautions_on_mixing(laws: Mapping[str, Law], schedule: str, final_lr_ratio: float) -> list[Caution]:
    """One caution for each law measured under other conditions than the learning rate's, or than the recipe's schedule."""
    joint = laws["learning_rate"]
    cautions: list[Caution] = []
    for quantity in ("batch_tokens", "timescale", "weight_decay"):
        other = laws.get(quantity, joint)
        differences = [
            f"{c} ({joint.name}: {a}; {other.name}: {b})"
            for c in ("optimizer", "schedule", "parametrization")
            if (a := _condition(joint, c)) and (b := _condition(other, c)) and a != b
        ]
        if differences:
            message = (
                f"learning_rate follows {joint.name} and {quantity} follows {other.name}, measured under different "
                f"conditions: {'; '.join(differences)}."
            )
            cautions.append(Caution(code="mixed-conditions", message=message))
    if schedule_measured := _condition(joint, "schedule"):
        message = (
            f"{joint.name} was measured under: {schedule_measured}; the recipe decays "
            f"({schedule}) to {final_lr_ratio:g} of the peak."
        )
        cautions.append(Caution(code="schedule", message=message))
    return cautions


def _condition(law: Law, key: str) -> str:
    """The condition without its remark in parentheses."""
    return law.conditions.get(key, "").split(" (")[0]
