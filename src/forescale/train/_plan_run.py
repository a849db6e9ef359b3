"""From a workload with a shape to a training run: the plan's recipe, what the user set in its place, and the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.plan import Plan, Request, make_plan
from forescale.plan._request import SCHEDULES
from forescale.recipe import Recipe, Value
from forescale.schedules import weight_decay_of
from forescale.train._config import TrainConfig
from forescale.train._own import FIELDS, owned
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.runs import Runs

MUON_NOTE = (
    "muon: matrices in blocks take momentum 0.95 in place of the betas, and updates of AdamW's size, so the learning rate "
    "and decay are those of AdamW (2502.16982)"
)


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run that is ready to train, and where its numbers come from."""

    plan: Plan
    recipe: Recipe  # the plan's, with the user's own numbers
    config: TrainConfig
    notes: tuple[str, ...]  # what was set aside, and what to know


def plan_run(
    workload: Workload,
    request: Request | None = None,
    *,
    chosen: Mapping[str, float | int | str] | None = None,
    runs: Runs | None = None,
    **settings: Any,
) -> PlannedRun:
    """Plan a run of `workload`, which needs a shape, and make its config.

    `request` is what `make_plan` takes; `chosen` sets further fields of the recipe: any schedule's text, timescale, betas,
    epsilon, grad_clip, init_std, a weight_decay of 0. `settings` are the other fields of `TrainConfig`.
    """
    request = request or Request()
    if workload.shape is None:
        raise ForescaleError("a run to train needs a shape, for a size alone builds no model: use Workload.from_shape.")
    plan = make_plan(workload, request, runs=runs)
    recipe = with_chosen(plan, request, dict(chosen or {}))
    names = {f.name for f in fields(TrainConfig)} & {f.name for f in fields(Recipe)}
    numbers = {name: _plain(name, getattr(recipe, name)) for name in names - {"batch_tokens"}}
    config = TrainConfig(shape=workload.shape, seq_len=int(workload.seq_len), **numbers, **settings)
    _check_composition(config, recipe)
    recipe = _with_owned(recipe, config)
    return PlannedRun(plan=plan, recipe=recipe, config=config, notes=tuple(_notes(config, recipe)))


def _check_composition(config: TrainConfig, recipe: Recipe) -> None:
    """Two rules for the weight decay are never put on top of each other unasked."""
    ratios = {"batch_ratio", "tokens_ratio"} & set(config.scheme_options)
    if ratios and recipe.weight_decay.law != "user":
        raise ForescaleError(
            f"{config.scheme} carries a base run's decay over to another batch and other tokens, and the weight decay of this "
            f"recipe is already that of its own, by {recipe.weight_decay.law}: give the base run's learning_rate and "
            f"weight_decay, or leave {' and '.join(sorted(ratios))} out."
        )


def _plain(name: str, value: Value) -> float | int | str:
    if isinstance(value.value, str):
        return value.value
    return int(value.value) if name in ("steps", "batch_sequences", "warmup_steps") else float(value.value)


def request_of(given: Mapping[str, Any], laws: tuple[str, ...] = ()) -> tuple[Request, dict[str, Any]]:
    """What `plan_run` takes, from values of the recipe by name: the request, and what a request has no field for."""
    chosen = {name: value for name, value in given.items() if value is not None}
    there = {f.name for f in fields(Request)} & set(chosen)
    if chosen.get("weight_decay") == 0:
        there.discard("weight_decay")
    if chosen.get("schedule") not in SCHEDULES:
        there.discard("schedule")
    return Request(laws=laws, **{name: chosen.pop(name) for name in there}), chosen


def with_chosen(plan: Plan, request: Request, chosen: dict[str, float | int | str]) -> Recipe:
    """The plan's recipe with the user's own values, and what follows from them."""
    if unknown := set(chosen) - {f.name for f in fields(Recipe)}:
        raise ForescaleError(f"a recipe has no {', '.join(sorted(unknown))}: see forescale.Recipe for its fields.")
    recipe = replace(plan.recipe, **{name: _by_user(getattr(plan.recipe, name), v) for name, v in chosen.items()})
    if "timescale" in chosen:
        if request.weight_decay is not None or "weight_decay" in chosen:
            raise ForescaleError("weight_decay and timescale each decide the other: give one of them.")
        recipe = replace(recipe, weight_decay=_from_timescale(recipe, plan.workload.tokens))
    elif recipe.weight_decay.number == 0:
        recipe = replace(recipe, timescale=_by_user(recipe.timescale, "infinite"))
    return _fitting_schedule(recipe, request, chosen)


def _by_user(value: Value, new: float | int | str) -> Value:
    return Value(value=new, reason=f"given by the user; the plan's is {value.value}", law="user", unit=value.unit)


def _from_timescale(recipe: Recipe, tokens: float) -> Value:
    number = weight_decay_of(recipe.timescale.number, recipe.batch_tokens.number, recipe.learning_rate.number, tokens)
    reason = f"B / (learning rate x timescale x D) at the timescale {recipe.timescale.number:g} that was given"
    return replace(recipe.weight_decay, value=number, low=None, high=None, reason=reason, law="arithmetic", evidence="")


def _fitting_schedule(recipe: Recipe, request: Request, chosen: Mapping[str, Any]) -> Recipe:
    """Leave out the plan's warmup or end where the schedule has its own; the user's would say it twice."""
    text = str(recipe.schedule.value)
    given = {"warmup_steps": request.warmup_steps, "final_lr_ratio": request.final_lr_ratio} | dict(chosen)
    for name in (FIELDS[option] for option in owned(text)):
        if given[name] is not None:
            raise ForescaleError(
                f"{name} is decided by the schedule {text} itself; got {given[name]:g} too: give one of the two."
            )
        own = Value(value=0, reason=f"decided by the schedule {text} itself", law="arithmetic")
        recipe = replace(recipe, **{name: own})
    return recipe


def _with_owned(recipe: Recipe, config: TrainConfig) -> Recipe:
    """What the schedule decides, as the config has it."""
    names = [FIELDS[option] for option in owned(config.schedule)]
    return replace(recipe, **{name: replace(getattr(recipe, name), value=getattr(config, name)) for name in names})


def _notes(config: TrainConfig, recipe: Recipe) -> list[str]:
    notes: list[str] = []
    if config.optimizer == "adam-atan2":
        notes.append("adam-atan2 has no epsilon: the recipe's is not used")
    if config.optimizer == "muon":
        notes.append(MUON_NOTE)
    if config.base is not None and recipe.learning_rate.law != "user":
        notes.append(
            f"{config.scheme} carries what is right at the base over to this model, but the learning rate is the law's for "
            "this model itself: find the best one at the base and give it by learning_rate"
        )
    return notes
