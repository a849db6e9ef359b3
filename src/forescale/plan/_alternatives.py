"""What the other laws would choose, and what the landscape expects of following them."""

from __future__ import annotations

from collections.abc import Mapping

from forescale.errors import ForescaleError
from forescale.laws import Law, law, names
from forescale.plan._predict import predict
from forescale.plan._values import Alternative, Terrain
from forescale.recipe import Value
from forescale.workload import Workload

OTHER_OPTIMIZERS = ("muon", "scion", "sgd", "adafactor")


def alternatives(
    workload: Workload, chosen: Law, ground: Terrain, known: Mapping[str, float]
) -> tuple[Alternative, ...]:
    """Every verified catalog law that applies to this kind of model and is not the chosen one, cheapest first."""
    found = [
        alternative
        for name in names()
        if (other := law(name)).name != chosen.name and _applies(other, workload)
        if (alternative := _alternative(other, workload, ground, known)) is not None
    ]
    return tuple(sorted(found, key=lambda a: (a.loss_gap_percent is None, a.loss_gap_percent or 0.0)))


def _applies(other: Law, workload: Workload) -> bool:
    """Laws for this kind of model and for Adam's family: the recipe is AdamW's."""
    optimizer = other.conditions.get("optimizer", "").lower()
    adam = not any(rival in optimizer for rival in OTHER_OPTIMIZERS)
    return other.kind == "hyperparameters" and adam and other.experts in ("any", "moe" if workload.is_moe else "dense")


def _alternative(other: Law, workload: Workload, ground: Terrain, known: Mapping[str, float]) -> Alternative | None:
    notes: list[str] = []
    batch = _ask(other, "batch_tokens", workload, known, notes)
    extra = known if batch is None else {**known, "batch_tokens": batch.number}
    rate = _ask(other, "learning_rate", workload, extra, notes)
    if batch is None and rate is None and not notes:
        return None
    values = [v for v in (rate, batch) if v is not None]
    rate_number, batch_number = (None if v is None else v.number for v in (rate, batch))
    gap = ground.loss_gap_percent(rate_number, batch_number) if values else None
    if gap is None and values:
        notes.append("beyond the landscape")
    outside = {axis: factor for v in values for axis, factor in v.outside.items()}
    return Alternative(
        law=other.name,
        learning_rate=rate_number,
        batch_tokens=batch_number,
        loss_gap_percent=gap,
        in_range=not outside if other.range else None,
        outside=outside,
        evidence=values[0].evidence if values else other.source.evidence,
        assumed=tuple(q for q, v in (("learning_rate", rate), ("batch_tokens", batch)) if v is None) if values else (),
        note="; ".join(notes),
    )


def _ask(other: Law, quantity: str, workload: Workload, known: Mapping[str, float], notes: list[str]) -> Value | None:
    """The law's value, or None with the reason noted where it has none here; unverified constants are not asked."""
    if quantity not in other.predicts or other.predicts[quantity].evidence == "unverified":
        return None
    try:
        return predict(other, quantity, workload, known)
    except ForescaleError as error:
        notes.append(str(error))
        return None
