"""nanotron (read at 2411b022, 2026-04-07), as YAML to merge into a run's config.

An unset `min_decay_lr` means "the peak", that is no decay, so it is always written; so are the start and the length of
the decay, since nanotron would subtract both the warmup and a given start from the steps.
The wheel 0.4 is much older than the repository: there Adam's keys lie in `optimizer` itself, without a factory.
`scaling_method` would by default divide the initial std of output projections by sqrt(2 * layers): NONE is written.
Checked: the config classes of that commit, and its learning rate function step by step; not the whole package.
"""

from __future__ import annotations

from forescale.plan.export._notes import decays_vectors, late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, yaml_lines
from forescale.plan.export._shape import PLAIN, WHERE, dense, model_notes, sizes
from forescale.plan.export._values import Draft, Note, Numbers, remark

REQUIRED = "required by nanotron, not part of the plan"


def draft(n: Numbers) -> Draft:
    """Sections `model`, `optimizer`, `parallelism` and `tokens`."""
    tree = {
        "model": {"init_method": _init(n), **_model_config(n)},
        "optimizer": _optimizer(n),
        "parallelism": {"dp": Item(n.devices, "layout: data-parallel ranks")},
        "tokens": {
            "sequence_length": n.seq_len,
            "train_steps": n.steps,
            "micro_batch_size": n.micro_sequences,
            "batch_accumulation_per_replica": n.accumulation,
        },
    }
    your = "# YOUR MODEL: add model.model_config, tokenizer, data_stages, general, and parallelism.pp and .tp."
    notes = (
        *late_warmup(n, "nanotron"),
        decays_vectors(),
        *_model_notes(n),
        remark("the keys are those of the repository: the 0.4 wheel has Adam's keys in optimizer itself."),
        model_is_yours(n, "model.model_config"),
        ranks(n),
    )
    return Draft(filename="forescale_nanotron.yaml", lines=[*yaml_lines(tree), "", your], notes=notes)


def _optimizer(n: Numbers) -> dict[str, Item | dict[str, Item]]:
    return {
        "accumulate_grad_in_fp32": Item(True, REQUIRED),
        "zero_stage": Item(0, REQUIRED),
        "clip_grad": n.clip,
        "weight_decay": n.weight_decay,
        "optimizer_factory": {
            "name": Item("adamW"),
            "adam_beta1": n.beta1,
            "adam_beta2": n.beta2,
            "adam_eps": n.epsilon,
            "torch_adam_is_fused": Item(True, REQUIRED),
        },
        "learning_rate_scheduler": _scheduler(n),
    }


def _scheduler(n: Numbers) -> dict[str, Item]:
    # Without a warmup, nanotron's linear style would run its first step at 0; "constant" runs it at the peak.
    style = "linear" if n.warmup_steps else "constant"
    return {
        "learning_rate": n.lr,
        "lr_warmup_steps": n.warmup,
        "lr_warmup_style": Item(style),
        "lr_decay_style": Item(n.schedule),
        "lr_decay_starting_step": Item(n.warmup.value, "= lr_warmup_steps: no stable phase"),
        "lr_decay_steps": Item(n.decay_steps, "steps - warmup_steps"),
        "min_decay_lr": n.min_lr,
    }


def _init(n: Numbers) -> dict[str, Item]:
    return {"std": n.init_std, "scaling_method": Item("NONE", "the same std for output projections")}


NAMES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "ffn_width": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocab": "vocab_size",
}


def _model_config(n: Numbers) -> dict[str, dict[str, Item]]:
    shape = dense(n)
    if shape is None:
        return {}
    llama = {"is_llama_config": Item(True, "tells nanotron's configs apart"), "max_position_embeddings": n.seq_len}
    return {"model_config": llama | sizes(shape, NAMES) | {"tie_word_embeddings": Item(shape.tied, WHERE)}}


def _model_notes(n: Numbers) -> tuple[Note, ...]:
    shape = dense(n)
    if shape is None:
        return model_notes(n, (), {}, "model.model_config is left to you")
    # Its heads have no size of their own; nor does its Llama read attention_bias.
    fixed = {**PLAIN, "head_dim": shape.width / shape.heads}
    return model_notes(n, {*NAMES, "tied"}, fixed, "the Llama that model_config describes in nanotron has no such keys")
