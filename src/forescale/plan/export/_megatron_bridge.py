"""Megatron-Bridge, as Python that overrides a recipe's `ConfigContainer` field by field.

Bridge takes the weight decay of a run from the scheduler, and its optimizer helpers default that one to 0.033 and the
minimum learning rate to a tenth of the peak: so both places and the minimum are written, and no helper is called.
Checked: Bridge itself was not run (it needs GPUs): its fields were looked up in its sources at 067f987df (2026-08-22)
and in the Megatron-LM classes that these extend; the scheduler class run step by step is Megatron-LM's.
"""

from __future__ import annotations

from forescale.plan.export._megatron_model import megatron_notes
from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, python_assignments
from forescale.plan.export._shape import WHERE, dense, sizes
from forescale.plan.export._values import Draft, Numbers, remark
from forescale.workload import Shape


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
        "# YOUR MODEL: pass apply() the ConfigContainer of a recipe in megatron.bridge.recipes, of a family with plain GPT",
        "# layers (Llama's, Qwen's), then call pretrain().",
    ]
    notes = (
        *late_warmup(n, "Megatron-Bridge"),
        *megatron_notes(n, "model.init_method_std", "the recipe that apply() is given decides on the rest"),
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
    shape = dense(n)
    return {
        "train.train_iters": n.steps,
        "train.train_samples": Item(None, "excludes train_iters"),
        "train.global_batch_size": n.sequences,
        "train.micro_batch_size": n.micro_sequences,
        "train.rampup_batch_size": Item(None, "the batch is constant"),
        "model.seq_length": n.seq_len,
        "dataset.seq_length": n.seq_len,
        "model.init_method_std": n.init_std,
        **({} if shape is None else _sizes(shape) | _structure(shape)),
    }


def _sizes(shape: Shape) -> dict[str, Item]:
    names = {
        "layers": "model.num_layers",
        "width": "model.hidden_size",
        "ffn_width": "model.ffn_hidden_size",
        "heads": "model.num_attention_heads",
        "kv_heads": "model.num_query_groups",
        "head_dim": "model.kv_channels",
        "vocab": "model.vocab_size",
    }
    return sizes(shape, names)


def _structure(shape: Shape) -> dict[str, Item]:
    biases = shape.o_bias and shape.ffn_bias
    return {
        "model.gated_linear_unit": Item(shape.gated, WHERE),
        "model.normalization": Item("RMSNorm" if shape.norm == "rms" else "LayerNorm", WHERE),
        "model.qk_layernorm": Item(shape.qk_norm == "head", WHERE),
        "model.add_bias_linear": Item(biases, WHERE),
        "model.add_qkv_bias": Item(shape.qkv_bias or biases, WHERE),
        "model.softmax_type": Item("learnable" if shape.sinks else "vanilla", "workload shape: attention sinks or none"),
        "model.share_embeddings_and_output_weights": Item(shape.tied, WHERE),
        "model.position_embedding_type": Item("rope" if shape.positions is None else "learned_absolute", WHERE),
        "model.num_moe_experts": Item(None, WHERE),
    }
