"""Whether the learning rates of an optimizer's groups still stand to one another as the rules made them."""

from __future__ import annotations

from typing import Any

from forescale.errors import ForescaleError


def check_learning_rates(optimizer: Any) -> float:
    """The factor that the schedule has on every group's rate; call it after a few steps of the scheduler.

    Raises `ForescaleError` where a scheduler has set the groups' rates to one value instead of scaling each: then every
    tensor trains at the same rate and the parametrization is off without a sign of it. `optimizer` has `param_groups` made
    by `Rules.param_groups` (key `lr_scale`), or is that list.
    """
    groups: list[dict[str, Any]] = list(getattr(optimizer, "param_groups", optimizer))
    if missing := [i for i, group in enumerate(groups) if "lr_scale" not in group]:
        raise ForescaleError(
            f"groups must come from Rules.param_groups, whose lr_scale says how their rates stand to one another; groups "
            f"{missing} have none: pass the groups on as they are."
        )
    rates = [(float(group["lr"]), float(group["lr_scale"])) for group in groups]
    per_scale = [lr / scale for lr, scale in rates]
    if not per_scale or max(per_scale) - min(per_scale) <= 1e-6 * max(map(abs, per_scale)):
        return per_scale[0] if per_scale else 0.0
    shown = ", ".join(f"{lr:.3g} where {scale:g} x the recipe's was asked" for lr, scale in rates[:4])
    raise ForescaleError(
        f"a scheduler must scale the rate of each group, and these no longer stand as the parametrization made them: {shown}. "
        "Use one that multiplies initial rates (torch.optim.lr_scheduler.LambdaLR), not one that sets group['lr']."
    )
