"""levanter 1.2.dev1644, as YAML to merge into a `train_lm` config.

Its defaults end the decay at 10 % of the peak and read a `warmup` of at most 1 as a share of the run: the ratio is
always written, and a warmup of one step is written as a share.
Checked: 1.2.dev1644 really instantiated (`TrainLmConfig`), its schedule step by step in single precision.
"""

from __future__ import annotations

from forescale.plan.export._batch_schedule import divisible, rate_not_followed, steps_of, warmup_tokens
from forescale.plan.export._notes import decays_vectors, init_not_carried, late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, yaml_lines
from forescale.plan.export._shape import PLAIN, WHERE, dense, model_notes, sizes
from forescale.plan.export._values import Draft, Note, Numbers, loss, whole


def draft(n: Numbers) -> Draft:
    """Sections `optimizer`, `trainer` and `model`; without a shape the user must fill in the model's type."""
    tree = {
        "optimizer": _optimizer(n),
        "trainer": {
            **_lengths(n),
            "per_device_parallelism": n.micro_sequences,
        },
        "model": {**_model(n), "seq_len": n.seq_len, "initializer_range": n.init_std},
    }
    notes = (
        *late_warmup(n, "levanter"),
        init_not_carried(
            n, "levanter 1.2 draws its models' weights by fan-in; initializer_range reaches no weight of type llama"
        ),
        decays_vectors(),
        *_model_notes(n),
        model_is_yours(n, "model.type (here llama)" if dense(n) else "model.type"),
        ranks(n),
        *_schedule_notes(n),
    )
    return Draft(filename="forescale_levanter.yaml", lines=yaml_lines(tree), notes=notes)


def _lengths(n: Numbers) -> dict[str, Item]:
    if n.batches is None:
        return {"num_train_steps": n.steps, "train_batch_size": n.sequences}
    from forescale.noise.schedule import levanter_list

    batches = levanter_list(n.batches, whole(n.total_tokens.value))
    return {
        "num_train_steps": Item(steps_of(n, n.batches).count, "steps of the batch schedule"),
        "train_batch_size": Item(batches, f"from step start on, value sequences; {'; '.join(n.batches.reasons)}"),
    }


def _schedule_notes(n: Numbers) -> tuple[Note, ...]:
    if n.batches is None:
        return ()
    return (
        *rate_not_followed(n.batches, "levanter"),
        loss(
            "the learning rate over tokens is not carried: levanter's decay counts steps, of which the batch schedule has more "
            "where the batch is small; warmup and run have the plan's tokens, the decay between them has not its shape."
        ),
        divisible(n, n.batches),
    )


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
        "default_weight_decay_mask": Item(False, "no exemption: by default embeddings would not decay"),
        "max_grad_norm": n.clip,
    }


def _warmup(n: Numbers) -> Item:
    steps, warmup = whole(n.steps.value), n.warmup
    if n.batches is not None:
        steps, tokens = steps_of(n, n.batches).count, whole(warmup_tokens(n).value)
        count = n.batches.steps(tokens).count if tokens else 0
        warmup = Item(count, f"steps of the batch schedule in {tokens} tokens; {warmup.comment}")
    if whole(warmup.value) > 1:
        return warmup
    # Rounded down by levanter: half a step more than needed keeps one step safe from rounding.
    share = 1.5 / steps if whole(warmup.value) else 0.0
    return Item(share, f"a share of the run, rounded down to {warmup.value} steps; {warmup.comment}")


NAMES = {
    "layers": "num_layers",
    "width": "hidden_dim",
    "ffn_width": "intermediate_dim",
    "heads": "num_heads",
    "kv_heads": "num_kv_heads",
    "head_dim": "head_dim",
}
YOUR_MODEL = "YOUR MODEL: left out, levanter would train its default, a 7B Llama"


def _model(n: Numbers) -> dict[str, Item]:
    shape = dense(n)
    if shape is None:
        return {"type": Item("CHOOSE", YOUR_MODEL)}
    return {
        "type": Item("llama", "YOUR MODEL: the keys below are those of type llama"),
        **sizes(shape, NAMES),
        "hybrid_norm": Item(shape.norms_per_layer == 4, "workload shape: four norms a layer (or two)"),
        "use_qk_norm": Item(shape.qk_norm == "head", WHERE),
        "tie_word_embeddings": Item(shape.tied, WHERE),
    }


def _model_notes(n: Numbers) -> tuple[Note, ...]:
    shape = dense(n)
    if shape is None:
        return model_notes(n, (), {}, "model is left to you")
    written = {
        "norms_per_layer": 4 if shape.norms_per_layer == 4 else 2,
        "qk_norm": "head" if shape.qk_norm == "head" else None,
    }
    where = "levanter's type llama has no such keys, and the tokenizer decides on the vocabulary"
    return model_notes(n, {*NAMES, "tied"}, {**PLAIN, **written}, where)
