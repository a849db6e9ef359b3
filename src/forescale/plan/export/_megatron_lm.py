"""Megatron-LM command line flags, in a bash array.

`--start-weight-decay` and `--end-weight-decay` must stay unset: with a constant weight decay Megatron asserts that.
`--global-batch-size` excludes `--step-batch-size-schedule`: one of them is written; `--rampup-batch-size` is deprecated.
Without flags the model would be a GPT-2: LayerNorm, biases, learned positions, tied embeddings, no gate.
Checked: not instantiated (needs GPUs); every flag found in the sources at d98e8a64dd (2026-08-22), and the scheduler
class of that commit run step by step, and so the calculator of batch schedules: the planned batches, each at its step.
"""

from __future__ import annotations

from forescale.plan.export._batch_schedule import divisible, rate_not_followed
from forescale.plan.export._megatron_model import megatron_notes
from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, shell_array
from forescale.plan.export._shape import WHERE, dense, sizes
from forescale.plan.export._values import Draft, Note, Numbers, remark, whole
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
        *_schedule_notes(n),
    )
    return Draft(filename="forescale_megatron_lm.sh", lines=lines, notes=notes)


def _flags(n: Numbers) -> dict[str, Item]:
    shape = dense(n)
    return {
        "optimizer": Item("adam", "decoupled weight decay by default: AdamW"),
        "lr": n.lr,
        "min-lr": n.min_lr,
        "lr-decay-style": Item(n.schedule),
        **_lengths(n),
        "lr-warmup-init": Item(0.0),
        "weight-decay": n.weight_decay,
        "weight-decay-incr-style": Item("constant"),
        "adam-beta1": n.beta1,
        "adam-beta2": n.beta2,
        "adam-eps": n.epsilon,
        "clip-grad": n.clip,
        "init-method-std": n.init_std,
        "micro-batch-size": n.micro_sequences,
        "seq-length": n.seq_len,
        "max-position-embeddings": n.seq_len,
        **({} if shape is None else _sizes(shape) | _structure(shape)),
    }


def _lengths(n: Numbers) -> dict[str, Item]:
    """Batch and lengths: in optimizer steps; in samples where the batch changes, so that nothing else moves with it."""
    if n.batches is None:
        return {
            "lr-decay-iters": n.steps,
            "lr-warmup-iters": n.warmup,
            "global-batch-size": n.sequences,
            "train-iters": n.steps,
        }
    from forescale.noise.schedule import megatron_text

    sequences = whole(n.sequences.value)
    samples = Item(whole(n.steps.value) * sequences, "steps * batch_sequences")
    return {
        "lr-decay-samples": samples,
        "lr-warmup-samples": Item(n.warmup_steps * sequences, "warmup_steps * batch_sequences"),
        "step-batch-size-schedule": Item(megatron_text(n.batches), f"tokens:sequences; {'; '.join(n.batches.reasons)}"),
        "train-samples": samples,
    }


def _schedule_notes(n: Numbers) -> tuple[Note, ...]:
    if n.batches is None:
        return ()
    micro = whole(n.micro_sequences.value) * n.devices
    return (
        *rate_not_followed(n.batches, "Megatron-LM"),
        divisible(n, n.batches),
        remark(
            f"without --global-batch-size, Megatron-LM evaluates with batches of {micro} sequences (micro-batch * ranks)."
        ),
    )


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
