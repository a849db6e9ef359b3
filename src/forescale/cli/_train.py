"""`forescale train`."""

from __future__ import annotations

import json as json_module
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from cyclopts import Parameter

from forescale.cli._options import Flag, Number, OptionalFile, OptionalWhole, Texts
from forescale.cli._read_back import carried_out, describes, read_back
from forescale.errors import ForescaleError, MissingExtraError

if TYPE_CHECKING:
    from forescale.train import PlannedRun, Result, TrainConfig

Names = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]
DIVERGED = 3
NOISE_PICTURE = "noise.png"
SMALL_PARAMS = 1_000_000  # below, two threads of a busy machine are many times slower than one
# Not in the signature, so that what was given can be told from what was not.
DEFAULTS: dict[str, Any] = {
    "density": 1.0, "position": "rotary", "z_loss": 0.0, "tokenizer": "bytes", "errors": "strict",
    "schedule": "linear", "optimizer": "adamw", "scheme": "standard", "seed": 0, "precision": "auto", "parallel": "auto",
    "device": "auto", "noise": "off",
}  # fmt: skip


def train(
    *,
    params: Number = None,
    tokens: Number = None,
    data: Names = None,
    out: OptionalFile = None,
    resume: Flag = False,
    dry_run: Flag = False,
    json: Flag = False,
    tokens_per_param: Number = None,
    steps: OptionalWhole = None,
    shape: str | None = None,
    depth: OptionalWhole = None,
    width: OptionalWhole = None,
    heads: OptionalWhole = None,
    kv_heads: OptionalWhole = None,
    norm: str | None = None,
    qk_norm: str | None = None,
    tied: Flag = False,
    experts: OptionalWhole = None,
    top_k: OptionalWhole = None,
    shared_experts: OptionalWhole = None,
    density: float | None = None,
    position: str | None = None,
    activation: str | None = None,
    z_loss: float | None = None,
    seq_len: Number = None,
    tokenizer: str | None = None,
    held_out: str | None = None,
    key: str | None = None,
    errors: str | None = None,
    batch_tokens: Number = None,
    batch_sequences: OptionalWhole = None,
    learning_rate: Number = None,
    weight_decay: Number = None,
    timescale: Number = None,
    beta1: float | None = None,
    beta2: float | None = None,
    epsilon: Number = None,
    warmup_steps: OptionalWhole = None,
    schedule: str | None = None,
    final_lr_ratio: float | None = None,
    grad_clip: Number = None,
    init_std: Number = None,
    law: Texts = None,
    runs: OptionalFile = None,
    optimizer: str | None = None,
    scheme: str | None = None,
    base: str | None = None,
    scheme_options: str | None = None,
    seed: OptionalWhole = None,
    micro_batch: OptionalWhole = None,
    activation_checkpointing: Flag = False,
    precision: str | None = None,
    compile: Flag = False,  # noqa: A002  # the option's name
    parallel: str | None = None,
    device: str | None = None,
    threads: OptionalWhole = None,
    eval_every: OptionalWhole = None,
    checkpoint_every: OptionalWhole = None,
    noise: str | None = None,
    log: Texts = None,
) -> None:
    """Train a model by the plan's recipe and measure its loss on held-out text.

    Every number of the recipe comes from `forescale plan` unless it is given here. Numbers accept 10M, 1.4B. The run's
    folder holds result.json (one row of a runs table), metrics.jsonl and checkpoints; `forescale fit` reads folders of
    such runs. Several processes: torchrun --nproc-per-node N -m forescale train ...

    Parameters
    ----------
    params
        Non-vocabulary parameters; the shape follows (or give --shape, or --depth and --width).
    tokens
        Training tokens, rounded to whole steps.
    data
        Files, folders or globs of text, JSON lines or Parquet, or hf:NAME; default: the sources of Python's standard
        library.
    out
        Folder of the run (default: one under runs/, named after the run).
    resume
        Go on from the newest checkpoint in --out, to the same bits. With --out and without the model, the length and the
        data it takes everything from there, and other options than those on how to carry it out must say the same.
    dry_run
        Print what would be trained and how long it may take; train nothing.
    json
        Print JSON (schema_version 1).
    tokens_per_param
        Tokens per active non-vocabulary parameter, instead of --tokens.
    steps
        Optimizer steps, with a batch instead of --tokens, or with --tokens instead of a batch.
    shape
        A shape: layers=8,width=320,heads=5[,kv_heads=1,ffn_width=864,tied=true,...]; the vocabulary is the tokenizer's.
    depth
        Layers; the width follows from --params, or give both.
    width
        Width of the residual stream.
    heads
        Attention heads.
    kv_heads
        Heads of keys and values, fewer for grouped-query attention (default: as many).
    norm
        rms (default) or layer.
    qk_norm
        Norm of queries and keys: head or full (default: none).
    tied
        One matrix for embedding and output.
    experts
        Experts a layer (mixture of experts); --params counts all of them.
    top_k
        Experts that a token uses (default: 2).
    shared_experts
        Experts that every token uses beside them (default: 0).
    density
        Share of the hidden weights that are kept, at random and for the whole run (default: 1).
    position
        rotary (default), alibi, learned or none.
    activation
        silu, gelu or relu2 (default: silu where the FFN is gated, else gelu).
    z_loss
        Coefficient of the z-loss (default: 0).
    seq_len
        Tokens per sequence (default: 256 below 100M parameters, else 2048).
    tokenizer
        bytes (default), bpe:4096 (trained on the data) or a tokenizer.json.
    held_out
        What the loss is measured on: a share of the data (0.05), a number of tokens, or a file.
    key
        Where the text stands in a JSON line, a row or a column (default: text, or the only one that holds text).
    errors
        strict (default): what is not UTF-8 text ends the run; replace: it becomes U+FFFD, and is counted.
    batch_tokens
        Tokens per step, instead of the law's; rounded to whole sequences.
    batch_sequences
        The same in sequences.
    learning_rate
        Peak learning rate, instead of the law's; with --base that of the base.
    weight_decay
        AdamW's weight decay, instead of the law's; 0: none.
    timescale
        AdamW's averaging timescale as a share of the run, instead of a weight decay.
    beta1
        AdamW's first beta.
    beta2
        AdamW's second beta.
    epsilon
        AdamW's epsilon.
    warmup_steps
        Linear warmup, in steps.
    schedule
        linear (default), cosine, wsd, wsd-sqrt, tenth, step, constant, inverse-sqrt, cyclic or points, with options as
        in wsd:decay=0.1 (see `forescale schedule`).
    final_lr_ratio
        Last over peak learning rate.
    grad_clip
        Largest global gradient norm; 0: off.
    init_std
        Standard deviation of the initial weights, at the base.
    law
        NAME or quantity=NAME, as for `forescale plan`; repeatable.
    runs
        Runs of your own, as for `forescale plan`: learning rate and batch are calibrated on them.
    optimizer
        adamw (default), adam-atan2 or muon (with AdamW for what is no hidden matrix).
    scheme
        Parametrization: standard (default), mup, completep, completed-p, supar, everett or u-mup.
    base
        Its base, width=256,depth=4, which all but standard and u-mup need: the learning rate and the rest of the recipe
        are then those of the base.
    scheme_options
        Its options: alpha=0.5 or form=ntk,alignment=none.
    seed
        Of the initial weights and of the order of the data (default: 0).
    micro_batch
        Sequences that a process takes at once (default: as memory allows); the batch is accumulated.
    activation_checkpointing
        Keep only the blocks' inputs and recompute the rest: less memory, about a third more time.
    precision
        fp32, bf16, or auto (default): bf16 on a GPU that has it. A resumed run keeps its own.
    compile
        Use torch.compile.
    parallel
        none, ddp or fsdp, under torchrun; auto (default): ddp.
    device
        cpu, cuda, or auto (default): cuda where there is one.
    threads
        Cores: on a CPU each takes a part of the batch (default: torch's own number; OMP_NUM_THREADS counts first).
        With experts or --compile, threads of torch's operators (default below 1M parameters: 1).
    eval_every
        Steps between measurements on held-out text (default: at the end alone).
    checkpoint_every
        Steps between checkpoints (default: five minutes); there is one at the end too.
    noise
        Log the gradient noise scale: norm (from the norm layers, at next to no cost), all (exactly) or off (default). A
        picture beside metrics.jsonl shows it with its interval, the batch and the loss.
    log
        tensorboard, wandb or trackio; repeatable.
    """
    options = dict(locals())
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    if resume and out is not None and not describes(given):
        config, run = read_back(given), None
    else:
        run = _plan(options | DEFAULTS | given)
        config = run.config
    config = replace(config, out=str(out or _default_out(config)), threads=config.threads or _threads(config))
    shown = not json and os.environ.get("RANK", "0") == "0"
    if run is not None and shown:
        _print_run(run, str(config.out))
    if dry_run:
        _print_dry(run, config, json=json)
        return
    _finish(_train(config, resume=resume, progress=shown), config, run, json=json)


def _plan(options: Mapping[str, Any]) -> PlannedRun:
    from forescale.cli import _read_train as reading
    from forescale.cli._own_runs import read_own
    from forescale.train import plan_run
    from forescale.train._plan_run import request_of
    from forescale.workload import Workload

    shape, seq_len, note = reading.read_model(options, reading.vocabulary(options["tokenizer"]))
    length, batch = reading.read_length(options, shape.active_params, seq_len)
    workload = Workload.from_shape(shape, tokens=length, seq_len=seq_len)
    request, chosen = request_of({**_recipe(options), "batch_tokens": batch}, laws=tuple(options["law"] or ()))
    run = plan_run(
        workload,
        request,
        chosen=chosen,
        runs=read_own(options["runs"], None, None, seq_len=seq_len),
        options=reading.read_model_options(options),
        optimizer=options["optimizer"],
        scheme=options["scheme"],
        base=reading.read_base(options["base"]),
        scheme_options=reading.read_scheme_options(options["scheme_options"]),
        seed=options["seed"],
        data=tuple(options["data"] or ()),
        tokenizer=options["tokenizer"],
        held_out=reading.read_held_out(options["held_out"]),
        key=options["key"],
        errors=options["errors"],
        **carried_out(options),
    )
    return replace(run, notes=(*([note] if note else ()), *run.notes))


def _recipe(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are values of the recipe, but for the batch; None where one was not given."""
    from forescale.cli._read_train import read_number

    plain = ("beta1", "beta2", "warmup_steps", "schedule", "final_lr_ratio")
    numbers = ("learning_rate", "weight_decay", "timescale", "epsilon", "grad_clip", "init_std")
    read = {name: read_number(options[name], f"--{name.replace('_', '-')}") for name in numbers}
    return {name: options[name] for name in plain} | read


def _threads(config: TrainConfig) -> int | None:
    """One where operators would share threads: of a small model on a busy machine they are many times slower so."""
    shared = config.shape.experts is not None or config.compile
    few = config.params < SMALL_PARAMS and "OMP_NUM_THREADS" not in os.environ
    return 1 if shared and few else None


def _default_out(config: TrainConfig) -> Path:
    """A folder of its own for every run."""
    from forescale.quantities import humanize
    from forescale.train._config_json import config_hash

    return Path("runs") / f"{humanize(config.params)}-{humanize(config.tokens)}-{config_hash(config)[:8]}"


def _print_run(run: PlannedRun, out: str) -> None:
    from forescale.cli._render_train import print_run

    print_run(run, out)
    sys.stdout.flush()
    for note in run.notes:
        print(f"forescale: {note}", file=sys.stderr)


def _print_dry(run: PlannedRun | None, config: TrainConfig, *, json: bool) -> None:
    from forescale.cli import _render_train as render

    if run is None:
        raise ForescaleError("--dry-run prints a plan; with --resume alone there is none: describe the run.")
    peak = _peak(config)
    if json:
        seconds = None if peak is None else render.estimated_seconds(config, peak)
        more = {"estimated_seconds": seconds, "peak_flops": peak}
        print(json_module.dumps(render.to_json(run, **more), indent=2, allow_nan=False))
    else:
        render.print_estimate(config, peak)


def _peak(config: TrainConfig) -> float | None:
    """The measured peak of the device, None where there is no torch to measure it with."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    from forescale.train._distributed import joined
    from forescale.train._peak import matmul_peak
    from forescale.train._step import precision_of

    with torch.no_grad(), joined(config) as world:
        return matmul_peak(world.device, precision_of(config, world.device))


def _train(config: TrainConfig, *, resume: bool, progress: bool) -> Result:
    try:
        import torch  # noqa: F401  # whether it is there  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        raise MissingExtraError("training needs torch: pip install 'forescale[train]'.") from None
    from forescale.train import train as run
    from forescale.train._interrupt import RunInterruptedError
    from forescale.train._memory import keep_freed_memory

    keep_freed_memory()
    try:
        return run(config, resume=resume, progress=progress)
    except RunInterruptedError as interruption:
        _leave(str(interruption), interruption.exit_code)


def _finish(result: Result, config: TrainConfig, run: PlannedRun | None, *, json: bool) -> None:
    """Print the end of the run; a run that diverged leaves with its own exit code."""
    from forescale.cli import _render_train as render

    if os.environ.get("RANK", "0") != "0":
        sys.exit(DIVERGED if result.diverged else 0)
    if json:
        planned = {} if run is None else render.to_json(run)
        print(json_module.dumps({**planned, "result": result.to_json()}, indent=2, allow_nan=False))
    elif not result.diverged:
        render.print_result(result, config.out)
    if config.noise != "off" and config.out is not None:
        _draw_noise(Path(config.out), config.seq_len)
    if result.diverged:
        _leave(_diverged(result, config), DIVERGED)


def _draw_noise(folder: Path, seq_len: int) -> None:
    from forescale.plots import noise_figure, save
    from forescale.train._folder import METRICS
    from forescale.train._metrics import records_until

    records = [r for r in records_until(folder / METRICS, sys.maxsize) if r["loss"] is not None]
    if records:
        save(noise_figure(records, seq_len), folder / NOISE_PICTURE)


def _diverged(result: Result, config: TrainConfig) -> str:
    from forescale.train._checkpoint import steps_of
    from forescale.train._folder import CHECKPOINTS

    good = steps_of(Path(str(config.out)) / CHECKPOINTS)
    last = f"the checkpoint of step {good[-1]} in {config.out} is the last" if good else "there was no checkpoint"
    return (
        f"the run diverged at step {result.diverged_at} of {config.steps}: its loss or gradient norm is not finite; {last} "
        "before it: use a lower learning rate or a longer warmup, in a new folder."
    )


def _leave(sentence: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(f"forescale: {sentence}", file=sys.stderr)
    sys.exit(code)
