"""litgpt 0.5.13 pretraining, as YAML for `litgpt pretrain --config`.

The cosine decay is hard-coded, so a linear plan is refused rather than bent. The warmup is given in optimizer steps
and litgpt multiplies it by the accumulation itself. The length is given in tokens: `max_steps` is for profiling only.
Checked: 0.5.13 really instantiated: its own parser, arguments, optimizer groups and learning rates step by step.
"""

from __future__ import annotations

from forescale.errors import ForescaleError
from forescale.plan.export._notes import decays_vectors, init_not_carried, late_warmup, model_is_yours, ranks
from forescale.plan.export._render import Item, yaml_lines
from forescale.plan.export._shape import model_notes
from forescale.plan.export._values import Draft, Note, Numbers, remark, whole


def draft(n: Numbers) -> Draft:
    """Raises `ForescaleError` for a plan whose schedule is not a cosine."""
    if n.schedule != "cosine":
        raise ForescaleError(
            f"litgpt can only run a cosine schedule (it is hard-coded there) and this plan's is {n.schedule}: "
            "plan again with --schedule cosine, or export to another trainer."
        )
    adamw = {"lr": n.lr, "weight_decay": n.weight_decay, "betas": n.betas, "eps": n.epsilon}
    lines = [
        *yaml_lines({"train": _train(n)}),
        *yaml_lines({"optimizer": {"class_path": Item("torch.optim.AdamW"), "init_args": adamw}}),
        "",
        "# YOUR MODEL: add model_name or model_config, data, tokenizer_dir, out_dir, precision,",
        f"# and devices and num_nodes so that devices * num_nodes = {n.devices}.",
    ]
    return Draft(filename="forescale_litgpt.yaml", lines=lines, notes=_notes(n))


def _train(n: Numbers) -> dict[str, Item]:
    return {
        "global_batch_size": n.sequences,
        "micro_batch_size": n.micro_sequences,
        "max_seq_length": n.seq_len,
        "max_tokens": n.total_tokens,
        "lr_warmup_steps": n.warmup,
        "lr_warmup_fraction": Item(None, "excludes lr_warmup_steps"),
        "max_norm": n.clip,
        "min_lr": n.min_lr,
    }


def _notes(n: Numbers) -> tuple[Note, ...]:
    return (
        init_not_carried(n, "litgpt hard-codes sqrt(2 / (5 * width)), and less for output projections"),
        _offset(n),
        *model_notes(n, (), {}, "your model_name or model_config decides on it"),
        decays_vectors(),
        model_is_yours(n, "model_name or model_config"),
        ranks(n),
    )


def _offset(n: Numbers) -> Note:
    micro, warmup = whole(n.accumulation.value), n.warmup_steps
    if micro > 1:
        return remark(
            "litgpt sets the learning rate before every micro-batch and steps after the last: its optimizer step k "
            f"runs at the schedule's value at k + {micro - 1}/{micro}, so the warmup is 1/{micro} of a step later and "
            f"the decay {micro - 1}/{micro} of a step earlier than the plan's."
        )
    return late_warmup(n, "litgpt")[0] if warmup else remark("litgpt's learning rate is the plan's at every step.")
