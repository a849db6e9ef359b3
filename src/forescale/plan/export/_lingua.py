"""lingua (read at 437d680, 2025-06-18), as YAML for apps.main.train.

`data.batch_size` is sequences per rank and accumulation step; `lr_min_ratio` (default 0.1) is always written.
The FFN width is reached by `ffn_dim_multiplier`, of int(2 / 3 * 4 * dim), with `multiple_of` 1.
Checked: `lingua/optim.py` at that commit really run: arguments, optimizer groups, scheduler step by step.
"""

from __future__ import annotations

from forescale.plan.export._notes import decays_vectors, init_in_part, late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, yaml_lines
from forescale.plan.export._shape import PLAIN, WHERE, dense, model_notes, properties, sizes
from forescale.plan.export._values import Draft, Note, Numbers, whole


def draft(n: Numbers) -> Draft:
    """Sections `steps`, `grad_acc_steps`, `optim`, `data` and `model`."""
    tree = {
        "steps": n.steps,
        "grad_acc_steps": n.accumulation,
        "optim": _optim(n),
        "data": {"batch_size": n.micro_sequences, "seq_len": n.seq_len},
        "model": {
            "init_base_std": n.init_std,
            "init_std_factor": Item("disabled", "no scaling with depth"),
            **_model(n),
        },
    }
    your = "# YOUR MODEL: add what is missing of the model, data.root_dir, data.sources and data.tokenizer."
    notes = (
        *late_warmup(n, "lingua"),
        init_in_part(
            n, "model.init_base_std reaches attention and FFN, while lingua's embedding and output get std width^-0.5"
        ),
        decays_vectors(),
        *_model_notes(n),
        model_is_yours(n, "model, data and tokenizer"),
        ranks(n),
    )
    return Draft(filename="forescale_lingua.yaml", lines=[*yaml_lines(tree), "", your], notes=notes)


def _optim(n: Numbers) -> dict[str, Item]:
    return {
        "lr": n.lr,
        "scheduler": Item(n.schedule),
        "warmup": n.warmup,
        "lr_min_ratio": n.min_ratio,
        "weight_decay": n.weight_decay,
        "epsilon": n.epsilon,
        "beta1": n.beta1,
        "beta2": n.beta2,
        "clip": n.clip,
    }


NAMES = {
    "layers": "n_layers",
    "width": "dim",
    "heads": "n_heads",
    "kv_heads": "n_kv_heads",
    "head_dim": "head_dim",
    "vocab": "vocab_size",
}


def _model(n: Numbers) -> dict[str, Item]:
    shape = dense(n)
    if shape is None:
        return {}
    width = whole(properties(shape)["ffn_width"])
    # Half a unit more than needed keeps lingua's rounding down safe.
    multiplier = (width + 0.5) / int(2 * (4 * shape.width) / 3)
    return {
        **sizes(shape, NAMES),
        "ffn_dim_multiplier": Item(multiplier, f"workload shape: FFN width {width}"),
        "multiple_of": Item(1, "the FFN width is not rounded"),
        "weight_tying": Item(shape.tied, WHERE),
    }


def _model_notes(n: Numbers) -> tuple[Note, ...]:
    if dense(n) is None:
        return model_notes(n, (), {}, "lingua's Transformer has no keys for such a model")
    return model_notes(n, {*NAMES, "ffn_width", "tied"}, PLAIN, "lingua's Transformer has no keys for these")
