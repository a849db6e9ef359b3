"""OLMo-core 3.0.0 (`ai2-olmo-core`), as Python.

Batches are in tokens, also per rank. Both schedulers end at 10 % of the peak unless `alpha_f` is written, which it is.
Every matrix gets `init_std`: `InitMethod.normal`, without a value of its own for the embedding.
OLMo's batch size callback multiplies the learning rate by the square root of the ratio: it is written for a schedule only,
with every length in tokens, since the callback refuses a decay in steps that it would move.
Checked: 3.0.0 really instantiated: optimizer groups, scheduler step by step, duration.
"""

from __future__ import annotations

from forescale.plan.export._batch_schedule import divisible, warmup_tokens
from forescale.plan.export._notes import decays_vectors, model_is_yours, ranks
from forescale.plan.export._render import Item, python_assignments, python_kwargs
from forescale.plan.export._shape import model_notes
from forescale.plan.export._values import Draft, Note, Numbers, loss, remark, whole

SCHEDULERS = {"linear": "LinearWithWarmup", "cosine": "CosWithWarmup"}


def draft(n: Numbers) -> Draft:
    """A function `apply(config)` for an experiment config with `model`, `data_loader`, `train_module`, `trainer`."""
    name = SCHEDULERS[n.schedule]
    unit, warmup, total = (
        ("steps", n.warmup, n.steps) if n.batches is None else ("tokens", warmup_tokens(n), n.total_tokens)
    )
    optim = {"lr": _first_rate(n), "betas": n.betas, "eps": n.epsilon, "weight_decay": n.weight_decay}
    lines = [
        "from typing import Any",
        "",
        "from olmo_core.nn.transformer import InitMethod",
        f"from olmo_core.optim import AdamWConfig, {name}, SchedulerUnits",
        "from olmo_core.train import Duration",
        *([] if n.batches is None else ["from olmo_core.train.callbacks import BatchSizeSchedulerCallback"]),
        "",
        "",
        "def apply(config: Any) -> Any:",
        '    """Put the plan into an experiment config: model, data, parallelism and callbacks stay as they are."""',
        "    config.train_module.optim = AdamWConfig(",
        *python_kwargs(optim, 8),
        "    )",
        f"    config.train_module.scheduler = {name}(",
        *python_kwargs({"warmup": warmup, "alpha_f": n.min_ratio}, 8),
        f"        units=SchedulerUnits.{unit},",
        "    )",
        *python_assignments(_fields(n)),
        "    config.model.init_method = InitMethod.normal  # init_std for every matrix",
        f"    config.trainer.max_duration = Duration.{unit}({total.value})  # {total.comment}",
        *_callback(n),
        "    return config",
        "",
        "",
        "# YOUR MODEL: call apply() on the config of your training script, before it builds anything.",
    ]
    return Draft(filename="forescale_olmo_core.py", lines=lines, notes=_notes(n))


def _fields(n: Numbers) -> dict[str, Item]:
    return {
        "config.train_module.rank_microbatch_size": n.micro_tokens,
        "config.train_module.max_sequence_length": n.seq_len,
        "config.train_module.max_grad_norm": n.clip,
        "config.data_loader.global_batch_size": _first_batch(n),
        "config.dataset.sequence_length": n.seq_len,
        "config.model.init_std": n.init_std,
        "config.model.embedding_init_std": Item(None, "as init_std"),
    }


def _first_batch(n: Numbers) -> Item:
    if n.batches is None:
        return n.batch_tokens
    return Item(n.batches.batch_at(0), "the batch schedule's first, in tokens")


def _first_rate(n: Numbers) -> Item:
    """The learning rate of the schedule's first batch, from which the callback scales."""
    if n.batches is None or n.batches.lr_rule == "none":
        return n.lr
    factor = n.batches.lr_factor_at(0, whole(n.sequences.value))
    rate = n.lr.value
    assert isinstance(rate, float)
    return Item(
        rate * factor, f"{n.lr.comment}; that of {n.sequences.value} sequences, x {factor:.4g} for the first batch"
    )


def _callback(n: Numbers) -> list[str]:
    if n.batches is None:
        return []
    from forescale.noise.schedule import olmo_core_lists

    batches, starts = olmo_core_lists(n.batches)
    return [
        '    config.trainer.callbacks["batch_size_schedule"] = BatchSizeSchedulerCallback(',
        f"        batch_sizes={list(batches)},  # tokens",
        f"        schedule=[{', '.join(f'Duration.tokens({start})' for start in starts)}],",
        "    )",
    ]


def _schedule_notes(n: Numbers) -> tuple[Note, ...]:
    steps = whole(n.steps.value)
    if n.batches is None:
        said = "OLMo-core counts steps from 1: the warmup is the plan's, the decay runs one step ahead of it, and the "
        return (remark(f"{said}last step (of {steps}) runs at final_lr_ratio = {n.min_ratio.value} of the peak."),)
    unscaled = (
        loss(
            "the learning rate rule 'none' is not carried: OLMo-core's callback multiplies the learning rate by the square root "
            "of the batches' ratio; plan with --batch-schedule-lr sqrt."
        ),
    )
    return (
        *(unscaled if n.batches.lr_rule == "none" else ()),
        divisible(n, n.batches),
        remark(
            "OLMo-core counts the tokens of a step before it runs: warmup and decay are one step ahead of the plan's. An "
            "increase waits until the batches read so far are a multiple of its factor."
        ),
    )


def _notes(n: Numbers) -> tuple[Note, ...]:
    return (
        *_schedule_notes(n),
        decays_vectors(),
        remark("OLMo's own scripts exempt embeddings from weight decay by OptimGroupOverride; this file does not."),
        *model_notes(n, (), {}, "the config that apply() is given decides on it"),
        model_is_yours(n, "the config that apply() is given"),
        ranks(n),
    )
