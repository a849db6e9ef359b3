"""`forescale plan`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.plan import Plan, Request
    from forescale.plan.export import Export
    from forescale.workload import Shape

# A leading hyphen is taken as part of the number, so that `--params -7B` is told what is wrong with it.
Number = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


def plan(
    *,
    params: Number = None,
    active_params: Number = None,
    config: Path | None = None,
    shape: str | None = None,
    tokens: Number = None,
    tokens_per_param: Number = None,
    compute: Number = None,
    unique_tokens: Number = None,
    seq_len: Number = None,
    sparsity: float = 0.0,
    devices: int = 1,
    micro_batch: int = 1,
    batch: Number = None,
    learning_rate: Number = None,
    weight_decay: Number = None,
    warmup_steps: int | None = None,
    schedule: str = "linear",
    final_lr_ratio: float | None = None,
    batch_rule: str = "landscape",
    law: list[str] | None = None,
    reference: str | None = None,
    export: str | None = None,
    out: Path | None = None,
    strict: bool = False,
    explain: bool = False,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Choose every hyperparameter of a pretraining run, with reasons, intervals and the cost of being wrong.

    Numbers accept 7B, 1.4T, 0.5M, 1e22.

    Parameters
    ----------
    params
        Non-vocabulary parameters N.
    active_params
        Non-vocabulary parameters that one token uses (mixture of experts).
    config
        A Hugging Face config.json (or its folder); parameters are counted exactly.
    shape
        A shape instead: layers=32,width=4096,heads=32,vocab=128256[,kv_heads=8,ffn_width=14336,...].
    tokens
        Training tokens D.
    tokens_per_param
        Tokens per active non-vocabulary parameter, instead of --tokens.
    compute
        Training FLOPs: alone, a loss law chooses N and D; with a model, D = C / 6N.
    unique_tokens
        Tokens before repetition, if the data repeats.
    seq_len
        Tokens per sequence (default: the config's maximum, else 4096).
    sparsity
        Share of the weights fixed at zero.
    devices
        Data-parallel devices; the batch becomes a multiple of devices x micro-batch.
    micro_batch
        Sequences a device takes at once.
    batch
        Tokens per step, instead of the law's.
    learning_rate
        Peak learning rate, instead of the law's.
    weight_decay
        AdamW's weight decay, instead of the law's.
    warmup_steps
        Linear warmup, in steps.
    schedule
        linear or cosine: the decay after the warmup.
    final_lr_ratio
        Final over peak learning rate (default 0).
    batch_rule
        How the learning rate follows a batch that is not the law's own: landscape, hold, square-root, linear.
    law
        NAME or quantity=NAME, repeatable; a catalog name (see `forescale laws`) or a TOML file.
    reference
        A run you have, for laws that scale one: learning_rate=3e-4,batch_tokens=1M,tokens=20B,...
    export
        Write a trainer's config: torchtitan, torchtitan-main, megatron-lm, megatron-bridge, huggingface, litgpt,
        levanter, nanochat, olmo-core, nanotron, lingua.
    out
        File for --export (default: standard output).
    strict
        Fail where the export target cannot express the recipe.
    explain
        Print the derivation line by line.
    json
        Print JSON (schema_version 1).
    picture
        Also draw the choice and its rivals on the landscape of loss: a .png, .svg or .pdf file.
    """
    from forescale.plan import Request, Sizes, make_plan

    sizes = Sizes(
        params=_quantity(params, "--params"),
        active_params=_quantity(active_params, "--active-params"),
        tokens=_quantity(tokens, "--tokens"),
        tokens_per_param=_quantity(tokens_per_param, "--tokens-per-param"),
        compute=_quantity(compute, "--compute"),
        unique_tokens=_quantity(unique_tokens, "--unique-tokens"),
        seq_len=_whole(seq_len, "--seq-len"),
        sparsity=sparsity,
        config=config,
        shape=None if shape is None else _shape(shape),
    )
    request = Request(
        laws=tuple(law or ()),
        reference=_pairs(reference or "", "--reference"),
        batch_tokens=_quantity(batch, "--batch"),
        learning_rate=_quantity(learning_rate, "--learning-rate"),
        weight_decay=_quantity(weight_decay, "--weight-decay"),
        warmup_steps=warmup_steps,
        schedule=schedule,
        final_lr_ratio=final_lr_ratio,
        batch_rule=batch_rule,
        devices=devices,
        micro_batch=micro_batch,
    )
    if out is not None and export is None:
        raise ForescaleError("--out is the file of an export: give --export TARGET as well.")
    if strict and export is None:
        raise ForescaleError("--strict judges an export: give --export TARGET as well.")
    if json and explain:
        raise ForescaleError("--json and --explain are two ways to print the plan: give one of them.")
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    made = make_plan(sizes.workload(_loss_law(request)), request)
    exported = None if export is None else _export(made, export, strict)
    _print(made, exported, out, explain=explain, json=json)
    if picture is not None:
        from forescale.plots import plan_map, save

        save(plan_map(made), picture)
        print(f"forescale: wrote {picture}", file=sys.stderr)


def _print(made: Plan, exported: Export | None, out: Path | None, *, explain: bool, json: bool) -> None:
    from forescale.cli import _render_plan as render

    if exported is not None:
        for note in exported.notes:
            print(f"forescale: {exported.target}: {note}", file=sys.stderr)
        if out is None and not json:
            print(exported.text, end="")
            return
        if out is not None:
            _write(out, exported.text)
    if json:
        render.print_json(made, exported)
    elif explain:
        render.print_explanation(made)
    else:
        render.print_plan(made)
    if exported is not None and out is not None and not json:
        print(f"\nwrote {out} ({exported.target} {exported.version})")


def _export(made: Plan, target: str, strict: bool) -> Export:
    from forescale.plan.export import export

    return export(made, target, strict=strict)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ForescaleError(f"{path} cannot be written: {error.strerror or error}.") from None


def _loss_law(request: Request) -> Any:
    """The loss law that the user named, if any: it also splits --compute."""
    from forescale.laws import law

    for text in request.laws:
        quantity, _, name = text.rpartition("=")
        if quantity == "loss" or (not quantity and "loss" in law(name).predicts):
            return law(name)
    return None


def _quantity(text: str | None, name: str) -> float | None:
    return None if text is None else parse_quantity(text, name)


def _whole(text: str | None, name: str) -> int | None:
    value = _quantity(text, name)
    if value is None:
        return None
    if value != int(value):
        raise ForescaleError(f"{name} must be a whole number; got {text}.")
    return int(value)


def _pairs(text: str, name: str) -> dict[str, float]:
    return {key: parse_quantity(value, f"{name} {key}") for key, value in _split(text, name)}


def _split(text: str, name: str) -> Iterable[tuple[str, str]]:
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = item.partition("=")
        if not equals:
            raise ForescaleError(f"{name} takes key=value pairs with commas between them; got {item!r}.")
        yield key.strip(), value.strip()


def _shape(text: str) -> Shape:
    from dataclasses import fields

    from forescale.workload import Shape

    known = {f.name for f in fields(Shape)} - {"experts", "latent"}
    convert: dict[str, Callable[[str], Any]] = {"norm": str, "qk_norm": str}
    values: dict[str, Any] = {}
    for key, value in _split(text, "--shape"):
        if key not in known:
            raise ForescaleError(f"--shape knows {', '.join(sorted(known))}; got {key!r}.")
        flag = {"true": True, "false": False}.get(value.lower())
        values[key] = (
            convert[key](value) if key in convert else flag if flag is not None else _whole(value, f"--shape {key}")
        )
    if missing := [k for k in ("layers", "width", "heads", "vocab") if k not in values]:
        raise ForescaleError(f"--shape needs layers, width, heads and vocab; missing are {', '.join(missing)}.")
    return Shape(**values)
