"""What a reader takes away from a tuning: the recipe in numbers, as commands, and as the config files of trainers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.report._parts import Number, Row, Table, number

if TYPE_CHECKING:
    from forescale.plan import Plan
    from forescale.recipe import Value
    from forescale.sweep.tune import Tuned
    from forescale.train import ModelOptions, TrainConfig
    from forescale.workload import Shape

WIDEST = 90  # characters of a line of a command
SAMPLE = ("batch_sequences", "steps", "learning_rate", "weight_decay", "beta1", "beta2", "epsilon", "warmup_steps")
RECIPE = (*SAMPLE, "schedule", "final_lr_ratio", "grad_clip", "init_std")  # options of `forescale train`
MODEL = ("position", "activation", "z_loss", "density")  # of `ModelOptions`; the others have no option
SETTINGS = ("tokenizer", "key", "errors", "optimizer", "scheme", "seed")
KINDS = ("kv_heads", "norm", "qk_norm", "tied")  # of a shape with experts, whose size says the rest


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A plan for one trainer: its file and what does not arrive as planned, or why there is none."""

    target: str
    version: str
    filename: str = ""
    text: str = ""
    losses: tuple[str, ...] = ()
    refused: str = ""


def recipe_table(tuned: Tuned) -> Table:
    """Every number of the recipe, its interval and the law that it is from."""
    rows = [_row(name, value) for name, value in vars(tuned.run.recipe).items()]
    head = ("", "value", "low", "high", "law", "beyond the law's range")
    return Table(caption="The recipe; below it stand the reasons.", head=head, rows=rows, strong=(0, 1))


def reasons_table(tuned: Tuned) -> Table:
    """Why each number is what it is, and what its low and high stand for."""
    rows = [(_named(name), value.reason, value.interval) for name, value in vars(tuned.run.recipe).items()]
    return Table(caption="The reasons.", head=("", "reason", "low and high are"), rows=rows)


def _row(name: str, value: Value) -> Row:
    beyond = ", ".join(f"{axis} x {factor:.3g}" for axis, factor in value.outside.items())
    ends = ("" if end is None else _shown(name, end) for end in (value.low, value.high))
    return (_named(name), _shown(name, value.value), *ends, value.law, beyond)


def _named(name: str) -> str:
    return name.replace("_", " ")


def _shown(name: str, value: float | int | str) -> str | Number:
    if isinstance(value, str):
        return value
    whole = name.endswith(("steps", "sequences", "tokens"))
    return number(value, "{:,.0f}" if whole else "{:.4g}")


def commands(tuned: Tuned, runs_file: str) -> str:
    """What trains the target by the recipe, and what plans it, or any other run, on the same proxies."""
    work = tuned.target.workload
    size = {**_model(tuned.target.shape), "tokens": f"{work.tokens:.12g}", "seq_len": work.seq_len}
    plan = _command("plan", {**size, "runs": runs_file}) if tuned.runs is not None else ""
    return f"{train_command(tuned.run.config)}\n{plan}".rstrip()


def train_command(config: TrainConfig) -> str:
    """The `forescale train` that makes this run, numbers in full; `unsaid` has what no option says."""
    from forescale.train._own import FIELDS, owned

    options = {**_model(config.shape), "seq_len": config.seq_len}
    decided = {FIELDS[option] for option in owned(config.schedule)}  # by the schedule's own text
    options |= {name: getattr(config, name) for name in RECIPE if name not in decided}
    options |= _changed(config, SETTINGS) | _changed(config.options, MODEL)
    options |= {"held_out": config.held_out} if config.held_out is not None else {}
    if config.base is not None:
        options["base"] = f"width={config.base.width},depth={config.base.layers}"
    if config.scheme_options:
        options["scheme_options"] = ",".join(f"{key}={value}" for key, value in config.scheme_options.items())
    options |= {"data": config.data} if config.data else {}
    return _command("train", options)


def unsaid(config: TrainConfig) -> list[str]:
    """What the run was made with that `forescale train` has no option for."""
    more = [f.name for f in fields(config.options) if f.name not in (*MODEL, "checkpointing")]
    made = _changed(config, ("eval_tokens",)) | _changed(config.options, more)
    said = [f"{name} = {value}" for name, value in made.items()]
    return said if _is_asked_for(config) else [*said, "the shape, of which the options say the size alone"]


def _is_asked_for(config: TrainConfig) -> bool:
    """Whether the options of `_model` make this very shape."""
    from forescale.train import shape_for

    shape = config.shape
    more = {"vocab": shape.vocab, "seq_len": config.seq_len, "position": config.options.position}
    size: dict[str, Any] = _model(shape) | more
    try:
        return shape.experts is None or shape_for(**size) == shape
    except ForescaleError:
        return False


def _model(shape: Shape) -> dict[str, Any]:
    """A shape as options: all of it, but of a model with experts its size."""
    if shape.experts is None:
        stated = {f.name: getattr(shape, f.name) for f in fields(shape) if getattr(shape, f.name) != f.default}
        return {"shape": ",".join(f"{name}={_stated(value)}" for name, value in stated.items())}
    size = {"params": shape.params, "experts": shape.experts.count, "top_k": shape.experts.top_k}
    return size | _changed(shape, KINDS)


def _changed(value: TrainConfig | ModelOptions | Shape, names: Any) -> dict[str, Any]:
    """Fields that are not what they are by default."""
    default = {f.name: f.default for f in fields(value)}
    return {name: getattr(value, name) for name in names if getattr(value, name) != default[name]}


def _command(name: str, options: Mapping[str, Any]) -> str:
    """A command in lines that a page has room for, broken between options."""
    made = [f"forescale {name}"]
    for key, value in options.items():
        option = f" --{key.replace('_', '-')}{_value(value)}"
        if len(made[-1]) + len(option) > WIDEST:
            made.append(" ")
        made[-1] += option
    return " \\\n".join(made)


def _value(value: Any) -> str:
    """What follows an option, numbers in full; nothing after a flag."""
    if value is True:
        return ""
    words: list[Any] = [*value] if isinstance(value, tuple) else [value]
    return f" {shlex.join(map(str, words))}"


def _stated(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def exports(tuned: Tuned) -> Iterator[Exported]:
    """The plan, with what the user decided in it, for every trainer."""
    from forescale.plan.export import TARGETS, export

    plan: Plan = replace(tuned.run.plan, recipe=tuned.run.recipe)
    for name, target in TARGETS.items():
        try:
            made = export(plan, name)
        except ForescaleError as error:
            yield Exported(target=name, version=target.version, refused=str(error))
        else:
            yield Exported(
                target=name, version=target.version, filename=made.filename, text=made.text, losses=made.losses
            )
