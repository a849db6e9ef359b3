"""Print a training run: what it will do and why, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from forescale.cli._console import make_console
from forescale.quantities import humanize, humanize_duration

if TYPE_CHECKING:
    from forescale.recipe import Value
    from forescale.train import PlannedRun, Result, TrainConfig

TOKENS = ("batch_tokens",)
WHOLE = ("steps", "batch_sequences", "warmup_steps")


def print_run(run: PlannedRun, out: str) -> None:
    """The model, the recipe with its reasons, and what to know."""
    console, config = make_console(), run.config
    console.print(Text(headline(config), style="bold"))
    console.print(Text(f"shape  {shape_line(config)}"))
    console.print(Text(f"length {length_line(config)}"))
    console.print(Text(f"out    {out}"))
    console.print()
    width = max(len(f.name) for f in fields(run.recipe))
    for f in fields(run.recipe):
        value: Value = getattr(run.recipe, f.name)
        line = Text(f"{f.name:<{width}}  {show(f.name, value.value):>9}  {value.law}")
        line.stylize("bold cyan", 0, width + 11)
        console.print(line)
        console.print(Padding(Text(brief(value), style="dim"), (0, 0, 0, 4)))
    console.print()
    # The rest are about devices that are not here, and about a forecast that is not printed.
    codes = dict.fromkeys(w.code for w in run.plan.warnings if w.code not in ("batch-rounded", "loss", "landscape"))
    if codes:
        cautions = f"{', '.join(codes)} (`forescale plan` and --json say more)"
        console.print(Text.assemble(("! ", "yellow"), ("cautions: ", "bold"), cautions))


def headline(config: TrainConfig) -> str:
    """`10.1M non-vocabulary parameters (10.3M in all), 20M tokens (1.98 per parameter), 1.3e+15 FLOPs`."""
    total = sum(part.params for part in config.shape.parts())
    active = f", {humanize(config.active_params)} active" if config.active_params < config.params else ""
    return (
        f"{humanize(config.params)} non-vocabulary parameters{active} ({humanize(total)} in all) · "
        f"{humanize(config.tokens)} tokens ({config.tokens / config.active_params:.3g} per parameter) · "
        f"{config.flops_per_token * config.tokens:.3g} FLOPs"
    )


def shape_line(config: TrainConfig) -> str:
    """The model's sizes and how it is parametrized and optimized."""
    s = config.shape
    experts = f", {s.experts.count} experts of which {s.experts.top_k} a token" if s.experts else ""
    density = f", density {config.options.density:g}" if config.options.density < 1 else ""
    base = f" from width {config.base.width}, depth {config.base.layers}" if config.base else ""
    return (
        f"{s.layers} layers, width {s.width}, {s.heads} heads, vocabulary {s.vocab}{experts}{density} · "
        f"{config.scheme}{base} · {config.optimizer}"
    )


def length_line(config: TrainConfig) -> str:
    """What the rounding to whole sequences and steps came to."""
    return (
        f"{config.steps:,} steps x {config.batch_sequences} sequences x {config.seq_len} tokens = {config.tokens:,} tokens "
        "(whole steps)"
    )


def brief(value: Value) -> str:
    """The reason without its bracketed source; of a convention only the first clause."""
    reason = value.reason.split(" [")[0]
    return reason.split(";")[0] if value.law == "convention" else reason


def show(name: str, value: float | int | str) -> str:
    """A number as people read it."""
    if isinstance(value, str):
        return value
    if name in TOKENS:
        return humanize(value, 4)
    return f"{value:,.0f}" if name in WHOLE else f"{value:.3g}"


def print_estimate(config: TrainConfig, peak: float | None) -> None:
    """How long it may take, from the measured peak."""
    console = make_console()
    if peak is None:
        console.print(Text("time   not estimated: torch is not installed"))
        return
    from forescale.train._peak import USUAL_SHARE

    seconds = estimated_seconds(config, peak)
    console.print(
        Text(
            f"time   about {humanize_duration(seconds)} at {USUAL_SHARE:.0%} of {peak:.3g} FLOP/s, the best matrix product "
            "measured here now"
        )
    )


def estimated_seconds(config: TrainConfig, peak: float) -> float:
    """FLOPs over the usual share of the peak."""
    from forescale.train._peak import USUAL_SHARE

    return config.flops_per_token * config.tokens / (USUAL_SHARE * peak)


def print_result(result: Result, out: str | None) -> None:
    """The loss, the speed, and what was written."""
    console = make_console()
    for line in result_lines(result, out):
        console.print(Text(line))


def result_lines(result: Result, out: str | None) -> Iterator[str]:
    """The sentences about a run that did not diverge."""
    bits = "" if result.bits_per_byte is None else f", {result.bits_per_byte:.4f} bits per byte"
    yield (
        f"loss {result.loss:.4f} nats per token on {result.held_out_tokens:,} held-out tokens{bits}; "
        f"training loss {result.train_loss:.4f}"
    )
    yield (
        f"{humanize(result.tokens)} tokens in {result.steps:,} steps and {humanize_duration(result.seconds)}, "
        f"{humanize(result.tokens_per_second)} tokens/s"
    )
    yield "the plan's loss is that of its law's corpus, not of this one: the two do not compare"
    if out is not None:
        yield f"wrote {out}: result.json, metrics.jsonl, checkpoints; `forescale fit` reads folders of such runs"


def to_json(run: PlannedRun, **more: Any) -> dict[str, Any]:
    """The run before it starts, as plain JSON types."""
    from forescale.train._config_json import config_to_json

    return {
        "schema_version": 1,
        "config": config_to_json(run.config),
        "recipe": run.recipe.to_json(),
        "params": run.config.params,
        "tokens": run.config.tokens,
        "flops": run.config.flops_per_token * run.config.tokens,
        "warnings": [{"code": w.code, "message": w.message} for w in run.plan.warnings],
        "notes": list(run.notes),
        **more,
    }
