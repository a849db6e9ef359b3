"""Megatron-LM command line flags, in a bash array.

`--start-weight-decay` and `--end-weight-decay` must stay unset: with a constant weight decay Megatron asserts that.
`--global-batch-size` excludes `--step-batch-size-schedule`; `--rampup-batch-size` is deprecated: neither is written.
Without flags the model would be a GPT-2: LayerNorm, biases, learned positions, tied embeddings, no gate.
Checked: not instantiated (needs GPUs); every flag found in the sources at d98e8a64dd (2026-08-22), and the scheduler
class of that commit run step by step.
"""

from __future__ import annotations

from forescale.plan.export._megatron_model import megatron_notes
from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, shell_array
from forescale.plan.export._shape import WHERE, dense, sizes
from forescale.plan.export._values import Draft, Numbers
from forescale.workload import Shape


def draft(n: Numbers) -> Draft:
    """`source` the file and pass "${FORESCALE_ARGS[@]}" to pretrain_gpt.py."""
    lines = [
        *shell_array("FORESCALE_ARGS", _flags(n)),
        "",
        "# YOUR MODEL: add the flags that are missing for the model, and those of tokenizer, data and parallelism; run",
        '#   torchrun ... pretrain_gpt.py "${FORESCALE_ARGS[@]}" "${YOUR_ARGS[@]}"',
    ]
    positions = n.workload.shape and n.workload.shape.positions
    notes = (
        *late_warmup(n, "Megatron-LM"),
        *megatron_notes(
            n, "--init-method-std", positions, "Megatron-LM's flags for the rest are left to you, where it has any"
        ),
        model_is_yours(n, "the model's flags"),
        ranks(n),
    )
    return Draft(filename="forescale_megatron_lm.sh", lines=lines, notes=notes)


def _flags(n: Numbers) -> dict[str, Item]:
    shape = dense(n)
    return {
        "optimizer": Item("adam", "decoupled weight decay by default: AdamW"),
        "lr": n.lr,
        "min-lr": n.min_lr,
        "lr-decay-style": Item(n.schedule),
        "lr-decay-iters": n.steps,
        "lr-warmup-iters": n.warmup,
        "lr-warmup-init": Item(0.0),
        "weight-decay": n.weight_decay,
        "weight-decay-incr-style": Item("constant"),
        "adam-beta1": n.beta1,
        "adam-beta2": n.beta2,
        "adam-eps": n.epsilon,
        "clip-grad": n.clip,
        "init-method-std": n.init_std,
        "global-batch-size": n.sequences,
        "micro-batch-size": n.micro_sequences,
        "seq-length": n.seq_len,
        "max-position-embeddings": n.seq_len,
        "train-iters": n.steps,
        **({} if shape is None else _sizes(shape) | _structure(shape)),
    }


def _sizes(shape: Shape) -> dict[str, Item]:
    names = {
        "layers": "num-layers",
        "width": "hidden-size",
        "ffn_width": "ffn-hidden-size",
        "heads": "num-attention-heads",
        "head_dim": "kv-channels",
        "vocab": "padded-vocab-size",
    }
    positions = {} if shape.positions is None else {"max-position-embeddings": Item(shape.positions, WHERE)}
    if shape.kv_heads in (None, shape.heads):
        return sizes(shape, names) | positions
    groups = {"group-query-attention": Item(True), **sizes(shape, {"kv_heads": "num-query-groups"})}
    return sizes(shape, names) | positions | groups


def _structure(shape: Shape) -> dict[str, Item]:
    """Flags that stand for a property by being there, or by being absent."""
    rotary = shape.positions is None
    flags = {
        "swiglu": shape.gated,
        "untie-embeddings-and-output-weights": not shape.tied,
        "disable-bias-linear": not (shape.o_bias and shape.ffn_bias),
        "add-qkv-bias": shape.qkv_bias and not (shape.o_bias and shape.ffn_bias),
        "qk-layernorm": shape.qk_norm == "head",
    }
    return {
        "normalization": Item("RMSNorm" if shape.norm == "rms" else "LayerNorm", WHERE),
        "position-embedding-type": Item("rope" if rotary else "learned_absolute", WHERE),
        **{flag: Item(True, WHERE) for flag, there in flags.items() if there},
        **({"softmax-type": Item("learnable", "workload shape: attention sinks")} if shape.sinks else {}),
    }
