"""Megatron-Bridge, as Python that overrides a recipe's `ConfigContainer` field by field.

Bridge takes the weight decay of a run from the scheduler, and its optimizer helpers default that one to 0.033 and the
minimum learning rate to a tenth of the peak: so both places and the minimum are written, and no helper is called.
Checked: not instantiated (needs GPUs); fields by sources at 067f987df (2026-08-22) and in the Megatron-LM classes that
these extend, whose scheduler was run step by step with the exported values.
"""

from __future__ import annotations

from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, python_assignments
from forescale.plan.export._sizes import sizes
from forescale.plan.export._values import Draft, Numbers, remark


def draft(n: Numbers) -> Draft:
    """A function `apply(config)`."""
    lines = [
        "from typing import Any",
        "",
        "",
        "def apply(config: Any) -> Any:",
        '    """Put the plan into a megatron.bridge ConfigContainer: model family, data and parallelism stay."""',
        *python_assignments({f"config.{key}": item for key, item in _fields(n).items()}),
        "    return config",
        "",
        "",
        "# YOUR MODEL: pass apply() the ConfigContainer of a recipe in megatron.bridge.recipes, then call pretrain().",
    ]
    notes = (
        *late_warmup(n, "Megatron-Bridge"),
        remark("biases and one-dimensional parameters (norms) are exempt from weight decay in Megatron."),
        remark("model.init_method_std is divided by sqrt(2 * layers) for the output projections of each layer."),
        remark("the same fields serve NeMo 2.0 users: NVIDIA's migration guide maps NeMo 2.0 to Megatron-Bridge."),
        model_is_yours(n, "the recipe that apply() is given"),
        ranks(n),
    )
    return Draft(filename="forescale_megatron_bridge.py", lines=lines, notes=notes)


def _fields(n: Numbers) -> dict[str, Item]:
    return _optimizer(n) | _scheduler(n) | _train(n)


def _optimizer(n: Numbers) -> dict[str, Item]:
    return {
        "optimizer.optimizer": Item("adam", "decoupled weight decay by default: AdamW"),
        "optimizer.lr": n.lr,
        "optimizer.min_lr": n.min_lr,
        "optimizer.weight_decay": n.weight_decay,
        "optimizer.adam_beta1": n.beta1,
        "optimizer.adam_beta2": n.beta2,
        "optimizer.adam_eps": n.epsilon,
        "optimizer.clip_grad": n.clip,
    }


def _scheduler(n: Numbers) -> dict[str, Item]:
    return {
        "scheduler.start_weight_decay": n.weight_decay,
        "scheduler.end_weight_decay": n.weight_decay,
        "scheduler.weight_decay_incr_style": Item("constant"),
        "scheduler.lr_decay_style": Item(n.schedule),
        "scheduler.lr_decay_iters": n.steps,
        "scheduler.lr_warmup_iters": n.warmup,
        "scheduler.lr_warmup_fraction": Item(None, "excludes lr_warmup_iters"),
        "scheduler.lr_warmup_init": Item(0.0),
        "scheduler.max_steps": Item(None, "would change the length that the schedule is made for"),
    }


def _train(n: Numbers) -> dict[str, Item]:
    names = {
        "layers": "model.num_layers",
        "width": "model.hidden_size",
        "ffn_width": "model.ffn_hidden_size",
        "heads": "model.num_attention_heads",
        "kv_heads": "model.num_query_groups",
        "head_dim": "model.kv_channels",
    }
    return {
        "train.train_iters": n.steps,
        "train.train_samples": Item(None, "excludes train_iters"),
        "train.global_batch_size": n.sequences,
        "train.micro_batch_size": n.micro_sequences,
        "train.rampup_batch_size": Item(None, "the batch is constant"),
        "model.seq_length": n.seq_len,
        "dataset.seq_length": n.seq_len,
        "model.init_method_std": n.init_std,
        **sizes(n, names),
    }
