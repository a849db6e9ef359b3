"""Megatron-LM command line flags, in a bash array.

`--start-weight-decay` and `--end-weight-decay` must stay unset: with a constant weight decay Megatron asserts that.
`--global-batch-size` excludes `--step-batch-size-schedule`; `--rampup-batch-size` is deprecated: neither is written.
Checked: not instantiated (needs GPUs); every flag found in the sources at d98e8a64dd (2026-08-22), and the scheduler
class of that commit run step by step.
"""

from __future__ import annotations

from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, shell_array
from forescale.plan.export._sizes import sizes
from forescale.plan.export._values import Draft, Numbers, remark


def draft(n: Numbers) -> Draft:
    """`source` the file and pass "${FORESCALE_ARGS[@]}" to pretrain_gpt.py."""
    lines = [
        *shell_array("FORESCALE_ARGS", _flags(n)),
        "",
        "# YOUR MODEL: add the flags of the model, tokenizer, data and parallelism, then run",
        '#   torchrun ... pretrain_gpt.py "${FORESCALE_ARGS[@]}" "${YOUR_ARGS[@]}"',
    ]
    notes = (
        *late_warmup(n, "Megatron-LM"),
        remark("biases and one-dimensional parameters (norms) are exempt from weight decay in Megatron."),
        remark("--init-method-std is divided by sqrt(2 * layers) for the output projections of each layer."),
        model_is_yours(n, "the model's flags"),
        ranks(n),
    )
    return Draft(filename="forescale_megatron_lm.sh", lines=lines, notes=notes)


def _flags(n: Numbers) -> dict[str, Item]:
    names = {
        "layers": "num-layers",
        "width": "hidden-size",
        "ffn_width": "ffn-hidden-size",
        "heads": "num-attention-heads",
        "head_dim": "kv-channels",
    }
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
        **sizes(n, names),
        **_query_groups(n),
    }


def _query_groups(n: Numbers) -> dict[str, Item]:
    found = sizes(n, {"heads": "heads", "kv_heads": "num-query-groups"})
    if not found or found["heads"] == found["num-query-groups"]:
        return {}
    return {"group-query-attention": Item(True), "num-query-groups": found["num-query-groups"]}
