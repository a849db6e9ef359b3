"""From the values of one run to its job: the workload, the plan's recipe with what was given, the config or the command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from forescale.errors import ForescaleError
from forescale.plan import make_plan
from forescale.quantities import humanize
from forescale.recipe import Recipe
from forescale.sweep._job import Job, train_job
from forescale.sweep.command import command_job
from forescale.sweep.design._common import FAMILY, OPTIONS, RECIPE, SIZE, TRAINER, Common, eval_tokens
from forescale.train import ModelOptions, plan_run, shape_for
from forescale.train._plan_run import request_of, with_chosen
from forescale.train._shapes import PROXY_SEQ_LEN, TOLERANCE, shape_of_sizes, usual_seq_len
from forescale.train._tokenizer import vocabulary
from forescale.workload import Shape, Workload

# A value that is relative to the plan's is worked out when those before it are known.
ORDER = ("batch_tokens", "learning_rate", "timescale", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class Octaves:
    """A value so many doublings from another one: `around`, or the plan's for the run with what else is given (None)."""

    octaves: float
    around: float | None = None


def make_job(common: Common, values: Mapping[str, Any], *, swept: Iterable[str] = ()) -> Job:
    """The job of one run with `values` on top of what is common; `swept` are the names in which the design's runs differ.

    Raises `ForescaleError` for values that contradict each other, and says in which run.
    """
    common.check_names(values)
    given = {**common.values, **values}
    try:
        given = _settled(common, {name: value for name, value in given.items() if value is not None})
        workload = workload_of(given, needs_shape=common.command is None)
        made = _trained(common, given, workload) if common.command is None else _started(common, given, workload, swept)
    except ForescaleError as error:
        if not values:
            raise
        raise type(error)(f"the run with {_listed(values)}: {error}") from None
    return made


def workload_of(values: Mapping[str, Any], *, needs_shape: bool) -> Workload:
    """The workload that values describe. A shape is planned where one is needed, or a vocabulary is known."""
    vocab = values.get("vocab")
    if vocab is None and (needs_shape or "tokenizer" in values):
        vocab = vocabulary(str(values.get("tokenizer", "bytes")))
    seq_len = values.get("seq_len") or _usual_seq_len(values, vocab)
    shape = None if vocab is None else _shape(values, vocab, int(seq_len))
    if shape is None and "params" not in values:
        raise ForescaleError("the model is missing: give params, or depth, width and vocab.")
    params = float(values["params"]) if shape is None else float(shape.params)
    active = values.get("active_params", params) if shape is None else shape.active_params
    length = _length(values, float(active), int(seq_len))
    if shape is not None:
        _check_active(values, shape)
        return Workload.from_shape(shape, tokens=length, seq_len=int(seq_len))
    return Workload(params=params, active_params=values.get("active_params"), tokens=length, seq_len=int(seq_len))


def _check_active(values: Mapping[str, Any], shape: Shape) -> None:
    """What a shape decides is not silently another number than the one that was given."""
    asked = float(values.get("active_params", shape.active_params))
    if abs(asked / shape.active_params - 1) > TOLERANCE:
        raise ForescaleError(
            f"active_params follow from the shape, whose experts leave {humanize(shape.active_params)}; got {humanize(asked)}: "
            "give experts and top_k that come to it, or leave it out."
        )


def planned_recipe(common: Common, values: Mapping[str, Any], workload: Workload) -> Recipe:
    """The recipe for `workload`: the values that are given, and the plan's for the others."""
    request, chosen = request_of(_recipe(values, workload), _laws(common, values))
    return with_chosen(make_plan(workload, request, runs=common.runs), request, chosen)


def _laws(common: Common, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The laws but for what a run's own value takes the place of; one that is fixed for all runs contradicts a law."""
    decided = {name for name in values if name not in common.values}
    decided |= {"timescale"} if "weight_decay" in decided else set()
    return tuple(text for text in common.laws if text.rpartition("=")[0] not in decided)


def _settled(common: Common, values: dict[str, Any]) -> dict[str, Any]:
    """The values with numbers in place of octaves."""
    for name in sorted((n for n, v in values.items() if isinstance(v, Octaves)), key=_place):
        relative: Octaves = values[name]
        centre = relative.around
        if centre is None:
            known = {n: v for n, v in values.items() if not isinstance(v, Octaves)}
            workload = workload_of(known, needs_shape=common.command is None)
            centre = _number(planned_recipe(common, known, workload), name)
        value = centre * 2.0**relative.octaves
        values = values | {name: round(value) if name == "warmup_steps" else value}
    return values


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _number(recipe: Recipe, name: str) -> float:
    value = getattr(recipe, name, None)
    if value is None or isinstance(value.value, str):
        raise ForescaleError(
            f"{name} has no number in the plan to be octaves from: give `around`, or a list of values."
        )
    return value.number


def _shape(values: Mapping[str, Any], vocab: int, seq_len: int) -> Shape:
    sizes = {name: values[name] for name in SIZE if name in values}
    family = {name: values[name] for name in FAMILY if name in values}
    position = values.get("position", "rotary")
    if "params" in sizes:
        params = float(sizes.pop("params"))
        return shape_for(params, vocab=vocab, seq_len=seq_len, position=position, **sizes, **family)
    if not {"depth", "width"} <= set(sizes):
        raise ForescaleError("the model is missing: give params, or depth and width.")
    if family:
        raise ForescaleError(
            f"{', '.join(family)} goes with params, from which the rest of the shape follows: give it."
        )
    positions = seq_len if position == "learned" else None
    return shape_of_sizes(vocab=vocab, positions=positions, **sizes)


def _usual_seq_len(values: Mapping[str, Any], vocab: int | None) -> int:
    if vocab is None:
        return usual_seq_len(float(values.get("params", 0)))
    return usual_seq_len(_shape(values, vocab, PROXY_SEQ_LEN).params)


def _length(values: Mapping[str, Any], active: float, seq_len: int) -> float:
    """Tokens of the run, from whichever was given: tokens, tokens_per_param, or steps with a batch."""
    given = [name for name in ("tokens", "tokens_per_param", "steps") if name in values]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise ForescaleError(f"the length of a run is tokens, tokens_per_param or steps; got {found}: give one.")
    if "steps" not in given:
        return float(values[given[0]]) * (active if given[0] == "tokens_per_param" else 1.0)
    batch = _batch(values, seq_len)
    if batch is None:
        raise ForescaleError(
            "steps make a length with a batch: give batch_tokens or batch_sequences, or tokens instead."
        )
    return float(values["steps"]) * max(1, round(batch / seq_len)) * seq_len


def _batch(values: Mapping[str, Any], seq_len: int) -> float | None:
    if "batch_sequences" in values:
        if "batch_tokens" in values:
            raise ForescaleError("batch_tokens and batch_sequences say the same: give one of them.")
        return float(values["batch_sequences"]) * seq_len
    batch = values.get("batch_tokens")
    return None if batch is None else float(batch)


def _recipe(values: Mapping[str, Any], workload: Workload) -> dict[str, Any]:
    """The values that are the recipe's; its steps follow from the tokens."""
    given = {name: values[name] for name in RECIPE if name in values and name not in ("steps", "batch_sequences")}
    return given | {"batch_tokens": _batch(values, int(workload.seq_len))}


def _trained(common: Common, values: Mapping[str, Any], workload: Workload) -> Job:
    """A job of forescale's own trainer."""
    request, chosen = request_of(_recipe(values, workload), _laws(common, values))
    options = ModelOptions(**{name: values[name] for name in OPTIONS if name in values})
    names = ("data", "tokenizer", "held_out", "key", "errors", *TRAINER, "seed")
    settings = {name: values[name] for name in names if name in values}
    settings["eval_tokens"] = int(values.get("eval_tokens") or eval_tokens(workload.tokens))
    run = plan_run(workload, request, chosen=chosen, runs=common.runs, options=options, **settings, **common.execution)
    return replace(train_job(run.config), time_limit=common.time_limit)


def _started(common: Common, values: Mapping[str, Any], workload: Workload, swept: Iterable[str]) -> Job:
    """A job of a third party's trainer."""
    assert common.command is not None
    recipe = planned_recipe(common, values, workload)
    tokens = int(recipe.steps.number) * int(recipe.batch_tokens.number)
    known: dict[str, Any] = {name: _plain(name, getattr(recipe, name).value) for name in RECIPE}
    known |= {"params": round(workload.params), "active_params": round(workload.active), "tokens": tokens}
    known |= {"seq_len": int(workload.seq_len), "tokens_per_param": workload.tokens_per_param}
    if (shape := workload.shape) is not None:
        known |= {"depth": shape.layers, "width": shape.width, "heads": shape.heads, "vocab": shape.vocab}
    # What a run is made with but the recipe: as it was given, the user's own fields among them.
    stated = {name: value for name, value in values.items() if name not in known}
    known |= {"seed": 0, **stated, "data": ",".join(values.get("data", ()))}
    row = {name: known[name] for name in (*DESCRIBED, *values, *common.command.fields) if name in known}
    per_token = workload.flops_per_token_attention or workload.flops_per_token
    return command_job(
        common.command,
        known,
        row=row,
        compute=(per_token + 6 * (workload.head_params or 0)) * tokens,
        swept=swept,
        execution=common.execution,
        time_limit=common.time_limit,
    )


# What is known of a run whose command names no more; of the recipe only what it is started with or what was given.
DESCRIBED = (
    *("params", "active_params", "tokens", "seq_len", "batch_tokens", "batch_sequences", "steps"),
    *("depth", "width", "heads"),
)
WHOLE = ("steps", "batch_sequences", "batch_tokens", "warmup_steps")


def _plain(name: str, value: float | int | str) -> float | int | str:
    return int(value) if name in WHOLE else value


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_said(value)}" for name, value in values.items())


def _said(value: Any) -> str:
    if isinstance(value, Octaves):
        return f"{value.octaves:+g} octaves"
    return f"{value:g}" if isinstance(value, float) else str(value)
