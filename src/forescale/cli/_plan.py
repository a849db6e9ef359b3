"""`forescale plan`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole, Texts, Whole
from forescale.cli._outputs import check_destinations, write
from forescale.cli._read_plan import read_pairs, read_quantities, read_request, read_sizes
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.plan import Plan, Request
    from forescale.plan.export import Export


def plan(
    *,
    params: Number = None,
    active_params: Number = None,
    config: OptionalFile = None,
    shape: str | None = None,
    tokens: Number = None,
    tokens_per_param: Number = None,
    compute: Number = None,
    unique_tokens: Number = None,
    seq_len: Number = None,
    sparsity: float = 0.0,
    devices: Whole = 1,
    micro_batch: Whole = 1,
    batch: Number = None,
    learning_rate: Number = None,
    weight_decay: Number = None,
    warmup_steps: OptionalWhole = None,
    schedule: str = "linear",
    final_lr_ratio: float | None = None,
    batch_rule: str = "landscape",
    batch_schedule: str | None = None,
    batch_schedule_lr: str | None = None,
    law: Texts = None,
    runs: OptionalFile = None,
    columns: str | None = None,
    set: str | None = None,  # noqa: A002  # the option's name
    reference: str | None = None,
    export: str | None = None,
    out: OptionalFile = None,
    strict: Flag = False,
    explain: Flag = False,
    json: Flag = False,
    picture: OptionalFile = None,
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
        Tokens per sequence (default: the config's maximum, at most 8192; else 4096); also of --runs, where their batch
        counts sequences and no column says.
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
    batch_schedule
        A batch that changes along the run, in sequences: '0:768 250B:1536' (tokens:sequences), linear:16:120,
        double:1024:168B,503B, or a law (power-lines, zhang-refit, NAME:critical_batch_tokens) up to the plan's batch.
    batch_schedule_lr
        How the learning rate follows --batch-schedule: none or sqrt (default: sqrt for double, none for the others).
    law
        NAME or quantity=NAME, repeatable; a catalog name (see `forescale laws`) or a TOML file.
    runs
        Runs of your own (as for `forescale fit`), however few: learning rate and batch follow the published prior,
        calibrated on them.
    columns
        Of --runs: our name = your column, where the names are not recognised: learning_rate=lr,tokens=D.
    set
        Of --runs: what is alike in every run and not recorded, by our name: params=124M,tokens=2.6B.
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
    from forescale.cli._own_runs import read_own
    from forescale.plan import make_plan

    quantities = read_quantities(locals())
    sizes = read_sizes(quantities, seq_len, sparsity, config, shape)
    request = read_request(
        quantities,
        laws=tuple(law or ()),
        reference=read_pairs(reference or "", "--reference"),
        warmup_steps=warmup_steps,
        schedule=schedule,
        final_lr_ratio=final_lr_ratio,
        batch_rule=batch_rule,
        batch_schedule=batch_schedule,
        batch_schedule_lr=batch_schedule_lr,
        devices=devices,
        micro_batch=micro_batch,
    )
    _check_laws(request.laws)
    _check_outputs(export, out, strict=strict, explain=explain, json=json)
    check_destinations(
        {"--out": out, "--picture": picture}, [*_inputs(config, request.laws), *([runs] if runs else [])]
    )
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    table = read_own(runs, columns, set, seq_len=sizes.seq_len)
    made = make_plan(sizes.workload(_loss_law(request)), request, runs=table)
    exported = None if export is None else _export(made, export, strict)
    drawn = None if picture is None else _draw(made, picture)
    _print(made, exported, out, explain=explain, json=json)
    _write(exported, out, drawn, picture, quiet=json)


def _check_laws(laws: Sequence[str]) -> None:
    """Refuse a law that is half named or named twice."""
    for text in laws:
        quantity, equals, name = text.rpartition("=")
        if not name or (equals and not quantity):
            raise ForescaleError(f"--law takes NAME or quantity=NAME; got {text!r}.")
        if laws.count(text) > 1:
            raise ForescaleError(f"--law {text} stands there twice: give it once.")


def _check_outputs(export: str | None, out: Path | None, *, strict: bool, explain: bool, json: bool) -> None:
    if out is not None and export is None:
        raise ForescaleError("--out is the file of an export: give --export TARGET as well.")
    if strict and export is None:
        raise ForescaleError("--strict judges an export: give --export TARGET as well.")
    if json and explain:
        raise ForescaleError("--json and --explain are two ways to print the plan: give one of them.")
    if explain and export is not None and out is None:
        raise ForescaleError("--explain and --export both print: give the export a file with --out FILE.")


def _inputs(config: Path | None, laws: Sequence[str]) -> list[Path]:
    """The files that this plan reads."""
    files = [Path(name) for text in laws if (name := text.rpartition("=")[2]).endswith(".toml")]
    return files if config is None else [*files, config, config / "config.json"]


def _draw(made: Plan, picture: Path) -> bytes:
    from forescale.plots import picture_bytes, plan_map

    return picture_bytes(plan_map(made), picture)


def _print(made: Plan, exported: Export | None, out: Path | None, *, explain: bool, json: bool) -> None:
    from forescale.cli import _render_plan as render

    for note in () if exported is None else exported.notes:
        print(f"forescale: {'not exported: ' if note.loss else ''}{note.message}", file=sys.stderr)
    if json:
        render.print_json(made, exported)
    elif exported is not None and out is None:
        print(exported.text, end="")
    elif explain:
        render.print_explanation(made)
    else:
        render.print_plan(made)
    if sys.stdout is not None:
        sys.stdout.flush()  # what cannot be printed fails here, before a file is written


def _write(
    exported: Export | None, out: Path | None, drawn: bytes | None, picture: Path | None, *, quiet: bool
) -> None:
    """Write the files, now that nothing can fail but the disk; `quiet` keeps standard output free of words."""
    if exported is not None and out is not None:
        done = write(out, exported.text.encode())
        said = f"{done} {out} ({exported.target} {exported.version})"
        print(f"forescale: {said}" if quiet else f"\n{said}", file=sys.stderr if quiet else sys.stdout)
    if drawn is not None and picture is not None:
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)


def _export(made: Plan, target: str, strict: bool) -> Export:
    from forescale.plan.export import export

    return export(made, target, strict=strict)


def _loss_law(request: Request) -> Any:
    """The loss law that the user named, if any: it also splits --compute."""
    from forescale.laws import law

    for text in request.laws:
        quantity, _, name = text.rpartition("=")
        if quantity == "loss" or (not quantity and "loss" in law(name).predicts):
            return law(name)
    return None
