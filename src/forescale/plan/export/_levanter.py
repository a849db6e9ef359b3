"""levanter 1.2.dev1644, as YAML to merge into a `train_lm` config.

Its defaults end the decay at 10 % of the peak and read a `warmup` of at most 1 as a share of the run: the ratio is
always written, and a warmup of one step is written as a share.
Checked: 1.2.dev1644 really instantiated (`TrainLmConfig`), its schedule step by step in single precision.
"""

from __future__ import annotations

from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, yaml_lines
from forescale.plan.export._sizes import sizes
from forescale.plan.export._values import Draft, Numbers, remark, whole


def draft(n: Numbers) -> Draft:
    """Sections `optimizer`, `trainer` and `model`; the model's type is left to the user, who must fill it in."""
    tree = {
        "optimizer": _optimizer(n),
        "trainer": {
            "num_train_steps": n.steps,
            "train_batch_size": n.sequences,
            "per_device_parallelism": n.micro_sequences,
        },
        "model": {
            "type": Item(
                "CHOOSE",
                "YOUR MODEL: left out, levanter would train its default, a 7B Llama; sizes are named as for type llama",
            ),
            "seq_len": n.seq_len,
            "initializer_range": n.init_std,
            **_sizes(n),
        },
    }
    notes = (
        *late_warmup(n, "levanter"),
        remark("levanter exempts norms, embeddings and biases from weight decay (default_weight_decay_mask)."),
        model_is_yours(n, "model.type, tokenizer and data"),
        ranks(n),
    )
    return Draft(filename="forescale_levanter.yaml", lines=yaml_lines(tree), notes=notes)


def _optimizer(n: Numbers) -> dict[str, Item]:
    return {
        "type": Item("adam", "decoupled weight decay: AdamW"),
        "learning_rate": n.lr,
        "lr_schedule": Item(n.schedule),
        "min_lr_ratio": n.min_ratio,
        "warmup": _warmup(n),
        "decay": Item(None, "all steps after the warmup"),
        "weight_decay": n.weight_decay,
        "beta1": n.beta1,
        "beta2": n.beta2,
        "epsilon": n.epsilon,
        "max_grad_norm": n.clip,
    }


def _warmup(n: Numbers) -> Item:
    if n.warmup_steps > 1:
        return n.warmup
    # Rounded down by levanter: half a step more than needed keeps one step safe from rounding.
    share = 1.5 / whole(n.steps.value) if n.warmup_steps else 0.0
    return Item(share, f"a share of the run, rounded down to {n.warmup_steps} steps; {n.warmup.comment}")


def _sizes(n: Numbers) -> dict[str, Item]:
    names = {
        "layers": "num_layers",
        "width": "hidden_dim",
        "ffn_width": "intermediate_dim",
        "heads": "num_heads",
        "kv_heads": "num_kv_heads",
        "head_dim": "head_dim",
    }
    return sizes(n, names)
