"""lingua (read at 437d680, 2025-06-18), as YAML for apps.main.train.

`data.batch_size` is sequences per rank and accumulation step; `lr_min_ratio` (default 0.1) is always written.
Checked: `lingua/optim.py` at that commit really run: arguments, optimizer groups, scheduler step by step.
"""

from __future__ import annotations

from forescale.plan.export._notes import late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, yaml_lines
from forescale.plan.export._sizes import sizes
from forescale.plan.export._values import Draft, Numbers, remark


def draft(n: Numbers) -> Draft:
    """Sections `steps`, `grad_acc_steps`, `optim`, `data` and `model`."""
    names = {"layers": "n_layers", "width": "dim", "heads": "n_heads", "kv_heads": "n_kv_heads"}
    tree = {
        "steps": n.steps,
        "grad_acc_steps": n.accumulation,
        "optim": _optim(n),
        "data": {"batch_size": n.micro_sequences, "seq_len": n.seq_len},
        "model": {
            "init_base_std": n.init_std,
            "init_std_factor": Item("disabled", "no scaling with depth"),
            **sizes(n, names),
        },
    }
    your = "# YOUR MODEL: add the sizes of the model that are missing, data.root_dir, data.sources and data.tokenizer."
    notes = (
        *late_warmup(n, "lingua"),
        remark("weight decay reaches every parameter, norms and embeddings too."),
        remark("model.init_base_std reaches attention and FFN: lingua's embedding and output keep std width^-0.5."),
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
