"""OLMo-core 3.0.0 (`ai2-olmo-core`), as Python.

Batches are in tokens, also per rank. Both schedulers end at 10 % of the peak unless `alpha_f` is written, which it is.
Every matrix gets `init_std`: `InitMethod.normal`, without a value of its own for the embedding.
The batch size is constant: OLMo's batch size callback would multiply the learning rate by the square root of the ratio.
Checked: 3.0.0 really instantiated: optimizer groups, scheduler step by step, duration.
"""

from __future__ import annotations

from forescale.plan.export._notes import decays_vectors, model_is_yours, ranks
from forescale.plan.export._render import Item, python_assignments, python_kwargs
from forescale.plan.export._shape import model_notes
from forescale.plan.export._values import Draft, Note, Numbers, remark, whole

SCHEDULERS = {"linear": "LinearWithWarmup", "cosine": "CosWithWarmup"}


def draft(n: Numbers) -> Draft:
    """A function `apply(config)` for an experiment config with `model`, `data_loader`, `train_module`, `trainer`."""
    name = SCHEDULERS[n.schedule]
    optim = {"lr": n.lr, "betas": n.betas, "eps": n.epsilon, "weight_decay": n.weight_decay}
    lines = [
        "from typing import Any",
        "",
        "from olmo_core.nn.transformer import InitMethod",
        f"from olmo_core.optim import AdamWConfig, {name}, SchedulerUnits",
        "from olmo_core.train import Duration",
        "",
        "",
        "def apply(config: Any) -> Any:",
        '    """Put the plan into an experiment config: model, data, parallelism and callbacks stay as they are."""',
        "    config.train_module.optim = AdamWConfig(",
        *python_kwargs(optim, 8),
        "    )",
        f"    config.train_module.scheduler = {name}(",
        *python_kwargs({"warmup": n.warmup, "alpha_f": n.min_ratio}, 8),
        "        units=SchedulerUnits.steps,",
        "    )",
        *python_assignments(_fields(n)),
        "    config.model.init_method = InitMethod.normal  # init_std for every matrix",
        f"    config.trainer.max_duration = Duration.steps({n.steps.value})  # {n.steps.comment}",
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
        "config.data_loader.global_batch_size": n.batch_tokens,
        "config.dataset.sequence_length": n.seq_len,
        "config.model.init_std": n.init_std,
        "config.model.embedding_init_std": Item(None, "as init_std"),
    }


def _notes(n: Numbers) -> tuple[Note, ...]:
    steps = whole(n.steps.value)
    return (
        remark(
            "OLMo-core counts steps from 1: the warmup is the plan's, the decay runs one step ahead of it, and the "
            f"last step (of {steps}) runs at final_lr_ratio = {n.min_ratio.value} of the peak."
        ),
        decays_vectors(),
        remark("OLMo's own scripts exempt embeddings from weight decay by OptimGroupOverride; this file does not."),
        *model_notes(n, (), {}, "the config that apply() is given decides on it"),
        model_is_yours(n, "the config that apply() is given"),
        ranks(n),
    )
